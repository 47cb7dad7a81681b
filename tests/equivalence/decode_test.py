"""Step by step with a cache is the same as all tokens at once."""

import jax
import numpy as np
import pytest

from t5x.examples.unified_io import network
from tests import tiny

TWO_KINDS = {'cross_attention_interval': 2, 'num_decoder_layers': 4}


@pytest.fixture
def full_rows():
  """Targets without padding or segments, as decoding sees them."""
  features = tiny.batch(seed=7)
  ids = np.random.default_rng(1).integers(2, 40, (tiny.BATCH, tiny.ANSWER)).astype(np.int32)
  ones = np.ones_like(ids)
  return {
    **features,
    'targets/text/inputs': np.pad(ids[:, :-1], ((0, 0), (1, 0))),
    'targets/text/targets': ids,
    'targets/text/mask': ones,
    'targets/text/segment_ids': ones,
  }


@pytest.mark.parametrize('overrides', [{}, {'scan_layers': False}, TWO_KINDS])
def test_cached_steps_give_the_logits_of_the_full_forward(full_rows, overrides):
  module = tiny.transformer(use_vit=False, **overrides)
  params = tiny.init(module, full_rows)
  apply = tiny.applied(module, params)
  want = apply(full_rows).targets['text'].logits
  encoded = apply(full_rows, method='encode')
  cache = apply(encoded, method='init_cache', target='text', length=tiny.ANSWER + 2)
  for i in range(tiny.ANSWER):
    ids = full_rows['targets/text/inputs'][:, i]
    logits, cache = apply(ids, cache, method='decode_step', target='text')
    np.testing.assert_allclose(logits, want[:, i], atol=5e-6)


@pytest.fixture(scope='module')
def apply(tiny_network, tiny_params):
  return tiny.applied(tiny_network, tiny_params)


def test_the_batch_axis_of_a_cache_is_the_documented_one(apply, tiny_batch):
  encoded = apply(tiny_batch, method='encode')
  cache = apply(encoded, method='init_cache', target='text', length=4)
  arrays = jax.tree.leaves(cache.replace(index=None))
  assert {array.shape[network.CACHE_BATCH_AXIS] for array in arrays} == {tiny.BATCH}


def test_scoring_encoded_inputs_is_the_full_forward(apply, tiny_batch):
  want = apply(tiny_batch).targets['text']
  got = apply(apply(tiny_batch, method='encode'), tiny_batch, method='score').targets['text']
  np.testing.assert_allclose(got.logits, want.logits, atol=2e-6)


def test_packed_inputs_decode_as_unpacked_ones(apply, tiny_batch):
  logits = []
  for pack_inputs in (None, 12):
    encoded = apply(tiny_batch, method='encode', pack_inputs=pack_inputs)
    cache = apply(encoded, method='init_cache', target='text', length=4)
    start = np.zeros(tiny.BATCH, np.int32)
    logits.append(apply(start, cache, method='decode_step', target='text')[0])
  np.testing.assert_allclose(*logits, atol=2e-6)


def test_an_unknown_target_is_refused(apply, tiny_batch):
  encoded = apply(tiny_batch, method='encode')
  with pytest.raises(ValueError, match='video'):
    apply(encoded, method='init_cache', target='video', length=4)
