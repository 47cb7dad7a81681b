"""Runs a model over an eval set in one stream: predictions out, the tasks' own metrics at the end.

Nothing but text, targets and small arrays is kept, so memory does not grow with the pictures.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import inspect
import os
from typing import Any

from absl import logging
import jax
import numpy as np
import optax
import seqio

from t5x import (
  checkpoint_config,
  checkpoints,
  input_pipeline,
  json_lines,
  task_examples,
  train_state,
)
from t5x.array_types import Array, Batch, PyTree
from t5x.checkpoint_config import CheckpointError, RestoreCheckpointConfig, Tokenizer
from t5x.loggers import Logger
from t5x.models import BaseModel
from t5x.partitioning import PjitPartitioner

_LARGEST_AUX = 4096  # numbers an example; larger arrays (pictures) stay with the example's output


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One evaluated example.

  Attributes:
    example: its raw fields, before features were made.
    output: what the model said, wrapped by the example's `build_outputs`; has `.text`.
    aux: arrays that came with it, without the batch axis.
  """

  example: Mapping[str, Any]
  output: Any
  aux: Mapping[str, np.ndarray]


# aux arrays of a batch -> one output a row
BuildOutputs = Callable[[Mapping[str, np.ndarray]], Sequence[Any]]


# ---- Prediction ----------------------------------------------------------------------------------
class Predictor:
  """`model.predict_batch_with_aux`, compiled once for each shape of batch."""

  def __init__(self, model: BaseModel, partitioner: PjitPartitioner, build_outputs: BuildOutputs):
    """Compiles nothing yet."""
    self._partitioner, self._build_outputs = partitioner, build_outputs
    self._predict = jax.jit(
      lambda params, batch: model.predict_batch_with_aux(params, batch)[1],
      out_shardings=partitioner.replicated,
    )

  def __call__(
    self, params: PyTree, batches: Iterable[tuple[Batch, Sequence[Mapping[str, Any]]]]
  ) -> Iterator[Row]:
    """Rows of all batches in order; the device works on the next batch while one is read.

    Args:
      params: on the mesh.
      batches: pairs (batch, examples); rows of a batch beyond its examples are padding.
    """
    waiting = None
    for batch, examples in batches:
      running = self._start(params, batch), examples
      if waiting:
        yield from self._finish(*waiting)
      waiting = running
    if waiting:
      yield from self._finish(*waiting)

  def _start(self, params: PyTree, batch: Batch) -> dict[str, Array]:
    fields = {name: value for name, value in batch.items() if not name.startswith('stream/')}
    with self._partitioner.scope():
      return self._predict(params, self._partitioner.to_global(fields))

  def _finish(self, aux, examples):
    aux = jax.tree.map(np.asarray, aux)
    outputs = self._build_outputs(aux)
    for i, example in enumerate(examples):
      yield Row(example=example, output=outputs[i], aux={name: x[i] for name, x in aux.items()})


def restored(
  model: BaseModel,
  restore: RestoreCheckpointConfig,
  partitioner: PjitPartitioner,
  dataset_cfg: input_pipeline.DatasetConfig,
  tokenizer: Tokenizer | None,
  fallback_init_rng: int | None = None,
) -> Iterator[tuple[str, PyTree, int]]:
  """(path, parameters, step) of each checkpoint that `restore` names, one at a time.

  Args:
    model: whose parameters.
    restore: names the checkpoints.
    partitioner: the mesh.
    dataset_cfg: tells the fields of a batch.
    tokenizer: of the text; a checkpoint made with another one is refused.
    fallback_init_rng: seed of random parameters, taken only where no checkpoint is named.

  Raises:
    CheckpointError: when one is missing or cannot be taken, or none is named and no seed given.
  """
  task = subtasks(dataset_cfg)[0].name
  batch, _ = next(iter(input_pipeline.open_eval(dataset_cfg, task, num_examples=1)))
  spec = train_state.batch_spec(batch)
  paths = checkpoint_config.find(restore)
  for path in paths:
    params, step = checkpoints.load_params(
      path, model, spec, partitioner=partitioner, config=restore, tokenizer=tokenizer
    )
    yield path, params, step
  if paths:
    return
  if fallback_init_rng is None:
    raise CheckpointError(
      'no checkpoint is named; set CHECKPOINT_PATH, or fallback_init_rng to a seed if random '
      'parameters are wanted'
    )
  logging.warning(
    'No checkpoint is named: these parameters are RANDOM, seed %d.', fallback_init_rng
  )
  key = jax.random.key(fallback_init_rng)
  plan = train_state.plan_state(
    model, optax.identity(), partitioner, spec, model.param_axes(spec), key
  )
  yield 'random parameters', plan.init().params, 0


def subtasks(cfg: input_pipeline.DatasetConfig) -> list[seqio.Task]:
  """The tasks of a mixture, or the one task, that have the split, by name.

  Raises:
    ValueError: for an unknown name, or when no task has the split.
    FileNotFoundError: when the data of a task are missing.
  """
  tasks = seqio.get_subtasks(task_examples.get_mixture_or_task(cfg.mixture_or_task_name))
  having = [task for task in tasks if cfg.split in task.splits]
  if not having:
    splits = {task.name: sorted(task.splits) for task in tasks}
    raise ValueError(f'no task of {cfg.mixture_or_task_name!r} has a split {cfg.split!r}: {splits}')
  return sorted(having, key=lambda task: task.name)


def exchanged(batch: Batch, prefixes: Sequence[str], rows: int) -> dict[str, Array]:
  """The batch with some fields moved on by half of its first `rows` rows.

  Half, because neighbours are often about the same picture.

  Args:
    batch: flat dict of numpy arrays.
    prefixes: of the names of the fields to move: ('inputs/image/',).
    rows: those behind are padding and stay.
  """
  order = np.arange(next(iter(batch.values())).shape[0])
  order[:rows] = np.roll(order[:rows], rows // 2)
  return {n: x[order] if n.startswith(tuple(prefixes)) else x for n, x in batch.items()}


# ---- Metrics -------------------------------------------------------------------------------------
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


# ---- Evaluation ----------------------------------------------------------------------------------
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


def write_config(folder: str, text: str) -> None:
  """Writes `folder/config.gin`."""
  os.makedirs(folder, exist_ok=True)
  with open(os.path.join(folder, 'config.gin'), 'w', encoding='utf-8') as file:
    file.write(text)
