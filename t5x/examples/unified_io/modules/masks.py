"""Who may see whom, said by segment ids; and the patterns of image and audio targets.

Two tokens see each other where their segment ids are equal. A token that is padding has an id that
equals none, so that validity needs no second array. All that a pattern keeps is per token; only
`Pattern.dense` and `grid_patterns` make an array of queries times keys, shared by the heads.
Shapes: B batch, L length, Q queries, K keys, S cells of a grid.
"""

from collections.abc import Sequence

from flax import struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int
import numpy as np

NO_QUERY, NO_KEY = -1, -2  # ids of padding: no id equals either, and they differ from each other
CONV_KERNEL = 11  # width of the square that the 'conv' pattern sees


class Pattern(struct.PyTreeNode):
  """Which keys a query sees: those of its segment, not later ones where causal, within `extra`.

  Attributes:
    query_segments: None where all see each other, or where `key_lengths` says it.
    key_segments: None exactly where query_segments is.
    causal: whether keys after the query are hidden.
    extra: anything that the others cannot say, True = visible.
    key_lengths: number of valid keys where these stand first and segments need not be told apart.
  """

  query_segments: Int[Array, '#B Q'] | None = None
  key_segments: Int[Array, '#B K'] | None = None
  causal: bool = struct.field(pytree_node=False, default=False)
  extra: Bool[Array, '#B 1 Q K'] | None = None
  key_lengths: Int[Array, 'B'] | None = None

  @classmethod
  def between(
    cls,
    query_mask: Array,
    key_mask: Array,
    query_ids: Int[Array, '#B Q'] | None = None,
    key_ids: Int[Array, '#B K'] | None = None,
    *,
    causal: bool = False,
    keys_first: bool = False,
  ) -> 'Pattern':
    """Valid queries see the valid keys of their segment.

    Args:
      query_mask: [B, Q], not 0 where a query is real.
      key_mask: [B, K], likewise.
      query_ids: segments; None where there is one.
      key_ids: None exactly where query_ids is.
      causal: see the class.
      keys_first: whether the valid keys of every row stand before its padding.
    """
    if keys_first and key_ids is None:
      lengths = jnp.sum(key_mask.astype(bool), axis=1, dtype=jnp.int32)
      return cls(key_lengths=lengths, causal=causal)
    return cls(query_segments(query_mask, query_ids), key_segments(key_mask, key_ids), causal)

  def segments(
    self, queries: int, keys: int
  ) -> tuple[Int[Array, '#B Q'], Int[Array, '#B K']] | None:
    """Segment ids that say all but `causal` and `extra`; None where everything is visible."""
    if self.key_lengths is not None:
      places = jnp.broadcast_to(jnp.arange(keys), (self.key_lengths.shape[0], keys))
      valid = places < self.key_lengths[:, None]
      return jnp.zeros((1, queries), jnp.int32), key_segments(valid)
    if self.query_segments is not None:
      return self.query_segments, self.key_segments
    return None

  def dense(self, queries: int, keys: int) -> Bool[Array, '#B 1 Q K'] | None:
    """The pattern as a mask, True = visible; None where everything is."""
    parts = [] if self.extra is None else [self.extra]
    if (ids := self.segments(queries, keys)) is not None:
      parts.append((ids[0][:, :, None] == ids[1][:, None, :])[:, None])
    if self.causal:
      parts.append(causal(queries, keys))
    if not parts:
      return None
    mask, *others = parts
    for other in others:
      shape = jnp.broadcast_shapes(mask.shape, other.shape)
      mask = jnp.broadcast_to(mask, shape) & jnp.broadcast_to(other, shape)
    return mask


def query_segments(valid: Array, segments: Int[Array, '#B L'] | None = None) -> Int[Array, 'B L']:
  """Segment ids of queries; where not valid, an id that no key has."""
  return _segments(valid, segments, NO_QUERY)


def key_segments(valid: Array, segments: Int[Array, '#B L'] | None = None) -> Int[Array, 'B L']:
  """Segment ids of keys; where not valid, an id that no query has."""
  return _segments(valid, segments, NO_KEY)


def _segments(valid, segments, invalid):
  valid = valid.astype(bool)
  if segments is None:
    return jnp.where(valid, 0, invalid)
  return jnp.where(valid, jnp.broadcast_to(segments, valid.shape), invalid)


def alone(hidden: Bool[Array, 'B L']) -> Int[Array, 'B L']:
  """Segment ids under which each hidden token sees, and is seen by, itself alone."""
  own = jnp.broadcast_to(1 + jnp.arange(hidden.shape[1], dtype=jnp.int32), hidden.shape)
  return jnp.where(hidden, own, 0)


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


def grid_cells(rows: int, cols: int) -> Int[np.ndarray, 'S 2']:
  """(row, column) of each cell of a grid, row by row."""
  return np.stack(np.divmod(np.arange(rows * cols, dtype=np.int32), np.int32(cols)), axis=-1)


def grid_patterns(
  query_cells: Int[Array, '#B Q 2'], key_cells: Int[Array, '#B K 2'], conv_kernel: int = CONV_KERNEL
) -> dict[str, Bool[Array, '#B 1 Q K']]:
  """The patterns of the layers, to be joined with causality: what a query sees of the cells so far.

  PARITY: the released models were trained without them (`ModelConfig.pattern_masks`).

  Args:
    query_cells: row and column of each query. Tokens that lie on no grid all have the same ones,
      so that they see each other under every pattern.
    key_cells: likewise of the keys.
    conv_kernel: width of the square around the query's cell that 'conv' sees.

  Returns:
    'row' (from the cell one row up to the query), 'col' (the query's column) and 'conv'.
  """
  up, left = jnp.moveaxis(query_cells[:, :, None] - key_cells[:, None, :], -1, 0)
  half = conv_kernel // 2
  patterns = {
    'row': (up == 0) | ((up == 1) & (left <= 0)),
    'col': left == 0,
    'conv': (abs(up) <= half) & (abs(left) <= half),
  }
  return {kind: pattern[:, None] for kind, pattern in patterns.items()}


def layer_patterns(layers: int) -> Int[np.ndarray, 'layers']:
  """Which of the `grid_patterns`, by number, each decoder layer has."""
  kinds = np.where(np.arange(layers) % 4 == 1, 1, 0).astype(np.int32)
  kinds[-1] = 2
  return kinds
