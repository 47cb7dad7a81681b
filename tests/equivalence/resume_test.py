"""A run that was stopped and started again is the run that was never stopped, bit for bit."""

import jax
from jax.experimental.compilation_cache import compilation_cache
import pytest

from t5x import optimizers, partitioning, train
from t5x.checkpoint_config import CheckpointConfig, SaveCheckpointConfig
from tests import tiny_training as tiny


def train_to(steps, folder, *, seed=0, model=None, period=2, keep=None, **settings):
  """The arrays of the state that `train` ends with, after `steps` updates."""
  state = train.train(
    model=model or tiny.TinyModel(),
    optimizer=optimizers.adamw(0.1),
    train_dataset_cfg=tiny.MemoryConfig(),
    checkpoint_cfg=CheckpointConfig(save=SaveCheckpointConfig(period=period, keep=keep)),
    partitioner=partitioning.PjitPartitioner(2),
    model_dir=str(folder),
    total_steps=steps,
    random_seed=seed,
    open_batches=tiny.MemoryBatches.open,
    **settings,
  )
  return tiny.leaves(state)


def equal(a, b):
  return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


@pytest.fixture(scope='module', autouse=True)
def compiled_once(tmp_path_factory):
  """Every run here compiles the same step; the programs are kept from one run to the next."""
  settings = {
    'jax_compilation_cache_dir': str(tmp_path_factory.mktemp('compiled')),
    'jax_persistent_cache_min_compile_time_secs': 0,
    'jax_persistent_cache_min_entry_size_bytes': -1,
  }
  before = {name: getattr(jax.config, name) for name in settings}
  for name, value in settings.items():
    jax.config.update(name, value)
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
  return train_to(7, tmp_path_factory.mktemp('unbroken'))


def test_a_resumed_run_ends_as_the_unbroken_one_to_the_bit(unbroken, tmp_path):
  stop = train.DebugConfig(stop_after=3)
  train_to(7, tmp_path, debug=stop)
  train_to(7, tmp_path, debug=stop)
  assert equal(train_to(7, tmp_path), unbroken)


def test_steps_after_the_last_checkpoint_are_made_again(unbroken, tmp_path):
  class PowerCut(BaseException):
    """Stops a run between two saves."""

  class CutAfter(train.Hook):
    def after_step(self, step, state, metrics):
      if step == 5:
        raise PowerCut

  with pytest.raises(PowerCut):
    train_to(7, tmp_path, hooks=[CutAfter()])
  assert equal(train_to(7, tmp_path), unbroken)


def test_another_seed_ends_elsewhere(unbroken, tmp_path):
  assert not equal(train_to(7, tmp_path, seed=1), unbroken)


def test_dropout_takes_part_in_what_is_repeated(unbroken, tmp_path):
  assert not equal(train_to(7, tmp_path, model=tiny.TinyModel(dropout=0.0)), unbroken)


def test_a_seed_that_is_not_given_is_kept_for_the_whole_run(tmp_path):
  train_to(7, tmp_path / 'broken', seed=None, debug=train.DebugConfig(stop_after=3))
  seed = train.choose_seed(None, str(tmp_path / 'broken'))
  resumed = train_to(7, tmp_path / 'broken', seed=None)
  assert equal(resumed, train_to(7, tmp_path / 'whole', seed=seed))


def test_saving_more_often_changes_nothing(unbroken, tmp_path):
  assert equal(train_to(7, tmp_path, period=1, keep=1), unbroken)


def test_a_finished_run_is_left_as_it_is(unbroken, tmp_path):
  train_to(7, tmp_path)
  assert equal(train_to(7, tmp_path), unbroken)
