"""The tasks' own metrics over a stream of predictions, and every prediction in a file.

Nothing but text, targets and small arrays is kept, so memory does not grow with the pictures.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import inspect
import os
from typing import Any

from absl import logging
import numpy as np
import seqio

from t5x import input_pipeline, json_lines
from t5x.array_types import PyTree
from t5x.loggers import Logger
from t5x.models import BaseModel
from t5x.partitioning import PjitPartitioner
from t5x.prediction import BuildOutputs, Predictor, Row, exchanged, subtasks

_LARGEST_AUX = 4096  # numbers an example; larger arrays (pictures) stay with the example's output


class TaskScore:
  """Gathers what a task's metric functions need of each row."""

  def __init__(self, task: seqio.Task):
    """Starts empty."""
    self.task = task
    self.targets: list[Any] = []
    self.outputs: list[Any] = []
    self.aux: dict[str, list[np.ndarray]] = {}

  def add(self, row: Row) -> Any:
    """Takes one row; returns its target."""
    target = target_of(self.task, row.example)
    self.targets.append(target)
    self.outputs.append(self.task.postprocess_fn(row.output, example=row.example, is_target=False))
    for name, value in row.aux.items():
      if value.size <= _LARGEST_AUX:
        self.aux.setdefault(name, []).append(value)
    return target

  def compute(self) -> dict[str, float]:
    """All metrics of the task.

    Raises:
      ValueError: when two metric functions give the same name.
    """
    known = {
      'targets': self.targets,
      'predictions': self.outputs,
      'aux_values': self.aux,
      'scores': self.aux.get('scores', self.aux.get('text-scores', [])),
    }
    metrics: dict[str, float] = {}
    for fn in self.task.metric_fns:
      wanted = [name for name in inspect.signature(fn).parameters if name in known]
      for name, value in fn(**{name: known[name] for name in wanted}).items():
        if name in metrics:
          raise ValueError(f'two metrics of {self.task.name} are called {name!r}; rename one')
        metrics[name] = value.value if hasattr(value, 'value') else value
    return metrics


def target_of(task: seqio.Task, example: Mapping[str, Any]) -> Any:
  """What the task compares with: its postprocessor's view of an example."""
  return task.postprocess_fn(example.get('text_targets'), example=example, is_target=True)


class Evaluator:
  """Evaluates parameters on every task of a mixture and writes what was predicted."""

  def __init__(
    self,
    *,
    model: BaseModel,
    dataset_cfg: input_pipeline.DatasetConfig,
    partitioner: PjitPartitioner,
    log_dir: str | None,
    build_outputs: BuildOutputs,
    num_examples: int | None = None,
    logger_cls: Sequence[Callable[[str], Logger]] = (),
    log_only: bool = False,
    exchange: Sequence[str] = (),
  ):
    """Finds the tasks; reads no data.

    Args:
      model: whose `predict_batch_with_aux` is called.
      dataset_cfg: task or mixture, split, lengths.
      partitioner: the mesh.
      log_dir: where predictions and metrics are written as JSON lines; None for nowhere.
      build_outputs: aux arrays of a batch -> one output a row.
      num_examples: of each task, from the first; None for all.
      logger_cls: further loggers, each made with `log_dir`.
      log_only: write predictions, compute no metric.
      exchange: prefixes of fields that examples swap with one another, for a control: what is
        said without one's own picture?

    Raises:
      ValueError: when no task of the mixture has both the split and a metric.
    """
    tasks = subtasks(dataset_cfg)
    self.tasks = [t for t in tasks if log_only or t.metric_fns]
    if not self.tasks:
      raise ValueError(
        f'no task of {dataset_cfg.mixture_or_task_name!r} has a metric; evaluate.log_only=True '
        'writes predictions alone'
      )
    self._dataset_cfg, self._log_dir = dataset_cfg, log_dir
    self._num_examples, self._log_only, self._exchange = num_examples, log_only, tuple(exchange)
    self._predictor = Predictor(model, partitioner, build_outputs)
    self._loggers = [make(log_dir) for make in logger_cls] if log_dir else []

  def evaluate(self, params: PyTree, step: int) -> dict[str, dict[str, float]]:
    """{task: {metric: value}}; also written, with every prediction, below `log_dir`.

    Args:
      params: on the mesh.
      step: of the checkpoint, for the names of the files.
    """
    return {task.name: self._evaluate_task(task, params, step) for task in self.tasks}

  def rows(self, task_name: str, params: PyTree) -> Iterator[Row]:
    """Predictions for one task, one at a time."""
    batches = input_pipeline.open_eval(
      self._dataset_cfg, task_name, num_examples=self._num_examples
    )
    if self._exchange:
      batches = ((exchanged(b, self._exchange, len(e)), e) for b, e in batches)
    yield from self._predictor(params, batches)

  def _evaluate_task(self, task, params, step):
    score = TaskScore(task)
    with json_lines.JsonLines(self._path(f'{task.name}-{step:06}.jsonl'), 'w') as predictions:
      for row in self.rows(task.name, params):
        target = score.add(row)
        predictions.write(row_to_json(row, target))
    metrics = {} if self._log_only else score.compute()
    logging.info('step %d, %d examples of %s: %s', step, len(score.targets), task.name, metrics)
    with json_lines.JsonLines(self._path(f'{task.name}-metrics.jsonl'), 'a') as lines:
      lines.write({'step': step, **json_lines.to_json(metrics)})
    numbers = {n: float(v) for n, v in metrics.items() if np.isscalar(v) and not isinstance(v, str)}
    for logger in self._loggers:
      logger.write(task.name, step, {f'eval/{name}': value for name, value in numbers.items()})
    return numbers

  def _path(self, name: str) -> str | None:
    return self._log_dir and os.path.join(self._log_dir, name)


def row_to_json(row: Row, target: Any = None) -> dict[str, Any]:
  """`input` (raw fields), `target`, `prediction` (decoded text) and `aux_NAME` of one row."""
  return {
    'input': json_lines.to_json(row.example),
    'target': json_lines.to_json(target),
    'prediction': row.output.text,
    **{f'aux_{name}': json_lines.to_json(value) for name, value in row.aux.items()},
  }
