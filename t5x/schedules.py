"""Learning rates as a product of named factors. All arithmetic is float32."""

from collections.abc import Callable
import difflib

import jax.numpy as jnp

from t5x.array_types import Array

Schedule = Callable[[Array], Array]  # step (int scalar) -> learning rate (float32 scalar)

_NEED_WARMUP = ('linear_warmup', 'linear_decay', 'rsqrt_decay', 'rsqrt_normalized_decay')


def create_learning_rate_scheduler(
  factors: str = 'constant * linear_warmup * rsqrt_decay',
  base_learning_rate: float = 0.5,
  warmup_steps: int = 1000,
  decay_factor: float = 0.5,
  steps_per_decay: int = 20000,
  steps_per_cycle: int = 100000,
  step_offset: int = 0,
  min_learning_rate: float = 1e-8,
) -> Schedule:
  """Multiplies the named factors at `n = max(0, step - step_offset)`.

  Factors, joined by ' * ' (b base, w warmup, f decay factor):
    constant: b                             linear_warmup: min(1, n / w)
    rsqrt_decay: 1 / sqrt(max(n, w))        rsqrt_normalized_decay: sqrt(w) / sqrt(max(n, w))
    linear_decay: b * min(n / w, 1 + f * (w - n))         decay_every: f ** (n // steps_per_decay)
    cosine_decay: half a cosine wave over each `steps_per_cycle` after the warmup, from 1 to 0

  Args:
    factors: which factors to multiply.
    base_learning_rate: b.
    warmup_steps: w.
    decay_factor: f.
    steps_per_decay: length of a stair of decay_every.
    steps_per_cycle: length of a cosine.
    step_offset: the step that counts as 0.
    min_learning_rate: the result is never below it.

  Returns:
    A function of the step, usable inside and outside of compiled functions.

  Raises:
    ValueError: for an unknown factor, or a warmup of no steps where a factor divides by it.
  """
  names = [name.strip() for name in factors.split('*') if name.strip()]
  for name in names:
    if name not in _FACTORS:
      near = difflib.get_close_matches(name, _FACTORS) or sorted(_FACTORS)
      raise ValueError(f'unknown learning-rate factor {name!r}; did you mean one of {near}?')
    if name in _NEED_WARMUP and warmup_steps < 1:
      raise ValueError(f'factor {name!r} needs warmup_steps of 1 or more, got {warmup_steps}')
  settings = {
    'base': jnp.float32(base_learning_rate),
    'warmup': jnp.float32(warmup_steps),
    'decay': jnp.float32(decay_factor),
    'stair': jnp.float32(steps_per_decay),
    'cycle': jnp.float32(steps_per_cycle),
  }

  def learning_rate(step: Array) -> Array:
    n = jnp.maximum(0, jnp.asarray(step) - step_offset).astype(jnp.float32)
    rate = jnp.float32(1.0)
    for name in names:
      rate = rate * _FACTORS[name](n, settings)
    return jnp.maximum(rate, jnp.float32(min_learning_rate))

  return learning_rate


def _linear_decay(n, s):
  return s['base'] * jnp.minimum(n / s['warmup'], 1.0 + s['decay'] * (s['warmup'] - n))


def _cosine_decay(n, s):
  progress = jnp.maximum(0.0, (n - s['warmup']) / s['cycle'])
  return jnp.maximum(0.0, 0.5 * (1.0 + jnp.cos(jnp.pi * (progress % 1.0))))


_FACTORS = {
  'constant': lambda n, s: s['base'],
  'linear_warmup': lambda n, s: jnp.minimum(1.0, n / s['warmup']),
  'linear_decay': _linear_decay,
  'rsqrt_decay': lambda n, s: 1.0 / jnp.sqrt(jnp.maximum(n, s['warmup'])),
  'rsqrt_normalized_decay': lambda n, s: jnp.sqrt(s['warmup'] / jnp.maximum(n, s['warmup'])),
  'decay_every': lambda n, s: s['decay'] ** jnp.floor(n / s['stair']),
  'cosine_decay': _cosine_decay,
}
