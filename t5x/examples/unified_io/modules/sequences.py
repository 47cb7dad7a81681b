"""What embedders hand to the network: the tokens of one modality, and how to join and part them.

Shapes: B batch, L length, D model width, H width of a head.
"""

from collections.abc import Mapping

from flax import struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class InputSequence(struct.PyTreeNode):
  """Tokens for the encoder.

  Attributes:
    embed: embeddings, modality embedding included.
    mask: not 0 where the token is real.
    rotary: rotary row of each token.
    segments: which example of a packed row the token belongs to; None where a row is one example.
    packed: whether the real tokens of every row stand before its padding.
  """

  embed: Float[Array, 'B L D']
  mask: Int[Array, 'B L']
  rotary: Float[Array, '#B L H']
  segments: Int[Array, 'B L'] | None = None
  packed: bool = struct.field(pytree_node=False, default=False)


class TargetSequence(struct.PyTreeNode):
  """Tokens for the decoder.

  Attributes:
    embed: embeddings of the decoder's inputs.
    mask: not 0 where the token is real.
    rotary: rotary row of each token.
    answers: tokens with the same number see each other: those of one of several independent
      answers, or one masked token alone; None where all do.
    tokens: the ids to predict.
    loss_mask: not 0 where the prediction counts.
    segments: as in `InputSequence`.
    packed: likewise.
    cells: row and column of each token of a grid, where the layers have grid patterns; else None.
  """

  embed: Float[Array, 'B L D']
  mask: Int[Array, 'B L']
  rotary: Float[Array, '#B L H']
  answers: Int[Array, '#B L'] | None
  tokens: Int[Array, 'B L']
  loss_mask: Int[Array, 'B L']
  segments: Int[Array, 'B L'] | None = None
  packed: bool = struct.field(pytree_node=False, default=False)
  cells: Int[Array, '#B L 2'] | None = None


def concat(parts: Mapping[str, Array | None]) -> Array | None:
  """Joins arrays of several modalities along the length.

  Arrays with a batch of 1 are repeated. None where all are None; a single None becomes zeros.
  """
  given = [part for part in parts.values() if part is not None]
  if not given:
    return None
  if len(given) != len(parts):
    missing = [name for name, part in parts.items() if part is None]
    raise ValueError(f'{missing} have no values where {sorted(set(parts) - set(missing))} have')
  batch = max(part.shape[0] for part in given)
  return jnp.concatenate([jnp.broadcast_to(p, (batch, *p.shape[1:])) for p in given], axis=1)


def split(joined: Array, lengths: Mapping[str, int]) -> dict[str, Array]:
  """Parts an array of joined modalities along the length, by name."""
  parts, start = {}, 0
  for name, length in lengths.items():
    parts[name] = joined[:, start : start + length]
    start += length
  return parts


def join_inputs(parts: Mapping[str, InputSequence]) -> InputSequence:
  """One sequence of all input modalities, in the order given."""
  return InputSequence(
    embed=concat({name: part.embed for name, part in parts.items()}),
    mask=concat({name: part.mask for name, part in parts.items()}),
    rotary=concat({name: part.rotary for name, part in parts.items()}),
    segments=concat({name: part.segments for name, part in parts.items()}),
  )


def join_targets(parts: Mapping[str, TargetSequence]) -> TargetSequence:
  """One sequence of all target modalities; a modality's number keeps it apart from the others.

  The answers of the joined sequence are (answer, modality) pairs.
  """
  answers = {}
  for number, (name, part) in enumerate(parts.items()):
    own = jnp.zeros_like(part.mask) if part.answers is None else part.answers
    # PARITY: text, image and audio targets never see each other.
    answers[name] = own * len(parts) + number
  cells = {name: part.cells for name, part in parts.items()}
  if any(part is not None for part in cells.values()):  # a token on no grid lies in the first cell
    nowhere = {name: jnp.zeros((*part.mask.shape, 2), jnp.int32) for name, part in parts.items()}
    cells = {name: nowhere[name] if part is None else part for name, part in cells.items()}
  return TargetSequence(
    embed=concat({name: part.embed for name, part in parts.items()}),
    mask=concat({name: part.mask for name, part in parts.items()}),
    rotary=concat({name: part.rotary for name, part in parts.items()}),
    answers=concat(answers),
    tokens=concat({name: part.tokens for name, part in parts.items()}),
    loss_mask=concat({name: part.loss_mask for name, part in parts.items()}),
    segments=concat({name: part.segments for name, part in parts.items()}),
    cells=concat(cells),
  )
