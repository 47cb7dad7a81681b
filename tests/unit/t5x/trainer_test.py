import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from t5x import metrics, trainer
from t5x.train_state import TrainState
from tests import tiny_training as tiny


def slope_loss(params, batch, key):
  """Gradient of a: the mean of the batch; of b: 2."""
  del key
  return jnp.mean(batch['x']) * params['a'] + 2.0 * params['deep']['b'], {}


def make_state(optimizer):
  params = {'a': jnp.float32(1), 'deep': {'b': jnp.float32(1)}}
  return TrainState(jnp.int32(5), params, optimizer.init(params))


def step(x, **settings):
  sgd = optax.sgd(0.5)
  return trainer.train_step(
    make_state(sgd), {'x': jnp.asarray(x, jnp.float32)}, jax.random.key(0),
    loss_fn=slope_loss, optimizer=sgd, **settings,
  )  # fmt: skip


def test_a_step_moves_parameters_against_the_gradient_and_counts():
  state, report = step([1.0, 5.0])
  assert int(state.step) == 6
  assert float(state.params['a']) == 1 - 0.5 * 3
  assert float(state.params['deep']['b']) == 1 - 0.5 * 2
  values = metrics.compute(report)
  assert values['loss'] == 5
  assert values['weight_gradient_norm'] == pytest.approx(np.sqrt(3**2 + 2**2))
  assert values[trainer.NOT_FINITE] == 0


def test_what_is_not_trained_has_no_gradient():
  state, report = step([1.0, 5.0], trainable=('deep/.*',))
  assert float(state.params['a']) == 1
  assert float(state.params['deep']['b']) == 0
  assert metrics.compute(report)['weight_gradient_norm'] == 2


def test_the_learning_rate_is_that_of_the_step_before_the_update():
  _, report = step([1.0], learning_rate_fn=lambda n: n.astype(jnp.float32) / 10)
  values = metrics.compute(report)
  assert values['learning_rate_current'] == values['learning_rate_avg'] == 0.5


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_what_is_not_finite_is_counted(bad):
  assert metrics.compute(step([bad])[1])[trainer.NOT_FINITE] == 1


def test_frozen_parameters_stay_and_have_no_optimizer_state():
  made = tiny.make_trainer(trainable=('mlp/.*',))
  before = tiny.leaves(made.plan.init().params)
  state, _ = tiny.run(2, tiny.MemoryBatches(), made)
  same = [np.array_equal(a, b) for a, b in zip(before, tiny.leaves(state.params), strict=True)]
  assert same == [True, False, False]  # embedding, mlp/wi, mlp/wo
  trained = {x.shape for x in jax.tree.leaves(state.opt_state) if x.ndim}
  assert trained == {(tiny.EMBED, tiny.MLP), (tiny.MLP, tiny.VOCAB)}


def test_training_on_what_can_be_learned_lowers_the_loss():
  _, losses = tiny.run(30, tiny.MemoryBatches(), tiny.make_trainer(dropout=0.0))
  assert losses[-1] < losses[0] / 4


def test_the_step_uses_up_its_state():
  made = tiny.make_trainer()
  state = made.plan.init()
  made.step(state, next(tiny.MemoryBatches()))
  assert state.params['mlp']['wi'].is_deleted()


def test_every_step_draws_other_dropout():
  made = tiny.make_trainer(learning_rate=0.0)
  batches = tiny.MemoryBatches()
  batch = next(batches)
  state, losses = made.plan.init(), []
  for _ in range(2):
    state, report = made.step(state, batch)
    losses.append(metrics.compute(report)['loss'])
  assert losses[0] != losses[1]


def test_evaluation_adds_up_batches_and_draws_nothing():
  made = tiny.make_trainer()
  params = made.plan.init().params
  batches = tiny.MemoryBatches()
  one, other = next(batches), next(batches)
  alone = [made.evaluate(params, [batch])['text/loss'] for batch in (one, other)]
  assert made.evaluate(params, [one, other])['text/loss'] == pytest.approx(np.mean(alone))
  assert made.evaluate(params, [one]) == made.evaluate(params, [one])
  assert made.evaluate(params, []) == {}


def test_a_microbatch_count_below_one_is_refused():
  with pytest.raises(ValueError, match='num_microbatches=0; 1 means'):
    tiny.make_trainer(num_microbatches=0)
