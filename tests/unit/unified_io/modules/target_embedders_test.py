"""Image targets: what the decoder reads, and whom its tokens see."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io import modality_specs, network
from t5x.examples.unified_io.interop import legacy_names
from t5x.examples.unified_io.modules import masks, target_embedders
from tests import tiny

ROWS, COLS = 4, 3
CELLS = ROWS * COLS
ON = {'pattern_masks': True, 'dynamic_mask': True}

TOKENS = jnp.asarray([[5, 6, 7, 8], [5, 6, 7, 8]])
TASK = jnp.asarray([[0, 1, 0, 1], [0, 0, 0, 0]])


@pytest.mark.parametrize(
  ('options', 'inputs', 'hidden'),
  [
    ({}, [[0, 5, 6, 7], [0, 5, 6, 7]], [[0, 0, 1, 0], [0, 0, 0, 0]]),
    ({'unk_mask_token': True}, [[0, 5, 1, 7], [0, 5, 6, 7]], [[0, 0, 1, 0], [0, 0, 0, 0]]),
    ({'shift_back_input_token': True}, [[5, 6, 7, 8], [0, 5, 6, 7]], [[0, 1, 0, 1], [0, 0, 0, 0]]),
    (
      {'unk_mask_token': True, 'shift_back_input_token': True},
      [[5, 1, 7, 1], [0, 5, 6, 7]],
      [[0, 1, 0, 1], [0, 0, 0, 0]],
    ),
  ],
)
def test_the_decoder_reads_tokens_one_place_later_unless_told_otherwise(options, inputs, hidden):
  got = target_embedders.decoder_inputs(TOKENS, TASK, tiny.model_config(**options))
  np.testing.assert_array_equal(got[0], inputs)
  np.testing.assert_array_equal(got[1], hidden)


def image_network(rows: int = ROWS, cols: int = COLS, **overrides) -> network.Transformer:
  """Text to text and an image of 4 x 3 codes."""
  grid = modality_specs.PatchGrid(height=4 * rows, width=4 * cols, patch=4)
  image = modality_specs.DenseTargetSpec(name='image', grid=grid, channels=3, use_codes=True)
  inputs = {'text': modality_specs.TextInputSpec(max_length=16)}
  targets = {**tiny.target_specs(), 'image': image}
  return network.Transformer(tiny.model_config(**overrides), inputs, targets)


@pytest.fixture(scope='module')
def features():
  rng = np.random.default_rng(0)
  features = {k: v for k, v in tiny.batch(4).items() if '/image/' not in k}
  task_mask = np.zeros((4, CELLS), np.int32)
  task_mask[:, [2, 7]] = 1
  codes = rng.integers(0, 22, (4, CELLS)).astype(np.int32)
  return {**features, 'targets/image/tokens': codes, 'targets/image/task_mask': task_mask}


@pytest.fixture(scope='module')
def params(features):
  return tiny.init(image_network(), features)


@pytest.mark.parametrize('masked', [True, False])
def test_a_token_of_the_task_mask_is_seen_by_no_other_query(features, params, masked):
  apply = tiny.applied(image_network(dynamic_mask=masked), params)
  changed = dict(features)
  changed['targets/image/tokens'] = features['targets/image/tokens'].copy()
  changed['targets/image/tokens'][:, 2] ^= 1  # a masked token; it is read at place 3
  want, got = (apply(batch).targets['image'].logits for batch in (features, changed))
  seen_by = np.abs(want - got).max((0, 2)) > 1e-6
  later = np.arange(CELLS) > 3
  np.testing.assert_array_equal(seen_by, (np.arange(CELLS) == 3) | (later & (not masked)))


def test_a_hidden_token_predicts_from_itself_alone(features, params):
  apply = tiny.applied(image_network(dynamic_mask=True), params)
  changed = dict(features)
  changed['targets/image/tokens'] = features['targets/image/tokens'].copy()
  changed['targets/image/tokens'][:, 0] ^= 1
  want, got = (apply(batch).targets['image'].logits for batch in (features, changed))
  moved = np.abs(want - got).max((0, 2)) > 1e-6
  np.testing.assert_array_equal(np.flatnonzero(~moved), [0, 3, 8])


@pytest.mark.parametrize('layers', [1, 2])
def test_a_square_ends_within_its_kernel_and_rows_carry_on(features, layers):
  reach = masks.CONV_KERNEL // 2
  cols = reach + 4
  module = image_network(1, cols, pattern_masks=True, num_decoder_layers=layers)
  codes = np.zeros((4, cols), np.int32)
  batch = {**features, 'targets/image/tokens': codes, 'targets/image/task_mask': codes}
  apply = tiny.applied(module, tiny.init(module, batch))
  changed = {**batch, 'targets/image/tokens': codes + (np.arange(cols) == 0)}
  want, got = (apply(b).targets['image'].logits for b in (batch, changed))
  seen = np.flatnonzero(np.abs(want - got).max((0, 2)) > 1e-6)
  # The first code is read at place 1; the only layer, or the last, sees a square, the first a row.
  np.testing.assert_array_equal(seen, np.arange(1, cols if layers == 2 else 2 + reach))


def test_patterns_are_off_unless_asked_for_and_change_images_alone(features, params):
  apply, patterned = (tiny.applied(image_network(**on), params) for on in ({}, ON))
  assert not image_network().config.pattern_masks
  assert not image_network().config.dynamic_mask
  want, got = (call(features).targets for call in (apply, patterned))
  assert np.abs(want['image'].logits - got['image'].logits).max() > 1e-3
  valid = features['targets/text/mask'] != 0
  np.testing.assert_array_equal(got['text'].logits[valid], want['text'].logits[valid])


@pytest.fixture(scope='module')
def with_holes(features):
  """Tokens in the middle of some images are padding."""
  mask = np.ones((4, CELLS), np.int32)
  mask[::2, [1, 6]] = 0
  return {**features, 'targets/image/mask': mask}


@pytest.fixture(scope='module')
def three_layers(with_holes):
  """A row, a column and a square: (overrides) -> network; and parameters."""
  make = functools.partial(image_network, num_decoder_layers=3, **ON)
  return make, tiny.init(make(), with_holes)


def valid_logits(module, params, batch, **packing):
  targets = tiny.applied(module, params)(batch, **packing).targets
  return {n: target.logits[batch[f'targets/{n}/mask'] != 0] for n, target in targets.items()}


@pytest.fixture(scope='module')
def apart(three_layers, with_holes):
  make, params = three_layers
  return valid_logits(make(), params, with_holes)


@pytest.mark.parametrize(
  'packing', [{'fold': 2, 'pack_targets': 2 * (CELLS + tiny.ANSWER) - 1}, {'pack_targets': 17}]
)
def test_patterns_follow_the_tokens_that_are_packed(apart, three_layers, with_holes, packing):
  make, params = three_layers
  got = valid_logits(make(), params, with_holes, **packing)
  for name, want in apart.items():
    np.testing.assert_allclose(got[name], want, atol=5e-6)


def test_patterns_are_the_same_in_layers_that_are_looped_over(apart, three_layers, with_holes):
  make, params = three_layers
  unrolled = make(scan_layers=False)
  released = legacy_names.tree_to_legacy(params, make().config)
  params = legacy_names.tree_from_legacy(released, unrolled.config)
  got = valid_logits(unrolled, params, with_holes)
  for name, want in apart.items():
    np.testing.assert_allclose(got[name], want, atol=5e-6)


@pytest.mark.parametrize('scan_layers', [True, False])
def test_patterns_hold_step_by_step(features, scan_layers):
  module = image_network(num_decoder_layers=3, scan_layers=scan_layers, **ON)
  # Nothing is masked while decoding.
  batch = {**features, 'targets/image/task_mask': np.zeros((4, CELLS), np.int32)}
  apply = tiny.applied(module, tiny.init(module, batch))
  want = apply(batch).targets['image'].logits
  inputs = np.pad(batch['targets/image/tokens'] + 2, ((0, 0), (1, 0)))
  encoded = apply(batch, method='encode')
  cache = apply(encoded, method='init_cache', target='image', length=CELLS + 1)
  for i in range(CELLS):
    logits, cache = apply(inputs[:, i], cache, method='decode_step', target='image')
    np.testing.assert_allclose(logits, want[:, i], atol=5e-6)
