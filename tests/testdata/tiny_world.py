"""A demo world of four scenes a split and the datasets built from it, in a third of a second."""

from collections.abc import Callable
import json
import pathlib
from typing import Any

from create_data.demo_world import make
from create_data.tfdatasets.coco_all import build as coco_all
from create_data.tfdatasets.refcoco import build as refcoco

SPLITS = ('train', 'val', 'test')


def write(folder: pathlib.Path, *, scenes: int = 4) -> pathlib.Path:
  """Writes the official files of `scenes` scenes a split and the photographs; returns `folder`."""
  make.make(folder, make.WorldConfig(train=scenes, easy=0, val=scenes, test=scenes))
  return folder


def build(folder: pathlib.Path, *, scenes: int = 4) -> pathlib.Path:
  """Returns a TFDS root with coco_all:1.0.1 and ref_coco/refcoco_unc:1.0.0 of `scenes` a split."""
  world, root = write(folder / 'world', scenes=scenes), folder / 'tfds'
  coco_all.build(root, world / 'vqa', world / 'coco', splits=SPLITS)
  refcoco.build(root, world / 'refcoco', world / 'coco', splits=SPLITS)
  return root


def read(path: pathlib.Path) -> Any:
  """One of the official files."""
  return json.loads(path.read_text(encoding='utf-8'))


def change(path: pathlib.Path, edit: Callable[[Any], object]) -> None:
  """Edits one of the official files."""
  content = read(path)
  edit(content)
  path.write_text(json.dumps(content), encoding='utf-8')
