"""What the encoder hands to the decoder, and the decoder to its layers.

Shapes: B batch, L length, D model width, K input length, N heads, H width of a head.
"""

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from t5x.examples.unified_io.config import ModelConfig
from t5x.examples.unified_io.modules import attention, masks, positions, sequences

CACHE_BATCH_AXIS = 1  # of every array of a Cache but its index


class Encoded(struct.PyTreeNode):
  """What the decoder attends to.

  Attributes:
    hidden: states of the inputs.
    mask: not 0 where an input is real.
    rotary: rotary row of each input.
    segments: which example of a row an input belongs to; None where a row is one example.
    packed: whether the real ones of every row stand first.
  """

  hidden: Float[Array, 'B K D']
  mask: Int[Array, 'B K']
  rotary: Float[Array, '#B K H']
  segments: Int[Array, 'B K'] | None = None
  packed: bool = struct.field(pytree_node=False, default=False)


class Cache(struct.PyTreeNode):
  """State of step-by-step decoding; CACHE_BATCH_AXIS says where the batch is.

  Attributes:
    self_attention: keys and values of the tokens so far, [layers, B, length, N, H].
    cross_attention: keys and values of the inputs, [layers, B, K, N, H].
    mask: [1, B, K], not 0 where an input is real.
    index: number of tokens so far.
  """

  self_attention: attention.KeysValues
  cross_attention: attention.KeysValues
  mask: Int[Array, '1 B K']
  index: Int[Array, '']


class Context(struct.PyTreeNode):
  """What all decoder layers share: the inputs, and who sees whom.

  Attributes:
    encoded: states of the inputs; None where their keys and values are known.
    self_pattern: what a target sees of the targets, under the layer's grid pattern.
    cross_pattern: what it sees of the inputs.
    rotation: positions of the targets.
    encoded_rotation: positions of the inputs.
    index: number of the token that is decoded.
    query_cells: where in the grid of an image or a spectrogram each target lies; None where the
      layers have no grid patterns.
    key_cells: likewise of the targets as keys.
  """

  encoded: Array | None
  self_pattern: attention.Pattern
  cross_pattern: attention.Pattern
  rotation: positions.Rotation | None
  encoded_rotation: positions.Rotation | None = None
  index: Array | None = None
  query_cells: Int[Array, '#B Q 2'] | None = None
  key_cells: Int[Array, '#B L 2'] | None = None

  def layer_pattern(self, kind: Int[Array, '']) -> attention.Pattern:
    """The pattern among targets in a layer with the `kind`-th grid pattern."""
    if self.query_cells is None:
      return self.self_pattern
    patterns = masks.grid_patterns(self.query_cells, self.key_cells)
    return self.self_pattern.replace(extra=jax.lax.select_n(kind, *patterns.values()))


def rotation_of(config: ModelConfig, rows: Array) -> positions.Rotation | None:
  """How tokens with these rotary rows turn; None where the network knows no places."""
  return positions.Rotation.from_rows(rows) if config.rotary else None


def full_context(
  config: ModelConfig, targets: sequences.TargetSequence, encoded: Encoded
) -> Context:
  """What layers share where all targets are there.

  Raises:
    ValueError: if only one side has several examples a row.
  """
  if (targets.segments is None) != (encoded.segments is None):
    raise ValueError(
      'inputs and targets must be folded alike: either both or neither hold several examples a row'
    )
  mask, own = targets.mask, targets.answers
  return Context(
    encoded=encoded.hidden,
    self_pattern=attention.Pattern.between(
      mask, mask, own, own, causal=True, keys_first=targets.packed
    ),
    cross_pattern=attention.Pattern.between(
      mask, encoded.mask, targets.segments, encoded.segments, keys_first=encoded.packed
    ),
    rotation=rotation_of(config, targets.rotary),
    encoded_rotation=rotation_of(config, encoded.rotary),
    query_cells=targets.cells,
    key_cells=targets.cells,
  )


def step_context(
  config: ModelConfig,
  rotary: Float[Array, '1 1 H'],
  cache: Cache,
  cells: Int[np.ndarray, 'S 2'] | None,
) -> Context:
  """What layers share while the next token is decoded; `cells` are those of the target's grid."""
  mask = cache.mask[0]
  made = Context(
    encoded=None,
    self_pattern=attention.Pattern(key_lengths=cache.index[None] + 1),
    cross_pattern=attention.Pattern.between(jnp.ones((mask.shape[0], 1), bool), mask),
    rotation=rotation_of(config, rotary),
    index=cache.index,
  )
  if cells is None:
    return made
  places = jnp.arange(cache.self_attention.keys.shape[2])
  key_cells = jnp.take(cells, places, axis=0, mode='clip')[None]
  query_cells = jax.lax.dynamic_slice_in_dim(key_cells, cache.index, 1, axis=1)
  return made.replace(query_cells=query_cells, key_cells=key_cells)
