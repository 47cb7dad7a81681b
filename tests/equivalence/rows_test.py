"""Examples that share rows, two or any number, have the loss and gradients of apart."""

import jax
import numpy as np
import pytest

from t5x import input_pipeline, shards
from t5x.examples.unified_io import config, modality_specs, models, network, packing
from t5x.task_examples import Made
from tests import tiny, tiny_modalities

EXAMPLES, FRAMES, LATENTS = 12, 2, 3
LONGEST = tiny.TEXT + tiny.PATCHES + FRAMES * LATENTS
RESAMPLER = config.ResamplerConfig(
  latents=LATENTS, emb_dim=16, num_heads=2, head_dim=8, num_layers=1, cross_attention_layers=(0,),
  mlp_dim=24, max_frames=FRAMES, dtype='float32',
)  # fmt: skip


def transformer():
  """Text, a picture and a history of frames to text."""
  grid = modality_specs.PatchGrid(height=8, width=8, patch=4)
  frames = modality_specs.HistoryInputSpec(
    name='image_history', channels=3, grid=grid, use_vit=False
  )
  settings = {'num_encoder_layers': 1, 'num_decoder_layers': 1, 'image_resampler': RESAMPLER}
  inputs = {**tiny.input_specs(use_vit=False), 'image_history': frames}
  return network.Transformer(tiny.model_config(**settings), inputs, tiny.target_specs())


def features():
  """Twelve examples of different lengths; some show no picture or no frame."""
  rng = np.random.default_rng(7)
  made = tiny.batch(EXAMPLES, seed=3)
  made['inputs/image/mask'] *= rng.integers(0, 2, (EXAMPLES, 1)).astype(np.int32)
  shown = rng.integers(0, 2, (EXAMPLES, FRAMES, 1)).astype(np.int32)
  made['inputs/image_history/mask'] = np.broadcast_to(shown, (EXAMPLES, FRAMES, 4)).copy()
  made['inputs/image_history/input'] = rng.standard_normal((EXAMPLES, FRAMES, 4, 48)).astype('f4')
  made['inputs/image_history/pos_ids'] = np.broadcast_to(
    np.arange(4, dtype=np.int32), (EXAMPLES, FRAMES, 4)
  ).copy()
  return made


class Spec:
  """Shape and dtype as a tf.TensorSpec has them."""

  def __init__(self, array):
    self.shape, self.dtype = array.shape[1:], self
    self.as_numpy_dtype = array.dtype


def batches(strategy, made, batch_size):
  """All batches that a strategy makes of the examples, the last ones filled up with empty rows."""
  rows = [{name: array[i] for name, array in made.items()} for i in range(EXAMPLES)]
  examples = iter([shards.Example(0, Made(i, 0, fields)) for i, fields in enumerate(rows)])
  assembly = strategy.open(batch_size, 0, 1)
  spec = {name: Spec(array) for name, array in made.items()}
  while (part := assembly.next(examples)).rows:
    yield input_pipeline.assembled([part], spec)


def strategy(length, **settings):
  latents = {'image_history': LATENTS}
  return packing.PackingStrategy(pack_max_len=length, latents=latents, **settings)


STRATEGIES = {
  'pairs': strategy((LONGEST, tiny.ANSWER + 3), pack_pool_size=3),
  'three in a row': strategy((LONGEST + 5, 9), pack_pool_size=5, max_to_pack=3),
  'five in two rows': strategy((LONGEST + 5, 11), pack_pool_size=6, max_to_pack=5, rows_together=2),
}


@pytest.fixture(scope='module')
def setting():
  module, made = transformer(), features()
  return module, tiny.init(module, made), made


@pytest.fixture(scope='module')
def apart(setting):
  """The sums of losses of single examples, and the gradients of their sum."""
  module, params, made = setting
  return of_batch(models.EncoderDecoderModel(module, **SUMMED), params, made)


SUMMED = {'loss_normalizing_by_weight_sum': False, 'loss_normalizing_factor': 1.0}


def of_batch(model, params, batch):
  loss = lambda params: model.loss_fn(params, batch)[0]
  return jax.jit(jax.value_and_grad(loss))(params)


@pytest.mark.parametrize('name', STRATEGIES)
def test_packed_has_the_loss_and_the_gradients_of_apart(name, setting, apart):
  module, params, made = setting
  chosen = STRATEGIES[name]
  model = models.EncoderDecoderModel(module, packing=chosen, **SUMMED)
  shared, total, gradients = 0, 0.0, jax.tree.map(np.zeros_like, params)
  step = jax.jit(jax.value_and_grad(lambda params, batch: model.loss_fn(params, batch)[0]))
  for batch in batches(chosen, made, batch_size=chosen.max_to_pack * 2):
    loss, grads = step(params, batch)
    total += loss
    gradients = jax.tree.map(np.add, gradients, grads)
    valid = batch['targets/text/mask'].any(-1)
    shared = max(shared, valid.sum() / chosen.rows(len(valid)))
  assert step._cache_size() == 1, 'the shapes of a batch depend on how examples are spread'
  assert shared > 1
  np.testing.assert_allclose(total, apart[0], rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=5e-5), gradients, apart[1]
  )


@pytest.mark.parametrize(('length', 'places'), [(25, 26), (9, 10)], ids=['all fit', 'some are cut'])
def test_losses_at_packed_places_are_those_at_the_places_of_the_batch(length, places):
  inputs = {'text': tiny_modalities.input_specs()['text']}
  settings = tiny_modalities.model_config(num_encoder_layers=1, num_decoder_layers=1)
  module = network.Transformer(settings, inputs, tiny_modalities.target_specs(use_codes=True))
  batch = {
    n: x for n, x in tiny_modalities.batch(4).items() if 'inputs/text' in n or 'targets' in n
  }
  rng = np.random.default_rng(0)
  for name in ('image', 'audio'):
    for kind in ('mask', 'loss_mask', 'task_mask'):
      batch[f'targets/{name}/{kind}'][:, 4:] = 0
    shape = batch[f'targets/{name}/mask'].shape
    batch[f'targets/{name}/tokens'] = rng.integers(0, 16, shape, np.int32)
    del batch[f'targets/{name}/{name}']
  params = tiny.init(module, batch)
  model, rows = models.EncoderDecoderModel(module), {'fold': 2, 'pack_targets': length}
  shapes = jax.eval_shape(lambda: module.apply({'params': params}, batch, unpack=False, **rows))
  assert shapes.targets['image'].tokens.shape == (2, places)

  def loss_and_gradients(unpack):
    loss = lambda params: model.loss_fn(params, batch, unpack=unpack, **rows)
    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    loss_and_gradients(False), loss_and_gradients(True),
  )  # fmt: skip


def test_statistics_tell_rows_examples_and_ages(setting):
  module, params, made = setting
  chosen = STRATEGIES['five in two rows']
  model = models.EncoderDecoderModel(module, packing=chosen)
  batch = next(batches(chosen, made, batch_size=5))
  _, metrics = jax.jit(model.loss_fn)(params, batch)
  valid = batch['targets/text/mask'].any(-1)
  inputs = sum(
    packing.input_length({k: v[i] for k, v in batch.items()}, chosen.latents) for i in range(5)
  )
  want = {
    'n-valid': (valid.sum(), 5),
    'examples_per_row': (valid.sum(), 2),
    'pool_age': (batch['packing/age'][valid].sum(), valid.sum()),
    'input_nonpadding_fraction': (inputs / chosen.pack_max_len[0], 2),
    'target_nonpadding_fraction': (batch['targets/text/mask'].sum() / 11, 2),
    'input_overflow': (0, 2),
    'target_overflow': (0, 2),
  }
  for name, (total, count) in want.items():
    mean = metrics[f'packing/{name}']
    np.testing.assert_allclose([mean.total, mean.count], [total, count], rtol=1e-6, err_msg=name)
  assert batch['packing/age'].max() > 0


def test_evaluation_does_not_pack(setting):
  module, params, made = setting
  packed = models.EncoderDecoderModel(module, packing=STRATEGIES['pairs'])
  plain = models.EncoderDecoderModel(module)
  got, want = (jax.jit(model.eval_fn).lower(params, made).as_text() for model in (packed, plain))
  assert got == want
