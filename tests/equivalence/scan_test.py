"""Layers looped over by one compiled layer are the same as layers one after another."""

import jax
import numpy as np
import pytest

from t5x.examples.unified_io.interop import legacy_names
from tests import tiny


def _unrolled(params, config):
  legacy = legacy_names.tree_to_legacy(params, config)
  return legacy_names.tree_from_legacy(legacy, tiny.model_config(scan_layers=False))


@pytest.mark.parametrize('remat', ['none', 'full'])
def test_scanned_is_unrolled(tiny_network, tiny_params, tiny_batch, remat):
  def loss_and_gradients(module, params):
    loss = lambda p: tiny.loss(module.apply({'params': p}, tiny_batch).targets['text'])
    return jax.jit(jax.value_and_grad(loss))(params)

  config = tiny_network.config
  unrolled = tiny.transformer(scan_layers=False, remat=remat)
  want, want_grads = loss_and_gradients(unrolled, _unrolled(tiny_params, config))
  got, got_grads = loss_and_gradients(tiny.transformer(remat=remat), tiny_params)
  np.testing.assert_allclose(got, want, rtol=1e-6)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    _unrolled(got_grads, config),
    want_grads,
  )


def test_layers_of_two_kinds_are_not_looped_over(tiny_batch):
  module = tiny.transformer(cross_attention_interval=3, num_decoder_layers=3)
  params = jax.eval_shape(module.init, jax.random.key(0), tiny_batch)['params']
  layers = [params['decoder'][f'layers_{i}'] for i in range(3)]
  assert ['encoder_decoder_attention' in layer for layer in layers] == [True, False, True]
  assert 'layers' in params['encoder']


def test_dropout_repeats_with_the_key_and_changes_with_another(tiny_batch, tiny_params):
  module = tiny.transformer(dropout_rate=0.3)

  @jax.jit
  def logits(key):
    options = {'deterministic': False, 'rngs': {'dropout': key}}
    return module.apply({'params': tiny_params}, tiny_batch, **options).targets['text'].logits

  first, again, other = (logits(jax.random.key(seed)) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 0.1
