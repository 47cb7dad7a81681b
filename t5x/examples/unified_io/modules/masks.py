"""Who may see whom, said by segment ids; and the patterns of image targets.

Two tokens see each other where their segment ids are equal. A token that is padding has an id that
equals none, so that validity needs no second array. Shapes: B batch, L length, S cells of a grid.
"""

from collections.abc import Sequence
import functools

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int
import numpy as np

_INVALID_QUERY, _INVALID_KEY = -1, -2  # no id equals either, and they differ from each other


def query_segments(valid: Array, segments: Int[Array, '#B L'] | None = None) -> Int[Array, 'B L']:
  """Segment ids of queries; where not valid, an id that no key has."""
  return _segments(valid, segments, _INVALID_QUERY)


def key_segments(valid: Array, segments: Int[Array, '#B L'] | None = None) -> Int[Array, 'B L']:
  """Segment ids of keys; where not valid, an id that no query has."""
  return _segments(valid, segments, _INVALID_KEY)


def _segments(valid, segments, invalid):
  valid = valid.astype(bool)
  if segments is None:
    return jnp.where(valid, 0, invalid)
  return jnp.where(valid, jnp.broadcast_to(segments, valid.shape), invalid)


def combine(ids: Sequence[tuple[Int[Array, '#B L'] | None, int]]) -> Int[Array, 'B L'] | None:
  """One id for each distinct tuple of ids.

  Args:
    ids: (ids, their exclusive upper bound); None where all tokens share a segment. The bound of
      the first is not used.

  Returns:
    None where all are None.
  """
  combined = None
  for part, bound in ids:
    if part is not None:
      combined = part if combined is None else combined * bound + part
  return combined


def causal(query_length: int, key_length: int) -> Bool[Array, '1 1 Q K']:
  """True where the key is not later than the query."""
  positions = jnp.arange(query_length)[:, None], jnp.arange(key_length)[None, :]
  return jnp.greater_equal(*(jnp.broadcast_to(p, (query_length, key_length)) for p in positions))[
    None, None
  ]


@functools.lru_cache
def grid_patterns(
  rows: int, cols: int, conv_kernel: int = 11
) -> dict[str, Bool[np.ndarray, 'S S']]:
  """The causal patterns of image targets, [query, key]: 'row', 'col', 'conv' and 'full'.

  PARITY: the released models were trained without them (`ModelConfig.pattern_masks`).
  """
  cell = np.arange(rows * cols)
  back = cell[:, None] - cell[None, :]  # how many tokens the key lies before the query
  row, col = np.divmod(cell, cols)
  half = conv_kernel // 2
  near = (abs(row[:, None] - row) <= half) & (abs(col[:, None] - col) <= half)
  return {
    'row': (back >= 0) & (back <= cols),
    'col': (back >= 0) & (back % cols == 0),
    'conv': (back >= 0) & near,
    'full': back >= 0,
  }
