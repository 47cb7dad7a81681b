"""Records of plain files, found by number: lines of text, and TFRecord, by an index of offsets.

The index of a file is made in one pass and kept beside it (`NAME.index.npy`), or in memory alone
where the folder cannot be written to. A file that has changed since is indexed anew.
"""

from collections.abc import Callable, Sequence
import functools
import mmap
import os
import struct
import tempfile

from absl import logging
import numpy as np

Scan = Callable[[mmap.mmap], np.ndarray]
_HEADER = struct.Struct('<Q')  # length of a TFRecord; 4 bytes of checksum follow it
_CHECKSUM = 4


# ---- The index of a file -------------------------------------------------------------------------
def scan_lines(data: mmap.mmap) -> np.ndarray:
  """(offset, length) of every line that is not blank, without its end; int64 [n, 2]."""
  spans, start, size = [], 0, len(data)
  while start < size:
    end = data.find(b'\n', start)
    end = size if end < 0 else end
    if data[start:end].strip():
      spans.append((start, end - start))
    start = end + 1
  return np.array(spans, np.int64).reshape(-1, 2)


def scan_tfrecord(data: mmap.mmap) -> np.ndarray:
  """(offset, length) of every record of a TFRecord file; int64 [n, 2].

  Raises:
    ValueError: the file ends within a record.
  """
  spans, place, size = [], 0, len(data)
  while place < size:
    start = place + _HEADER.size + _CHECKSUM
    length = _HEADER.unpack_from(data, place)[0] if start <= size else size
    if start + length + _CHECKSUM > size:
      raise ValueError(
        f'the file ends within record {len(spans)} (at byte {place}): it is cut short or is no '
        'uncompressed TFRecord'
      )
    spans.append((start, length))
    place = start + length + _CHECKSUM
  return np.array(spans, np.int64).reshape(-1, 2)


def index_of(path: str, scan: Scan) -> np.ndarray:
  """Where the records of a file are, int64 [n, 2]: read from the index beside it, or made.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file is not what `scan` expects.
  """
  status = os.stat(path)
  stamp = np.array([[status.st_size, status.st_mtime_ns]], np.int64)
  kept = f'{path}.index.npy'
  if os.path.exists(kept):
    index = np.load(kept)
    if (index[:1] == stamp).all():
      return index[1:]
  spans = np.zeros((0, 2), np.int64)
  if status.st_size:
    logging.info('Indexing the records of %s.', path)
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
      try:
        spans = scan(data)
      except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
  _keep(kept, np.concatenate([stamp, spans]))
  return spans


def _keep(path: str, index: np.ndarray) -> None:
  """Writes an index whole or not at all, since other processes may be about to read it."""
  try:
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path) or '.', delete=False) as file:
      np.save(file, index)
    os.replace(file.name, path)
  except OSError as error:
    logging.warning('The index of records is kept in memory only: %s.', error)


# ---- Files as one list of records ----------------------------------------------------------------
class RecordFiles:
  """The records of several files, numbered through."""

  def __init__(self, parts: Sequence[tuple[str, int, int | None]], scan: Scan):
    """Indexes the files.

    Args:
      parts: (path, records to leave out at its beginning, how many then; None for the rest).
      scan: finds the records of a file.
    """
    spans = [index_of(path, scan)[first:][:count] for path, first, count in parts]
    self._paths = [path for path, _, _ in parts]
    self._ends = np.cumsum([len(part) for part in spans])
    self._spans = np.concatenate([np.zeros((0, 2), np.int64), *spans])

  def __len__(self) -> int:
    return len(self._spans)

  def __getitems__(self, numbers: Sequence[int]) -> list[bytes]:
    """The records of these numbers, as bytes."""
    files = np.searchsorted(self._ends, numbers, side='right')
    return [
      os.pread(_descriptor(self._paths[file]), int(length), int(offset))
      for file, (offset, length) in zip(files, self._spans[numbers], strict=True)
    ]


@functools.cache
def _descriptor(path: str) -> int:
  return os.open(path, os.O_RDONLY)
