"""Laws of every modality: empty is absent, packed is apart, names count and places do not."""

import jax
import numpy as np
import pytest

from t5x.examples.unified_io import models, network
from tests import tiny, tiny_modalities

EXAMPLES = 4
INPUTS = tuple(tiny_modalities.input_specs())
TARGETS = tuple(tiny_modalities.target_specs())
CLOSE = {'rtol': 1e-4, 'atol': 5e-6}


@pytest.fixture(scope='module')
def batch():
  """Random examples of all modalities; the targets bring codes."""
  made = tiny_modalities.batch(EXAMPLES)
  rng = np.random.default_rng(1)
  for name in ('image', 'audio'):
    count = made[f'targets/{name}/mask'].shape[1]
    del made[f'targets/{name}/{name}']
    made[f'targets/{name}/tokens'] = rng.integers(0, 16, (EXAMPLES, count), np.int32)
  return made


def make_network(inputs=INPUTS, targets=TARGETS, **limits):
  layers = {'num_encoder_layers': 1, 'num_decoder_layers': 1, 'scan_layers': False}
  every_input = tiny_modalities.input_specs(**limits)
  every_target = tiny_modalities.target_specs(use_codes=True)
  return network.Transformer(
    tiny_modalities.model_config(**layers),
    {name: every_input[name] for name in inputs},
    {name: every_target[name] for name in targets},
  )


@pytest.fixture(scope='module')
def params(batch):
  return tiny.init(make_network(), batch)


def logits_of(output):
  return {name: np.asarray(target.logits) for name, target in output.targets.items()}


def only(batch, *starts):
  return {key: x for key, x in batch.items() if key.startswith(starts)}


def emptied(batch, start):
  """The fields below `start` are there, with content, under masks of 0."""
  masks = [key for key in batch if key.startswith(start) and key.endswith('mask')]
  return {**batch, **{key: np.zeros_like(batch[key]) for key in masks}}


def assert_equal_logits(got, want, batch):
  """Where the tokens count; `want` may lack modalities."""
  for name, logits in want.items():
    valid = batch[f'targets/{name}/mask'] != 0
    assert valid.any()
    np.testing.assert_allclose(got[name][valid], logits[valid], err_msg=name, **CLOSE)


# ---- Empty is absent -----------------------------------------------------------------------------
@pytest.mark.parametrize('name', INPUTS)
def test_an_empty_input_changes_no_logit(name, batch, params):
  other = 'image' if name == 'text' else 'text'
  seen = only(batch, f'inputs/{name}/', f'inputs/{other}/', 'targets/text/')
  both = tiny.applied(make_network((other, name), ('text',)), params)
  alone = tiny.applied(make_network((other,), ('text',)), params)
  want = logits_of(alone(only(seen, f'inputs/{other}/', 'targets/')))
  assert_equal_logits(logits_of(both(emptied(seen, f'inputs/{name}/'))), want, batch)
  with pytest.raises(AssertionError):  # where it is not empty, it does
    assert_equal_logits(logits_of(both(seen)), want, batch)


@pytest.mark.parametrize('name', TARGETS)
def test_an_empty_or_missing_target_changes_no_other_logit(name, batch, params):
  others = tuple(target for target in TARGETS if target != name)
  seen = only(batch, 'inputs/text/', 'targets/')
  missing = only(seen, 'inputs/', *(f'targets/{other}/' for other in others))
  apply = tiny.applied(make_network(('text',)), params)
  want = logits_of(apply(missing))
  assert set(want) == set(others)
  assert_equal_logits(logits_of(apply(emptied(seen, f'targets/{name}/'))), want, batch)
  assert_equal_logits(logits_of(apply(seen)), want, batch)  # targets never see each other


# ---- Names, not places ---------------------------------------------------------------------------
def test_modalities_go_by_name_whatever_their_order(batch, params):
  want = logits_of(tiny.applied(make_network(), params)(batch))
  backwards = make_network(INPUTS[::-1], TARGETS[::-1])
  got = logits_of(tiny.applied(backwards, params)(dict(reversed(batch.items()))))
  for name, logits in want.items():
    np.testing.assert_array_equal(got[name], logits, err_msg=name)


# ---- Packed is apart -----------------------------------------------------------------------------
@pytest.mark.slow
def test_packed_has_the_losses_and_the_gradients_of_apart(batch, params):
  model = models.EncoderDecoderModel(make_network())
  frozen = {name: part for name, part in params.items() if name.endswith('_vit')}
  trained = {name: part for name, part in params.items() if name not in frozen}

  def loss_and_gradients(**packing):
    loss = lambda p: model.loss_fn({**frozen, **p}, batch, **packing)
    (_, metrics), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(trained)
    return {name: float(metrics[f'{name}/loss'].value()) for name in TARGETS}, metrics, grads

  want, _, want_grads = loss_and_gradients()
  got, metrics, got_grads = loss_and_gradients(fold=2, pack_inputs=52, pack_targets=50)
  assert float(metrics['packing/input_overflow'].total) == 0
  assert float(metrics['packing/target_overflow'].total) == 0
  for name in TARGETS:
    assert want[name] > 1
    np.testing.assert_allclose(got[name], want[name], rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), got_grads, want_grads
  )


# ---- Histories with a bound ----------------------------------------------------------------------
@pytest.mark.parametrize(('name', 'limit'), [('image_history', 1.25), ('audio_history', 0.5)])
def test_a_bound_on_frames_keeps_the_first_ones_and_counts_the_others(name, limit, batch, params):
  seen = only(batch, f'inputs/{name}/')
  frames = seen[f'inputs/{name}/mask'].any(-1)
  slots = round(limit * EXAMPLES)
  kept = np.zeros_like(frames)
  for example in range(EXAMPLES):  # frame by frame, as the bound is said to work
    for frame in range(frames.shape[1]):
      if frames[example, frame] and kept.sum() < slots:
        kept[example, frame] = True
  assert kept.sum() == slots < frames.sum()

  limits = {f'max_{name.split("_")[0]}_frames': limit}
  part, stats = bounded(make_network((name,), ('text',), **limits), params, seen, name)
  free, _ = bounded(make_network((name,), ('text',)), params, seen, name)
  latents = part.mask.shape[1] // frames.shape[1]
  shown = np.repeat(kept, latents, axis=1)
  np.testing.assert_array_equal(part.mask, shown.astype(np.int32))
  np.testing.assert_allclose(part.embed[shown], free.embed[shown], **CLOSE)
  assert stats[f'packing/{name}_dropped'] == (frames.sum() - slots, EXAMPLES)
  assert stats[f'packing/{name}_per_example'] == (frames.sum(), EXAMPLES)


def bounded(module, params, batch, name):
  """The sequence of a history, and the statistics that tell what was dropped."""

  def run(module):
    parts = module.input_parts(batch)
    return parts[name], module._history_stats(batch, parts)

  part, stats = jax.jit(lambda p: module.apply({'params': p}, method=run))(params)
  return part, {key: (float(a), float(b)) for key, (a, b) in stats.items()}
