import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from t5x import optimizers

AXES = {
  'decoder': {'kernel': ('embed', 'mlp'), 'scale': ('embed',)},
  'layers': {'scale': ('layers', 'embed')},
  'table': {'embedding': ('vocab', 'embed')},
}
SHAPES = {
  'decoder': {'kernel': (3, 4), 'scale': (4,)},
  'layers': {'scale': (2, 3)},
  'table': {'embedding': (5, 3)},
}
PARAMS = jax.tree.map(jnp.ones, SHAPES, is_leaf=lambda x: isinstance(x, tuple))
GRADS = jax.tree.map(lambda p: 2 * jnp.ones_like(p), PARAMS)
DEFINITIONS = [
  optimizers.adamw(0.1, weight_decay=0.1),
  optimizers.adafactor(0.1, beta1=0.9, weight_decay_rate=0.1),
]


@pytest.mark.parametrize('definition', DEFINITIONS)
def test_frozen_parameters_have_no_state_and_do_not_move(definition):
  optimizer = definition.build(AXES, ('decoder/.*',))
  state = optimizer.init(PARAMS)
  assert {leaf.shape for leaf in jax.tree.leaves(state)} <= {(), (1,), (3, 4), (4,)}
  updates, _ = jax.jit(optimizer.update)(GRADS, state, PARAMS)
  assert not updates['table']['embedding'].any()
  assert updates['decoder']['kernel'].all()
  assert jax.tree.structure(updates) == jax.tree.structure(PARAMS)


@pytest.mark.parametrize('definition', DEFINITIONS)
def test_weight_decay_acts_on_matrices_alone(definition):
  optimizer = definition.build(AXES)
  zeros = jax.tree.map(jnp.zeros_like, GRADS)
  updates, _ = optimizer.update(zeros, optimizer.init(PARAMS), PARAMS)
  assert jax.tree.map(lambda u: bool(u.any()), updates) == {
    'decoder': {'kernel': True, 'scale': False},
    'layers': {'scale': False},
    'table': {'embedding': False},
  }


def test_adamw_equals_the_one_of_optax():
  ours = optimizers.adamw(0.1, b2=0.95, clip=None).build(AXES)
  theirs = optax.adamw(0.1, b2=0.95, weight_decay=0.0)
  with jax.numpy_dtype_promotion('standard'):
    want, _ = theirs.update(GRADS, theirs.init(PARAMS), PARAMS)
  got, _ = ours.update(GRADS, ours.init(PARAMS), PARAMS)
  jax.tree.map(np.testing.assert_allclose, got, want)


def test_gradients_are_clipped_by_the_norm_of_all_of_them():
  optimizer = optimizers.adamw(1.0, b1=0.0, eps=1.0, clip=1.0).build(AXES)
  updates, _ = optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS)
  each = 1 / np.sqrt(12 + 4 + 6 + 15)  # 37 equal numbers of norm 1
  np.testing.assert_allclose(updates['decoder']['scale'], -each / (each + 1), rtol=1e-5)


@pytest.mark.parametrize('make', [optimizers.adamw, optimizers.adafactor])
def test_fresh_state_may_start_at_any_step(make):
  rate = lambda step: jnp.where(step == 7, 1.0, 0.0)
  optimizer = make(rate).build(AXES)
  state = optimizer.init(PARAMS)
  still, _ = optimizer.update(GRADS, state, PARAMS)
  moved, after = optimizer.update(GRADS, optimizers.at_step(state, 7), PARAMS)
  assert not jax.tree.leaves(still)[0].any()
  assert jax.tree.leaves(moved)[0].all()
  assert optax.tree_utils.tree_get(after, 'step') == 8


def test_axes_of_the_state_are_those_of_the_parameters():
  optimizer = optimizers.adafactor(beta1=0.9, min_dim_size_to_factor=3).build(AXES)
  state = jax.eval_shape(optimizer.init, PARAMS)
  axes = optimizers.state_axes(state, PARAMS, AXES)
  assert axes.step == ()
  kernel = axes.slots['decoder']['kernel']
  assert (kernel.m, kernel.v, kernel.v_row) == (('embed', 'mlp'), (), ())
  assert axes.slots['layers']['scale'].v == ('layers', 'embed')


def test_pattern_that_trains_nothing_is_refused():
  with pytest.raises(ValueError, match='matches no path'):
    optimizers.adamw().build(AXES, ('decoder',))


def test_learning_rate_is_there_for_the_log():
  assert optimizers.adamw(0.25).learning_rate_fn(3) == 0.25
  assert optimizers.adafactor().learning_rate_fn(0) == np.float32(1e-8)
