"""Packed is the same as apart, and what is masked changes nothing."""

import jax
import numpy as np
import pytest

from tests import tiny

EXAMPLES = 6


@pytest.fixture(scope='module')
def setting():
  """Network, parameters and a batch of six examples."""
  module = tiny.transformer(use_vit=False)
  features = tiny.batch(EXAMPLES, seed=3)
  return module, tiny.init(module, features), features


@pytest.fixture(scope='module')
def loss_and_gradients(setting):
  """(packing settings) -> loss and its gradients."""
  module, params, features = setting

  def of(**packing):
    loss = lambda p: tiny.loss(module.apply({'params': p}, features, **packing).targets['text'])
    return jax.jit(jax.value_and_grad(loss))(params)

  return of


@pytest.fixture(scope='module')
def apart(loss_and_gradients):
  return loss_and_gradients()


@pytest.mark.parametrize(
  'packing',
  [
    {'fold': 2},
    {'fold': 3, 'pack_inputs': 3 * (tiny.TEXT + tiny.PATCHES) - 1},
    {'fold': 2, 'pack_inputs': 24, 'pack_targets': 12},
    {'fold': 6, 'pack_inputs': 72, 'pack_targets': 36},
    {'pack_inputs': 12, 'pack_targets': 6},
  ],
)
def test_packed_has_the_loss_and_the_gradients_of_apart(apart, loss_and_gradients, packing):
  want, want_grads = apart
  got, got_grads = loss_and_gradients(**packing)
  np.testing.assert_allclose(got, want, rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), got_grads, want_grads
  )


def test_packing_statistics_count_valid_tokens_and_rows_cut_off(setting):
  module, params, features = setting
  output = tiny.applied(module, params)(features, fold=2, pack_inputs=14, pack_targets=5)
  inputs = features['inputs/text/mask'].sum(1) + features['inputs/image/mask'].sum(1)
  targets = features['targets/text/mask'].sum(1)
  inputs, targets = (x.reshape(-1, 2).sum(1) for x in (inputs, targets))
  want = {
    'packing/input_nonpadding_fraction': (inputs.sum() / 14, 3),
    'packing/target_nonpadding_fraction': (targets.sum() / 5, 3),
    'packing/input_overflow': ((inputs > 14).sum(), 3),
    'packing/target_overflow': ((targets > 5).sum(), 3),
    'packing/n-valid': (EXAMPLES, EXAMPLES),
    'packing/examples_per_row': (EXAMPLES, 3),
  }
  assert (targets > 5).any()
  assert set(output.stats) == set(want)
  for name, pair in want.items():
    np.testing.assert_allclose(output.stats[name], pair, rtol=1e-6, err_msg=name)


def test_masked_tokens_change_no_logits(setting):
  module, params, features = setting
  changed = dict(features)
  for name, mask in (('inputs/text/tokens', 'inputs/text/mask'),
                     ('inputs/image/input', 'inputs/image/mask'),
                     ('targets/text/inputs', 'targets/text/mask')):  # fmt: skip
    array, masked = features[name], features[mask] == 0
    masked = masked.reshape(masked.shape + (1,) * (array.ndim - masked.ndim))
    changed[name] = np.where(masked, array + np.ones((), array.dtype), array)
  valid = features['targets/text/mask'] != 0
  apply = tiny.applied(module, params)
  got, want = (apply(batch).targets['text'].logits[valid] for batch in (changed, features))
  np.testing.assert_allclose(got, want, atol=2e-6)


def test_an_empty_modality_changes_no_logits(setting):
  both, params, features = setting
  empty = {**features, 'inputs/image/mask': np.zeros_like(features['inputs/image/mask'])}
  text_only = {k: v for k, v in features.items() if not k.startswith('inputs/image')}
  alone = both.clone(inputs={'text': both.inputs['text']})
  valid = features['targets/text/mask'] != 0
  got = tiny.applied(both, params)(empty).targets['text'].logits[valid]
  want = tiny.applied(alone, params)(text_only).targets['text'].logits[valid]
  np.testing.assert_allclose(got, want, atol=2e-6)


def test_several_answers_in_a_row_are_predicted_as_if_alone(setting):
  module, params, _ = setting
  features = tiny.batch(2, seed=5)
  apart = {k: v if k.startswith('targets') else v[:1].repeat(2, 0) for k, v in features.items()}
  joined = {k: v[:1] for k, v in features.items()}
  for field in ('inputs', 'targets', 'mask', 'pos_ids', 'segment_ids'):
    name = f'targets/text/{field}'
    later = features[name][1:] * (2 if field == 'segment_ids' else 1)
    joined[name] = np.concatenate([features[name][:1], later], axis=1)
  apply = tiny.applied(module, params)
  want, got = (apply(batch).targets['text'].logits for batch in (apart, joined))
  valid = joined['targets/text/mask'][0] != 0
  np.testing.assert_allclose(got[0][valid], np.concatenate(want)[valid], atol=2e-6)


def test_a_batch_that_examples_a_row_do_not_divide_is_refused(setting):
  module, params, features = setting
  with pytest.raises(ValueError, match='4 examples a row do not divide the batch of 6'):
    tiny.applied(module, params)(features, fold=4)
