"""evaluate(): which checkpoints it takes, what it writes, nothing random unless asked."""

import json
import logging

from absl import logging as absl_logging
import pytest
import seqio

from t5x import eval as eval_script
from t5x import evaluation, input_pipeline
from t5x.checkpoint_config import CheckpointError, RestoreCheckpointConfig
from t5x.partitioning import PjitPartitioner
from tests.unit.t5x import echo

TASK = 'eval_test_echo'


def mean(targets, predictions):
  return {'mean': sum(int(said.text) for said in predictions) / len(targets)}


@pytest.fixture(scope='module', autouse=True)
def registered():
  source = seqio.FunctionDataSource(lambda split, shuffle_files: None, splits=('validation',))
  seqio.TaskRegistry.add(TASK, source=source, output_features={}, metric_fns=[mean])
  yield
  seqio.TaskRegistry.remove(TASK)


@pytest.fixture
def evaluate(monkeypatch, tmp_path):
  """evaluate() on five numbers, whose mean is 2, with checkpoints of steps 1, 2, 10."""

  def open_eval(cfg, task_name, *, num_examples=None):
    return echo.batches(num_examples or 5)

  monkeypatch.setattr(input_pipeline, 'open_eval', open_eval)
  echo.save(str(tmp_path / 'model'), 1, 2, 10)

  def call(path, mode='specific', **settings):
    return eval_script.evaluate(
      model=echo.Echo(),
      dataset_cfg=input_pipeline.DatasetConfig(
        mixture_or_task_name=TASK, task_feature_lengths={}, split='validation', batch_size=4
      ),
      restore_checkpoint_cfg=RestoreCheckpointConfig(path=path, mode=mode),
      partitioner=PjitPartitioner(num_partitions=8),
      output_dir=str(tmp_path / 'out'),
      inference_evaluator_cls=lambda **kw: evaluation.Evaluator(
        build_outputs=echo.build_outputs, **kw
      ),
      **settings,
    )

  return call


def metrics_of(folder):
  lines = (folder / 'out' / 'inference_eval' / f'{TASK}-metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
  ('folder', 'mode', 'want'),
  [
    ('model/checkpoint_2', 'specific', {2: 4.0}),
    ('model', 'latest', {10: 12.0}),
    ('model', 'all', {1: 3.0, 2: 4.0, 10: 12.0}),
  ],
)
def test_each_checkpoint_that_is_named_is_evaluated_with_its_own_step(
  evaluate, tmp_path, folder, mode, want
):
  got = evaluate(str(tmp_path / folder), mode)
  assert got == {step: {TASK: {'mean': value}} for step, value in want.items()}
  assert metrics_of(tmp_path) == [{'step': step, 'mean': value} for step, value in want.items()]
  assert (tmp_path / 'out' / 'config.gin').exists()


def test_a_missing_checkpoint_is_refused(evaluate, tmp_path):
  with pytest.raises(CheckpointError, match='does not exist'):
    evaluate(str(tmp_path / 'model' / 'checkpoint_3'))


def test_without_a_checkpoint_nothing_is_evaluated(evaluate, tmp_path):
  with pytest.raises(CheckpointError, match='no checkpoint is named'):
    evaluate('')
  assert not (tmp_path / 'out' / 'inference_eval').exists()


def test_random_parameters_are_taken_only_when_asked_for_and_said_aloud(
  evaluate, caplog, monkeypatch
):
  monkeypatch.setattr(absl_logging.get_absl_logger(), 'propagate', True)
  with caplog.at_level(logging.WARNING, logger='absl'):
    got = evaluate('', fallback_init_rng=3)
  assert got[0][TASK]['mean'] > 100
  assert 'these parameters are RANDOM, seed 3' in caplog.text


def test_log_only_writes_predictions_and_no_metric(evaluate, tmp_path):
  assert evaluate(str(tmp_path / 'model'), 'latest', log_only=True) == {10: {TASK: {}}}
  file = tmp_path / 'out' / 'inference_eval' / f'{TASK}-000010.jsonl'
  assert [json.loads(line)['prediction'] for line in file.read_text().splitlines()] == [
    '10', '11', '12', '13', '14',
  ]  # fmt: skip
