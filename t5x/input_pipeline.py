"""Batches for training and evaluation, made from registered seqio tasks in our own order.

A task gives source, preprocessors and features; `t5x.stream` says which example comes when. The
last preprocessor names, in its attribute `feature_converter`, the class that brings its features
to fixed shapes. Example order, mixing and seeds do not depend on threads, prefetching or restarts.
"""

from collections.abc import Mapping
import dataclasses
import importlib
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from t5x import stream, task_examples
from t5x.eval_batches import EvalBatches
from t5x.ordering import MixingSchedule, Order, key_of, permute
from t5x.task_examples import converter_step, source_of

_STREAM = 'stream/'
_CURSOR_VERSION = 1
_WINDOW_BYTES = 2**25


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


@dataclasses.dataclass(frozen=True)
class ArraySpec:
  """Shape and dtype of one field of a batch."""

  shape: tuple[int, ...]
  dtype: np.dtype


def _import_module(cfg: DatasetConfig) -> None:
  if cfg.module:
    importlib.import_module(cfg.module)


def _preprocess(task, records, lengths, cfg):
  trim = cfg.trim_output_features
  return task_examples.preprocess(task, records, lengths, seed=cfg.seed or 0, trim=trim)


# ---- Training ------------------------------------------------------------------------------------
def open_train(cfg: DatasetConfig) -> 'TrainBatches':
  """Endless batches of a task or mixture, in an order that depends on the seed alone.

  Raises:
    ValueError: unknown task or split, a source that cannot be read by number.
    FileNotFoundError: the files of a task are missing; the message says what builds them.
  """
  return TrainBatches(cfg)


class TrainBatches:
  """An iterator of batches whose place can be kept and found again in constant time."""

  def __init__(self, cfg: DatasetConfig):
    """Opens the sources and builds the graph; reads no record yet."""
    self._cfg = cfg
    _import_module(cfg)
    self._tasks, self._rates = task_examples.tasks_and_rates(cfg.mixture_or_task_name)
    self._lengths = {'is_training': True, **cfg.task_feature_lengths}
    self._orders = [
      Order(t.name, source_of(t).num_examples(cfg.split), cfg.seed or 0, cfg.shuffle)
      for t in self._tasks
    ]
    self._windows = {task.name: 1 for task in self._tasks}
    self._cursor = stream.Cursor.start(len(self._tasks), cfg.virtual_shards)
    self._dataset: tf.data.Dataset | None = self._build()
    self._iterator: task_examples.NumpyIterator | None = None
    self.spec = {
      name: ArraySpec((cfg.batch_size, *spec.shape[1:]), spec.dtype.as_numpy_dtype)
      for name, spec in self._dataset.element_spec.items()
      if not name.startswith(_STREAM)
    }

  def __iter__(self) -> 'TrainBatches':
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    if self._iterator is None:
      self._iterator = task_examples.NumpyIterator(self._dataset or self._build())
    batch = dict(next(self._iterator))
    self._cursor.advance(batch.pop(stream.TASK), batch.pop(stream.POSITION), self._windows)
    return batch

  def state(self) -> dict[str, Any]:
    """The place after the batches handed out so far: small, JSON can hold it."""
    place = dataclasses.asdict(self._cursor)
    return {'version': _CURSOR_VERSION, 'stream': self._identity(), **place}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Goes to the place that `state` told, as if all batches before had been handed out.

    Raises:
      ValueError: the place belongs to another stream (seed, tasks, sizes, shards).
    """
    before, now = state['stream'], self._identity()
    if changed := [name for name in now if before.get(name) != now[name]]:
      told = '; '.join(f'{name} was {before.get(name)}, is {now[name]}' for name in changed)
      raise ValueError(f'the checkpoint stands in another stream of examples: {told}')
    self._cursor = stream.Cursor.from_json(state)
    self.close()

  def close(self) -> None:
    """Stops reading ahead; the next batch is read anew, from the place where this one stands."""
    if self._iterator is not None:
      self._iterator.close()
    self._iterator = self._dataset = None

  def _identity(self) -> dict[str, Any]:
    cfg = self._cfg
    return {
      'seed': cfg.seed or 0,
      'shuffle': cfg.shuffle,
      'split': cfg.split,
      'tasks': {order.task: order.size for order in self._orders},
      'rates': self._rates,
      'windows': list(self._windows.values()),
      'virtual_shards': cfg.virtual_shards,
      **({'batch_size': cfg.batch_size} if cfg.virtual_shards > 1 else {}),
    }

  def _build(self) -> tf.data.Dataset:
    shards = self._cfg.virtual_shards
    parts = [self._shard(v).batch(self._cfg.batch_size // shards) for v in range(shards)]
    dataset = parts[0]
    if shards > 1:
      dataset = tf.data.Dataset.zip(tuple(parts)).map(
        lambda *rows: {name: tf.concat([row[name] for row in rows], 0) for name in rows[0]}
      )
    return task_examples.with_options(dataset).prefetch(2)

  def _shard(self, shard: int) -> tf.data.Dataset:
    """The examples of one virtual shard, from where its cursor stands."""
    parts = [self._task_examples(number, shard) for number in range(len(self._tasks))]
    if len(parts) == 1:
      return parts[0]
    return tf.data.Dataset.choose_from_datasets(parts, self._choices(shard))

  def _choices(self, shard: int) -> tf.data.Dataset:
    """The tasks of this shard's rows."""
    schedule = MixingSchedule(self._rates, self._cursor.mixed)
    size = self._cfg.batch_size
    rows = size // self._cfg.virtual_shards

    def of_next_batch(_):
      batch = np.array([next(schedule) for _ in range(size)], np.int64)
      return batch[shard * rows : (shard + 1) * rows]

    # Each build has a schedule of its own and is iterated once, batch after batch.
    batches = tf.data.Dataset.range(2**62).map(
      lambda i: tf.ensure_shape(tf.numpy_function(of_next_batch, [i], tf.int64), [rows])
    )
    return batches.prefetch(2).unbatch()

  def _task_examples(self, number: int, shard: int) -> tf.data.Dataset:
    task, cfg, lengths = self._tasks[number], self._cfg, self._lengths
    place = self._cursor.places[shard][number]
    dataset = stream.read_in_order(
      task.source, cfg.split, self._orders[number],
      start=place.position, shard=shard, num_shards=cfg.virtual_shards,
    )  # fmt: skip
    dataset = _preprocess(task, dataset, lengths, cfg)
    converter = task.preprocessors[converter_step(task)].feature_converter()

    @tf.autograph.experimental.do_not_convert
    def finish(example):
      made = converter.convert(example, lengths)
      fields = {name: value for name, value in made.items() if not name.startswith(_STREAM)}
      position = {stream.POSITION: example[stream.POSITION], stream.TASK: np.int64(number)}
      return {**fields, **position}

    examples = dataset.map(finish, num_parallel_calls=tf.data.AUTOTUNE).skip(place.taken)
    window = self._windows[task.name] = self._window(examples.element_spec)
    if window == 1:
      return examples
    order = permute(np.arange(window), window, key_of(cfg.seed or 0, task.name, 'window'))
    windows = examples.batch(window).map(
      lambda rows: {k: tf.gather(v, order) for k, v in rows.items()}
    )
    return windows.unbatch().skip(place.done)

  def _window(self, spec: Mapping[str, tf.TensorSpec]) -> int:
    if not self._cfg.shuffle:
      return 1
    size = sum(field.shape.num_elements() * field.dtype.size for field in spec.values())
    return max(1, min(self._cfg.shuffle_window, _WINDOW_BYTES // size))


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
  )  # fmt: skip
