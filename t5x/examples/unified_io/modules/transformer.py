"""The encoder and the decoder: layers, and decoding with an explicit cache.

Shapes: B batch, L length, D model width, K input length, N heads, H width of a head.
"""

from typing import Any

from flax import struct
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from t5x.examples.unified_io.config import ModelConfig
from t5x.examples.unified_io.modules import (
  attention,
  dense,
  masks,
  norms,
  positions,
  sequences,
  stack,
)

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


def _attention(config: ModelConfig, **options: Any) -> attention.Attention:
  return attention.Attention(
    num_heads=config.num_heads,
    head_dim=config.head_dim,
    out_features=config.emb_dim,
    dtype=config.dtype,
    qk_norm=config.qk_norm,
    dropout_rate=config.dropout_rate,
    backend=config.attention,
    **options,
  )


def _mlp(config: ModelConfig) -> dense.Mlp:
  return dense.Mlp(config.mlp_dim, config.mlp_activations, config.dtype, config.dropout_rate)


def _rotation(config: ModelConfig, rows: Array) -> positions.Rotation | None:
  return positions.Rotation.from_rows(rows) if config.rotary else None


class EncoderLayer(nn.Module):
  """x += attention(norm(x)); x += mlp(norm(x))."""

  config: ModelConfig

  def setup(self):
    self.pre_attention_layer_norm = norms.RmsNorm(self.config.dtype)
    self.attention = _attention(self.config)
    self.pre_mlp_layer_norm = norms.RmsNorm(self.config.dtype)
    self.mlp = _mlp(self.config)
    self.drop = nn.Dropout(self.config.dropout_rate, broadcast_dims=(-2,))

  def __call__(self, x, pattern, rotation, deterministic: bool):
    y = self.pre_attention_layer_norm(x)
    y = self.attention.to_self(y, pattern, rotation, deterministic=deterministic)
    x += self.drop(y, deterministic=deterministic)
    y = self.mlp(self.pre_mlp_layer_norm(x), deterministic=deterministic)
    return x + self.drop(y, deterministic=deterministic)


class Encoder(nn.Module):
  """Bidirectional layers and a last norm."""

  config: ModelConfig

  def setup(self):
    config = self.config
    make = lambda index: EncoderLayer(config)
    self.layers = stack.build(make, config.num_encoder_layers, config.scan_layers)
    self.encoder_norm = norms.RmsNorm(config.dtype)
    self.input_drop = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))
    self.output_drop = nn.Dropout(config.dropout_rate)  # PARITY: a draw for every number

  def __call__(self, inputs: sequences.InputSequence, *, deterministic: bool = True) -> Encoded:
    """States of all input tokens."""
    config = self.config
    pattern = attention.Pattern.between(
      inputs.mask, inputs.mask, inputs.segments, inputs.segments, keys_first=inputs.packed
    )
    x = self.input_drop(inputs.embed, deterministic=deterministic).astype(config.dtype)

    def body(layer, x, _, shared):
      return layer(x, *shared, deterministic), None

    x, _ = stack.loop(
      body, self.layers, x, shared=(pattern, _rotation(config, inputs.rotary)),
      count=config.num_encoder_layers, remat=config.remat,
    )  # fmt: skip
    x = self.output_drop(self.encoder_norm(x), deterministic=deterministic)
    return Encoded(
      hidden=x, mask=inputs.mask, rotary=inputs.rotary, segments=inputs.segments,
      packed=inputs.packed,
    )  # fmt: skip


class DecoderLayer(nn.Module):
  """x += self_attention(norm(x)); x += cross_attention(norm(x)); x += mlp(norm(x))."""

  config: ModelConfig
  has_cross_attention: bool = True

  def setup(self):
    config = self.config
    self.pre_self_attention_layer_norm = norms.RmsNorm(config.dtype)
    self.self_attention = _attention(config)
    if self.has_cross_attention:
      self.pre_cross_attention_layer_norm = norms.RmsNorm(config.dtype)
      self.encoder_decoder_attention = _attention(config)
    self.pre_mlp_layer_norm = norms.RmsNorm(config.dtype)
    self.mlp = _mlp(config)
    self.drop = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))

  def __call__(self, x, kind: Int[Array, ''], context: Context, deterministic: bool):
    """All tokens at once; `kind` is the layer's grid pattern."""
    y = self.pre_self_attention_layer_norm(x)
    y = self.self_attention.to_self(
      y, context.layer_pattern(kind), context.rotation, deterministic=deterministic
    )
    x += self.drop(y, deterministic=deterministic)
    inputs = self.inputs_keys_values(context)
    return self._attend_to_inputs(x, inputs, context, deterministic)

  def inputs_keys_values(self, context: Context) -> attention.KeysValues:
    """Keys and values of the inputs; zeros for a layer without cross-attention."""
    if not self.has_cross_attention:
      shape = (*context.encoded.shape[:2], self.config.num_heads, self.config.head_dim)
      zeros = jnp.zeros(shape, self.config.dtype)
      return attention.KeysValues(keys=zeros, values=zeros)
    return self.encoder_decoder_attention.keys_values(context.encoded, context.encoded_rotation)

  def step(
    self, x, past: attention.KeysValues, inputs: attention.KeysValues, kind, context: Context
  ):
    """One token; returns the state and the token's own key and value."""
    y = self.pre_self_attention_layer_norm(x)
    own = self.self_attention.keys_values(y, context.rotation)
    put = lambda cached, new: jax.lax.dynamic_update_slice_in_dim(cached, new, context.index, 1)
    together = jax.tree.map(put, past, own)
    x += self.self_attention(y, together, context.layer_pattern(kind), context.rotation)
    return self._attend_to_inputs(x, inputs, context, deterministic=True), own

  def _attend_to_inputs(self, x, inputs, context: Context, deterministic: bool):
    if self.has_cross_attention:
      y = self.pre_cross_attention_layer_norm(x)
      y = self.encoder_decoder_attention(
        y, inputs, context.cross_pattern, context.rotation, deterministic=deterministic
      )
      x += self.drop(y, deterministic=deterministic)
    y = self.mlp(self.pre_mlp_layer_norm(x), deterministic=deterministic)
    return x + self.drop(y, deterministic=deterministic)


class Decoder(nn.Module):
  """Causal layers that attend to the inputs, and a last norm."""

  config: ModelConfig

  def setup(self):
    config = self.config
    count, interval = config.num_decoder_layers, config.cross_attention_interval
    has_cross = lambda index: index % interval == 0 or index == count - 1
    make = lambda index: DecoderLayer(config, has_cross(index))
    # Layers of two kinds cannot share one compiled layer.
    scan = config.scan_layers and all(has_cross(index) for index in range(count))
    self.layers = stack.build(make, count, scan)
    self.decoder_norm = norms.RmsNorm(config.dtype)
    self.drop = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))

  def __call__(
    self, targets: sequences.TargetSequence, encoded: Encoded, *, deterministic: bool = True
  ) -> Float[Array, 'B L D']:
    """States of all target tokens."""
    config = self.config
    context = _full_context(config, targets, encoded)

    def body(layer, x, kind, context):
      return layer(x, kind, context, deterministic), None

    x = self.drop(targets.embed, deterministic=deterministic).astype(config.dtype)
    x, _ = stack.loop(
      body, self.layers, x, masks.layer_patterns(config.num_decoder_layers), context,
      count=config.num_decoder_layers, remat=config.remat,
    )  # fmt: skip
    return self.drop(self.decoder_norm(x), deterministic=deterministic)

  def init_cache(self, encoded: Encoded, length: int) -> Cache:
    """An empty cache for `length` tokens."""
    config = self.config
    context = Context(
      encoded=encoded.hidden, self_pattern=attention.Pattern(),
      cross_pattern=attention.Pattern(), rotation=None,
      encoded_rotation=_rotation(config, encoded.rotary),
    )  # fmt: skip
    body = lambda layer, carry, _, context: (carry, layer.inputs_keys_values(context))
    _, inputs = stack.loop(body, self.layers, (), shared=context, count=config.num_decoder_layers)
    batch, layers = encoded.hidden.shape[0], config.num_decoder_layers
    empty = jnp.zeros((layers, batch, length, config.num_heads, config.head_dim), config.dtype)
    return Cache(
      self_attention=attention.KeysValues(keys=empty, values=empty),
      cross_attention=inputs,
      mask=encoded.mask[None],
      index=jnp.zeros((), jnp.int32),
    )

  def step(
    self,
    x: Float[Array, 'B 1 D'],
    rotary: Float[Array, '1 1 H'],
    cache: Cache,
    cells: Int[np.ndarray, 'S 2'] | None = None,
  ) -> tuple[Float[Array, 'B 1 D'], Cache]:
    """State of the next token, and the cache with it; `cells` are those of the target's grid."""
    config = self.config
    length = cache.self_attention.keys.shape[2]
    mask = cache.mask[0]
    context = Context(
      encoded=None,
      self_pattern=attention.Pattern(key_lengths=cache.index[None] + 1),
      cross_pattern=attention.Pattern.between(jnp.ones((mask.shape[0], 1), bool), mask),
      rotation=_rotation(config, rotary),
      index=cache.index,
    )
    if cells is not None:
      key_cells = jnp.take(cells, jnp.arange(length), axis=0, mode='clip')[None]
      query_cells = jax.lax.dynamic_slice_in_dim(key_cells, cache.index, 1, axis=1)
      context = context.replace(query_cells=query_cells, key_cells=key_cells)
    body = lambda layer, x, per_layer, context: layer.step(x, *per_layer, context)
    kinds = masks.layer_patterns(config.num_decoder_layers)
    x, own = stack.loop(
      body, self.layers, x.astype(config.dtype),
      (cache.self_attention, cache.cross_attention, kinds), context,
      count=config.num_decoder_layers,
    )  # fmt: skip
    put = lambda cached, new: jax.lax.dynamic_update_slice_in_dim(cached, new, cache.index, 2)
    cache = cache.replace(
      self_attention=jax.tree.map(put, cache.self_attention, own), index=cache.index + 1
    )
    return self.decoder_norm(x), cache


def _full_context(
  config: ModelConfig, targets: sequences.TargetSequence, encoded: Encoded
) -> Context:
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
    rotation=_rotation(config, targets.rotary),
    encoded_rotation=_rotation(config, encoded.rotary),
    query_cells=targets.cells,
    key_cells=targets.cells,
  )
