"""Projections, the feed-forward block and token tables.

Shapes: B batch, L length, D model width, F features, V vocabulary. Parameters are float32 and are
cast to the computation's dtype where they are used.
"""

from collections.abc import Callable
import functools
import math

import flax.linen as nn
import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from t5x.array_types import AxisNames

Initializer = initializers.Initializer

FAN_IN_NORMAL = initializers.variance_scaling(1.0, 'fan_in', 'normal')
FAN_IN_TRUNCATED = initializers.variance_scaling(1.0, 'fan_in', 'truncated_normal')

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  'linear': lambda x: x,
  'relu': jax.nn.relu,
  'silu': jax.nn.silu,
  'gelu': functools.partial(jax.nn.gelu, approximate=True),  # PARITY: "gelu" means tanh's
  'gelu_exact': functools.partial(jax.nn.gelu, approximate=False),
}


def with_axes(init: Initializer, axes: AxisNames) -> Initializer:
  """The initializer of a parameter that carries the logical names of its axes."""
  return nn.with_logical_partitioning(init, axes)


def product(x: Float[Array, '*B D'], kernel: Float[Array, 'D F']) -> Float[Array, '*B F']:
  """x . kernel over the last axis of x.

  With one row axis: XLA's CPU backend takes nearly twice the time for the same product of rank 3.
  """
  return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


class Dense(nn.Module):
  """y = x W (+ b), W of shape [in, features]; heads and their width are fused into one axis."""

  features: int
  axes: AxisNames
  dtype: str
  use_bias: bool = False
  kernel_init: Initializer = FAN_IN_TRUNCATED

  @nn.compact
  def __call__(self, x: Float[Array, '... D']) -> Float[Array, '... F']:
    kernel_init = with_axes(self.kernel_init, self.axes)
    kernel = self.param('kernel', kernel_init, (x.shape[-1], self.features), jnp.float32)
    y = product(x.astype(self.dtype), kernel.astype(self.dtype))
    if self.use_bias:
      bias_init = with_axes(initializers.zeros, self.axes[-1:])
      bias = self.param('bias', bias_init, (self.features,), jnp.float32)
      y += jnp.reshape(bias.astype(self.dtype), (1,) * (y.ndim - 1) + (-1,))
    return y


class Mlp(nn.Module):
  """wo(dropout(product of activation_i(x wi_i))); a single activation's kernel is called `wi`."""

  hidden: int
  activations: tuple[str, ...]
  dtype: str
  dropout_rate: float = 0.0
  use_bias: bool = False
  kernel_init: Initializer = FAN_IN_TRUNCATED

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B L D'], *, deterministic: bool = True
  ) -> Float[Array, 'B L D']:
    dense = functools.partial(
      Dense, dtype=self.dtype, use_bias=self.use_bias, kernel_init=self.kernel_init
    )
    parts = []
    for i, name in enumerate(self.activations):
      wi = dense(
        self.hidden, ('embed', 'mlp'), name='wi' if len(self.activations) == 1 else f'wi_{i}'
      )
      parts.append(ACTIVATIONS[name](wi(x)))
    hidden = functools.reduce(jnp.multiply, parts)
    drop = nn.Dropout(self.dropout_rate, broadcast_dims=(-2,))  # PARITY: one draw for all positions
    hidden = drop(hidden, deterministic=deterministic)
    return dense(x.shape[-1], ('mlp', 'embed'), name='wo')(hidden)


class Embed(nn.Module):
  """A token table, for embedding ids and for the logits of the same modality."""

  vocab_size: int
  features: int
  dtype: str

  def setup(self):
    init = with_axes(initializers.normal(1.0), ('vocab', 'embed'))
    self.embedding = self.param('embedding', init, (self.vocab_size, self.features), jnp.float32)

  def __call__(self, ids: Int[Array, '*B']) -> Float[Array, '*B D']:
    """Rows of the table."""
    # PARITY: an id outside the table embeds to zero.
    inside = jnp.where(ids < 0, self.vocab_size, ids)  # a negative index would count from the end
    rows = jnp.take(self.embedding, inside, axis=0, mode='fill', fill_value=0)
    return rows.astype(self.dtype)

  def logits(self, x: Float[Array, '... D']) -> Float[Array, '... V']:
    """x . table / sqrt(D), in float32 over all rows, those that only fill the table included."""
    return product(x.astype(jnp.float32) / math.sqrt(self.features), self.embedding.T)
