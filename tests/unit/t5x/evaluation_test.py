"""Evaluation with a model that echoes its input: order, padding, metrics, files."""

import json

import numpy as np
import pytest
import seqio

from t5x import evaluation, input_pipeline, prediction
from t5x.partitioning import PjitPartitioner
from tests.unit.t5x.echo import Echo, batches, bias, build_outputs

TASK, MIXTURE = 'evaluation_test_echo', 'evaluation_test_mixture'


def equal(targets, predictions, aux_values):
  right = [target == said.text for target, said in zip(targets, predictions, strict=True)]
  return {'equal': float(np.mean(right)), 'scores': float(sum(aux_values['scores']))}


def count(targets, predictions):
  assert len(targets) == len(predictions)
  return {'count': len(targets), 'words': 'text is kept in the file'}


def target(output, example, is_target):
  return example['meta/answer'] if is_target else output


@pytest.fixture(scope='module', autouse=True)
def registered():
  source = seqio.FunctionDataSource(lambda split, shuffle_files: None, splits=('validation',))
  for name, metrics in ((TASK, [equal, count]), (f'{TASK}_bare', [])):
    seqio.TaskRegistry.add(
      name, source=source, output_features={}, postprocess_fn=target, metric_fns=metrics
    )
  seqio.MixtureRegistry.add(MIXTURE, [TASK, f'{TASK}_bare'], default_rate=1)
  yield
  for name in (TASK, f'{TASK}_bare'):
    seqio.TaskRegistry.remove(name)
  seqio.MixtureRegistry.remove(MIXTURE)


def evaluator(monkeypatch, count=10, name=TASK, model=None, **settings):
  def open_eval(cfg, task_name, *, num_examples=None):
    return batches(count if num_examples is None else min(count, num_examples))

  monkeypatch.setattr(input_pipeline, 'open_eval', open_eval)
  cfg = input_pipeline.DatasetConfig(
    mixture_or_task_name=name, task_feature_lengths={}, split='validation', batch_size=4
  )
  arguments = {'log_dir': None, 'build_outputs': build_outputs, **settings}
  return evaluation.Evaluator(
    model=model or Echo(),
    dataset_cfg=cfg,
    partitioner=PjitPartitioner(num_partitions=8),
    **arguments,
  )


# ---- Rows ----------------------------------------------------------------------------------------
def test_rows_come_in_order_without_padding_and_the_model_is_compiled_once(monkeypatch):
  model = Echo()
  rows = list(evaluator(monkeypatch, model=model).rows(TASK, bias(0)))
  assert [row.output.text for row in rows] == [str(n) for n in range(10)]
  assert [row.example['text_inputs'] for row in rows] == [f'ask {n}' for n in range(10)]
  assert model.traced == 1


def test_predictions_are_made_one_batch_ahead_and_no_more(monkeypatch):
  opened = []

  def watched():
    for batch, examples in batches(40):
      opened.append(len(opened))
      yield batch, examples

  predictor = prediction.Predictor(Echo(), PjitPartitioner(num_partitions=8), build_outputs)
  rows = predictor(bias(0), watched())
  next(rows)
  assert len(opened) == 2


def test_only_the_asked_number_of_examples_is_evaluated(monkeypatch):
  assert evaluator(monkeypatch, num_examples=6).evaluate(bias(0), 0)[TASK]['count'] == 6


def test_exchanged_fields_come_from_another_row_half_a_batch_away_and_padding_stays():
  batch = {'inputs/image/input': np.arange(6), 'inputs/text/tokens': np.arange(6)}
  got = prediction.exchanged(batch, ['inputs/image/'], rows=5)
  assert got['inputs/image/input'].tolist() == [3, 4, 0, 1, 2, 5]
  assert got['inputs/text/tokens'].tolist() == [0, 1, 2, 3, 4, 5]


def test_an_evaluator_exchanges_what_it_is_told_to(monkeypatch):
  rows = evaluator(monkeypatch, count=4, exchange=('inputs/image/',)).rows(TASK, bias(0))
  pairs = [(row.output.text, float(row.aux['scores'])) for row in rows]
  assert pairs == [('0', 2.0), ('1', 3.0), ('2', 0.0), ('3', 1.0)]


# ---- Metrics -------------------------------------------------------------------------------------
def test_metrics_see_each_example_once(monkeypatch):
  got = evaluator(monkeypatch).evaluate(bias(0), 5)
  assert got == {TASK: {'equal': 1.0, 'scores': 45.0, 'count': 10.0}}


def test_metrics_see_the_parameters_that_are_given(monkeypatch):
  assert evaluator(monkeypatch).evaluate(bias(1), 5)[TASK]['equal'] == 0.0


def test_large_arrays_are_not_gathered(monkeypatch):
  score = evaluation.TaskScore(seqio.TaskRegistry.get(TASK))
  for row in evaluator(monkeypatch).rows(TASK, bias(0)):
    score.add(row)
  assert sorted(score.aux) == ['scores', 'text-tokens']


def test_two_metrics_of_one_name_are_refused(monkeypatch):
  task = seqio.TaskRegistry.get(TASK).replace(metric_fns=[count, count])
  with pytest.raises(ValueError, match=r"two metrics of .* are called 'count'"):
    evaluation.TaskScore(task).compute()


def test_tasks_without_metrics_are_left_out_of_a_mixture_and_refused_alone(monkeypatch):
  assert list(evaluator(monkeypatch, name=MIXTURE).evaluate(bias(0), 0)) == [TASK]
  with pytest.raises(ValueError, match='has a metric'):
    evaluator(monkeypatch, name=f'{TASK}_bare')


def test_log_only_writes_predictions_of_tasks_without_metrics(monkeypatch, tmp_path):
  made = evaluator(monkeypatch, name=MIXTURE, log_only=True, log_dir=str(tmp_path))
  assert made.evaluate(bias(0), 3) == {TASK: {}, f'{TASK}_bare': {}}
  assert len((tmp_path / f'{TASK}_bare-000003.jsonl').read_text().splitlines()) == 10


def test_a_split_that_no_task_has_is_refused_with_those_there_are(monkeypatch):
  cfg = input_pipeline.DatasetConfig(
    mixture_or_task_name=TASK, task_feature_lengths={}, split='tset', batch_size=4
  )
  with pytest.raises(ValueError, match=r"no task of .* has a split 'tset': .*validation"):
    prediction.subtasks(cfg)


# ---- Files ---------------------------------------------------------------------------------------
def test_predictions_and_metrics_are_written_as_json_lines(monkeypatch, tmp_path):
  made = evaluator(monkeypatch, log_dir=str(tmp_path))
  made.evaluate(bias(0), 7)
  made.evaluate(bias(0), 8)
  lines = lambda name: map(json.loads, (tmp_path / name).read_text().splitlines())
  rows = list(lines(f'{TASK}-000007.jsonl'))
  assert rows[9] == {
    'input': {'meta/answer': '9', 'text_inputs': 'ask 9'},
    'target': '9',
    'prediction': '9',
    'aux_text-tokens': [9],
    'aux_scores': 9.0,
    'aux_image': 'array of shape (80, 80), float32: 0.0, 0.0, 0.0, 0.0, 0.0, ...',
  }
  metrics = list(lines(f'{TASK}-metrics.jsonl'))
  assert [line['step'] for line in metrics] == [7, 8]
  assert metrics[0]['words'] == 'text is kept in the file'


def test_loggers_get_the_numbers_of_each_task(monkeypatch, tmp_path):
  written = []

  class Spy:
    def __init__(self, folder):
      assert folder == str(tmp_path)

    def write(self, collection, step, values):
      written.append((collection, step, dict(values)))

  evaluator(monkeypatch, log_dir=str(tmp_path), logger_cls=(Spy,)).evaluate(bias(0), 7)
  numbers = {'eval/equal': 1.0, 'eval/scores': 45.0, 'eval/count': 10.0}
  assert written == [(TASK, 7, numbers)]
