"""Reads the JSON files of COCO, VQA and refer: a dict of lists of rows, each row with its ids."""

from collections.abc import Collection, Iterator, Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

from create_data import common
from create_data.tfdatasets import manifest

COCO_CATEGORIES = pathlib.Path(__file__).parent / 'coco_all' / 'coco_categories.json'
UNUSED = ('segmentation',)  # most of a file's size
Fields = Mapping[str, type]  # what a row must have


@dataclasses.dataclass
class Reader:
  """Reads files; a row without its fields is named and left out.

  Attributes:
    problems: told of what is left out.
    checksums: name of each file -> SHA-256.
  """

  problems: common.Problems
  checksums: dict[str, str] = dataclasses.field(default_factory=dict)

  def read(self, path: pathlib.Path, without: Collection[str] = UNUSED) -> Any:
    """The content of a file, without some keys."""
    content = common.read_json(path, without)
    self.checksums[path.name] = manifest.checksum(path)
    return content

  def table(self, content: Any, key: str, fields: Fields, path: pathlib.Path) -> list[dict]:
    """The rows below a key of a file's content.

    Raises:
      ValueError: There are none; it is another kind of file.
    """
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
      has = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
      raise ValueError(f'{path} has no list {key!r}, only {has}; it is another kind of file')
    return list(self.complete(content[key], fields, f'{path.name}, {key}'))

  def complete(self, rows: Sequence[Any], fields: Fields, name: str) -> Iterator[dict]:
    """The rows that have all their fields."""
    for i, row in enumerate(rows):
      if not isinstance(row, dict):
        self.problems.report(f'{name}[{i}]: it is {type(row).__name__}, no fields with names')
      elif missing := [key for key, kind in fields.items() if not _has(row, key, kind)]:
        self.problems.report(f'{name}[{i}]: it has no usable {", ".join(missing)}')
      else:
        yield row

  def add_categories(self, classes: dict[int, str], content: dict, path: pathlib.Path) -> None:
    """Adds a file's categories (COCO's 80 where it has none) to category id -> name, in order.

    Raises:
      ValueError: One has no id or no name, or another name than before.
    """
    rows = content.get('categories')
    rows = common.read_json(COCO_CATEGORIES) if rows is None else rows
    if not isinstance(rows, list) or not all(
      isinstance(row, dict) and _has(row, 'id', int) and _has(row, 'name', str) for row in rows
    ):
      raise ValueError(f'{path}: its categories are no list of rows with an id and a name')
    for row in rows:
      known = classes.setdefault(row['id'], row['name'])
      if known != row['name']:
        raise ValueError(
          f'{path}: category {row["id"]} is {row["name"]!r}, but {known!r} in another split; give '
          'the splits one list of categories'
        )

  def unique(self, rows: Sequence[dict], key: str, name: str) -> dict[int, dict]:
    """id -> row; a second row of the same id is named and left out."""
    found: dict[int, dict] = {}
    for row in rows:
      if found.setdefault(row[key], row) is not row:
        self.problems.report(f'{name} {row[key]}: there is another of this id before it')
    return found


def _has(row, key, kind):
  value = row.get(key)
  return common.is_text(value) and bool(value.strip()) if kind is str else isinstance(value, kind)
