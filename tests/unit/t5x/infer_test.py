"""infer(): one line an example, in order, however often it was stopped."""

import json

import pytest
import seqio

from t5x import gin_utils, infer, input_pipeline
from t5x.bindings import UserError
from t5x.checkpoint_config import CheckpointError, RestoreCheckpointConfig
from t5x.partitioning import PjitPartitioner
from tests.unit.t5x import echo

TASK = 'infer_test_echo'
COUNT = 11


@pytest.fixture(scope='module', autouse=True)
def registered():
  source = seqio.FunctionDataSource(lambda split, shuffle_files: None, splits=('validation',))
  seqio.TaskRegistry.add(TASK, source=source, output_features={}, metric_fns=[])
  yield
  seqio.TaskRegistry.remove(TASK)


class Interrupted(Exception):
  """Stands for a kill."""


@pytest.fixture
def run(monkeypatch, tmp_path):
  """infer() on 11 numbers in batches of 4; returns how many batches were predicted."""
  monkeypatch.setattr(
    input_pipeline, 'open_eval', lambda cfg, task, *, num_examples=None: echo.batches(
      min(COUNT, num_examples or COUNT)
    ),
  )  # fmt: skip
  echo.save(str(tmp_path / 'model'), 7)

  def call(output='out', stop_at=None, path='model/checkpoint_7', **settings):
    built = []

    def build_outputs(aux):
      built.append(aux)
      return echo.build_outputs(aux)

    def describe(row):
      if row.output.text == stop_at:
        raise Interrupted
      return {'input': row.example['text_inputs'], 'text': row.output.text}

    infer.infer(
      model=echo.Echo(),
      dataset_cfg=input_pipeline.DatasetConfig(
        mixture_or_task_name=TASK, task_feature_lengths={}, split='validation', batch_size=4
      ),
      restore_checkpoint_cfg=RestoreCheckpointConfig(path=str(tmp_path / path), mode='specific'),
      partitioner=PjitPartitioner(num_partitions=8),
      output_dir=str(tmp_path / output),
      build_outputs=build_outputs,
      describe_row=describe,
      **settings,
    )
    return len(built)

  return call


def test_each_example_is_one_line_in_order(run, tmp_path):
  assert run() == 3
  lines = (tmp_path / 'out' / f'{TASK}-7.jsonl').read_text().splitlines()
  assert [json.loads(line) for line in lines] == [
    {'index': n, 'input': f'ask {n}', 'text': str(n + 7)} for n in range(COUNT)
  ]
  assert not list((tmp_path / 'out').glob('*.partial'))


@pytest.mark.parametrize('cut', [0, 3])  # bytes lost of the last line
@pytest.mark.parametrize(('stop_at', 'batches_left'), [(7, 3), (10, 3), (11, 2), (17, 1)])
def test_a_run_that_was_stopped_ends_with_the_file_of_an_unbroken_one(
  run, tmp_path, stop_at, batches_left, cut
):
  run('unbroken')
  with pytest.raises(Interrupted):
    run(stop_at=str(stop_at))
  partial = tmp_path / 'out' / f'{TASK}-7.jsonl.partial'
  assert len(partial.read_text().splitlines()) == stop_at - 7
  partial.write_bytes(partial.read_bytes()[: -cut or None])
  lost_a_batch = cut and stop_at in (11,)
  assert run() == batches_left + bool(lost_a_batch)
  name = f'{TASK}-7.jsonl'
  assert (tmp_path / 'out' / name).read_bytes() == (tmp_path / 'unbroken' / name).read_bytes()


def test_a_finished_file_is_left_alone(run):
  run()
  assert run() == 0


def test_only_the_asked_number_is_predicted(run, tmp_path):
  assert run(num_examples=5) == 2
  assert len((tmp_path / 'out' / f'{TASK}-7.jsonl').read_text().splitlines()) == 5


def test_a_folder_of_another_configuration_is_refused(run, monkeypatch):
  run()
  monkeypatch.setattr(gin_utils, 'config_text', lambda: 'another')
  with pytest.raises(UserError, match='predictions of another configuration'):
    run()


def test_a_missing_checkpoint_is_refused(run):
  with pytest.raises(CheckpointError, match='does not exist'):
    run(path='model/checkpoint_8')
