"""Packing: valid tokens move to the front of shorter rows, and their results move back.

The moves are gathers by computed indices in both directions (also in the backward pass), and any
number of examples may share a row. Shapes: B batch, S length before and P length after packing.

A group of neighbouring examples is folded into one long row first. Its valid tokens then go into
one packed row (`fold` examples a row, the original's way) or into several (`Sharing.rows` of them),
each example into the row that the batch says. Groups are cut over devices like the batch, so that
no token moves between devices.
"""

from collections.abc import Callable, Mapping
import functools

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from t5x.examples.unified_io.modules import masks, sequences

Sequence = sequences.InputSequence | sequences.TargetSequence


class Packing(struct.PyTreeNode):
  """Where the tokens of a row go.

  Attributes:
    source: for every place of a packed row, the token that stands there.
    filled: False where no token stands there.
    place: for every token, its place in the packed row.
    kept: False for padding, and for tokens beyond the end of the packed row.
    counts: tokens of each packed row (`rows` of them, side by side in P), those beyond its end too.
  """

  source: Int[Array, 'B P']
  filled: Bool[Array, 'B P']
  place: Int[Array, 'B S']
  kept: Bool[Array, 'B S']
  counts: Int[Array, 'B rows']

  def pack(self, x: Array | None) -> Array | None:
    """[B, S, ...] -> [B, P, ...]; places without a token are zero. None stays None."""
    return None if x is None else _move(x, self.source, self.filled, self.place, self.kept)

  def unpack(self, x: Array) -> Array:
    """[B, P, ...] -> [B, S, ...]; tokens that were not kept are zero."""
    return _move(x, self.place, self.kept, self.source, self.filled)


def plan(
  mask: Int[Array, 'B S'], length: int, rows: int = 1, row_of: Int[Array, 'B S'] | None = None
) -> Packing:
  """Packs the valid tokens of each long row, in order, into `rows` rows of `length` places.

  Args:
    mask: not 0 where a token is valid.
    length: places of a packed row; the tokens beyond it are cut off.
    rows: packed rows that a long row becomes, side by side: P = rows * length.
    row_of: which of them a token goes to; None where there is one.
  """
  valid = mask.astype(bool)
  row_of = jnp.zeros(mask.shape, jnp.int32) if row_of is None else row_of
  in_row = jax.nn.one_hot(jnp.where(valid, row_of, rows), rows, dtype=jnp.int32)  # [B, S, rows]
  rank = jnp.sum(jnp.cumsum(in_row, axis=1) * in_row, axis=-1) - 1
  kept = valid & (rank < length)
  place = jnp.clip(row_of * length + rank, 0, rows * length - 1)
  batch = jnp.broadcast_to(jnp.arange(mask.shape[0])[:, None], mask.shape)
  tokens = jnp.broadcast_to(jnp.arange(mask.shape[1])[None], mask.shape)
  source = jnp.zeros((mask.shape[0], rows * length), tokens.dtype)
  source = source.at[batch, jnp.where(kept, place, rows * length)].set(tokens, mode='drop')
  counts = jnp.sum(in_row, axis=1)
  filled = jnp.arange(length)[None, None] < counts[..., None]
  return Packing(
    source=source, filled=filled.reshape(source.shape), place=place, kept=kept, counts=counts
  )


@jax.custom_vjp
def _move(x, index, used, inverse_index, inverse_used):
  """x[b, index[b, i]] where used, else 0. The inverse is what makes the gradient a gather, too."""
  del inverse_index, inverse_used
  return _gather(x, index, used)


def _gather(x: Array, index: Array, used: Array) -> Array:
  trailing = (1,) * (x.ndim - 2)
  shape = index.shape + x.shape[2:]
  wide = jnp.broadcast_to(index.reshape(index.shape + trailing), shape)
  taken = jnp.take_along_axis(x, wide, axis=1, mode='clip')
  kept = jnp.broadcast_to(used.reshape(used.shape + trailing), shape)
  return jnp.where(kept, taken, jnp.zeros((), x.dtype))


def _move_forward(x, index, used, inverse_index, inverse_used):
  return _gather(x, index, used), (inverse_index, inverse_used)


def _move_backward(inverse, gradient):
  return _gather(gradient, *inverse), None, None, None, None


_move.defvjp(_move_forward, _move_backward)


def fold(x: Array | None, rows: int, examples: int) -> Array | None:
  """[B, L, ...] -> [B / n, n L, ...]: n neighbouring examples share a row; None stays None.

  Args:
    x: an array; a batch of 1 stands for all examples.
    rows: B / n.
    examples: n.
  """
  if x is None:
    return None
  x = jnp.broadcast_to(x, (rows * examples, *x.shape[1:]))
  return x.reshape(rows, examples * x.shape[1], *x.shape[2:])


def unfold(x: Array, examples: int) -> Array:
  """[B / n, n L, ...] -> [B, L, ...], the inverse of `fold`."""
  return x.reshape(x.shape[0] * examples, x.shape[1] // examples, *x.shape[2:])


def example_ids(batch: int, length: int) -> Int[Array, 'B L']:
  """The segments of unfolded examples: each one's number in the batch."""
  return jnp.broadcast_to(jnp.arange(batch, dtype=jnp.int32)[:, None], (batch, length))


def _fold_part(part: Sequence, examples: int) -> Sequence:
  """The same records with `examples` neighbours a row; their segments tell them apart."""
  batch, length = part.mask.shape
  if batch % examples:
    raise ValueError(f'{examples} examples a row do not divide the batch of {batch}')
  part = part.replace(segments=example_ids(batch, length))
  if isinstance(part, sequences.TargetSequence):
    answers = jnp.zeros_like(part.mask) if part.answers is None else part.answers
    part = part.replace(answers=masks.combine([(answers, 0), (part.segments, batch)]))
  return jax.tree.map(lambda x: fold(x, batch // examples, examples), part)


class Sharing(struct.PyTreeNode):
  """Which examples share which rows.

  Attributes:
    examples: neighbours that form a group.
    rows: packed rows of a group.
    row: row of its group that each example goes to; None where a group has one row.
  """

  examples: int = struct.field(pytree_node=False, default=1)
  rows: int = struct.field(pytree_node=False, default=1)
  row: Int[Array, 'B'] | None = None

  def plan(self, joined: Sequence, length: int) -> Packing:
    """How the tokens of folded examples are packed."""
    if self.rows == 1:
      return plan(joined.mask, length)
    row_of = self.row.astype(jnp.int32)[joined.segments]
    return plan(joined.mask, length, self.rows, row_of)


class Arranged(struct.PyTreeNode):
  """One sequence of all modalities.

  Attributes:
    sequence: joined, and packed if asked for.
    counts: number of valid tokens of each row before those beyond its end were cut off.
    packing: how it was packed; None where it was not.
  """

  sequence: Sequence
  counts: Int[Array, 'R']
  packing: Packing | None

  def unpack(self, x: Array) -> Array:
    """States of the sequence -> states of the joined tokens before packing."""
    if self.packing is None:
      return x
    return self.packing.unpack(x.reshape(*self.packing.source.shape, *x.shape[2:]))

  def predictions(
    self, states: Float[Array, 'R P D'], part: sequences.TargetSequence, number: int, count: int
  ) -> tuple[Array, Array, Array]:
    """States, ids and loss mask of one target modality at the places of the packed rows.

    Each row has a place more, for its tokens that were cut off. As unpacked ones their states are
    zero, which gives every id the same loss; so the mask counts them there together.

    Args:
      states: of the packed rows.
      part: the modality, folded.
      number, count: which of how many modalities it was joined as.
    """
    rows, groups = self.sequence, part.mask.shape[0]
    own = jnp.where(rows.answers % count == number, rows.loss_mask, 0)
    cut = jnp.sum(part.loss_mask, axis=1) - jnp.sum(own.reshape(groups, -1), axis=1)
    extra = jnp.zeros((groups, len(own) // groups), own.dtype).at[:, 0].set(cut).reshape(-1, 1)
    more = ((0, 0), (0, 1))
    tokens = jnp.pad(rows.tokens, more, constant_values=1)  # not 0, which such states give
    states = jnp.pad(states, (*more, (0, 0)))
    return states, tokens, jnp.concatenate([own, extra], axis=1)

  def stats(self, side: str) -> dict[str, tuple[Array, Array]]:
    """(total, count) pairs: valid tokens before by places after packing, and rows cut off."""
    rows, length = self.sequence.mask.shape
    total = jnp.sum(self.counts).astype(jnp.float32) / length
    cut = jnp.sum(self.counts > length).astype(jnp.float32)
    count = jnp.float32(rows)
    return {
      f'packing/{side}_nonpadding_fraction': (total, count),
      f'packing/{side}_overflow': (cut, count),
    }


def arrange(
  parts: Mapping[str, Sequence],
  join: Callable[[Mapping[str, Sequence]], Sequence],
  length: int | None,
  sharing: Sharing,
) -> tuple[Mapping[str, Sequence], Arranged]:
  """Folds, joins and packs the modalities of one side.

  Args:
    parts: sequences by modality, in order.
    join: `sequences.join_inputs` or `join_targets`.
    length: places of a packed row; None: no packing.
    sharing: which examples share a row.

  Returns:
    The folded parts and their arrangement.

  Raises:
    ValueError: if groups do not divide the batch, or several rows a group have no length.
  """
  if sharing.examples > 1:
    parts = {name: _fold_part(part, sharing.examples) for name, part in parts.items()}
  joined = join(parts)
  if length is None:
    if sharing.rows > 1:
      raise ValueError(f'{sharing.rows} rows a group need the lengths that they are packed into')
    counts = jnp.sum(joined.mask.astype(bool), axis=1)
    return parts, Arranged(sequence=joined, counts=counts, packing=None)
  packing = sharing.plan(joined, length)
  groups = joined.mask.shape[0]

  def pack(x):
    x = packing.pack(jnp.broadcast_to(x, (groups, *x.shape[1:])))
    return x.reshape(groups * sharing.rows, length, *x.shape[2:])

  packed = jax.tree.map(pack, joined).replace(packed=True)
  return parts, Arranged(sequence=packed, counts=packing.counts.reshape(-1), packing=packing)


def example_stats(
  targets: Mapping[str, sequences.TargetSequence], age: Int[Array, 'B'] | None = None
) -> dict[str, tuple[Array, Array]]:
  """Of examples before folding, as (total, count): whether they have any target, and their age.

  Args:
    targets: their parts.
    age: how long each waited for its row, in examples; None where none waits.
  """
  valid = [jnp.any(part.mask.astype(bool), axis=1) for part in targets.values()]
  some = functools.reduce(jnp.logical_or, valid).astype(jnp.float32)
  total = jnp.sum(some)
  stats = {'packing/n-valid': (total, jnp.float32(some.size))}
  if age is not None:
    stats['packing/pool_age'] = (jnp.sum(age.astype(jnp.float32) * some), total)
  return stats
