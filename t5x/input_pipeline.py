"""Batches for training and evaluation, made from registered seqio tasks in our own order.

A task gives source, preprocessors and features; `t5x.stream` says which example comes when. The
last preprocessor names, in its attribute `feature_converter`, the class that brings its features
to fixed shapes. Example order, mixing and seeds do not depend on threads, prefetching or restarts.
"""

from collections.abc import Generator, Mapping, Sequence
import dataclasses
import importlib
from typing import Any, NamedTuple

import gin
import numpy as np
import seqio
import tensorflow as tf

from t5x import shards, task_examples
from t5x.eval_batches import EvalBatches
from t5x.read_ahead import ReadAhead

_STREAM = 'stream/'
_CURSOR_VERSION = 2
_WINDOW_BYTES = 2**25
_BATCHES_AHEAD = 2


@dataclasses.dataclass
class DatasetConfig:
  """What is read, and how it becomes batches.

  Attributes:
    mixture_or_task_name: a registered seqio task or mixture.
    task_feature_lengths: sequence lengths; 'is_training' is True in training and False in
      evaluation unless given.
    split: of each task.
    batch_size: rows of a batch.
    shuffle: a new order in each epoch; else the order of the source (evaluation never shuffles).
    seed: of order and augmentation; None is 0, so a run can always be repeated.
    use_cached, pack, use_custom_packing_ops: must be False; they are here because gin files set it.
    module: a Python module to import first, which registers tasks.
    use_memory_cache: no effect: records are read by number, nothing is cached.
    target_field_name: feature that holds the target's tokens.
    trim_output_features: cut features that `task_feature_lengths` names.
    virtual_shards: shards of the stream; the order depends on this number, never on hosts.
    shuffle_window: examples of a task that are shuffled together in training, so that those made
      from one record stand apart; fewer where they are large (32 MiB together).
    max_bad_share: share of a task's records that may be unusable (a broken picture, a preprocessor
      that fails); they are named in the log and left out. More of them end the run.
    packing: how examples become batches; None: a row each, as they come. See `t5x.shards.Batcher`.
  """

  mixture_or_task_name: str
  task_feature_lengths: Mapping[str, Any]
  split: str
  batch_size: int
  shuffle: bool = True
  seed: int | None = None
  use_cached: bool = False
  pack: bool = False
  use_custom_packing_ops: bool = False
  module: str | None = None
  use_memory_cache: bool = True
  target_field_name: str = 'targets'
  trim_output_features: bool = True
  virtual_shards: int = 1
  shuffle_window: int = 128
  max_bad_share: float = 0.01
  packing: shards.Batcher | None = None

  def __post_init__(self):
    for name in ('use_cached', 'pack', 'use_custom_packing_ops'):
      if getattr(self, name):
        raise ValueError(
          f'DatasetConfig.{name} must be False: records come straight from the source'
        )
    if self.batch_size < 1 or self.virtual_shards < 1 or self.batch_size % self.virtual_shards:
      raise ValueError(
        f'batch_size={self.batch_size} must be a multiple of virtual_shards={self.virtual_shards}'
      )
    self.batcher.check(self.batch_size, self.virtual_shards)

  @property
  def batcher(self) -> shards.Batcher:
    """`packing`, or examples as they come."""
    return shards.InOrder() if self.packing is None else self.packing


class Host(NamedTuple):
  """Which part of every batch this process feeds: number `index` of `count` equal ones."""

  index: int
  count: int


ALONE = Host(0, 1)


@dataclasses.dataclass(frozen=True)
class ArraySpec:
  """Shape and dtype of one field of a batch."""

  shape: tuple[int, ...]
  dtype: np.dtype


def _import_module(cfg: DatasetConfig) -> None:
  if cfg.module:
    with gin.unlock_config():  # what it declares as configurable comes after the configuration
      importlib.import_module(cfg.module)


# ---- Training ------------------------------------------------------------------------------------
def open_train(cfg: DatasetConfig, host: Host = ALONE) -> 'TrainBatches':
  """Endless batches of a task or mixture, in an order that depends on the seed alone.

  Args:
    cfg: what is read.
    host: which part of each batch is wanted here.

  Raises:
    ValueError: unknown task or split, shards that the hosts cannot share.
    FileNotFoundError: the files of a task are missing; the message says what builds them.
  """
  return TrainBatches(cfg, host)


class TrainBatches:
  """An iterator of batches whose place can be kept and found again in constant time."""

  def __init__(self, cfg: DatasetConfig, host: Host = ALONE):
    """Opens the sources and builds the pipelines; reads no record yet."""
    if cfg.virtual_shards % host.count:
      raise ValueError(
        f'{host.count} hosts cannot share virtual_shards={cfg.virtual_shards}; set '
        'DatasetConfig.virtual_shards to a multiple of the largest number of hosts to come'
      )
    self._cfg = cfg
    _import_module(cfg)
    tasks, self._rates = task_examples.tasks_and_rates(cfg.mixture_or_task_name)
    self._sources = [_source(task, cfg) for task in tasks]
    self._windows = [_window(source.spec, cfg) for source in self._sources]
    own = cfg.virtual_shards // host.count
    numbers = range(host.index * own, (host.index + 1) * own)
    # By the number as text, for the states are kept as JSON.
    self._assemblies = {
      str(v): cfg.batcher.open(cfg.batch_size, v, cfg.virtual_shards) for v in numbers
    }
    self._states = {
      v: shards.Shard.start(len(tasks), int(v), held) for v, held in self._assemblies.items()
    }
    self._batches: ReadAhead | None = None
    self.spec = {
      name: ArraySpec((cfg.batch_size, *spec.shape), spec.dtype.as_numpy_dtype)
      for name, spec in self._sources[0].spec.items()
    } | {name: ArraySpec((cfg.batch_size,), np.dtype(d)) for name, d in cfg.batcher.fields.items()}

  def __iter__(self) -> 'TrainBatches':
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    if self._batches is None:
      batches = _read(
        self._cfg, self._sources, self._rates, self._windows, self._assemblies, self._states
      )
      self._batches = ReadAhead(batches, _BATCHES_AHEAD)
    batch, self._states = next(self._batches)
    return batch

  def state(self) -> dict[str, Any]:
    """The place after the batches handed out so far: small, JSON can hold it.

    It has the shards of this host; those of all hosts together are the place of the run.
    """
    return {'version': _CURSOR_VERSION, 'stream': self._identity(), 'shards': dict(self._states)}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Goes to the place that `state` told, as if all batches before had been handed out.

    Raises:
      ValueError: the place belongs to another stream (seed, tasks, sizes, shards).
    """
    before, now = state.get('stream', {}), {**self._identity(), 'version': _CURSOR_VERSION}
    before = {**before, 'version': state.get('version')}
    if changed := [name for name in now if before.get(name) != now[name]]:
      told = '; '.join(f'{name} was {before.get(name)}, is {now[name]}' for name in changed)
      raise ValueError(f'the checkpoint stands in another stream of examples: {told}')
    self._states = {v: state['shards'][v] for v in self._states}
    self.close()

  def close(self) -> None:
    """Stops reading ahead; the next batch is read anew, from the place where this one stands."""
    if self._batches is not None:
      self._batches.close()
    self._batches = None

  def _identity(self) -> dict[str, Any]:
    cfg, packing = self._cfg, self._cfg.batcher.identity()
    return {
      'seed': cfg.seed or 0,
      'shuffle': cfg.shuffle,
      'split': cfg.split,
      'tasks': {source.task.name: source.order.size for source in self._sources},
      'rates': self._rates,
      'windows': self._windows,
      'virtual_shards': cfg.virtual_shards,
      **({'packing': packing} if packing else {}),
      **({'batch_size': cfg.batch_size} if packing or cfg.virtual_shards > 1 else {}),
    }


def _read(
  cfg: DatasetConfig,
  sources: Sequence[task_examples.TaskExamples],
  rates: Sequence[float],
  windows: Sequence[int],
  assemblies: Mapping[str, shards.Assembly],
  states: Mapping[str, Any],
) -> Generator[tuple[dict[str, np.ndarray], dict[str, Any]], None, None]:
  """Batches from where the states of the shards stand, each with the states after it."""
  own = {
    v: shards.Shard(sources, rates, windows, assembly, states[v], cfg.virtual_shards)
    for v, assembly in assemblies.items()
  }
  try:
    while True:
      batch = assembled([shard.part() for shard in own.values()], sources[0].spec)
      yield batch, {v: shard.state() for v, shard in own.items()}
  finally:
    for shard in own.values():
      shard.close()


def _source(task: seqio.Task, cfg: DatasetConfig) -> task_examples.TaskExamples:
  """The examples of a task as the network reads them."""
  lengths = {'is_training': True, **cfg.task_feature_lengths}
  order = task_examples.order_of(task, cfg.split, cfg.seed or 0, cfg.shuffle)
  return task_examples.TaskExamples(
    task, cfg.split, order, lengths, task_examples.finish_of(task, lengths),
    trim=cfg.trim_output_features, max_bad_share=cfg.max_bad_share,
  )  # fmt: skip


def _window(spec: Mapping[str, tf.TensorSpec], cfg: DatasetConfig) -> int:
  """Examples that are shuffled together."""
  if not cfg.shuffle:
    return 1
  size = sum(field.shape.num_elements() * field.dtype.size for field in spec.values())
  return max(1, min(cfg.shuffle_window, _WINDOW_BYTES // size))


def assembled(
  parts: Sequence[shards.Part], spec: Mapping[str, tf.TensorSpec]
) -> dict[str, np.ndarray]:
  """The arrays of a batch; each example is copied once."""
  rows = [None if row is None else row.made.fields for part in parts for row in part.rows]
  batch = {}
  for name, field in spec.items():
    array = np.empty((len(rows), *field.shape), field.dtype.as_numpy_dtype)
    for place, fields in enumerate(rows):
      array[place] = 0 if fields is None else fields[name]
    batch[name] = array
  further = {name: [part.fields[name] for part in parts] for name in parts[0].fields}
  return batch | {name: np.concatenate(values) for name, values in further.items()}


# ---- Evaluation ----------------------------------------------------------------------------------
def open_eval(
  cfg: DatasetConfig, task_name: str | None = None, *, num_examples: int | None = None
) -> EvalBatches:
  """Every example of one task, in the order of its source.

  Args:
    cfg: what is read.
    task_name: a task of the mixture; None where the configuration names a task.
    num_examples: only so many, from the first.

  Raises:
    ValueError: unknown task or split, a source that cannot be read by number.
    FileNotFoundError: the files of the task are missing; the message says what builds them.
  """
  _import_module(cfg)
  name = task_name or cfg.mixture_or_task_name
  task = task_examples.get_mixture_or_task(name)
  if not isinstance(task, seqio.Task):
    raise ValueError(f'{name!r} is a mixture; evaluate its tasks one by one')
  return EvalBatches(
    task, split=cfg.split, batch_size=cfg.batch_size, seed=cfg.seed or 0, num_examples=num_examples,
    lengths={'is_training': False, **cfg.task_feature_lengths}, trim=cfg.trim_output_features,
    max_bad_share=cfg.max_bad_share,
  )  # fmt: skip
