"""Compares our numbers with the stored inputs and outputs of the original systems.

A case is a folder with a `case.json` below $UIO2_GOLDENS. A test walks the cases of one kind:

  @pytest.mark.parametrize('path', harness.cases('network', 'b_*'))
  def test_forward(path):
    with harness.case(path) as c:
      c.given('config', 'seed')                        # inputs, nothing to compare
      c.equal('logits', ours, c.outputs['logits'], atol=2e-5, mask=mask)
      c.exact('ids', ours, c.config['ids'])            # ids, text, booleans, nested lists
      c.skip('image/*', 'image_targets')               # a part that is not built yet

When the block ends, every array of the outputs and every leaf of `case.json` must have been
compared, given or skipped: a field 'a/b' stands for all leaves below it, list elements count as
path components ('rows/3/ids'), and globs are allowed in `given` and `skip`. All differences of a
case are collected and raised together. The rows are written by tests/parity/report.py.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import fnmatch
import functools
import json
import os
import pathlib
from typing import Any

import numpy as np
import pytest

ENVIRONMENT_VARIABLE = 'UIO2_GOLDENS'
# What describes a case rather than being a result of it (README of the goldens, 'Not compared').
DESCRIPTION = ('case', 'what', 'note', 'tolerance', 'arrays', 'not_for_a_test', 'array_notes')
ROWS: list[dict[str, Any]] = []  # of this process; the report collects those of all workers


def root() -> pathlib.Path | None:
  """The folder of the stored cases, None where the variable is unset or names no folder."""
  value = os.environ.get(ENVIRONMENT_VARIABLE)
  return pathlib.Path(value) if value and pathlib.Path(value).is_dir() else None


def cases(area: str, pattern: str = '*', exclude: tuple[str, ...] = ()) -> list[Any]:
  """Test parameters: the folders of `area` that match a glob, or one skipped test with a reason.

  Args:
    area: a folder below the root, such as 'network' or 'data/b_images'.
    pattern: glob of the case folders in it.
    exclude: globs of folders that other tests look at.
  """
  if root() is None:
    reason = f'{ENVIRONMENT_VARIABLE} does not name the folder of the stored cases'
    return [pytest.param(None, id='absent', marks=pytest.mark.skip(reason=reason))]
  found = [
    file.parent
    for file in sorted((root() / area).glob(f'{pattern}/case.json'))
    if not any(fnmatch.fnmatch(file.parent.name, glob) for glob in exclude)
  ]
  if not found:
    mark = pytest.mark.skip(reason=f'no case {area}/{pattern} below ${ENVIRONMENT_VARIABLE}')
    return [pytest.param(None, id='none', marks=mark)]
  return [pytest.param(path, id=path.name) for path in found]


class Arrays(Mapping[str, np.ndarray]):
  """The arrays of an npz file, read one by one; '__' in a stored name stands for '/'."""

  def __init__(self, path: pathlib.Path):
    self._file = np.load(path)
    self._stored = {name.replace('__', '/'): name for name in self._file.files}

  def __getitem__(self, name: str) -> np.ndarray:
    return self._file[self._stored[name]]

  def __iter__(self) -> Iterator[str]:
    return iter(self._stored)

  def __len__(self) -> int:
    return len(self._stored)


@functools.cache
def _mended() -> dict[str, list[str]]:
  return json.loads((root() / 'mended.json').read_text())


@contextlib.contextmanager
def case(path: pathlib.Path) -> Iterator['Case']:
  """Opens a case; on leaving, raises for every difference and for all that was not looked at.

  Raises:
    AssertionError: names each field that differs or was not covered.
  """
  opened = Case(path)
  try:
    yield opened
  except BaseException as error:
    if not isinstance(error, pytest.skip.Exception):
      opened.row('*', 0, None, None, f'error: {type(error).__name__}')
    raise
  opened.close()


@dataclasses.dataclass
class Case:
  """One folder of stored numbers, and what a test has said about it so far."""

  path: pathlib.Path

  def __post_init__(self):
    self.id = str(self.path.relative_to(root()))
    self.config = json.loads((self.path / 'case.json').read_text())
    self._covered: list[str] = list(DESCRIPTION)
    self._problems: list[str] = []
    self._skipped: list[str] = []

  @functools.cached_property
  def inputs(self) -> Mapping[str, np.ndarray]:
    """Arrays of inputs.npz."""
    return self.arrays('inputs.npz')

  @functools.cached_property
  def outputs(self) -> Mapping[str, np.ndarray]:
    """Arrays of outputs.npz (network) or data.npz (data)."""
    return self.arrays('outputs.npz') or self.arrays('data.npz')

  def arrays(self, file: str) -> Mapping[str, np.ndarray]:
    """Arrays of any npz file of the case; empty where there is no such file."""
    return Arrays(self.path / file) if (self.path / file).exists() else {}

  def given(self, *fields: str) -> None:
    """Says that these fields (or globs) are inputs, settings or prose, not results."""
    self._covered.extend(fields)

  def exact(self, field: str, got: Any, want: Any) -> None:
    """Compares ids, text, booleans, None, or nested lists and dicts of them."""
    self.equal(field, got, want)

  def equal(
    self, field: str, got: Any, want: Any, *, atol: Any = 0, rtol: Any = 0, mask: Any = None
  ) -> None:
    """Compares `|got - want| <= atol + rtol * |want|` where the mask is not 0; NaN equals NaN.

    Args:
      field: path of the stored field.
      got: our array, number, string, or a nested list or dict of them.
      want: the stored one.
      atol: absolute tolerance, a number or an array.
      rtol: relative tolerance.
      mask: array over the leading axes of `want`; only entries that are not 0 are compared.
    """
    self._covered.append(field)
    count, error, problem = _difference(got, want, atol, rtol, mask)
    tolerance = 'exact' if np.max(atol) == 0 == np.max(rtol) else _say_tolerance(atol, rtol)
    self.row(field, count, error, tolerance, 'different' if problem else 'equal')
    if problem:
      self._problems.append(f'{field}: {problem} (tolerance {tolerance})')

  def fixed(self, field: str, defect: str) -> None:
    """Says that a field shows a defect of the original that we mend, such as 'network-7'.

    Raises:
      AssertionError: if mended.json does not allow this defect for this case.
    """
    allowed = _mended().get(defect, [])
    assert any(fnmatch.fnmatch(self.id, glob) for glob in allowed), (
      f'{self.id} may not say fixed:{defect}; mended.json allows it for {allowed}'
    )
    self._covered.append(field)
    self.row(field, 0, None, None, f'fixed:{defect}')

  def skip(self, field: str, part: str) -> None:
    """Says that a field (or glob; '*' for the whole case) waits for a part not built yet."""
    self._skipped.append(field)
    self.row(field, 0, None, None, f'skipped:{part}')
    if field == '*':
      pytest.skip(f'not built yet: {part}')

  def row(self, field: str, count: int, error: Any, tolerance: Any, verdict: str) -> None:
    """Adds a row to the report."""
    row = {'case': self.id, 'field': field, 'count': count, 'max_error': error}
    ROWS.append({**row, 'tolerance': tolerance, 'verdict': verdict})

  def close(self) -> None:
    """Raises for every difference, and for every stored field that was not looked at."""
    names = {*self.outputs, *_leaves(self.config)}
    forgotten = [name for name in sorted(names) if not self._is_covered(name)]
    for name in forgotten:
      self.row(name, 0, None, None, 'not looked at')
    problems = [*self._problems, *(f'{name}: not looked at' for name in forgotten)]
    if problems:
      shown = '\n  '.join(problems[:40])
      raise AssertionError(f'{self.id}: {len(problems)} fields fail\n  {shown}')

  def _is_covered(self, name: str) -> bool:
    parts = name.split('/')
    ancestors = {'/'.join(parts[: i + 1]) for i in range(len(parts))}
    return any(
      said in ancestors or (_is_glob(said) and any(fnmatch.fnmatch(a, said) for a in ancestors))
      for said in (*self._covered, *self._skipped)
    )


def _is_glob(text: str) -> bool:
  return any(mark in text for mark in '*?[')


def _leaves(tree: Any, prefix: str = '') -> Iterator[str]:
  """Paths of everything in a JSON tree that is neither a dict nor a list of containers."""
  if isinstance(tree, dict):
    children = tree.items()
  elif isinstance(tree, list) and any(isinstance(item, (dict, list)) for item in tree):
    children = enumerate(tree)
  else:
    yield prefix
    return
  for key, value in children:
    if key not in ('what', 'note'):
      yield from _leaves(value, f'{prefix}/{key}' if prefix else str(key))


def _say_tolerance(atol: Any, rtol: Any) -> str:
  return f'{float(np.max(atol)):g} + {float(np.max(rtol)):g} * |b|'


def _difference(got, want, atol, rtol, mask) -> tuple[int, float | None, str | None]:
  """(number of values compared, largest error, None or what is wrong)."""
  if isinstance(want, dict):
    if not isinstance(got, Mapping) or set(got) != set(want):
      return 0, None, f'keys {_short(got)}, wanted {_short(want)}'
    return _merge((key, _difference(got[key], want[key], atol, rtol, mask)) for key in want)
  if isinstance(want, (list, tuple)) and not _is_numeric(want):
    if not isinstance(got, (list, tuple, np.ndarray)) or len(got) != len(want):
      return 0, None, f'{_short(got)}, wanted {_short(want)}'
    pairs = enumerate(zip(got, want, strict=True))
    return _merge((i, _difference(g, w, atol, rtol, mask)) for i, (g, w) in pairs)
  if want is None or isinstance(want, (str, bytes)):
    same = got is None if want is None else got == want
    return 1, None, None if same else f'{_short(got)}, wanted {_short(want)}'
  return _array_difference(np.asarray(got), np.asarray(want), atol, rtol, mask)


def _is_numeric(values: Any) -> bool:
  """Whether nested lists form an array of numbers."""
  try:
    return np.asarray(values).dtype.kind in 'biuf'
  except ValueError:
    return False


def _merge(parts) -> tuple[int, float | None, str | None]:
  count, errors, problem = 0, [], None
  for name, (number, error, wrong) in parts:
    count += number
    errors += [] if error is None else [error]
    problem = problem or (wrong and f'[{name}] {wrong}')
  return count, max(errors, default=None), problem


def _array_difference(got, want, atol, rtol, mask) -> tuple[int, float | None, str | None]:
  if got.shape != want.shape:
    return 0, None, f'shape {got.shape}, wanted {want.shape}'
  if want.dtype.kind not in 'biuf' or got.dtype.kind in 'OSU':
    same = np.array_equal(got, want)
    return want.size, None, None if same else f'{_short(got)}, wanted {_short(want)}'
  keep = np.ones(want.shape, bool)
  if mask is not None:
    mask = np.asarray(mask) != 0
    keep &= mask.reshape(mask.shape + (1,) * (want.ndim - mask.ndim))
  got, want = got.astype(np.float64), want.astype(np.float64)
  with np.errstate(invalid='ignore'):
    error = np.where((got == want) | (np.isnan(got) & np.isnan(want)), 0.0, np.abs(got - want))
  bad = keep & ~(error <= atol + rtol * np.abs(want))
  count = int(keep.sum())
  largest = float(error[keep].max()) if count else 0.0
  if not bad.any():
    return count, largest, None
  first = tuple(int(i) for i in np.argwhere(bad)[0])
  told = f'{int(bad.sum())} of {count} differ, largest error {largest:.3g}'
  return count, largest, f'{told}; first at {first}: {got[first]:.8g}, wanted {want[first]:.8g}'


def _short(value: Any) -> str:
  text = repr(value)
  return text if len(text) < 120 else f'{text[:117]}...'
