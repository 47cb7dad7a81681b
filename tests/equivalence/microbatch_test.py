"""A batch in slices, one after the other, is the batch at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from t5x import metrics, trainer
from t5x.train_state import TrainState
from tests import tiny_training as tiny


def step_with(**settings):
  made = tiny.make_trainer(dropout=0.0, **settings)
  state, report = made.step(made.plan.init(), next(tiny.MemoryBatches()))
  return tiny.leaves(state.params), metrics.compute(report)


@pytest.mark.parametrize(('count', 'mesh'), [(4, (1, 1)), (2, (2, 2))])
def test_slices_average_to_the_whole(count, mesh):
  whole, report = step_with()
  sliced, report_sliced = step_with(num_microbatches=count, mesh=mesh)
  for ours, theirs in zip(sliced, whole, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
  for name in ('loss', 'text/loss', 'weight_gradient_norm'):
    assert report_sliced[name] == pytest.approx(report[name], rel=1e-5)


def test_summed_slices_have_a_gradient_as_many_times_as_large():
  _, averaged = step_with(num_microbatches=4)
  _, summed = step_with(num_microbatches=4, sum_microbatches=True)
  factor = summed['weight_gradient_norm'] / averaged['weight_gradient_norm']
  assert factor == pytest.approx(4, rel=1e-5)
  assert summed['loss'] == pytest.approx(averaged['loss'], rel=1e-6)


def test_each_slice_draws_its_own_dropout():
  def loss_fn(params, batch, key):
    del batch
    return jnp.mean(params['w']), {'drawn': metrics.Sum(jax.random.uniform(key))}

  sgd = optax.sgd(0.0)
  params = {'w': jnp.ones([1])}
  state = TrainState(jnp.int32(0), params, sgd.init(params))
  batch = {'x': jnp.zeros([2, 1])}
  step = functools.partial(trainer.train_step, loss_fn=loss_fn, optimizer=sgd)
  key = jax.random.key(0)
  _, both = step(state, batch, key, num_microbatches=2)
  of_step = jax.random.fold_in(key, 0)
  alone = [loss_fn(params, batch, jax.random.fold_in(of_step, i))[1]['drawn'] for i in (0, 1)]
  assert float(alone[0].total) != float(alone[1].total)
  assert float(both['drawn'].total) == pytest.approx(float(alone[0].total + alone[1].total))


def test_rows_that_cannot_be_sliced_evenly_are_refused():
  with pytest.raises(ValueError, match=r'8 rows .* no multiple of 3 microbatches'):
    step_with(num_microbatches=3)
