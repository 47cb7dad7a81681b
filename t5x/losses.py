"""Cross-entropy over a vocabulary, with z-loss and label smoothing.

No one-hot table is made: the forward pass keeps one number a token, the backward pass writes the
gradient once. Letters: V vocabulary; leading axes are free (batch, length).
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from t5x.array_types import Array


class LossParts(NamedTuple):
  """Scalars: the loss (z-loss included), the z-loss alone, the sum of the weights."""

  loss: Array
  z_loss: Array
  weight_sum: Array


def cross_entropy_with_logits(
  logits: Array, targets: Array, *, z_loss: float = 0.0, label_smoothing: float = 0.0
) -> tuple[Array, Array]:
  """The loss of every token, and the part of it that is z-loss.

  With smoothing, the target has 1 - label_smoothing and every other id an equal share of the rest;
  the entropy of that distribution is taken off, so that the best loss is 0. The z-loss is
  `z_loss * logsumexp(logits)**2`. Only the first output has a gradient; the second is for logging.

  Args:
    logits: [..., V] float.
    targets: [...] int, ids in [0, V).
    z_loss: coefficient of the z-loss.
    label_smoothing: in [0, 1).

  Returns:
    Two arrays [...] of float32.

  Raises:
    ValueError: when the shapes do not fit or `label_smoothing` is out of range.
  """
  if logits.shape[:-1] != targets.shape:
    raise ValueError(f'logits {logits.shape} need targets {logits.shape[:-1]}, got {targets.shape}')
  if not 0 <= label_smoothing < 1:
    raise ValueError(f'label_smoothing is {label_smoothing}; it must lie in [0, 1)')
  return _cross_entropy(logits, targets, float(z_loss), float(label_smoothing))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _cross_entropy(logits, targets, z_loss, label_smoothing):
  return _forward(logits, targets, z_loss, label_smoothing)[0]


def _shares(vocab: int, label_smoothing: float) -> tuple[float, float, float]:
  """What the target and every other id get, and the (negated) entropy of that distribution."""
  target = 1.0 - label_smoothing
  other = label_smoothing / (vocab - 1)
  return target, other, target * math.log(target) + (vocab - 1) * other * math.log(other + 1e-20)


def _forward(logits, targets, z_loss, label_smoothing):
  values = logits.astype(jnp.float32)
  lse = jax.nn.logsumexp(values, axis=-1)
  at_target = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  at_target = at_target.astype(jnp.float32) - lse
  if label_smoothing:
    target, other, entropy = _shares(logits.shape[-1], label_smoothing)
    everywhere = jnp.sum(values - lse[..., None], axis=-1)
    nll = entropy - other * everywhere - (target - other) * at_target
  else:
    nll = -at_target
  extra = z_loss * jnp.square(lse)
  return (nll + extra, extra), (logits, targets, lse)


def _backward(z_loss, label_smoothing, kept, cotangents):
  logits, targets, lse = kept
  g, _ = cotangents
  target, other, _ = _shares(logits.shape[-1], label_smoothing)
  softmax = jnp.exp(logits.astype(jnp.float32) - lse[..., None])
  ids = jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)
  wanted = jnp.where(ids == targets[..., None], target, other)
  slope = softmax * (1.0 + 2.0 * z_loss * lse)[..., None] - wanted
  return (g[..., None] * slope).astype(logits.dtype), None


_cross_entropy.defvjp(_forward, _backward)


def weighted_cross_entropy(
  logits: Array,
  targets: Array,
  weights: Array | None = None,
  *,
  z_loss: float = 0.0,
  label_smoothing: float = 0.0,
  normalizing_factor: float | None = None,
  by_weight_sum: bool = True,
) -> LossParts:
  """The weighted sum of the losses of all tokens, divided as asked.

  Args:
    logits: [..., V] float.
    targets: [...] int.
    weights: [...] number or bool; None counts every token once.
    z_loss: coefficient of the z-loss.
    label_smoothing: in [0, 1).
    normalizing_factor: divides the sum; used only where `by_weight_sum` is off.
    by_weight_sum: divide by the sum of the weights (at least 1: no valid token means loss 0).
  """
  per_token, extra = cross_entropy_with_logits(
    logits, targets, z_loss=z_loss, label_smoothing=label_smoothing
  )
  weights = jnp.ones(targets.shape) if weights is None else jnp.asarray(weights, jnp.float32)
  weight_sum = jnp.sum(weights)
  if by_weight_sum:
    scale = 1.0 / jnp.maximum(weight_sum, 1.0)
  else:
    scale = jnp.float32(1.0 if normalizing_factor is None else 1.0 / normalizing_factor)
  return LossParts(
    loss=jnp.sum(per_token * weights) * scale,
    z_loss=jnp.sum(extra * weights) * scale,
    weight_sum=weight_sum,
  )
