"""The stored COCO-format files of i_build/raw, whole or edited, as files on disk."""

from collections.abc import Mapping
import json
import pathlib
import re
from typing import Any

from tests.parity import harness

Files = dict[str, dict[str, Any]]
_OF = {
  'questions and their annotations': 'vqa/',
  'captions': '/captions_',
  'answers': 'mscoco_',
  'one VQA file': 'vqa/',
  'one person_keypoints file': 'person_keypoints_',
}


class CocoFiles:
  """The files of a case.

  Attributes:
    files: path below the folder -> content.
    splits: picture's file name -> its folder.
  """

  def __init__(self, case: str):
    source = harness.root() / 'data' / case
    config = json.loads((source / 'case.json').read_text())
    self.files: Files = config['files']
    self.splits: dict[str, str] = config['splits']
    self._pictures = harness.Arrays(source / 'data.npz')

  def pictures(self) -> dict[int, str]:
    """Id -> file name of the pictures with annotations."""
    return {
      image['id']: image['file_name']
      for name, content in self.files.items()
      if '/instances_' in name
      for image in content['images']
    }

  def edited(self, edit: Mapping[str, Any]) -> Files:
    """The files after an edit: its 'op', its 'what' and how many 'pictures' it touches."""
    op, mark = edit['op'], _OF[edit['what']]
    if op == 'delete file':
      lost = next(name for name in self.files if mark in name)
      return {name: content for name, content in self.files.items() if name != lost}
    if op == 'remove':
      pictures = list(self.pictures())[: edit['pictures']]

      def change(key, rows):
        return [row for row in rows if row['image_id'] not in pictures]
    else:
      number = int(re.fullmatch(r'keep the first (\d+)', op)[1])
      assert edit['pictures'] == 'all'

      def change(key, rows):
        if key == 'questions':
          return rows
        return [{**row, 'answers': row['answers'][:number]} for row in rows]

    keys = ('annotations', 'questions')
    return {
      name: {k: change(k, v) if k in keys and mark in name else v for k, v in content.items()}
      for name, content in self.files.items()
    }

  def write(self, folder: pathlib.Path, files: Files | None = None) -> pathlib.Path:
    """Writes annotations/, vqa/ and a folder of pictures for each split; returns `folder`."""
    for name, content in (files or self.files).items():
      path = folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(json.dumps(content), encoding='utf-8')
    for name, split in self.splits.items():
      path = folder / split / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(self._pictures[path.stem].tobytes())
    return folder
