"""Everything that a stored case says about one tensor, and the tolerance that holds for it."""

import fnmatch
import hashlib
from typing import Any

import numpy as np

from tests.parity import harness

ADDING_ORDER = 1e-9  # of float64 sums, relative
# What is stored of patches [..., patch, values] and of spectrograms [segments, mel, time].
_MEANS = {'row_mean': -1, 'band_mean': 2, 'frame_mean': 1}


def tolerance(case: harness.Case, name: str) -> float:
  """The number whose longest glob fits `name`; '[]' in a glob stands for every item of a list."""
  rules = case.config['tolerance'].get('applies_to', {})
  fits = [
    (len(glob), case.config['tolerance'][rule])
    for rule, globs in rules.items()
    for glob in globs
    if not rule.endswith('_other_jpeg_decoder')
    and fnmatch.fnmatch(name.replace('/', '.'), glob.replace('[]', '.*').replace('/', '.'))
  ]
  return max(fits)[1] if fits else 0


def number(case: harness.Case, field: str, got: Any, want: Any) -> None:
  """Compares a field by the tolerance of its own name."""
  case.equal(field, got, want, atol=tolerance(case, field))


def box_of(mask: np.ndarray) -> list[int] | None:
  """[top, left, bottom, right] around what is not 0."""
  if not mask.any():
    return None
  rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
  return [int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1]


def digest(values: np.ndarray) -> str:
  """First 16 hex digits of the SHA-256 of the bytes."""
  return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def coarse(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Means over a grid of `shape`."""
  for axis, cells in enumerate(shape):
    parts = np.array_split(values, cells, axis)
    values = np.concatenate([part.mean(axis, keepdims=True) for part in parts], axis)
  return values


def summary(
  case: harness.Case, at: str, prefix: str, got: np.ndarray, want: dict[str, Any], atol: float
) -> None:
  """Statistics of a tensor at `at` in case.json, and its arrays `prefix` or `prefix.*`."""
  values, n = got.astype(np.float64), got.size
  case.exact(f'{at}/shape', list(got.shape), want['shape'])
  case.exact(f'{at}/dtype', got.dtype.name, want['dtype'])
  stats = {
    'sum': (values.sum(), atol * n), 'abs_sum': (np.abs(values).sum(), atol * n),
    'mean': (values.mean(), atol), 'std': (values.std(), atol), 'min': (values.min(), atol),
    'max': (values.max(), atol), 'l2': (np.sqrt((values**2).sum()), atol * n**0.5),
  } if n else {}  # fmt: skip
  for name, (value, within) in stats.items():
    if name in want:
      case.equal(f'{at}/{name}', value, want[name], atol=within + ADDING_ORDER * max(1, abs(value)))
  exact = {
    'sha256_16': lambda: digest(got),
    'bbox_of_ones_y0x0y1x1': lambda: box_of(got == 1),
    'bbox_of_zeros_y0x0y1x1': lambda: box_of(got == 0),
  }
  for name, value in exact.items():
    if name in want:
      case.exact(f'{at}/{name}', value(), want[name])
  if want.get('stored', '').startswith('all zero'):
    case.exact(f'{at}/stored', got, np.zeros(want['shape']))
  case.given(f'{at}/stored')
  arrays(case, prefix, got, atol)


def arrays(case: harness.Case, prefix: str, got: np.ndarray, atol: float) -> None:
  """The stored arrays of a tensor: in full, samples of it, or means over a coarse grid."""
  stored = case.outputs
  for full in (prefix, f'{prefix}.full'):
    if full in stored:
      case.equal(full, got, stored[full], atol=atol)
  if f'{prefix}.sample_ix' in stored:
    case.given(f'{prefix}.sample_ix')
    sample = got.ravel()[stored[f'{prefix}.sample_ix']]
    case.equal(f'{prefix}.sample_val', sample, stored[f'{prefix}.sample_val'], atol=atol)
  if f'{prefix}.block_mean' in stored:
    want = stored[f'{prefix}.block_mean']
    means = coarse(got.astype(np.float64), want.shape)
    case.equal(f'{prefix}.block_mean', means, want, atol=atol + 1e-6)
  for mean, axis in _MEANS.items():
    if f'{prefix}.{mean}' in stored:
      means = got.astype(np.float64).mean(axis)
      case.equal(f'{prefix}.{mean}', means, stored[f'{prefix}.{mean}'], atol=atol)
