"""A tokenized dataset is what the task makes, with codes for pixels, and trains as it does."""

import contextlib
import dataclasses
import json
import shutil

import gin
import jax
import numpy as np
import pytest
import seqio
import tensorflow as tf

from create_data.tfdatasets import manifest
from t5x import (
  checkpoint_config,
  checkpoints,
  input_pipeline,
  optimizers,
  partitioning,
  stream,
  trainer,
)
from t5x import metrics as metrics_lib
from t5x.bindings import UserError
from t5x.checkpoint_config import CheckpointError, RestoreCheckpointConfig
from t5x.examples.unified_io import modality_processing, models, network
from t5x.examples.unified_io.data import tokenized, vocabulary
from t5x.examples.unified_io.scripts import target_codes, tokenize_dataset
from tests import tiny, tiny_modalities, tiny_tasks

# TFDS calls a protobuf function that its version of protobuf calls deprecated.
pytestmark = pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning')

TASK, CODED = 'paint_test', 'paint_test_tokenized'
RECORDS, PER_SHARD, BATCH, SEED = 7, 3, 3, 5  # record i has i % 3 examples: two batches in all
LENGTHS = {'text_inputs': 5, 'text_targets': 4}


def paint(ex):
  """A picture drawn by the example's own seed; every fourth record has none."""
  pixels = tf.random.stateless_uniform([8, 8, 3], ex[stream.SEED])
  shown = tf.cast(ex['id'] % 4 != 0, tf.int32)
  return {
    'text_inputs': tf.stack([2 + ex['id'], 9]),
    'text_targets': tf.constant([3]),
    'image_targets': pixels,
    'image_target_masks': tf.ones([8, 8], tf.int32) * shown,
  }


@pytest.fixture(scope='module', autouse=True)
def tasks():
  """The modalities, the task, and the one that reads it back."""
  gin.bind_parameter('get_input_modalities.input_modality', ('text',))
  gin.bind_parameter('get_target_modalities.target_modality', ('text', 'image'))
  gin.bind_parameter('get_target_modalities.image_patch', 2)
  gin.bind_parameter('image_sizes.target', (8, 8))
  steps = [tiny_tasks.as_many_as_the_last_digit, tiny_tasks.keeping(paint)]
  seqio.TaskRegistry.add(
    TASK,
    source=tiny_tasks.Numbers(RECORDS),
    preprocessors=[*steps, modality_processing.unified_io_preprocessor],
    output_features=modality_processing.OUTPUT_FEATURES(),
  )
  tokenized.add_tokenized_task(TASK)
  yield
  for name in (TASK, CODED):
    seqio.TaskRegistry.remove(name)
  gin.clear_config()


@contextlib.contextmanager
def reading_codes(tfds_dir):
  """Inside, the target picture is codes and datasets lie in `tfds_dir`."""
  gin.bind_parameter('get_target_modalities.use_codes', ('image',))
  seqio.set_tfds_data_dir_override(str(tfds_dir))
  yield
  seqio.set_tfds_data_dir_override(None)
  gin.bind_parameter('get_target_modalities.use_codes', ())


def make_model():
  layers = {'num_encoder_layers': 1, 'num_decoder_layers': 1, 'scan_layers': False}
  config = tiny_modalities.model_config(**layers)
  inputs = modality_processing.get_input_modalities()
  module = network.Transformer(config, inputs, modality_processing.get_target_modalities())
  return models.EncoderDecoderModel(module)


def open_batches(name, **changes):
  settings = {'batch_size': BATCH, 'shuffle': False, 'seed': SEED, **changes}
  lengths = settings.pop('lengths', LENGTHS)
  return input_pipeline.open_train(input_pipeline.DatasetConfig(name, lengths, 'train', **settings))


def make_trainer(batches, trainable=('.*',)):
  mesh = partitioning.PjitPartitioner(devices=jax.devices()[:1])
  optimizer = optimizers.adamw(0.01)
  return trainer.Trainer(make_model(), optimizer, mesh, batches.spec, seed=0, trainable=trainable)


@pytest.fixture(scope='module')
def pixels():
  """A trainer of the network with its tokenizer, which stays as it is."""
  return make_trainer(open_batches(TASK), ('(?!image_vqgan/).*',))


def start_of(made):
  """Drawn parameters: to compile their initialisation would take most of the time."""
  zeros = jax.tree.map(lambda x: jax.device_put(np.zeros(x.shape, x.dtype)), made.plan.abstract)
  return dataclasses.replace(zeros, params=tiny.draw(made.plan.abstract.params))


@pytest.fixture(scope='module')
def checkpoint(pixels, tmp_path_factory):
  folder = str(tmp_path_factory.mktemp('run'))
  manifest = checkpoint_config.run_manifest(vocabulary.get_default_vocabulary())
  save = checkpoint_config.SaveCheckpointConfig()
  with checkpoints.CheckpointStore(folder, save, manifest) as store:
    store.save(0, start_of(pixels), {})
  return f'{folder}/checkpoint_0'


def tokenize(tfds_dir, checkpoint, **changes):
  settings = {
    'model': make_model(),
    'task': TASK,
    'tfds_dir': str(tfds_dir),
    'task_feature_lengths': LENGTHS,
    'restore_checkpoint_cfg': RestoreCheckpointConfig(path=checkpoint, mode='specific'),
    'partitioner': partitioning.PjitPartitioner(devices=jax.devices()[:1]),
    'tokenizer': vocabulary.get_default_vocabulary(),
    'batch_size': 2,
    'seed': SEED,
    'splits': ('train',),
    'records_per_shard': PER_SHARD,
  }
  return tokenize_dataset.tokenize(**{**settings, **changes})


@pytest.fixture(scope='module')
def root(checkpoint, tmp_path_factory):
  """A TFDS root with the tokenized task."""
  folder = tmp_path_factory.mktemp('tfds')
  tokenize(folder, checkpoint)
  return folder


def run(made, batches, state, steps=2):
  losses = []
  for _ in range(steps):
    state, report = made.step(state, next(batches))
    losses.append(metrics_lib.compute(report))
  batches.close()
  return losses


def whole_epoch(batches):
  both = [next(batches), next(batches)]
  batches.close()
  return {name: np.concatenate([batch[name] for batch in both]) for name in both[0]}


# ---- Laws ----------------------------------------------------------------------------------------
def test_training_on_codes_needs_no_tokenizer_and_has_the_losses_of_pixels(
  pixels, checkpoint, root, tmp_path
):
  want = run(pixels, open_batches(TASK), start_of(pixels))
  with reading_codes(root):
    batches = open_batches(CODED)
    made = make_trainer(batches)
    assert 'image_vqgan' not in made.plan.abstract.params
    config = checkpoint_config.CheckpointConfig(
      restore=RestoreCheckpointConfig(path=checkpoint, mode='specific')
    )
    state = checkpoints.restore_or_init(config, str(tmp_path), made.plan).state
    got = run(made, batches, state)
  for ours, theirs in zip(got, want, strict=True):
    assert set(ours) == set(theirs)
    for name in theirs:
      np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)
  assert want[0]['image/loss'] != want[1]['image/loss'] > 0


def test_everything_but_pixels_is_as_the_task_makes_it(root):
  want = whole_epoch(open_batches(TASK))
  with reading_codes(root):
    got = whole_epoch(open_batches(CODED))
  del want['targets/image/image']
  codes = got.pop('targets/image/tokens')
  assert set(got) == set(want)
  for name in want:
    np.testing.assert_array_equal(got[name], want[name])
  hidden = ~want['targets/image/mask'].any(axis=1)
  assert hidden.sum() == 1
  assert not codes[hidden].any()
  assert len(np.unique(codes[~hidden])) > 3


def test_a_stopped_run_goes_on_without_making_finished_shards_again(
  checkpoint, root, tmp_path, monkeypatch
):
  whole = target_codes.TargetCodes.in_place_of_pixels
  encoded = []

  def until(stop):
    def encode(self, examples):
      encoded.append(0)
      if len(encoded) == stop:
        raise KeyboardInterrupt
      yield from whole(self, examples)

    monkeypatch.setattr(target_codes.TargetCodes, 'in_place_of_pixels', encode)

  until(2)
  with pytest.raises(KeyboardInterrupt):
    tokenize(tmp_path, checkpoint)
  with reading_codes(tmp_path), pytest.raises(FileNotFoundError, match=r'tokenize_dataset\.py'):
    open_batches(CODED)
  until(99)
  folder = tokenize(tmp_path, checkpoint)
  assert len(encoded) == 2 + 2  # of three shards one was whole
  tokenize(tmp_path, checkpoint)
  assert len(encoded) == 4
  manifest.verify(folder)
  for file in (root / CODED / '1.0.0').glob('*.array_record*'):
    assert (folder / file.name).read_bytes() == file.read_bytes()
  tokenize(tmp_path, checkpoint, seed=SEED + 1)  # another draw is another dataset
  assert len(encoded) == 4 + 3


def test_the_manifest_says_what_the_codes_were_made_with(root, checkpoint):
  told = json.loads((root / CODED / '1.0.0' / 'tokenized.json').read_text())
  assert told['tokenizer'] == vocabulary.get_default_vocabulary().fingerprint
  assert (told['task'], told['seed'], told['lengths']) == (TASK, SEED, LENGTHS)
  assert set(told['codes_of']) == {'image_vqgan'}
  assert len(told['codes_of']['image_vqgan']) == 64


def test_modalities_that_were_not_stored_are_empty(root):
  gin.bind_parameter('get_input_modalities.input_modality', ('text', 'audio'))
  lengths = {**LENGTHS, 'audio_input_samples': 128}
  with reading_codes(root):
    batch = next(open_batches(CODED, lengths=lengths))
  gin.bind_parameter('get_input_modalities.input_modality', ('text',))
  assert batch['inputs/audio/input'].shape == (BATCH, 128, 256)
  assert not batch['inputs/audio/mask'].any()
  assert batch['inputs/text/mask'].any()


# ---- Refused -------------------------------------------------------------------------------------
def test_a_run_that_wants_other_fields_or_shapes_is_told_so(root):
  with reading_codes(root):
    with pytest.raises(ValueError, match=r'tokens is stored as \(5,\), this run wants \(6,\)'):
      open_batches(CODED, lengths={**LENGTHS, 'text_inputs': 6})
    gin.bind_parameter('get_target_modalities.use_codes', ())
    with pytest.raises(ValueError, match=r"no targets/image/image, .*use_codes = \['image'\]"):
      open_batches(CODED)


def test_texts_of_another_tokenizer_are_refused(root, tmp_path):
  folder = tmp_path / CODED / '1.0.0'
  shutil.copytree(root / CODED / '1.0.0', folder)
  told = json.loads((folder / 'tokenized.json').read_text())
  (folder / 'tokenized.json').write_text(json.dumps({**told, 'tokenizer': 'other'}))
  with reading_codes(tmp_path), pytest.raises(ValueError, match='made with another tokenizer'):
    open_batches(CODED)


@pytest.mark.parametrize(
  ('changes', 'error', 'words'),
  [
    ({'task': 'paint_tset'}, UserError, "no task or mixture 'paint_tset'; did you mean"),
    ({'restore_checkpoint_cfg': RestoreCheckpointConfig()}, CheckpointError, 'CHECKPOINT_PATH'),
    ({'batch_size': 0}, UserError, 'batch_size=0 and records_per_shard=3 have to be 1 or more'),
  ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
  changes, error, words, checkpoint, tmp_path
):
  with pytest.raises(error, match=words):
    tokenize(tmp_path, checkpoint, **changes)
  assert not list(tmp_path.iterdir())


def test_targets_without_pixels_are_nothing_to_encode(checkpoint, tmp_path):
  with reading_codes(tmp_path), pytest.raises(UserError, match='no target has pixels'):
    tokenize(tmp_path, checkpoint)
