"""What a run can know before it starts: its arguments, whether they can work, its size."""

from collections.abc import Callable, Mapping
import copy
import importlib
import inspect
import os
from typing import Any

import gin
import jax
import optax
import seqio
import tensorflow as tf

from t5x import bindings, checkpoint_config, task_examples, train_state
from t5x.bindings import UserError, explained
from t5x.checkpoint_config import CheckpointConfig, RestoreCheckpointConfig
from t5x.input_pipeline import DatasetConfig
from t5x.models import BaseModel
from t5x.partitioning import PjitPartitioner


def hide_accelerators_from_tf() -> None:
  """Keeps TensorFlow, which only prepares data here, off the accelerators' memory, and quiet."""
  os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
  for kind in ('GPU', 'TPU'):
    tf.config.set_visible_devices([], kind)


def set_tfds_data_dir(folder: str) -> None:
  """Makes every task read its TFDS data below `folder`, whatever its configuration says."""
  seqio.set_tfds_data_dir_override(folder)


def arguments_of(fn: Callable[..., Any]) -> dict[str, Any]:
  """The arguments that gin supplies to `fn`, built.

  Raises:
    UserError: where one is missing or cannot be built.
  """
  with explained():
    if gin.config._inverse_lookup(fn) is None:
      raise UserError(f'No gin file names {fn.__name__}(); add the --gin_file of a run.')
    arguments = gin.get_bindings(fn)
  for name, parameter in inspect.signature(fn).parameters.items():
    if parameter.default is parameter.empty and name not in arguments:
      raise UserError(f'No gin file gives {fn.__name__}() its {name}.')
  return arguments


# ---- Checks --------------------------------------------------------------------------------------
def check(arguments: Mapping[str, Any], *, files: bool = True) -> None:
  """Refuses a task, a split or a checkpoint that does not exist.

  Args:
    arguments: of the entry point.
    files: look for the data and the checkpoint, too.

  Raises:
    UserError: one sentence, with the near names.
  """
  with explained():
    for value in arguments.values():
      if isinstance(value, DatasetConfig):
        _check_dataset(value, files)
        if partitioner := _first(arguments, PjitPartitioner):
          partitioner.check_batch_size(value.batcher.groups(value.batch_size))
    if not files:
      return
    resumed = checkpoint_config.steps_in(arguments.get('model_dir', ''))
    for value in arguments.values():
      if isinstance(value, CheckpointConfig) and not resumed:
        value = value.restore
      if isinstance(value, RestoreCheckpointConfig):
        checkpoint_config.find(value)


def _check_dataset(cfg: DatasetConfig, files: bool) -> None:
  if cfg.module:
    importlib.import_module(cfg.module)
  tasks = seqio.get_subtasks(task_examples.get_mixture_or_task(cfg.mixture_or_task_name))
  if files and not any(cfg.split in task.splits for task in tasks):
    known = {split for task in tasks for split in task.splits}
    raise UserError(
      f'{cfg.mixture_or_task_name} has no split {cfg.split}{bindings.near(cfg.split, known)}'
    )


# ---- Dry run -------------------------------------------------------------------------------------
def describe(arguments: Mapping[str, Any]) -> str:
  """The batch and every parameter, as two tables; '' for a run without a model.

  The macro BATCH_SPEC of the size file, a function of batch size and lengths, tells the fields of a
  batch without reading data.

  Args:
    arguments: of the entry point; the first dataset gives the batch.
  """
  found = [_first(arguments, kind) for kind in (BaseModel, DatasetConfig, PjitPartitioner)]
  if None in found or 'BATCH_SPEC' not in bindings.macros():
    return ''
  model, dataset, partitioner = found
  batch_spec = copy.deepcopy(bindings.macros()['BATCH_SPEC'])  # gin resolves what it copies
  fields = batch_spec(dataset.batch_size, dataset.task_feature_lengths)
  spec = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in fields.items()}
  axes = model.param_axes(spec)
  optimizer, update = arguments.get('optimizer'), optax.identity()
  if optimizer is not None:
    update = optimizer.build(axes, arguments.get('trainable', ('.*',)))
  plan = train_state.plan_state(model, update, partitioner, spec, axes, jax.random.key(0))
  rows = [f'{name:<40} {x.dtype.name:<10} {x.shape}' for name, x in spec.items()]
  table = train_state.parameter_table(plan, partitioner)
  return '\n'.join(['# Batch:', *rows, '', '# Parameters:', table])


def _first(arguments: Mapping[str, Any], kind: type) -> Any:
  return next((value for value in arguments.values() if isinstance(value, kind)), None)
