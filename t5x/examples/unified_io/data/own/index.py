"""The index of a user's data file: made by one pass over all rows, kept beside it, made anew when
the file has changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
import dataclasses
import hashlib
import json
import os
import pathlib
import time
import zipfile

from absl import logging
import numpy as np

from t5x.examples.unified_io.data import vocabulary
from t5x.examples.unified_io.data.own import check, files
from t5x.examples.unified_io.data.own import rows as rows_lib

_VERSION = 2
_AT_ONCE = 256  # rows a thread looks at between two looks at the clock
_SAMPLE = 64  # rows that are looked at again each time
_REPORT_SECONDS = 10
_NUMBERS = {
  'num_options': np.int32, 'has_target': np.bool_, 'group': np.uint64, 'input_tokens': np.int32,
  'target_tokens': np.int32,
}  # fmt: skip
_NAMES = ('brings', 'family', 'metric')  # kept as numbers into a list of texts


@dataclasses.dataclass
class Index:
  """What is known of all rows of a file.

  Attributes:
    rows: the file.
    columns: attribute of `check.Summary` -> array [n]; texts as numbers into `names`.
    names: 'brings', 'family' and 'metric' -> the texts that occur.
    bad: row -> what is wrong in it; its entries in `columns` mean nothing.
  """

  rows: files.RowFile
  columns: dict[str, np.ndarray]
  names: dict[str, list]
  bad: dict[int, list[str]]

  @property
  def good(self) -> np.ndarray:
    """The sound rows, ascending."""
    return np.setdiff1d(np.arange(len(self.rows)), np.array(sorted(self.bad), np.int64))

  def brings(self, rows: np.ndarray) -> set[str]:
    """What any of `rows` brings, see `media_fields.BRINGS`."""
    return {name for names in self.texts('brings', rows) for name in names}

  def texts(self, name: str, rows: np.ndarray) -> list:
    """The different values of 'brings', 'family' or 'metric' among `rows`."""
    return [self.names[name][i] for i in np.unique(self.columns[name][rows])]


def load(path: str, *, rename: Mapping[str, str | None], decode: bool = False) -> Index:
  """The index of a file: the stored one where it is true to the file, else a new one.

  Rows that were bad are looked at again, for a missing picture may have come since; so is a sample
  of the others, which notices a folder of pictures that has moved.

  Args:
    path: absolute.
    rename: name of a field in the file -> ours, or None to leave it out.
    decode: decode every picture instead of reading its header.

  Raises:
    FileNotFoundError, ValueError: see `files.open_rows`.
  """
  key = _key(path, rename, decode)
  for place in _places(path):
    if stored := _read(place, key):
      index = _restored(path, *stored)
      checker = check.Checker(index.rows, rename, decode)
      if _still_true(index, checker):
        return index
      logging.info('Pictures or sounds of %s have changed; all rows are looked at again.', path)
      return _built(index.rows, checker, key)
  rows = files.open_rows(path)
  return _built(rows, check.Checker(rows, rename, decode), key)


def _key(path, rename, decode):
  fingerprint = vocabulary.get_default_vocabulary().fingerprint
  signature = files.signature(path) if os.path.exists(path) else ''
  return json.dumps([_VERSION, signature, fingerprint, sorted(rename.items()), decode])


def _places(path: str) -> list[pathlib.Path]:
  """Where the index may lie: beside the file, or in the cache if nothing can be written there."""
  file = pathlib.Path(path)
  name = f'{hashlib.sha256(path.encode()).hexdigest()[:16]}-{file.name}.index.npz'
  return [file.with_name(f'.{file.name}.index.npz'), files.cache_folder() / name]


# ---- Making --------------------------------------------------------------------------------------
def _built(rows: files.RowFile, checker: check.Checker, key: str) -> Index:
  logging.info('Looking at the %d rows of %s.', len(rows), rows.path)
  summaries, bad = [], {}
  for row, found in enumerate(_inspected(checker, range(len(rows)))):
    if isinstance(found, list):
      bad[row] = found
      found = _NOTHING
    summaries.append(found)
  columns = {
    name: np.array([getattr(s, name) for s in summaries], kind) for name, kind in _NUMBERS.items()
  }
  names = {}
  for name in _NAMES:
    numbers: dict = {}
    values = [numbers.setdefault(getattr(s, name), len(numbers)) for s in summaries]
    columns[name], names[name] = np.array(values, np.int32), list(numbers)
  index = Index(rows, columns, names, bad)
  _write(index, key)
  return index


_NOTHING = check.Summary(
  brings=(), family='', num_options=0, has_target=False, metric='', group=0, input_tokens=0,
  target_tokens=0,
)  # fmt: skip


def _inspected(checker: check.Checker, rows: Sequence[int]) -> Iterator[check.Summary | list[str]]:
  """The summary of each row, or its faults; threads wait for the disk together."""

  def inspect(some):
    return [_summary_or_faults(checker, row) for row in some]

  vocabulary.get_default_vocabulary().encode('')  # loaded once, before there are threads
  chunks = [rows[i : i + _AT_ONCE] for i in range(0, len(rows), _AT_ONCE)]
  done, said = 0, time.monotonic()
  with futures.ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
    for found in pool.map(inspect, chunks):
      yield from found
      done += len(found)
      if time.monotonic() - said > _REPORT_SECONDS:
        logging.info('Looked at %d of %d rows.', done, len(rows))
        said = time.monotonic()


def _summary_or_faults(checker, row):
  try:
    return checker(row)
  except rows_lib.RowError as e:
    return e.faults


def _still_true(index: Index, checker: check.Checker) -> bool:
  """Whether rows are still what the index says; those that were bad must still be."""
  good = index.good
  sample = good[np.unique(np.linspace(0, max(len(good) - 1, 0), _SAMPLE).astype(int))[: len(good)]]
  again = list(_inspected(checker, [*index.bad, *sample.tolist()]))
  return again[: len(index.bad)] == list(index.bad.values()) and not any(
    isinstance(found, list) for found in again[len(index.bad) :]
  )


# ---- Storing -------------------------------------------------------------------------------------
def _write(index: Index, key: str) -> None:
  lines = {'lines': index.rows.lines} if isinstance(index.rows, files.JsonLines) else {}
  info = json.dumps({'key': key, 'names': index.names, 'bad': list(index.bad.items())})
  for place in _places(index.rows.path):
    partial = place.with_name(f'{place.name}.{os.getpid()}')
    try:
      place.parent.mkdir(parents=True, exist_ok=True)
      with partial.open('wb') as file:
        np.savez(file, info=np.frombuffer(info.encode(), np.uint8), **lines, **index.columns)
      os.replace(partial, place)
    except OSError as e:
      logging.info('The index of %s cannot be kept in %s: %s.', index.rows.path, place.parent, e)
    else:
      return


def _read(place: pathlib.Path, key: str) -> tuple[dict, dict[str, np.ndarray]] | None:
  """The info and the arrays of a stored index; None if it is not that of `key`."""
  try:
    with place.open('rb') as file, np.load(file, allow_pickle=False) as stored:
      info = json.loads(stored['info'].tobytes())
      arrays = {name: stored[name] for name in stored.files if name != 'info'}
  except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # none, or one that was cut off
    return None
  return (info, arrays) if info['key'] == key else None


def _restored(path: str, info: Mapping, arrays: dict[str, np.ndarray]) -> Index:
  rows = files.open_rows(path, arrays.pop('lines', None))
  info['names']['brings'] = [tuple(names) for names in info['names']['brings']]
  return Index(rows, arrays, info['names'], {int(row): faults for row, faults in info['bad']})
