"""Normalisations; all statistics are float32.

Shapes: D features, C channels.
"""

import flax.linen as nn
import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float

from t5x.array_types import AxisNames
from t5x.examples.unified_io.modules.dense import with_axes


def rms_norm(x: Float[Array, '... D'], scale: Float[Array, 'D'], *, epsilon: float, dtype: str):
  """x / sqrt(mean(x^2) + epsilon) * scale; the quotient is cast before it is scaled."""
  x = x.astype(jnp.float32)
  y = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon)
  return y.astype(dtype) * _over_last(scale.astype(dtype), x.ndim)


def layer_norm(
  x: Float[Array, '... D'],
  scale: Float[Array, 'D'] | None,
  bias: Float[Array, 'D'],
  *,
  epsilon: float,
  dtype: str,
) -> Float[Array, '... D']:
  """(x - mean) / sqrt(variance + epsilon) * scale + bias."""
  x = x.astype(jnp.float32)
  y = _standardise(x, (-1,), epsilon)
  if scale is not None:
    y *= _over_last(scale, x.ndim)
  return (y + _over_last(bias, x.ndim)).astype(dtype)


def group_norm(
  x: Float[Array, 'B Y X C'],
  scale: Float[Array, 'C'],
  bias: Float[Array, 'C'],
  *,
  groups: int,
  epsilon: float,
  dtype: str,
) -> Float[Array, 'B Y X C']:
  """Standardises each sample's contiguous blocks of channels over all positions."""
  grouped = x.astype(jnp.float32).reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
  y = _standardise(grouped, (1, 2, 4), epsilon).reshape(x.shape)
  return (y * _over_last(scale, x.ndim) + _over_last(bias, x.ndim)).astype(dtype)


def _standardise(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
  mean = jnp.mean(x, axis=axes, keepdims=True)
  # PARITY: E[x^2] - E[x]^2 clipped at 0, for agreement in the last digits.
  variance = jnp.mean(jnp.square(x), axis=axes, keepdims=True) - jnp.square(mean)
  return (x - mean) * jax.lax.rsqrt(jnp.maximum(variance, 0.0) + epsilon)


def _over_last(vector: Array, ndim: int) -> Array:
  return vector.reshape((1,) * (ndim - 1) + vector.shape)


class RmsNorm(nn.Module):
  """Root-mean-square norm of the last axis, without mean and bias."""

  dtype: str
  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, x: Float[Array, '... D']) -> Float[Array, '... D']:
    init = with_axes(initializers.ones, ('embed',))
    scale = self.param('scale', init, x.shape[-1:], jnp.float32)
    return rms_norm(x, scale, epsilon=self.epsilon, dtype=self.dtype)


class LayerNorm(nn.Module):
  """Layer norm with a bias, and with a scale unless told otherwise."""

  dtype: str
  epsilon: float
  use_scale: bool = True
  axes: AxisNames = ('axis_0',)

  @nn.compact
  def __call__(self, x: Float[Array, '... D']) -> Float[Array, '... D']:
    scale = None
    if self.use_scale:
      init = with_axes(initializers.ones, self.axes)
      scale = self.param('scale', init, x.shape[-1:], jnp.float32)
    bias = self.param('bias', with_axes(initializers.zeros, self.axes), x.shape[-1:], jnp.float32)
    return layer_norm(x, scale, bias, epsilon=self.epsilon, dtype=self.dtype)


class GroupNorm(nn.Module):
  """Group norm of a picture's channels."""

  dtype: str
  groups: int = 32
  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, x: Float[Array, 'B Y X C']) -> Float[Array, 'B Y X C']:
    axes, shape = ('axis_0',), x.shape[-1:]
    scale = self.param('scale', with_axes(initializers.ones, axes), shape, jnp.float32)
    bias = self.param('bias', with_axes(initializers.zeros, axes), shape, jnp.float32)
    return group_norm(x, scale, bias, groups=self.groups, epsilon=self.epsilon, dtype=self.dtype)
