import json
import logging
import types

from absl import logging as absl_logging
import pytest

from t5x import optimizers, partitioning, train
from t5x.checkpoint_config import (
  CheckpointConfig,
  CheckpointError,
  RestoreCheckpointConfig,
  SaveCheckpointConfig,
  steps_in,
)
from t5x.input_pipeline import DatasetConfig
from tests import tiny_training as tiny


@pytest.fixture
def log(caplog, monkeypatch):
  monkeypatch.setattr(absl_logging.get_absl_logger(), 'propagate', True)
  caplog.set_level(logging.INFO, logger='absl')
  return caplog


def run(folder, steps, *, model=None, period=None, restore=None, learning_rate=0.1, **settings):
  return train.train(
    model=model or tiny.TinyModel(),
    optimizer=optimizers.adamw(learning_rate),
    train_dataset_cfg=tiny.MemoryConfig(),
    checkpoint_cfg=CheckpointConfig(save=SaveCheckpointConfig(period=period), restore=restore),
    partitioner=partitioning.PjitPartitioner(),
    model_dir=str(folder),
    total_steps=steps,
    random_seed=3,
    **{'open_batches': tiny.MemoryBatches.open, **settings},
  )


def logged(folder, collection='train'):
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  return {r['step']: r['values'] for r in map(json.loads, lines) if r['collection'] == collection}


def test_a_run_leaves_checkpoints_numbers_and_what_it_was_made_with(tmp_path, capsys):
  state = run(tmp_path, 5, period=2, stats_period=2, config_text=lambda: 'train.x = 1\n')
  assert int(state.step) == 5
  assert steps_in(str(tmp_path)) == [2, 4, 5]
  rows = logged(tmp_path)
  assert list(rows) == [2, 4, 5]
  assert {'loss', 'text/loss', 'weight_gradient_norm', 'learning_rate_current'} <= set(rows[5])
  assert rows[2]['timing/compilation_seconds'] > 0
  assert (tmp_path / 'config.gin').read_text() == 'train.x = 1\n'
  manifest = json.loads((tmp_path / 'manifest.json').read_text())
  assert (manifest['seed'], manifest['origin']) == (3, 'scratch')
  assert 'Total number of parameters: 224' in (tmp_path / 'model-info.txt').read_text()
  assert list((tmp_path / 'train').glob('events.out.tfevents.*'))
  assert 'step 5/5' in capsys.readouterr().err


def test_a_run_that_is_not_finite_stops_and_keeps_its_last_checkpoint(tmp_path):
  poisoned = lambda cfg, host: tiny.MemoryBatches(cfg.seed, poison=4)  # the fifth batch
  with pytest.raises(FloatingPointError, match='of the steps 5 to 6; the last checkpoint'):
    run(
      tmp_path, 9, model=tiny.PoisonedModel(), open_batches=poisoned, period=2, stats_period=4
    )  # fmt: skip
  assert steps_in(str(tmp_path)) == [2, 4]


def test_batches_are_closed_also_when_a_run_breaks(tmp_path):
  batches = tiny.MemoryBatches(poison=0)
  with pytest.raises(FloatingPointError):
    run(tmp_path, 2, model=tiny.PoisonedModel(), open_batches=lambda cfg, host: batches)
  assert batches.closed


def test_stopping_early_does_not_bend_the_schedule(tmp_path):
  decay = lambda step: 0.1 / (1 + step.astype('float32'))
  run(tmp_path, 6, learning_rate=decay, stats_period=1, debug=train.DebugConfig(stop_after=2))
  run(tmp_path, 6, learning_rate=decay, stats_period=1)
  rates = {step: row['learning_rate_current'] for step, row in logged(tmp_path).items()}
  assert rates == pytest.approx({n: 0.1 / n for n in range(1, 7)})


def test_a_part_that_is_neither_trained_nor_supplied_is_refused_unless_allowed_by_name(tmp_path):
  mlp_alone = {'trainable': ('mlp/.*',), 'stats_period': 1}
  with pytest.raises(CheckpointError, match=r"allow_random_frozen = \('embedding',\)"):
    run(tmp_path / 'refused', 1, **mlp_alone)
  assert not (tmp_path / 'refused').exists()
  with pytest.raises(ValueError, match=r"no part 'embeding'; there are \['embedding'\]"):
    run(tmp_path, 1, allow_random_frozen=('embeding',), **mlp_alone)
  run(tmp_path / 'first', 1, allow_random_frozen=('embedding',), **mlp_alone)
  first = RestoreCheckpointConfig(path=str(tmp_path / 'first'))
  second = run(tmp_path / 'second', 2, restore=first, **mlp_alone)  # a checkpoint supplies it
  assert int(second.step) == 2


def test_more_steps_than_wanted_are_refused(tmp_path):
  run(tmp_path, 3)
  with pytest.raises(ValueError, match='3 steps are made, but total_steps=2'):
    run(tmp_path, 2)


def test_the_seed_of_a_run_is_kept_and_a_change_is_said_aloud(tmp_path, log):
  assert train.choose_seed(7, str(tmp_path)) == 7
  drawn = train.choose_seed(None, str(tmp_path))
  assert f'random_seed is not given; using {drawn}' in log.text
  (tmp_path / 'manifest.json').write_text('{"seed": 5}')
  assert train.choose_seed(None, str(tmp_path)) == 5
  assert train.choose_seed(7, str(tmp_path)) == 7
  assert 'This run had random_seed=5 before; going on with 7' in log.text


def test_data_without_a_seed_takes_that_of_the_run():
  assert train.with_seed(tiny.MemoryConfig(seed=None), 9).seed == 9
  assert train.with_seed(tiny.MemoryConfig(seed=0), 9).seed == 0


@pytest.mark.parametrize(
  ('given', 'others', 'wanted'),
  [(50, (10, 20), 50), (None, (0, 20, None), 20), (None, (30, 20), 20)],
)
def test_reports_come_as_told_or_as_often_as_the_rarest_need(given, others, wanted):
  assert train.report_period(given, *others) == wanted


def test_evaluations_are_made_and_written(tmp_path, monkeypatch):
  rows = tiny.MemoryBatches(seed=1)
  tasks = [types.SimpleNamespace(name=n, splits=s) for n, s in (('a', ['val']), ('b', ['train']))]
  monkeypatch.setattr(train.task_examples, 'get_mixture_or_task', lambda name: name)
  monkeypatch.setattr(train.seqio, 'get_subtasks', lambda name: tasks)
  asked = []

  def open_eval(cfg, task, *, num_examples):
    asked.append((task, num_examples))
    return [(rows.at(0), [{}] * tiny.ROWS), (rows.at(1), [{}] * tiny.ROWS), (rows.at(2), [{}] * 3)]

  monkeypatch.setattr(train.input_pipeline, 'open_eval', open_eval)

  class FakeEvaluator:
    def __init__(self, *, model, dataset_cfg, partitioner, log_dir):
      assert log_dir == str(tmp_path / 'inference_eval')

    def evaluate(self, params, step):
      return {'a': {'accuracy': step / 10}}

  cfg = DatasetConfig('mixture', {}, 'val', tiny.ROWS)
  run(
    tmp_path, 4, train_eval_dataset_cfg=cfg, infer_eval_dataset_cfg=cfg, eval_steps=3,
    eval_period=2, inference_evaluator_cls=FakeEvaluator,
  )  # fmt: skip
  assert asked == [('a', 3 * tiny.ROWS)]  # once; it is read again and again
  assert logged(tmp_path, 'inference_eval/a') == {2: {'accuracy': 0.2}, 4: {'accuracy': 0.4}}
  losses = logged(tmp_path, 'training_eval/a')
  assert losses[4]['text/loss'] < losses[2]['text/loss']


def test_the_padded_last_batch_of_a_task_is_left_out_unless_it_is_the_only_one(monkeypatch):
  cfg = DatasetConfig('mixture', {}, 'val', 2)
  task = types.SimpleNamespace(name='a', splits=['val'])
  monkeypatch.setattr(train.task_examples, 'get_mixture_or_task', lambda name: name)
  monkeypatch.setattr(train.seqio, 'get_subtasks', lambda name: [task])
  taken = []
  trainer = types.SimpleNamespace(evaluate=lambda params, batches: taken.extend(batches) or {})
  for pairs in ([('whole', [1, 2]), ('padded', [3])], [('only', [1])]):
    opened = lambda *args, pairs=pairs, **kwargs: pairs
    monkeypatch.setattr(train.input_pipeline, 'open_eval', opened)
    train.TeacherForced(trainer, cfg, 5)({}, 0)
  assert taken == ['whole', 'only']
