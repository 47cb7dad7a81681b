"""What may change the logits of a step before a token is chosen. Letters: B rows, V vocabulary."""

import jax
import jax.numpy as jnp

from t5x.array_types import Array, PyTree
from t5x.decoding.state import NEGATIVE, LogitsFn, StepFn

FORBIDDEN = -1e10


def keep_top_p(logits: Array, top_p: float) -> Array:
  """Keeps the most probable ids of each row that together reach `top_p`; the others get -1e7.

  PARITY: 1.0 is not "off": a float32 sum may reach 1 before the last id. Use 0 for off.

  Args:
    logits: [B, V] float32.
    top_p: probability mass in (0, 1].
  """
  descending = -jnp.sort(-logits, axis=-1)
  mass = jnp.cumsum(jax.nn.softmax(descending, axis=-1), axis=-1)
  last = jnp.sum(mass < top_p, axis=-1, keepdims=True)
  # A sum that never reaches top_p keeps everything.
  smallest = jnp.take_along_axis(descending, last, axis=-1, mode='fill', fill_value=-jnp.inf)
  return jnp.where(logits < smallest, NEGATIVE, logits)


def mask_logits(mask: Array, length: int) -> LogitsFn:
  """Forbids tokens by a table, or adds one.

  Args:
    mask: bool, True = forbidden: [V] at every step, [L, V] by step, or [B, L, V] by row and step;
      or float [L, V] that is added.
    length: number of steps that will be decoded.

  Returns:
    A function of the logits [B, V] and the step.

  Raises:
    ValueError: for a table of another kind, or one with fewer than `length` steps.
  """
  forbids = mask.dtype == jnp.bool_
  if mask.ndim not in ((1, 2, 3) if forbids else (2,)):
    raise ValueError(
      f'a mask of logits is bool [V], [L, V] or [B, L, V], or float [L, V]; got {mask.dtype} '
      f'{mask.shape}'
    )
  if mask.ndim > 1 and mask.shape[-2] < length:
    raise ValueError(f'a mask of {mask.shape[-2]} steps is too short to decode {length} tokens')

  def apply(logits: Array, index: Array) -> Array:
    row = mask if mask.ndim == 1 else jnp.take(mask, index, axis=mask.ndim - 2)
    row = jnp.broadcast_to(row, logits.shape)
    return jnp.where(row, FORBIDDEN, logits) if forbids else logits + row

  return apply


def guide(conditional: Array, unconditional: Array, alpha: float) -> Array:
  """Classifier-free guidance: moves log-probabilities away from those without the condition.

  Args:
    conditional: logits [B, V].
    unconditional: logits [B, V] of the negative prompt.
    alpha: weight; 0 leaves the conditional log-probabilities.
  """
  wanted, other = jax.nn.log_softmax(conditional), jax.nn.log_softmax(unconditional)
  return (1.0 + alpha) * wanted - alpha * other


def guided(step_fn: StepFn, alpha: float) -> StepFn:
  """A step of B rows over a cache of 2B: B conditional rows, then their negative prompts.

  Both halves are fed the same tokens.
  """

  def step(ids: Array, cache: PyTree) -> tuple[Array, PyTree]:
    logits, cache = step_fn(jnp.concatenate([ids, ids]), cache)
    return guide(*jnp.split(logits, 2), alpha), cache

  return step
