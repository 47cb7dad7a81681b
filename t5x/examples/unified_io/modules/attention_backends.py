"""Attention whose scores are never written out: cuDNN's on GPUs, Pallas splash attention on TPUs.

Scores are float32 in both. Both take causality as it is. Splash attention takes segment ids, too;
cuDNN takes lengths, and all else as one mask [B, 1, Q, K] for all heads. Where the batch or the
heads are cut over devices, each device runs its own part.
Shapes: B batch, Q queries, K keys, N heads, H width of a head.
"""

from collections.abc import Callable
import functools
import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from t5x import partitioning
from t5x.examples.unified_io.modules.masks import NO_KEY, NO_QUERY, Pattern

_CUDNN_DTYPES = ('bfloat16', 'float16')
_CUDNN_MAX_WIDTH = 128
_AXES = ('batch', 'length', 'heads', 'kv')
_LANES = 128  # splash attention works on blocks of whole multiples
_MAX_BLOCK = 512


@functools.cache
def device_kernel() -> str:
  """The name of the kernel that this process's devices are made for; 'xla' where there is none."""
  device = jax.devices()[0]
  if device.platform == 'tpu':
    return 'splash'
  capability = getattr(device, 'compute_capability', '')
  nvidia = device.platform == 'gpu' and re.fullmatch(r'\d+\.\d+', capability)
  return 'cudnn' if nvidia and float(capability) >= 8 else 'xla'


def cudnn_refuses(q: Array, k: Array, v: Array, pattern: Pattern) -> str | None:
  """What cuDNN's kernels cannot do, forwards or backwards; None where they hold."""
  dtypes = sorted({str(x.dtype) for x in (q, k, v)})
  if len(dtypes) > 1 or dtypes[0] not in _CUDNN_DTYPES:
    return f'{" and ".join(dtypes)}'
  width = q.shape[-1]
  if width % 8 or width > _CUDNN_MAX_WIDTH:
    return f'heads of width {width}'
  if q.shape[1] == 1:
    return 'a single query'
  masked = pattern.query_segments is not None or pattern.extra is not None
  if masked and (q.shape[1] % 2 or k.shape[1] % 2):
    return f'a mask of {q.shape[1]} x {k.shape[1]}, which is odd'
  return None


def attend_cudnn(
  q: Float[Array, 'B Q N H'],
  k: Float[Array, 'B K N H'],
  v: Float[Array, 'B K N H'],
  pattern: Pattern,
  divisor: float,
  *,
  implementation: str = 'cudnn',
) -> Float[Array, 'B Q N H']:
  """Through `jax.nn.dot_product_attention`.

  Args:
    q, k, v: queries, keys and values.
    pattern: who sees whom.
    divisor: of the scores.
    implementation: 'xla' computes the same on any device, for tests.

  Raises:
    ValueError: where there is no GPU that cuDNN's attention runs on.
  """
  if implementation == 'cudnn' and device_kernel() != 'cudnn':
    raise ValueError(
      "attention 'cudnn' needs an NVIDIA GPU of compute capability 8 or newer, and this is "
      f"{jax.devices()[0].device_kind}; set ModelConfig.attention to 'auto' or 'xla'"
    )
  options = {
    'scale': 1 / divisor, 'is_causal': pattern.causal, 'implementation': implementation,
  }  # fmt: skip
  # cuDNN's gradients are no numbers where a query sees no key. Such queries are padding, and nobody
  # looks at what they say; so let them see some.
  if pattern.key_lengths is not None and pattern.extra is None:
    limit = jnp.broadcast_to(jnp.maximum(pattern.key_lengths, 1), q.shape[:1])
    name, axes = 'key_value_seq_lengths', ('batch',)
  else:
    # Causality is left to the kernel, which then skips what no query sees.
    limit = pattern.replace(causal=False).dense(q.shape[1], k.shape[1])
    if limit is not None:
      limit |= ~jnp.any(limit, axis=-1, keepdims=True)
    name, axes = 'mask', ('batch', None, None, None)

  def run(q, k, v, *limit):
    limits = dict(zip([name], limit, strict=False))
    return jax.nn.dot_product_attention(q, k, v, **limits, **options)

  limits = [] if limit is None else [limit]
  all_axes = [_AXES] * 3 + [axes] * len(limits)
  return partitioning.on_each_device(run, [q, k, v, *limits], all_axes, _AXES)


def splash_refuses(q: Array, k: Array, v: Array, pattern: Pattern) -> str | None:
  """What splash attention cannot do; None where it holds."""
  if pattern.extra is not None:
    return 'a pattern that is neither segments nor causality'
  dtypes = sorted({str(x.dtype) for x in (q, k, v)})
  return ' and '.join(dtypes) if len(dtypes) > 1 else None


def attend_splash(
  q: Float[Array, 'B Q N H'],
  k: Float[Array, 'B K N H'],
  v: Float[Array, 'B K N H'],
  pattern: Pattern,
  divisor: float,
) -> Float[Array, 'B Q N H']:
  """Pallas splash attention; off a TPU it is interpreted, which is slow and meant for tests.

  Lengths are filled up to whole blocks. The kernel takes no divisor, so the queries are divided
  before, and rounded to their dtype once more (not where the divisor is a power of two).
  """
  batch, queries, keys = q.shape[0], q.shape[1], k.shape[1]
  shapes = ((batch, queries), (batch, keys))
  ids = pattern.segments(queries, keys) or tuple(jnp.zeros(shape, jnp.int32) for shape in shapes)
  q_ids, k_ids = (
    _fill(jnp.broadcast_to(x, shape), 1, filling)
    for x, shape, filling in zip(ids, shapes, (NO_QUERY, NO_KEY), strict=True)
  )
  q = (q.astype(jnp.float32) / divisor).astype(q.dtype)
  heads_first = (_fill(jnp.swapaxes(x, 1, 2), 2, 0) for x in (q, k, v))
  run = functools.partial(_run_splash, causal=pattern.causal)
  axes = ('batch', 'heads', 'length', 'kv')
  out = partitioning.on_each_device(
    run, (*heads_first, q_ids, k_ids), (axes,) * 3 + (('batch', 'length'),) * 2, axes
  )
  return jnp.swapaxes(out[:, :, :queries], 1, 2)


def _run_splash(q, k, v, q_ids, k_ids, *, causal: bool) -> Array:
  """[B, N, Q, H], all lengths whole blocks."""
  # Needs what JAX brings for TPUs, so it is imported where it is used.
  from jax.experimental.pallas.ops.tpu import splash_attention as splash

  (heads, queries), keys = q.shape[1:3], k.shape[2]
  mask = splash.CausalMask((queries, keys)) if causal else splash.FullMask((queries, keys))
  q_block, k_block = math.gcd(queries, _MAX_BLOCK), math.gcd(keys, _MAX_BLOCK)
  kernel = splash.make_splash_mha(
    splash.MultiHeadMask([mask] * heads),
    block_sizes=splash.BlockSizes(
      block_q=q_block, block_kv=k_block, block_q_dkv=q_block, block_kv_dkv=k_block,
      block_q_dq=q_block, block_kv_dq=k_block,
    ),
    head_shards=1,
    q_seq_shards=1,
    interpret=jax.default_backend() != 'tpu',
  )  # fmt: skip
  return jax.vmap(kernel)(q, k, v, splash.SegmentIds(q=q_ids, kv=k_ids))


def _fill(x: Array, axis: int, value: int) -> Array:
  """Fills an axis up to whole lanes; the filling sees and is seen by nothing that is kept."""
  widths = [(0, -size % _LANES if i == axis else 0) for i, size in enumerate(x.shape)]
  return jnp.pad(x, widths, constant_values=value)


class Kernel(NamedTuple):
  """How attention is computed, and which (q, k, v, pattern) that is not for, in words."""

  attend: Callable[[Array, Array, Array, Pattern, float], Array]
  refuses: Callable[[Array, Array, Array, Pattern], str | None]


KERNELS = {
  'cudnn': Kernel(attend_cudnn, cudnn_refuses),
  'splash': Kernel(attend_splash, splash_refuses),
}
