"""Packing: valid tokens move to the front of shorter rows, and their results move back.

The moves are gathers by computed indices in both directions (also in the backward pass), and any
number of examples may share a row. Shapes: B batch, S length before and P length after packing.
"""

from collections.abc import Callable, Mapping
import functools

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from t5x.examples.unified_io.modules import masks, sequences

Sequence = sequences.InputSequence | sequences.TargetSequence


class Packing(struct.PyTreeNode):
  """Where the tokens of a row go.

  Attributes:
    source: for every place of a packed row, the token that stands there.
    filled: False where no token stands there.
    place: for every token, its place in the packed row.
    kept: False for padding, and for tokens beyond the end of the packed row.
  """

  source: Int[Array, 'B P']
  filled: Bool[Array, 'B P']
  place: Int[Array, 'B S']
  kept: Bool[Array, 'B S']

  def pack(self, x: Array | None) -> Array | None:
    """[B, S, ...] -> [B, P, ...]; places without a token are zero. None stays None."""
    return None if x is None else _move(x, self.source, self.filled, self.place, self.kept)

  def unpack(self, x: Array) -> Array:
    """[B, P, ...] -> [B, S, ...]; tokens that were not kept are zero."""
    return _move(x, self.place, self.kept, self.source, self.filled)


def plan(mask: Int[Array, 'B S'], length: int) -> Packing:
  """Packs the valid tokens of each row, in order, into `length` places; the rest is cut off."""
  valid = mask.astype(bool)
  place = jnp.cumsum(valid, axis=1) - 1
  kept = valid & (place < length)
  rows = jnp.broadcast_to(jnp.arange(mask.shape[0])[:, None], mask.shape)
  tokens = jnp.broadcast_to(jnp.arange(mask.shape[1])[None], mask.shape)
  source = jnp.zeros((mask.shape[0], length), tokens.dtype)
  source = source.at[rows, jnp.where(kept, place, length)].set(tokens, mode='drop')
  counts = jnp.sum(valid, axis=1, keepdims=True)
  filled = jnp.broadcast_to(jnp.arange(length)[None], source.shape) < counts
  return Packing(source=source, filled=filled, place=jnp.clip(place, 0, length - 1), kept=kept)


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


class Arranged(struct.PyTreeNode):
  """One sequence of all modalities.

  Attributes:
    sequence: joined, and packed if asked for.
    counts: number of valid tokens of each row before packing.
    packing: how it was packed; None where it was not.
  """

  sequence: Sequence
  counts: Int[Array, 'B']
  packing: Packing | None

  def unpack(self, x: Array) -> Array:
    """States of the sequence -> states of the joined tokens before packing."""
    return x if self.packing is None else self.packing.unpack(x)

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
  examples: int,
) -> tuple[Mapping[str, Sequence], Arranged]:
  """Folds, joins and packs the modalities of one side.

  Args:
    parts: sequences by modality, in order.
    join: `sequences.join_inputs` or `join_targets`.
    length: places of a packed row; None: no packing.
    examples: number of neighbouring examples that share a row.

  Returns:
    The folded parts and their arrangement.

  Raises:
    ValueError: if `examples` does not divide the batch.
  """
  if examples > 1:
    parts = {name: _fold_part(part, examples) for name, part in parts.items()}
  joined = join(parts)
  counts = jnp.sum(joined.mask.astype(bool), axis=1)
  if length is None:
    return parts, Arranged(sequence=joined, counts=counts, packing=None)
  packing = plan(joined.mask, length)
  batch = joined.mask.shape[0]
  packed = jax.tree.map(lambda x: packing.pack(jnp.broadcast_to(x, (batch, *x.shape[1:]))), joined)
  packed = packed.replace(packed=True)
  return parts, Arranged(sequence=packed, counts=counts, packing=packing)


def example_stats(
  targets: Mapping[str, sequences.TargetSequence],
) -> dict[str, tuple[Array, Array]]:
  """How many examples have any target token, as (total, count); before folding."""
  valid = [jnp.any(part.mask.astype(bool), axis=1) for part in targets.values()]
  some = functools.reduce(jnp.logical_or, valid)
  return {'packing/n-valid': (jnp.sum(some).astype(jnp.float32), jnp.float32(some.size))}
