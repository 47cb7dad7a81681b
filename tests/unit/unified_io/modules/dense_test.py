"""Projections, the feed-forward block and the token table equal their formulas."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io.modules import dense


def _unboxed(variables):
  return nn.unbox(variables)['params']


def test_dense_is_a_product_and_a_bias_and_names_its_axes():
  module = dense.Dense(3, ('embed', 'mlp'), 'float32', use_bias=True)
  x = jax.random.normal(jax.random.key(1), (2, 4, 5))
  variables = module.init(jax.random.key(0), x)
  kernel = variables['params']['kernel']
  assert (kernel.names, kernel.value.shape) == (('embed', 'mlp'), (5, 3))
  assert variables['params']['bias'].names == ('mlp',)
  params = {'kernel': kernel.value, 'bias': jnp.asarray([1.0, 2.0, 3.0])}
  got = module.apply({'params': params}, x)
  np.testing.assert_allclose(got, x @ kernel.value + params['bias'][None, None], atol=1e-6)


def test_dense_computes_in_its_dtype_with_float32_parameters():
  module = dense.Dense(3, ('embed', 'mlp'), 'bfloat16')
  x = jnp.ones((2, 5))
  variables = module.init(jax.random.key(0), x)
  assert _unboxed(variables)['kernel'].dtype == jnp.float32
  assert module.apply(variables, x).dtype == jnp.bfloat16


@pytest.mark.parametrize(
  ('activations', 'kernels'),
  [(('silu', 'linear'), {'wi_0', 'wi_1', 'wo'}), (('gelu',), {'wi', 'wo'})],
)
def test_mlp_multiplies_its_activations(activations, kernels):
  module = dense.Mlp(6, activations, 'float32')
  x = jax.random.normal(jax.random.key(1), (2, 4, 5))
  variables = module.init(jax.random.key(0), x)
  params = {k: v['kernel'] for k, v in _unboxed(variables).items()}
  assert set(params) == kernels
  if len(activations) == 2:
    h = x @ params['wi_0']
    hidden = h / (1 + jnp.exp(-h)) * (x @ params['wi_1'])
  else:
    h = x @ params['wi']
    hidden = 0.5 * h * (1 + jnp.tanh((2 / jnp.pi) ** 0.5 * (h + 0.044715 * h**3)))
  np.testing.assert_allclose(module.apply(variables, x), hidden @ params['wo'], atol=1e-5)


def test_ids_outside_the_table_embed_to_zero_and_give_no_gradient():
  module = dense.Embed(5, 3, 'float32')
  ids = jnp.asarray([[0, 4, 5, -1, 9]])
  variables = module.init(jax.random.key(0), ids)
  table = _unboxed(variables)['embedding']
  got = module.apply(variables, ids)
  np.testing.assert_array_equal(got[0, :2], table[jnp.asarray([0, 4])])
  np.testing.assert_array_equal(got[0, 2:], np.zeros((3, 3)))
  total = lambda table: module.apply({'params': {'embedding': table}}, ids).sum()
  gradient = jax.grad(total)(table)
  np.testing.assert_array_equal(gradient.sum(1), [3, 0, 0, 0, 3])


def test_logits_are_products_over_the_root_of_the_width_in_float32():
  module = dense.Embed(5, 4, 'bfloat16')
  ids = jnp.asarray([[1, 2]])
  variables = module.init(jax.random.key(0), ids)
  x = jnp.asarray([[[1.0, 2.0, 0.5, -1.0]]], jnp.bfloat16)
  got = module.apply(variables, x, method='logits')
  want = x.astype(jnp.float32) @ _unboxed(variables)['embedding'].T / 2
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, want, atol=1e-6)
