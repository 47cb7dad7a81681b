"""From a checkpoint and batches to one output an example, in one stream."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import os
from typing import Any

from absl import logging
import jax
import numpy as np
import optax
import seqio

from t5x import checkpoint_config, checkpoints, input_pipeline, task_examples, train_state
from t5x.array_types import Array, Batch, PyTree
from t5x.checkpoint_config import CheckpointError, RestoreCheckpointConfig, Tokenizer
from t5x.models import BaseModel
from t5x.partitioning import PjitPartitioner


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
    waiting, count = None, 0
    for batch, examples in batches:
      count += len(examples)
      logging.log_every_n_seconds(logging.INFO, 'Predicting example %d.', 30, count)
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


def write_config(folder: str, text: str) -> None:
  """Writes `folder/config.gin`."""
  os.makedirs(folder, exist_ok=True)
  with open(os.path.join(folder, 'config.gin'), 'w', encoding='utf-8') as file:
    file.write(text)
