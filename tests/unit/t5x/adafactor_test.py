import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x import adafactor

RATE = 0.25
RNG = np.random.default_rng(0)


def tree(shape):
  return RNG.standard_normal(shape).astype(np.float32)


def make(axes, **settings):
  settings = {'beta1': 0.9, 'min_dim_size_to_factor': 3, **settings}
  return adafactor.adafactor(lambda step: RATE, param_axes={'p': axes}, **settings)


def by_definition(params, grads, steps, factored):
  """The published update with momentum, in float64, for a vector or matrix."""
  p, m, v = params.astype(np.float64), 0.0, 0.0
  row = col = 0.0
  for n in range(steps):
    rho, squared = 1 - (n + 1.0) ** -0.8, grads.astype(np.float64) ** 2 + 1e-30
    if factored:
      row = rho * row + (1 - rho) * squared.mean(1, keepdims=True)
      col = rho * col + (1 - rho) * squared.mean(0, keepdims=True)
      y = grads / np.sqrt(row * col / row.mean())
    else:
      v = rho * v + (1 - rho) * squared
      y = grads / np.sqrt(v)
    y = y / max(1.0, np.sqrt((y**2).mean()))
    m = 0.9 * m + 0.1 * RATE * max(np.sqrt((p**2).mean()), 1e-3) * y
    p = p - m
  return p


def run(optimizer, param, grads, steps=3):
  params, state = {'p': jnp.asarray(param)}, None
  state = optimizer.init(params)
  for _ in range(steps):
    updates, state = optimizer.update({'p': jnp.asarray(grads)}, state, params)
    params = jax.tree.map(jnp.add, params, updates)
  return params['p'], state


@pytest.mark.parametrize(
  ('shape', 'axes', 'factored'),
  [
    ((4, 5), ('embed', 'mlp'), True),
    ((5, 4), ('mlp', 'embed'), True),
    ((4, 4), ('axis_0', 'embed'), True),
    ((2, 5), ('embed', 'mlp'), False),
    ((5,), ('embed',), False),
  ],
)
def test_update_is_that_of_the_paper_with_momentum(shape, axes, factored):
  param, grads = tree(shape), tree(shape)
  got, state = run(make(axes), param, grads)
  np.testing.assert_allclose(got, by_definition(param, grads, 3, factored), rtol=2e-5)
  slot = state.slots['p']
  assert (slot.v.shape == (1,)) == factored
  assert (slot.v_row.shape == (1,)) != factored


def test_row_factor_belongs_to_the_shorter_side():
  assert adafactor.factoring((4, 5), ('a', 'b'), 3) == adafactor.Factoring((), (0,), (1,))
  assert adafactor.factoring((5, 4), ('a', 'b'), 3) == adafactor.Factoring((), (1,), (0,))
  assert adafactor.factoring((4, 4), ('a', 'b'), 3) == adafactor.Factoring((), (0,), (1,))


def test_looped_layers_go_as_layers_apart():
  param, grads = tree((2, 4, 5)), tree((2, 4, 5))
  looped, _ = run(make(('layers', 'embed', 'mlp')), param, grads)
  for i in range(2):
    apart, _ = run(make(('embed', 'mlp')), param[i], grads[i])
    np.testing.assert_allclose(looped[i], apart, rtol=1e-6)


@pytest.mark.parametrize(
  ('axes', 'kind'),
  [
    (('embed', 'heads', 'kv'), adafactor.Factoring((), (0,), (1, 2))),
    (('heads', 'kv', 'embed'), adafactor.Factoring((), (2,), (0, 1))),
    (('axis_0', 'axis_1', 'axis_2'), adafactor.Factoring(())),
    (('axis_0', 'axis_1', 'mlp'), adafactor.Factoring(())),
    (('layers', 'embed', 'axis_0', 'axis_1'), adafactor.Factoring((0,))),
  ],
)
def test_arrays_of_higher_rank_are_factored_by_the_names_of_their_axes(axes, kind):
  assert adafactor.factoring((2, 3, 4, 5)[: len(axes)], axes) == kind


def test_axis_that_is_neither_row_nor_column_is_refused_beside_both():
  with pytest.raises(ValueError, match='neither'):
    adafactor.factoring((2, 3, 4), ('embed', 'mlp', 'axis_0'))


def test_factored_array_of_higher_rank_moves_like_its_matrix():
  param, grads = tree((4, 2, 3)), tree((4, 2, 3))
  got, _ = run(make(('embed', 'heads', 'kv')), param, grads)
  flat, _ = run(make(('embed', 'joined_kv')), param.reshape(4, 6), grads.reshape(4, 6))
  np.testing.assert_allclose(got.reshape(4, 6), flat, rtol=1e-6)


def test_without_momentum_no_memory_is_held_for_it():
  _, state = run(make(('embed',), beta1=None), tree(5), tree(5))
  assert state.slots['p'].m.shape == (1,)


def test_gradients_are_clipped_to_a_global_norm():
  param, grads = tree((4, 5)), tree((4, 5))
  _, clipped = run(make(('embed', 'mlp'), global_norm_clip_threshold=1.0), param, grads, 1)
  _, scaled = run(make(('embed', 'mlp')), param, grads / np.linalg.norm(grads), 1)
  np.testing.assert_allclose(clipped.slots['p'].v_row, scaled.slots['p'].v_row, rtol=1e-5)


def test_element_that_would_become_nan_stays_as_it_was():
  param, grads = tree((2, 2)), np.array([[1, np.nan], [1, 1]], np.float32)
  got, state = run(make(('a', 'b'), skip_nan_updates=True, clipping_threshold=None), param, grads)
  np.testing.assert_array_equal(got == param, [[False, True], [False, False]])
  np.testing.assert_array_equal(state.slots['p'].m == 0, [[False, True], [False, False]])
  np.testing.assert_array_equal(state.slots['p'].v == 0, [[False, True], [False, False]])


def test_weight_decay_is_not_scaled_by_the_learning_rate_unless_asked():
  param, none = tree((2, 2)), np.zeros((2, 2), np.float32)
  plain, _ = run(make(('a', 'b'), weight_decay_rate=0.5), param, none, 1)
  np.testing.assert_allclose(plain, 0.5 * param, rtol=1e-6)
  settings = {'weight_decay_rate': 0.5, 'weight_decay_rate_lr_exponent': 2.0}
  scaled, _ = run(make(('a', 'b'), **settings), param, none, 1)
  np.testing.assert_allclose(scaled, (1 - 0.5 * RATE**2) * param, rtol=1e-6)


def test_forgetting_is_a_float32_scalar():
  # In exact arithmetic 1 - rho at this step is 6.5759e-06.
  optimizer = make(('embed',))
  params = {'p': jnp.ones(2)}
  state = optimizer.init(params)._replace(step=jnp.int32(3_000_000))
  _, state = optimizer.update({'p': jnp.ones(2)}, state, params)
  share = np.float32(1) - (np.float32(1) - np.float32(3_000_001) ** np.float32(-0.8))
  np.testing.assert_allclose(state.slots['p'].v, [share, share], rtol=1e-6)
  assert abs(share - 3_000_001**-0.8) > 1e-3 * share


def test_update_without_parameters_is_refused():
  optimizer = make(('embed',))
  with pytest.raises(ValueError, match=r'update\(grads, state, params\)'):
    optimizer.update({'p': jnp.ones(2)}, optimizer.init({'p': jnp.ones(2)}))
