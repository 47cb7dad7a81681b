"""Precomputed codes train as the pixels that they were made from."""

import jax
import numpy as np
import pytest

from t5x import state_transforms
from t5x.examples.unified_io import models, network
from tests import tiny, tiny_modalities

TOKENIZERS = ('image_vqgan', 'audio_vqgan')


@pytest.fixture(scope='module')
def networks():
  """Text in, a picture and a sound out: with tokenizers inside, and without."""
  inputs = {'text': tiny_modalities.input_specs()['text']}
  config = tiny_modalities.model_config(num_encoder_layers=1, num_decoder_layers=1)
  made = []
  for use_codes in (False, True):
    targets = tiny_modalities.target_specs(use_codes)
    del targets['text']
    made.append(network.Transformer(config, inputs, targets))
  return made


def test_codes_have_the_losses_and_gradients_of_their_pixels_without_a_tokenizer(networks):
  with_tokenizers, without = networks
  batch = {
    name: array
    for name, array in tiny_modalities.batch(2).items()
    if name.startswith(('inputs/text', 'targets/image', 'targets/audio'))
  }
  params = tiny.init(with_tokenizers, batch)
  found = tiny.applied(with_tokenizers, params)(batch, method='target_parts')
  coded = {
    n: x for n, x in batch.items() if n not in ('targets/image/image', 'targets/audio/audio')
  }
  for name in ('image', 'audio'):
    coded[f'targets/{name}/tokens'] = np.asarray(found[name].tokens) - 2
  kept = {name: part for name, part in params.items() if name not in TOKENIZERS}
  shapes = tiny.init(without, coded)
  assert set(state_transforms.flatten(shapes)) == set(state_transforms.flatten(kept))

  def loss_and_gradients(module, params, batch):
    loss = lambda p: models.EncoderDecoderModel(module).loss_fn(p, batch)
    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

  (loss, metrics), grads = loss_and_gradients(with_tokenizers, params, batch)
  (loss_of_codes, metrics_of_codes), grads_of_codes = loss_and_gradients(without, kept, coded)
  np.testing.assert_allclose(loss_of_codes, loss, rtol=1e-6)
  assert set(metrics) == set(metrics_of_codes)
  for part in TOKENIZERS:
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads.pop(part)))
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
  jax.tree.map(close, grads_of_codes, grads)


def test_codes_that_the_table_lacks_are_counted(networks):
  _, without = networks
  rows, codes = 2, 16
  batch = {
    'inputs/text/tokens': np.ones((rows, 3), np.int32),
    'targets/image/tokens': np.zeros((rows, codes), np.int32),
    'targets/image/loss_mask': np.ones((rows, codes), np.int32),
  }
  without = without.clone(targets={'image': without.targets['image']})
  largest = without.config.image_vocab_size - 3  # ids are codes + 2
  batch['targets/image/tokens'][0, :4] = [largest, largest + 1, 9999, -7]
  batch['targets/image/loss_mask'][0, 2] = 0
  model = models.EncoderDecoderModel(without)
  params = tiny.init(without, batch)
  metric = jax.jit(model.eval_fn)(params, batch)['image/outside_vocabulary']
  assert (float(metric.total), float(metric.count)) == (2, rows * codes - 1)
