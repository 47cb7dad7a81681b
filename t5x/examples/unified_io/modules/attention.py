"""Attention, asked for by a pattern instead of a mask.

`attend` picks a backend: the plain one, 'xla', writes the scores out; the kernels of
`attention_backends` do not. Shapes: B batch, Q queries, K keys, N heads, H width of a head, D model
width.
"""

import functools
import math

from absl import logging
from flax import struct
import flax.linen as nn
import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float

from t5x.examples.unified_io.modules import attention_backends, dense, norms, positions
from t5x.examples.unified_io.modules.masks import Pattern

HIDDEN_SCORE = -1e10  # PARITY: finite, so a query that sees no key averages all values
# Queries times keys from which on cuDNN was the faster on an H100 (8 rows, 16 heads).
_WORTH = 2**15


def attend_dense(
  q: Float[Array, 'B Q N H'],
  k: Float[Array, 'B K N H'],
  v: Float[Array, 'B K N H'],
  pattern: Pattern,
  divisor: float,
) -> Float[Array, 'B Q N H']:
  """softmax(q . k / divisor) . v with the scores written out; scores and softmax are float32."""
  scores = jnp.einsum('BQNH,BKNH->BNQK', q, k, preferred_element_type=jnp.float32) / divisor
  mask = pattern.dense(q.shape[1], k.shape[1])
  if mask is not None:
    scores = jnp.where(jnp.broadcast_to(mask, scores.shape), scores, HIDDEN_SCORE)
  return jnp.einsum('BNQK,BKNH->BQNH', jax.nn.softmax(scores).astype(v.dtype), v)


def attend(
  q: Float[Array, 'B Q N H'],
  k: Float[Array, 'B K N H'],
  v: Float[Array, 'B K N H'],
  pattern: Pattern,
  *,
  divisor: float,
  backend: str = 'auto',
) -> Float[Array, 'B Q N H']:
  """softmax(q . k / divisor) . v over the keys that `pattern` lets each query see.

  Args:
    q, k, v: queries, keys and values.
    pattern: who sees whom.
    divisor: of the scores.
    backend: one of `config.ATTENTION_BACKENDS`. A named kernel is used wherever it can be, 'auto'
      takes the device's kernel where it can be used and the lengths are worth it; the rest (float32
      under 'cudnn', single queries while decoding) goes to the plain one, 'xla'.

  Raises:
    ValueError: where the named kernel cannot run on this device at all.
  """
  name = backend
  if backend == 'auto':
    worth = q.shape[1] > 1 and q.shape[1] * k.shape[1] >= _WORTH
    name = attention_backends.device_kernel() if worth else 'xla'
  if name == 'xla':
    return attend_dense(q, k, v, pattern, divisor)
  kernel = attention_backends.KERNELS[name]
  if why := kernel.refuses(q, k, v, pattern):
    _say_once(f'attention {name!r} cannot be used for {why}; the plain one is')
    return attend_dense(q, k, v, pattern, divisor)
  return kernel.attend(q, k, v, pattern, divisor)


@functools.cache
def _say_once(text: str) -> None:
  logging.info(text)


def rounded_sqrt(width: int, dtype: str) -> float:
  """sqrt(width) as the computation's dtype holds it.

  PARITY: 11.3125 rather than 11.3137 for width 128 in bfloat16.
  """
  return float(jnp.finfo(dtype).dtype.type(math.sqrt(width)))


class KeysValues(struct.PyTreeNode):
  """Keys (normed and turned) and values of a sequence, ready to be attended to."""

  keys: Float[Array, 'B K N H']
  values: Float[Array, 'B K N H']


class Attention(nn.Module):
  """Multi-head attention with the released models' options.

  Attributes:
    num_heads: N.
    head_dim: H.
    out_features: D, the width of the output.
    dtype: of the computation.
    qk_norm: RMS-norm queries and keys per head; the scale is shared by the heads.
    scaled_cosine: normalise queries and keys to length 1, and learn each head's temperature.
    use_bias: of all four projections.
    dropout_rate: of the attention weights; one draw per key and head for all queries.
    kernel_init: of all four projections.
    backend: see `attend`.
  """

  num_heads: int
  head_dim: int
  out_features: int
  dtype: str
  qk_norm: bool = False
  scaled_cosine: bool = False
  use_bias: bool = False
  dropout_rate: float = 0.0
  kernel_init: initializers.Initializer = dense.FAN_IN_NORMAL
  backend: str = 'auto'

  def setup(self):
    inner = self.num_heads * self.head_dim
    options = {'dtype': self.dtype, 'use_bias': self.use_bias, 'kernel_init': self.kernel_init}
    self.query = dense.Dense(inner, ('embed', 'joined_kv'), **options)
    self.key = dense.Dense(inner, ('embed', 'joined_kv'), **options)
    self.value = dense.Dense(inner, ('embed', 'joined_kv'), **options)
    self.out = dense.Dense(self.out_features, ('joined_kv', 'embed'), **options)
    if self.qk_norm:
      self.query_norm = norms.RmsNorm(self.dtype)
      self.key_norm = norms.RmsNorm(self.dtype)
    if self.scaled_cosine:
      init = dense.with_axes(initializers.constant(math.log(10)), ('heads',))
      self.logit_scale = self.param('logit_scale', init, (self.num_heads,), jnp.float32)
    self.drop = nn.Dropout(self.dropout_rate, broadcast_dims=(-1,))

  def __call__(
    self,
    x: Float[Array, 'B Q D'],
    context: KeysValues,
    pattern: Pattern,
    rotation: positions.Rotation | None = None,
    *,
    deterministic: bool = True,
  ) -> Float[Array, 'B Q D']:
    """Attends from `x` to a context made by `keys_values`; `rotation` is that of the queries."""
    q = self._split(self.query(x))
    divisor = rounded_sqrt(self.head_dim, self.dtype)
    if self.qk_norm:
      q = self.query_norm(q)
    q = positions.rotate(q, rotation)
    if self.scaled_cosine:
      temperature = jnp.exp(jnp.minimum(self.logit_scale, math.log(100)))
      q, divisor = _unit(q) * temperature[None, None, :, None], 1.0
    # PARITY: the draws do not depend on the query, so dropping weights is dropping values.
    values = self.drop(context.values, deterministic=deterministic)
    attended = attend(q, context.keys, values, pattern, divisor=divisor, backend=self.backend)
    return self.out(attended.reshape(*x.shape[:2], -1))

  def keys_values(
    self, x: Float[Array, 'B K D'], rotation: positions.Rotation | None = None
  ) -> KeysValues:
    """Keys and values of a sequence."""
    k = self._split(self.key(x))
    if self.qk_norm:
      k = self.key_norm(k)
    k = positions.rotate(k, rotation)
    if self.scaled_cosine:
      k = _unit(k)
    return KeysValues(keys=k, values=self._split(self.value(x)))

  def to_self(
    self,
    x: Float[Array, 'B L D'],
    pattern: Pattern,
    rotation: positions.Rotation | None = None,
    *,
    deterministic: bool = True,
  ) -> Float[Array, 'B L D']:
    """Self-attention."""
    context = self.keys_values(x, rotation)
    return self(x, context, pattern, rotation, deterministic=deterministic)

  def _split(self, x: Array) -> Array:
    return x.reshape(*x.shape[:2], self.num_heads, self.head_dim)


def _unit(x: Float[Array, 'B L N H']) -> Float[Array, 'B L N H']:
  """Vectors of length 1, in float32."""
  x = x.astype(jnp.float32)
  return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-12)
