import jax
import numpy as np
import pytest

from t5x import schedules


@pytest.mark.parametrize(
  ('settings', 'rates'),
  [
    ({'factors': 'constant', 'base_learning_rate': 0.25}, {0: 0.25, 9: 0.25}),
    (
      {'factors': 'constant * linear_warmup', 'base_learning_rate': 0.5, 'warmup_steps': 4},
      {1: 0.125, 4: 0.5, 9: 0.5},
    ),
    ({'factors': 'rsqrt_decay', 'warmup_steps': 4}, {0: 0.5, 4: 0.5, 16: 0.25}),
    ({'factors': 'rsqrt_normalized_decay', 'warmup_steps': 4}, {0: 1.0, 16: 0.5}),
    (
      {
        'factors': 'linear_decay',
        'base_learning_rate': 0.5,
        'warmup_steps': 4,
        'decay_factor': 0.125,
      },
      {2: 0.25, 4: 0.5, 8: 0.25, 100: 1e-8},
    ),
    ({'factors': 'decay_every', 'steps_per_decay': 5}, {4: 1.0, 5: 0.5, 14: 0.25}),
    (
      {'factors': 'cosine_decay', 'warmup_steps': 2, 'steps_per_cycle': 8},
      {0: 1.0, 2: 1.0, 6: 0.5, 10: 1.0},
    ),
    ({'factors': 'rsqrt_decay', 'warmup_steps': 1, 'step_offset': 10}, {3: 1.0, 14: 0.5}),
  ],
)
def test_rate_at_a_step(settings, rates):
  rate = schedules.create_learning_rate_scheduler(**settings)
  for step, want in rates.items():
    np.testing.assert_allclose(rate(step), want, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(rate)(step), want, rtol=1e-6)


def test_default_is_that_of_the_original():
  rate = schedules.create_learning_rate_scheduler()
  np.testing.assert_allclose(rate(4000), 0.5 / 4000**0.5, rtol=1e-6)
  assert rate(0) == np.float32(1e-8)


def test_unknown_factor_is_refused_with_near_names():
  with pytest.raises(ValueError, match=r"'rsqrt_deca'.*rsqrt_decay"):
    schedules.create_learning_rate_scheduler('constant * rsqrt_deca')


def test_warmup_of_no_steps_is_refused_where_a_factor_divides_by_it():
  with pytest.raises(ValueError, match='needs warmup_steps of 1 or more, got 0'):
    schedules.create_learning_rate_scheduler(warmup_steps=0)
  assert schedules.create_learning_rate_scheduler('constant', warmup_steps=0)(3) == 0.5
