"""Files of rows, read by number: JSON lines, Parquet, and folders of Hugging Face `datasets`.

A stored row is bytes: a line of JSON, or one row of an Arrow table.
"""

from collections.abc import Mapping, Sequence
import hashlib
import json
import os
import pathlib
from typing import Any, Protocol

from absl import logging
import numpy as np

ENVIRONMENT_VARIABLE = 'UIO2_CACHE'
_HEAD = 2**16  # bytes of a file that go into its signature
_CONVERTED_AT_ONCE = 256  # rows of a Parquet file


class RowFile(Protocol):
  """A file of rows."""

  path: str
  unit: str  # what its rows are counted in: 'line' or 'row'

  def __len__(self) -> int: ...

  def number(self, row: int) -> int:
    """What a user calls the row: its line or row, counted from 1."""

  def read(self, row: int) -> bytes:
    """A stored row."""

  def fields(self, stored: bytes) -> Mapping[str, Any]:
    """A stored row as a dict.

    Raises:
      ValueError: it is none.
    """


def cache_folder() -> pathlib.Path:
  """Where indices and converted files go: $UIO2_CACHE, else ~/.cache/unified_io_2."""
  given = os.environ.get(ENVIRONMENT_VARIABLE)
  home = os.environ.get('XDG_CACHE_HOME') or os.path.join('~', '.cache')
  return pathlib.Path(given or os.path.join(home, 'unified_io_2')).expanduser()


def signature(path: str) -> str:
  """Changes when the file, or a file of the folder, does: sizes, times of change, first bytes."""
  digest = hashlib.sha256()
  files = sorted(pathlib.Path(path).iterdir()) if os.path.isdir(path) else [pathlib.Path(path)]
  for file in files:
    stat = file.stat()
    digest.update(f'{file.name} {stat.st_size} {stat.st_mtime_ns} '.encode())
    if file.is_file():
      with file.open('rb') as opened:
        digest.update(opened.read(_HEAD))
  return digest.hexdigest()


def open_rows(path: str, lines: np.ndarray | None = None) -> RowFile:
  """The rows of a file, by its kind.

  Args:
    path: of the file or folder.
    lines: what `JsonLines.lines` was, where it is known.

  Raises:
    FileNotFoundError: there is nothing at `path`.
    ValueError: it is no kind of file that is known.
  """
  if not os.path.exists(path):
    raise FileNotFoundError(f'there is no data file {path}')
  if os.path.isdir(path):
    return ArrowRows(path, _streams(pathlib.Path(path)))
  if path.endswith(('.jsonl', '.ndjson')):
    return JsonLines(path, find_lines(path) if lines is None else lines)
  if path.endswith('.parquet'):
    return ArrowRows(path, [_converted(path)])
  raise ValueError(
    f'{path} is no data file; give .jsonl, .parquet, or a folder that `save_to_disk` of Hugging '
    'Face datasets wrote'
  )


# ---- JSON lines ----------------------------------------------------------------------------------
def find_lines(path: str) -> np.ndarray:
  """Number (from 1), first byte and size of every line that is not empty: int64 [n, 3]."""
  found, place = [], 0
  with open(path, 'rb') as file:
    for number, line in enumerate(file, 1):
      if not line.isspace():
        found.append((number, place, len(line)))
      place += len(line)
  return np.array(found, np.int64).reshape(-1, 3)


class JsonLines:
  """A row a line; empty lines are no rows."""

  unit = 'line'

  def __init__(self, path: str, lines: np.ndarray):
    """Opens the file; `lines` is what `find_lines` finds."""
    self.path, self.lines = path, lines
    self._file = os.open(path, os.O_RDONLY)

  def __del__(self):
    if hasattr(self, '_file'):
      os.close(self._file)

  def __len__(self) -> int:
    return len(self.lines)

  def number(self, row: int) -> int:
    """The number of the line."""
    return int(self.lines[row, 0])

  def read(self, row: int) -> bytes:
    """The line."""
    _, start, size = self.lines[row].tolist()
    return os.pread(self._file, size, start)

  def fields(self, stored: bytes) -> dict[str, Any]:
    """The line as a dict.

    Raises:
      ValueError: it is no JSON object.
    """
    try:
      value = json.loads(stored)
    except UnicodeDecodeError as e:
      raise ValueError(f'not UTF-8 text: {e.reason} at byte {e.start + 1}') from e
    except json.JSONDecodeError as e:
      raise ValueError(
        f'not JSON: {e.msg} at column {e.colno}; each line is a row of its own'
      ) from e
    if not isinstance(value, dict):
      raise ValueError(
        f'a JSON {type(value).__name__} instead of an object {{"field": value, ...}}'
      )
    return value


# ---- Arrow tables --------------------------------------------------------------------------------
class ArrowRows:
  """Rows of Arrow files that are mapped into memory: any of them is read without the others."""

  unit = 'row'

  def __init__(self, path: str, files: Sequence[pathlib.Path]):
    """Maps `files`, whose schemas are the same; their rows are read as one table."""
    self.path, self._batches = path, []
    for file in files:
      self._batches += _batches(file)
    self._ends = np.cumsum([batch.num_rows for batch in self._batches])

  def __len__(self) -> int:
    return int(self._ends[-1]) if len(self._ends) else 0

  def number(self, row: int) -> int:
    """The number of the row, from 1."""
    return row + 1

  def read(self, row: int) -> bytes:
    """The row as an Arrow message."""
    batch = int(np.searchsorted(self._ends, row, 'right'))
    before = int(self._ends[batch - 1]) if batch else 0
    return self._batches[batch].slice(row - before, 1).serialize().to_pybytes()

  def fields(self, stored: bytes) -> dict[str, Any]:
    """The row as a dict."""
    pa = _pyarrow()
    (row,) = pa.ipc.read_record_batch(pa.py_buffer(stored), self._batches[0].schema).to_pylist()
    return row


def _pyarrow() -> Any:
  try:
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet
  except ImportError as e:
    raise ValueError(f'this kind of data file needs pyarrow ({e}): pip install pyarrow') from e
  return pyarrow


def _batches(file: pathlib.Path) -> list[Any]:
  """The record batches of an Arrow file, of either of its two formats."""
  pa = _pyarrow()
  mapped = pa.memory_map(str(file))
  if mapped.read(6) == b'ARROW1':
    reader = pa.ipc.open_file(mapped)
    return [reader.get_batch(i) for i in range(reader.num_record_batches)]
  mapped.seek(0)
  return list(pa.ipc.open_stream(mapped))


def _streams(folder: pathlib.Path) -> list[pathlib.Path]:
  """The Arrow files of a folder that `datasets` saved, in order.

  Raises:
    ValueError: it is no such folder, or holds several splits.
  """
  if (folder / 'dataset_dict.json').is_file():
    splits = json.loads((folder / 'dataset_dict.json').read_text(encoding='utf-8'))['splits']
    raise ValueError(f'{folder} holds the splits {splits}; give one of them: {folder / splits[0]}')
  if not (folder / 'state.json').is_file():
    raise ValueError(f'{folder} is no folder that `save_to_disk` of Hugging Face datasets wrote')
  state = json.loads((folder / 'state.json').read_text(encoding='utf-8'))
  return [folder / file['filename'] for file in state['_data_files']]


def _converted(path: str) -> pathlib.Path:
  """A Parquet file as an Arrow file in the cache, made once: Parquet is read in large groups."""
  pa = _pyarrow()
  target = cache_folder() / f'{signature(path)}.arrow'
  if not target.exists():
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f'{target.name}.{os.getpid()}')
    logging.info('Converting %s to %s, once.', path, target)
    with pa.parquet.ParquetFile(path) as source:
      # A single row carries no dictionary with it.
      plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in source.schema_arrow
      ]
      with pa.ipc.new_file(str(partial), pa.schema(plain)) as writer:
        for batch in source.iter_batches(_CONVERTED_AT_ONCE):
          writer.write_batch(batch.cast(pa.schema(plain)))
    os.replace(partial, target)
  return target
