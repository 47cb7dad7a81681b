import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x import metrics


def test_mean_weighs_its_values():
  mean = metrics.Mean.of(np.array([1.0, 3.0, 100.0]), np.array([1, 1, 0]))
  assert mean.value() == 2.0


def test_merged_means_weigh_every_value_alike():
  a, b = metrics.Mean.of(np.array([1.0])), metrics.Mean.of(np.array([4.0, 4.0]))
  assert metrics.compute(metrics.merge({'x': a}, {'x': b})) == {'x': 3.0}


@pytest.mark.filterwarnings('error')
def test_mean_of_nothing_is_nan_and_no_error():
  assert np.isnan(metrics.Mean(jnp.float32(0), jnp.float32(0)).value())


def test_sum_adds_up_and_last_keeps_the_later():
  a = {'n': metrics.Sum(jnp.int32(2)), 'lr': metrics.Last(jnp.float32(0.5))}
  b = {'n': metrics.Sum(jnp.int32(3)), 'lr': metrics.Last(jnp.float32(0.25))}
  assert metrics.compute(metrics.merge_all([a, b])) == {'n': 5.0, 'lr': 0.25}


def test_metrics_pass_through_compiled_functions():
  double = jax.jit(lambda m: metrics.merge(m, m))
  assert metrics.compute(double({'n': metrics.Sum(jnp.float32(2))})) == {'n': 4.0}


def test_steps_that_report_different_names_are_refused():
  with pytest.raises(ValueError, match=r"only one of two results has \['b'\]"):
    metrics.merge({'a': metrics.Sum(1)}, {'a': metrics.Sum(1), 'b': metrics.Sum(1)})
  with pytest.raises(ValueError, match="'a' is Sum and Last"):
    metrics.merge({'a': metrics.Sum(1)}, {'a': metrics.Last(1)})
