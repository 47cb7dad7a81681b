"""Adding a modality touches no file of t5x: it is defined beside this test, trained and written."""

import pathlib
import re

import gin
import jax
import numpy as np
import pytest
import seqio
import tensorflow as tf

from t5x import input_pipeline, metrics, optimizers, partitioning, trainer
from t5x.examples.unified_io import modality_processing, models, network
from t5x.examples.unified_io.data import features
from t5x.examples.unified_io.modules import input_embedders, target_embedders
from tests import tiny, tiny_tasks
from tests.contract import joint_angles

TASK = 'mirror_the_arm'
PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'modalities.md'
ROWS, LENGTHS = 4, {'text_inputs': 4, 'text_targets': 4}


def mirror(ex):
  """A pose, and the one that faces it."""
  drawn = tf.random.stateless_uniform([3], tf.stack([ex['id'], 7]), -3.1, 3.1)
  return {'text_inputs': tf.constant([5]), 'joints_inputs': drawn, 'joints_targets': -drawn}


@pytest.fixture(scope='module', autouse=True)
def joints():
  """The modality, registered for the time of these tests, chosen, and a task that uses it."""
  registries = (
    features._INPUTS, features._TARGETS, input_embedders._ENTRIES, target_embedders._ENTRIES,
  )  # fmt: skip
  joint_angles.register()
  gin.bind_parameter('get_input_modalities.input_modality', ('text', 'joints'))
  gin.bind_parameter('get_target_modalities.target_modality', ('text', 'joints'))
  seqio.TaskRegistry.add(
    TASK,
    source=tiny_tasks.Numbers(ROWS),
    preprocessors=[tiny_tasks.keeping(mirror), modality_processing.unified_io_preprocessor],
    output_features=modality_processing.OUTPUT_FEATURES(),
  )
  yield
  seqio.TaskRegistry.remove(TASK)
  gin.clear_config()
  for registry in registries:
    del registry['joints']


@pytest.fixture(scope='module')
def batches():
  cfg = input_pipeline.DatasetConfig(TASK, LENGTHS, 'train', ROWS, shuffle=False, seed=0)
  opened = input_pipeline.open_train(cfg)
  yield opened
  opened.close()


@pytest.fixture(scope='module')
def model():
  inputs = modality_processing.get_input_modalities()
  targets = modality_processing.get_target_modalities()
  settings = {'num_encoder_layers': 1, 'num_decoder_layers': 1, 'scan_layers': False}
  return models.EncoderDecoderModel(
    network.Transformer(tiny.model_config(**settings), inputs, targets)
  )


@pytest.fixture(scope='module')
def learned(model, batches):
  """(the losses of some steps, the parameters after them)."""
  mesh = partitioning.PjitPartitioner(devices=jax.devices()[:1])
  made = trainer.Trainer(model, optimizers.adamw(0.01), mesh, batches.spec, seed=0)
  state, losses = made.plan.init(), []
  for _ in range(60):
    state, report = made.step(state, next(batches))
    losses.append(metrics.compute(report)['joints/loss'])
  return losses, state.params


def test_a_batch_has_its_fields(batches):
  assert batches.spec['inputs/joints/angles'].shape == (ROWS, 3)
  row = next(batches)
  np.testing.assert_array_equal(row['inputs/joints/angles'], -row['targets/joints/angles'])
  assert row['targets/joints/mask'].all()
  assert not row['targets/text/mask'].any()


def test_it_is_learned(learned):
  losses, params = learned
  assert {'input_joints', 'target_joints', 'joints_token_embedder'} <= set(params)
  assert losses[-1] < losses[0] / 10


def test_what_was_learned_is_written_and_read_back_as_angles(model, learned, batches):
  _, params = learned
  batch = next(batches)
  predict = jax.jit(lambda p, b: model.predict_batch_with_aux(p, b, modality='joints', length=3))
  ids, said = predict(params, {k: v for k, v in batch.items() if k.startswith('inputs/')})
  assert set(said) == {'joints-tokens', 'joints-angles', 'joints-scores'}
  np.testing.assert_array_equal(said['joints-tokens'], ids - 2)
  assert np.abs(said['joints-angles'] - batch['targets/joints/angles']).max() <= np.pi / 16 + 1e-6


def test_where_there_is_none_it_is_empty():
  made = modality_processing.make_features({}, LENGTHS, tf.zeros([2], tf.int32))
  batch = modality_processing.UnifiedIOFeatureConverter().convert(made, LENGTHS)
  for side in ('inputs', 'targets'):
    assert not batch[f'{side}/joints/mask'].numpy().any()


def test_the_page_about_modalities_shows_this_code():
  code = pathlib.Path(joint_angles.__file__).read_text(encoding='utf-8')
  shown = re.findall(r'```python\n(.*?)```', PAGE.read_text(encoding='utf-8'), re.DOTALL)
  assert len(shown) >= 5
  for block in shown:
    assert block in code, f'docs/modalities.md shows code that is not in joint_angles.py:\n{block}'
