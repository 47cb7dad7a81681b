"""Reads rows of text from the forms in which instruction data is published.

JSON (a list), JSON Lines, Parquet, a folder of such files, a folder that Hugging Face `datasets`
saved, or the name of a dataset on its hub. A source is cut into parts that any process can read by
itself.
"""

from collections.abc import Iterator, Sequence
import functools
import importlib
import json
import pathlib
import types
from typing import Any, NamedTuple

from create_data import common
from create_data.tfdatasets import manifest

SUFFIXES = ('.parquet', '.jsonl', '.json')  # what is read of a folder: the first form it has
_SAVED = ('dataset_dict.json', 'state.json')  # marks of a folder that `datasets` saved
_NO_ROWS = ('dataset_info.json', 'dataset_infos.json')


class Part(NamedTuple):
  """Rows that lie together.

  Attributes:
    form: 'json', 'jsonl', 'parquet', 'saved' or 'hub'.
    location: path of the file or folder, or name on the hub.
    position: where its first row is: a byte (jsonl), a row group (parquet), else a row.
    before: rows, of jsonl: lines, before it at this location.
    count: how many rows it has.
    first: number of its first row in the whole source.
  """

  form: str
  location: str
  position: int
  before: int
  count: int
  first: int


class Row(NamedTuple):
  """A row; `fields` is None where it cannot be read, `fault` says why.

  Attributes:
    number: its place in the whole source, from 0.
    place: file and line (jsonl) or row, for people.
  """

  number: int
  place: str
  fields: dict[str, Any] | None
  fault: str = ''


class Source(NamedTuple):
  """All parts in order, and the SHA-256 of each file they come from."""

  parts: list[Part]
  checksums: dict[str, str]


def find(source: pathlib.Path | None, hub_name: str, rows_per_part: int) -> Source:
  """Cuts a source into parts of at most `rows_per_part` rows (parquet: whole row groups).

  Args:
    source: a file or folder; None asks the hub for `hub_name`.
    hub_name: the official dataset.
    rows_per_part: rows of a part.

  Raises:
    ImportError: The form needs a package that is not installed.
    OSError, ValueError: Nothing is there, or it cannot be read.
  """
  if source is None:
    return _find_table('hub', hub_name, rows_per_part)
  if any((source / mark).is_file() for mark in _SAVED):
    return _find_table('saved', str(source), rows_per_part)
  parts: list[Part] = []
  files = _files(source)
  for path in files:
    form = path.suffix[1:]
    if form == 'json' and not _is_list(path):
      form = 'jsonl'
    for position, before, count in _CUTS[form](path, rows_per_part):
      first = parts[-1].first + parts[-1].count if parts else 0
      parts.append(Part(form, str(path), position, before, count, first))
  if not parts:
    raise ValueError(f'{source} has no row')
  root = source if source.is_dir() else source.parent
  return Source(
    parts, {path.relative_to(root).as_posix(): manifest.checksum(path) for path in files}
  )


def read(part: Part) -> Iterator[Row]:
  """The rows of a part, in order."""
  return _READERS[part.form](part)


def _files(source):
  if source.is_file():
    if source.suffix not in SUFFIXES:
      raise ValueError(f'{source} is none of {", ".join(SUFFIXES)}; convert it to one of them')
    return [source]
  if not source.is_dir():
    raise FileNotFoundError(f'{source} does not exist; give a file, or a folder of files')
  for suffix in SUFFIXES:
    files = [path for path in sorted(source.rglob(f'*{suffix}')) if path.name not in _NO_ROWS]
    if files:
      return [path for path in files if path.name.startswith('train')] or files
  raise FileNotFoundError(f'{source} holds no file of {", ".join(SUFFIXES)}')


def _import(name: str) -> types.ModuleType:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    package = name.partition('.')[0]
    raise ImportError(
      f'reading this needs {package}; install this package with the extra [data]'
    ) from error


def _cut_rows(total, size):
  return [(start, start, min(size, total - start)) for start in range(0, total, size)]


# ---- JSON ----------------------------------------------------------------------------------------
def _is_list(path):
  with path.open(encoding='utf-8-sig', errors='replace') as file:
    return file.read(1024).lstrip().startswith('[')


@functools.lru_cache(maxsize=1)
def _json_list(location):
  return common.read_json(pathlib.Path(location))


def _read_json(part: Part) -> Iterator[Row]:
  rows = _json_list(part.location)[part.position : part.position + part.count]
  return _numbered(part, rows)


def _numbered(part: Part, rows: Sequence[Any]) -> Iterator[Row]:
  name = pathlib.Path(part.location).name
  for i, row in enumerate(rows):
    place = f'{name}, row {part.before + i}'
    if isinstance(row, dict):
      yield Row(part.first + i, place, row)
    else:
      yield Row(part.first + i, place, None, f'it is {type(row).__name__}, no fields with names')


# ---- JSON Lines ----------------------------------------------------------------------------------
def _cut_lines(path, size):
  cuts, position, count = [], 0, 0
  with path.open('rb') as file:
    for line_number, line in enumerate(file):
      if line.strip():
        if count % size == 0:
          cuts.append([position, line_number, 0])
        cuts[-1][2] += 1
        count += 1
      position += len(line)
  return cuts


def _read_jsonl(part: Part) -> Iterator[Row]:
  name, found = pathlib.Path(part.location).name, 0
  with open(part.location, 'rb') as file:
    file.seek(part.position)
    for line_number, line in enumerate(file, part.before + 1):
      if found == part.count:
        return
      if not line.strip():
        continue
      number, place = part.first + found, f'{name}, line {line_number}'
      found += 1
      try:
        row = json.loads(line.decode('utf-8-sig'))
      except ValueError as error:
        yield Row(number, place, None, f'it is no valid JSON ({error})')
        continue
      if isinstance(row, dict):
        yield Row(number, place, row)
      else:
        yield Row(number, place, None, f'it is {type(row).__name__}, no fields with names')


# ---- Parquet -------------------------------------------------------------------------------------
def _cut_parquet(path, size):
  metadata = _import('pyarrow.parquet').ParquetFile(path).metadata
  cuts, before = [], 0
  for group in range(metadata.num_row_groups):
    rows = metadata.row_group(group).num_rows
    if cuts and cuts[-1][2] + rows <= size:
      cuts[-1][2] += rows
    else:
      cuts.append([group, before, rows])
    before += rows
  return [cut for cut in cuts if cut[2]]


def _read_parquet(part: Part) -> Iterator[Row]:
  file, done, group = _import('pyarrow.parquet').ParquetFile(part.location), 0, part.position
  while done < part.count:
    for batch in file.iter_batches(1024, row_groups=[group]):
      rows = batch.to_pylist()
      yield from _numbered(part._replace(before=part.before + done, first=part.first + done), rows)
      done += len(rows)
    group += 1


# ---- Hugging Face datasets -----------------------------------------------------------------------
@functools.lru_cache(maxsize=1)
def _table(form, location):
  datasets = _import('datasets')
  if form == 'hub':
    return datasets.load_dataset(location, split='train')
  loaded = datasets.load_from_disk(location)
  if isinstance(loaded, datasets.Dataset):
    return loaded
  if 'train' not in loaded:
    raise ValueError(f'{location} has the splits {sorted(loaded)}, none is called train')
  return loaded['train']


def _find_table(form, location, rows_per_part):
  table = _table(form, location)
  parts = [
    Part(form, location, start, start, count, start)
    for start, _, count in _cut_rows(len(table), rows_per_part)
  ]
  if not parts:
    raise ValueError(f'{location} has no row')
  files = [pathlib.Path(entry['filename']) for entry in table.cache_files]
  return Source(parts, {path.name: manifest.checksum(path) for path in files})


def _read_table(part: Part) -> Iterator[Row]:
  table = _table(part.form, part.location).with_format(None)
  columns = table[part.position : part.position + part.count]
  rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
  return _numbered(part, rows)


_CUTS = {
  'json': lambda path, size: _cut_rows(len(_json_list(str(path))), size),
  'jsonl': _cut_lines,
  'parquet': _cut_parquet,
}
_READERS = {
  'json': _read_json, 'jsonl': _read_jsonl, 'parquet': _read_parquet,
  'saved': _read_table, 'hub': _read_table,
}  # fmt: skip
