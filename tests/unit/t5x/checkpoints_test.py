import dataclasses
import functools
import json
import logging
import pathlib
import shutil

from absl import logging as absl_logging
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x import checkpoints, legacy_checkpoints, state_transforms
from t5x.checkpoint_config import (
  CheckpointConfig,
  CheckpointError,
  LegacyFormat,
  RestoreCheckpointConfig,
  SaveCheckpointConfig,
  find,
  run_manifest,
  steps_in,
)  # fmt: skip
from tests import tiny_training as tiny


@dataclasses.dataclass(frozen=True)
class FakeTokenizer:
  fingerprint: str = 'aaa'
  num_base_pieces: int = 7


@pytest.fixture
def log(caplog, monkeypatch):
  monkeypatch.setattr(absl_logging.get_absl_logger(), 'propagate', True)
  caplog.set_level(logging.INFO, logger='absl')
  return caplog


def save(folder, *steps, keep=None, dtype='float32', tokenizer=None, made=None):
  """Checkpoints whose parameters are all equal to the step."""
  config = SaveCheckpointConfig(keep=keep, dtype=dtype)
  manifest = run_manifest(tokenizer)
  plan = (made or tiny.make_trainer()).plan
  with checkpoints.CheckpointStore(str(folder), config, manifest) as store:
    for step in steps:
      full = lambda x, step=step: jax.device_put(jnp.full(x.shape, step, x.dtype), x.sharding)
      store.save(step, jax.tree.map(full, plan.abstract), {'position': 10 * step})
  return folder


def start(folder, tokenizer=None, made=None, needed=(), **restore):
  config = CheckpointConfig(restore=RestoreCheckpointConfig(**restore) if restore else None)
  plan = (made or tiny.make_trainer()).plan
  return checkpoints.restore_or_init(config, str(folder), plan, tokenizer, needed)


def load(path, made=None, tokenizer=None, **settings):
  made = made or tiny.make_trainer()
  return checkpoints.load_params(
    str(path),
    made.model,
    made.input_spec,
    partitioner=made.partitioner,
    tokenizer=tokenizer,
    config=RestoreCheckpointConfig(**settings),
  )


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  return save(tmp_path_factory.mktemp('saved'), 3, 12, tokenizer=FakeTokenizer())


@pytest.fixture
def copied(saved, tmp_path):
  return pathlib.Path(shutil.copytree(saved, tmp_path / 'copied'))


# ---- What a run starts from ----------------------------------------------------------------------
def test_a_run_folder_comes_before_a_given_checkpoint_and_that_before_scratch(saved, tmp_path, log):
  other = save(tmp_path / 'other', 5)
  assert int(start(saved, path=str(other)).state.step) == 12
  assert f'Resuming this run from {saved}/checkpoint_12' in log.text
  given = start(tmp_path / 'new', path=str(other / 'checkpoint_5'), mode='specific')
  assert int(given.state.step) == 5
  assert given.cursor is None
  assert f'starting from {other}/checkpoint_5' in log.text
  scratch = start(tmp_path / 'new')
  assert int(scratch.state.step) == 0
  assert scratch.origin == 'scratch'
  assert 'none is given: starting from scratch' in log.text


def test_resuming_brings_back_every_number_and_the_place_in_the_stream(saved):
  restored = start(saved)
  assert restored.cursor == {'position': 120}
  wanted = jax.tree.leaves(tiny.make_trainer().plan.abstract)
  for got, want in zip(jax.tree.leaves(restored.state), wanted, strict=True):
    assert (got.dtype, got.sharding) == (want.dtype, want.sharding)
    np.testing.assert_array_equal(got, np.full(want.shape, 12, want.dtype))


def test_a_checkpoint_may_be_read_onto_another_mesh(saved):
  restored = start(saved, made=tiny.make_trainer(mesh=(2, 4)))
  kernel = restored.state.params['mlp']['wi']
  assert kernel.sharding.shard_shape(kernel.shape) == (tiny.EMBED, tiny.MLP // 4)
  np.testing.assert_array_equal(kernel, np.full([tiny.EMBED, tiny.MLP], 12))


def test_a_given_checkpoint_brings_its_examples_only_if_asked(saved, tmp_path):
  assert start(tmp_path, path=str(saved)).cursor is None
  assert start(tmp_path, path=str(saved), restore_dataset=True).cursor == {'position': 120}


def test_a_run_starts_from_one_checkpoint_only(saved, tmp_path):
  with pytest.raises(CheckpointError, match='one checkpoint, but 2 are given'):
    start(tmp_path, path=str(saved), mode='all')


def test_an_empty_path_means_none():
  for empty in ('', [], None):
    assert find(RestoreCheckpointConfig(path=empty)) == []


def test_modes_choose_among_checkpoints(saved):
  found = lambda **kw: find(RestoreCheckpointConfig(**kw))
  assert found(path=str(saved)) == [f'{saved}/checkpoint_12']
  assert found(path=str(saved), mode='all') == [f'{saved}/checkpoint_3', f'{saved}/checkpoint_12']
  assert found(path=f'{saved}/checkpoint_3', mode='specific') == [f'{saved}/checkpoint_3']


def test_steps_are_counted_from_those_of_the_checkpoint(saved, tmp_path):
  legacy_checkpoints.save_t5x_checkpoint(tmp_path / 'large', {'w': np.zeros(2)}, step=3_000_000)
  after = lambda path: checkpoints.steps_after(path, 7)
  assert after(None) == 7
  assert after(f'{saved}/checkpoint_12') == 19
  assert after(str(tmp_path / 'large')) == 3_000_007
  shutil.copytree(saved / 'checkpoint_12', tmp_path / 'mine')
  with pytest.raises(
    CheckpointError, match=r'the name of .*mine tells no step .*; set TRAIN_STEPS'
  ):
    after(str(tmp_path / 'mine'))


def test_relative_paths_are_made_absolute(saved, monkeypatch):
  monkeypatch.chdir(saved.parent)
  config = RestoreCheckpointConfig(path=saved.name)
  assert find(config) == [f'{saved}/checkpoint_12']


@pytest.mark.parametrize(
  ('path', 'mode', 'said'),
  [
    ('checkpoint_4', 'specific', 'checkpoint_4 does not exist; .* has checkpoint_3, checkpoint_12'),
    ('nowhere/x', 'latest', 'x does not exist; nor does .*nowhere'),
    ('', 'specific', "has checkpoint_3, checkpoint_12; .*Config.mode = 'latest'"),
    ('checkpoint_3', 'latest', "is a checkpoint itself: set .*Config.mode = 'specific'"),
    ('checkpoint_3/state', 'specific', 'is no checkpoint but has no checkpoint; name a folder'),
  ],
)
def test_a_path_without_checkpoint_is_refused_with_what_is_there(saved, path, mode, said):
  config = RestoreCheckpointConfig(path=str(saved / path), mode=mode)
  with pytest.raises(CheckpointError, match=said):
    find(config)


# ---- What is kept --------------------------------------------------------------------------------
def test_the_newest_are_kept(tmp_path):
  save(tmp_path, 1, 2, 3, 4, keep=2)
  assert steps_in(str(tmp_path)) == [3, 4]


def test_all_are_kept_without_a_limit(tmp_path):
  save(tmp_path, 1, 2, 10, keep=None)
  assert steps_in(str(tmp_path)) == [1, 2, 10]


def test_what_a_killed_run_left_half_written_is_no_checkpoint_and_is_cleared_away(tmp_path):
  half = tmp_path / 'checkpoint_7.orbax-checkpoint-tmp'
  half.mkdir(parents=True)
  assert steps_in(str(tmp_path)) == []
  save(tmp_path, 8)
  assert steps_in(str(tmp_path)) == [8]
  assert not half.exists()


def test_saving_and_restoring_are_said_in_one_line_each(tmp_path, log):
  start(save(tmp_path, 8))
  assert [
    record.getMessage() for record in log.records if 'checkpoint_8' in record.getMessage()
  ] == [
    f'Saving {tmp_path}/checkpoint_8.',
    f'Resuming this run from {tmp_path}/checkpoint_8.',
  ]
  assert not [record for record in log.records if 'orbax' in record.pathname]


def test_is_due_follows_the_period(tmp_path):
  config = SaveCheckpointConfig(period=5)
  with checkpoints.CheckpointStore(str(tmp_path), config, {}) as store:
    assert [step for step in range(1, 12) if store.is_due(step)] == [5, 10]
  with checkpoints.CheckpointStore(str(tmp_path), SaveCheckpointConfig(), {}) as store:
    assert not store.is_due(1000)


def test_only_parameters_are_stored_in_the_dtype_of_the_configuration(tmp_path):
  save(tmp_path, 257, dtype='bfloat16')  # bfloat16 knows 256 and 258
  restored = start(tmp_path).state
  assert restored.params['embedding'].dtype == jnp.float32
  assert float(restored.params['embedding'][0, 0]) == 256
  momentum = next(x for x in jax.tree.leaves(restored.opt_state) if x.ndim == 2)
  assert float(momentum[0, 0]) == 257


def test_a_manifest_says_what_made_the_checkpoint(saved):
  manifest = json.loads((saved / 'checkpoint_3' / 'manifest' / 'metadata').read_text())
  assert manifest['tokenizer'] == 'aaa'
  assert manifest['versions']['jax'] == jax.__version__
  assert len(manifest['commit'] or 40 * 'x') == 40


@pytest.mark.parametrize(
  ('made', 'said'),
  [
    (
      lambda: SaveCheckpointConfig(dtype='float16'),
      "dtype='float16'; choose one of",
    ),
    (lambda: SaveCheckpointConfig(keep=0), 'keep=0; keep at least 1'),
    (
      lambda: RestoreCheckpointConfig(mode='newest'),
      "mode='newest'; choose one of",
    ),
  ],
)
def test_configurations_that_cannot_be_are_refused(made, said):
  with pytest.raises(ValueError, match=said):
    made()


# ---- What is refused -----------------------------------------------------------------------------
# TensorStore goes on reading other arrays after Orbax has given up on one.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_truncated_checkpoint_is_refused_with_words(copied):
  files = (copied / 'checkpoint_12' / 'state').rglob('d/*')
  for file in files:
    file.write_bytes(file.read_bytes()[:20])
  with pytest.raises(CheckpointError, match='checkpoint_12 is damaged or incomplete'):
    start(copied)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('lost', ['state/_METADATA', 'manifest/metadata', 'data/metadata'])
def test_a_checkpoint_that_lost_a_file_is_refused_with_words(copied, lost):
  (copied / 'checkpoint_12' / lost).unlink()
  with pytest.raises(CheckpointError, match='checkpoint_12 is damaged or incomplete'):
    start(copied)


def test_another_tokenizer_is_refused(saved):
  other = FakeTokenizer(fingerprint='bbb')
  with pytest.raises(CheckpointError, match=r'another tokenizer \(fingerprint aaa\)'):
    start(saved, other)
  with pytest.raises(CheckpointError, match=r'has \(bbb\); set .*UIO2_TOKENIZER'):
    load(saved / 'checkpoint_3', tokenizer=other)


def test_a_model_of_another_size_is_refused_by_name(copied, monkeypatch):
  monkeypatch.setattr(tiny, 'VOCAB', 24)
  larger = tiny.make_trainer.__wrapped__()
  said = r'target/embedding has shape \(16, 4\) in .*checkpoint_12, but \(24, 4\) in this model'
  with pytest.raises(CheckpointError, match=said):
    start(copied, made=larger)


def test_a_parameter_that_the_checkpoint_lacks_is_refused_unless_allowed(saved, tmp_path, log):
  richer = tiny.make_trainer(tiny.RicherModel)
  path = str(saved / 'checkpoint_12')
  with pytest.raises(CheckpointError, match=r'lacks 3 arrays: .*target/scale'):
    start(tmp_path, made=richer, path=path, mode='specific')
  with pytest.raises(CheckpointError, match='lacks 1 arrays: target/scale'):
    load(path, made=richer)
  state = start(tmp_path, made=richer, path=path, mode='specific', fallback_to_scratch=True).state
  np.testing.assert_array_equal(state.params['scale'], np.ones([tiny.EMBED]))
  np.testing.assert_array_equal(state.params['embedding'], np.full([tiny.VOCAB, tiny.EMBED], 12))
  load(path, made=richer, fallback_to_scratch=True)
  assert 'checkpoint_12 lacks 1 arrays, which START ANEW: target/scale' in log.text


# ---- Parameters alone ----------------------------------------------------------------------------
def test_parameters_are_loaded_alone_with_their_step(saved):
  params, step = load(saved / 'checkpoint_3', dtype='bfloat16')
  assert step == 3
  assert params.keys() == {'embedding', 'mlp'}
  assert params['mlp']['wo'].dtype == jnp.bfloat16
  np.testing.assert_array_equal(params['mlp']['wo'], np.full([tiny.MLP, tiny.VOCAB], 3))


def test_a_model_with_fewer_parameters_reads_those_it_has(tmp_path):
  save(tmp_path, 4, made=tiny.make_trainer(tiny.RicherModel))
  params, _ = load(tmp_path / 'checkpoint_4')
  assert params.keys() == {'embedding', 'mlp'}


def test_the_optimizer_state_can_be_left_behind(saved, tmp_path):
  state = start(
    tmp_path,
    path=str(saved),
    fallback_to_scratch=True,
    state_transformation_fns=state_transforms.remove_optimizer_state(),
  ).state
  assert int(state.step) == 0
  assert float(state.params['embedding'][0, 0]) == 12
  momentum = next(x for x in jax.tree.leaves(state.opt_state) if x.ndim == 2)
  assert float(momentum[0, 0]) == 0


def test_another_optimizer_is_refused_with_the_way_to_leave_its_state_behind(saved, tmp_path):
  frozen = tiny.make_trainer(trainable=('mlp/.*',))
  assert int(start(tmp_path, made=frozen, path=str(saved)).state.step) == 12
  part = save(tmp_path / 'part', 2, made=frozen)
  with pytest.raises(CheckpointError, match='remove_optimizer_state'):
    start(tmp_path, path=str(part))


def test_a_run_that_goes_on_with_another_model_is_refused(saved):
  with pytest.raises(CheckpointError, match=r'target/scale, .*; the run has another model'):
    start(saved, made=tiny.make_trainer(tiny.RicherModel), fallback_to_scratch=True)


@pytest.mark.parametrize('path', [None, 'saved'])
def test_what_is_needed_from_a_checkpoint_never_starts_at_random(saved, tmp_path, path):
  given = {'path': str(saved), 'fallback_to_scratch': True} if path else {}
  made = tiny.make_trainer(tiny.RicherModel)
  begin = functools.partial(start, tmp_path, made=made, **given)
  with pytest.raises(CheckpointError, match=r'scale: not trained, and .* brings 1 of their arrays'):
    begin(needed=('scale',))
  begin(needed=('embedding',) if path else ())  # the checkpoint has it


def test_names_are_translated_by_an_assignment_map(saved):
  params, _ = load(
    saved / 'checkpoint_3', assignment_map=[('target/mlp/wi', 'target/mlp/wi'), (r'x/(.*)', None)]
  )
  assert float(params['mlp']['wi'][0, 0]) == 3
  with pytest.raises(ValueError, match="'target/embeding', which is not there"):
    load(saved / 'checkpoint_3', assignment_map=[('target/embedding', 'target/embeding')])


# ---- The original's format -----------------------------------------------------------------------
@pytest.fixture(scope='module')
def legacy(tmp_path_factory):
  arrays = {
    'token_embedder/embedding': np.full([tiny.VOCAB, tiny.EMBED], 1, np.float32),
    'mlp/wi/kernel': np.full([tiny.EMBED, tiny.MLP], 2, np.float32),
    'mlp/wo/kernel': np.full([tiny.MLP, tiny.VOCAB], 3, np.float32),
  }
  path = tmp_path_factory.mktemp('legacy') / 'checkpoint_3000'
  return legacy_checkpoints.save_t5x_checkpoint(path, arrays, step=3000)


def translate(flat):
  return {
    'embedding': flat['token_embedder/embedding'],
    'mlp': {name: flat[f'mlp/{name}/kernel'] for name in ('wi', 'wo')},
  }


FORMAT = LegacyFormat(translate=translate, base_pieces=7)


def test_the_originals_folder_gives_parameters_and_step_and_a_new_optimizer(legacy, tmp_path, log):
  state = start(tmp_path, FakeTokenizer(), path=str(legacy), mode='specific', legacy=FORMAT).state
  assert int(state.step) == 3000
  assert float(state.params['mlp']['wo'][0, 0]) == 3
  assert all(not np.any(x) for x in jax.tree.leaves(state.opt_state) if x.ndim)
  assert [int(x) for x in jax.tree.leaves(state.opt_state) if not x.ndim and int(x)] == [3000]
  assert 'which START ANEW: state/optimizer' in log.text
  after, _ = tiny.run(1, tiny.MemoryBatches(), tiny.make_trainer(), state)
  assert int(after.step) == 3001
  params, step = load(legacy, legacy=FORMAT)
  assert (step, float(params['mlp']['wi'][0, 0])) == (3000, 2)


def test_the_originals_folder_asks_for_its_tokenizer_and_its_names(legacy):
  with pytest.raises(CheckpointError, match=r'needs a tokenizer of 7 pieces, but .* 8'):
    load(legacy, tokenizer=FakeTokenizer(num_base_pieces=8), legacy=FORMAT)
  with pytest.raises(CheckpointError, match=r'bind RestoreCheckpointConfig\.legacy'):
    load(legacy)


def test_a_damaged_folder_of_the_original_is_refused_with_words(legacy, tmp_path):
  copy = pathlib.Path(shutil.copytree(legacy, tmp_path / 'checkpoint_3000'))
  (copy / 'checkpoint').write_bytes((copy / 'checkpoint').read_bytes()[:50])
  with pytest.raises(CheckpointError, match='cut off'):
    load(copy, legacy=FORMAT)
