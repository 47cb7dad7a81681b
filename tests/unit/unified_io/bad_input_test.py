"""Batches and settings that contradict each other: words while tracing, or a metric."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x import metrics as metrics_lib
from t5x.examples.unified_io import models, network
from tests import tiny, tiny_modalities

EXAMPLES = 2


def ints(*shape):
  return np.ones((EXAMPLES, *shape), np.int32)


def floats(*shape):
  return np.ones((EXAMPLES, *shape), np.float32)


@pytest.fixture(scope='module')
def traced():
  """(changed fields) -> traces the network of all modalities; None takes a field away."""
  module, batch = tiny_modalities.transformer(), tiny_modalities.batch(EXAMPLES)
  params = jax.eval_shape(module.init, jax.random.key(0), batch)

  def apply(**changes):
    changed = {**batch, **changes}
    changed = {name: array for name, array in changed.items() if array is not None}
    return jax.eval_shape(module.apply, params, changed)

  return apply


@pytest.mark.parametrize(
  ('field', 'value', 'sentence'),
  [
    ('inputs/text/tokens', floats(7), r'inputs/text/tokens is float32.* wants int32'),
    ('inputs/text/mask', ints(6), 'the length of inputs/text/.* is .*, but that of .* [67]'),
    ('inputs/text/pos_ids', ints(8), 'the length of inputs/text/.* is .*, but that of .* [78]'),
    ('inputs/image/input', floats(5, 47), r'float32\[2, 5, 47\].* wants .*patches, 48\]'),
    ('inputs/image/input', floats(4, 5, 48), r'wants float32\[batch, patches, 48\]'),
    ('inputs/image/input', ints(5, 48), 'inputs/image/input is int32.* wants float32'),
    ('inputs/image/mask', ints(4), 'the patches of inputs/image/.* is'),
    ('inputs/image/pos_ids', ints(6), 'the patches of inputs/image/.* is'),
    ('inputs/audio/pos_ids', ints(5, 1), r'wants int32\[batch, patches\]'),
    ('inputs/image_history/input', None, 'no inputs/image_history/input; of it there are'),
    ('inputs/image_history/mask', ints(2, 4), 'the frames of inputs/image_history/.* is'),
    ('inputs/audio_history/pos_ids', ints(3, 5), 'the patches of inputs/audio_history/.* is'),
    ('targets/text/targets', ints(5), 'the length of targets/text/.* is'),
    ('targets/text/segment_ids', floats(6), 'wants int32'),
    ('targets/image/image', floats(8, 4, 3), r'wants float32\[batch, 8, 8, 3\]'),
    ('targets/image/image', floats(8, 8, 1), r'wants float32\[batch, 8, 8, 3\]'),
    ('targets/image/mask', ints(15), r'wants int32\[batch, 16\]'),
    ('targets/image/task_mask', ints(17), r'wants int32\[batch, 16\]'),
    ('targets/image/tokens', ints(16), "no field 'tokens'"),
    ('targets/audio/loss_mask', floats(6), 'wants int32'),
    ('targets/audio/audio', floats(8, 12, 1), r'wants float32\[batch, 12, 8, 1\]'),
    ('targets/audio/mask', np.ones((3, 6), np.int32), 'different numbers of examples'),
  ],
)
def test_a_field_that_contradicts_the_network_is_told_while_tracing(traced, field, value, sentence):
  with pytest.raises(ValueError, match=sentence):
    traced(**{field: value})


@pytest.mark.parametrize('name', ['image_history', 'audio_history'])
def test_more_frames_than_the_resampler_has_places_for_are_refused(traced, name):
  more = tiny_modalities.FRAMES + 1
  spec = tiny_modalities.input_specs()[name]
  fields = {'input': floats(more, 4, spec.patch_dim), 'mask': ints(more, 4)}
  changes = {f'inputs/{name}/{k}': v for k, v in {**fields, 'pos_ids': ints(more, 4)}.items()}
  with pytest.raises(ValueError, match=f'{name} has 4 frames; the resampler has positions for 3'):
    traced(**changes)


@pytest.mark.parametrize(
  ('change', 'sentence'),
  [
    ({'image_vocab_size': 17}, r"'image' has 16 codes, .* need 18 ids; the network has 17"),
    ({'audio_vocab_size': 17}, r"'audio' has 16 codes, .* need 18 ids; the network has 17"),
    (
      {'image_vqgan': {'channel_multipliers': (1, 1, 1)}},
      "tokenizer of 'image' makes 4 codes and the grid of the spec has 16",
    ),
  ],
)
def test_a_tokenizer_that_contradicts_the_network_is_refused(change, sentence):
  config = tiny_modalities.model_config()
  if parts := change.get('image_vqgan'):
    change = {'image_vqgan': dataclasses.replace(config.image_vqgan, **parts)}
  module = tiny_modalities.transformer().clone(config=dataclasses.replace(config, **change))
  with pytest.raises(ValueError, match=sentence):
    jax.eval_shape(module.init, jax.random.key(0), tiny_modalities.batch(EXAMPLES))


@pytest.fixture(scope='module')
def evaluated():
  """(codes) -> loss, gradients, and metrics of a network that writes images of 16 codes."""
  inputs, targets = tiny.input_specs(), tiny_modalities.target_specs(use_codes=True)
  whole = network.Transformer(tiny_modalities.model_config(), inputs, targets)
  module = whole.clone(inputs={'text': inputs['text']}, targets={'image': targets['image']})
  batch = {k: v for k, v in tiny.batch(EXAMPLES).items() if k.startswith('inputs/text')}
  batch['targets/image/tokens'] = ints(16)
  params = tiny.init(module, batch)
  model = models.EncoderDecoderModel(module)
  evaluate = jax.jit(jax.value_and_grad(model.loss_fn, has_aux=True))

  def run(codes, mask):
    changed = {**batch, 'targets/image/tokens': codes, 'targets/image/mask': mask}
    (loss, report), gradients = evaluate(params, changed)
    return loss, gradients, metrics_lib.compute(report)

  return run


@pytest.mark.parametrize('wrong', [-1, -2, 22, 10_000, -(2**31), 2**31 - 1])
def test_a_code_that_is_none_counts_in_no_loss_and_is_counted(evaluated, wrong):
  rng = np.random.default_rng(0)
  right = rng.integers(0, 22, (EXAMPLES, 16)).astype(np.int32)  # the table has 24 ids
  mask, place = ints(16), (1, 15)  # nothing reads the last one
  codes, masked = right.copy(), mask.copy()
  codes[place], masked[place] = wrong, 0
  loss, gradients, report = evaluated(codes, mask)
  want, want_gradients, sound = evaluated(right, masked)
  np.testing.assert_allclose(loss, want, rtol=1e-5)
  assert report['image/outside_vocabulary'] == pytest.approx(1 / 32)
  assert sound['image/outside_vocabulary'] == 0
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), gradients, want_gradients)


def test_a_code_that_is_none_is_read_as_nothing(evaluated):
  codes = np.zeros((EXAMPLES, 16), np.int32)
  read = [
    evaluated(np.where(np.arange(16) == 3, wrong, codes), ints(16))[0] for wrong in (-1, -9, 99)
  ]
  assert len({float(loss) for loss in read}) == 1
  assert jnp.isfinite(jnp.asarray(read)).all()
