"""The encoder and the decoder: layers, and decoding with an explicit cache.

Shapes: B batch, L length, D model width, K input length, N heads, H width of a head.
"""

from typing import Any

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
  sequences,
  stack,
)
from t5x.examples.unified_io.modules.contexts import (
  Cache,
  Context,
  Encoded,
  full_context,
  rotation_of,
  step_context,
)


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
      body, self.layers, x, shared=(pattern, rotation_of(config, inputs.rotary)),
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
    context = full_context(config, targets, encoded)

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
      encoded_rotation=rotation_of(config, encoded.rotary),
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
    context = step_context(config, rotary, cache, cells)
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
