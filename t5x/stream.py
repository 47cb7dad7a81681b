"""Which example comes n-th: random-access sources, read in order, and the cursor of a run.

A task's records are read epoch by epoch, each epoch in its own order; position p of a task is
record `order(p % size)` of epoch `p // size` (`t5x.ordering`), so any position can be sought at
once. A mixture takes its n-th example from the task that `ordering.MixingSchedule` names.

A task's preprocessors may turn a record into any number of examples. So the examples of a task are
those of position 0, then those of position 1 and so on. So that examples of one record do not
stand together, they are cut into windows of a fixed size and each window is shuffled by a fixed
permutation. `Cursor` keeps where the current window of each task begins (position, examples of this
position before it) and how much of it has been handed out. Example n of a run is a function of
(seed, n) through these numbers alone, and a resume makes at most one window again.

With V virtual shards the positions p with p % V == v belong to shard v, which fills rows
[v * batch / V, (v + 1) * batch / V) of every batch.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import difflib
import functools
import os
from typing import Any, Protocol, runtime_checkable

import numpy as np
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from t5x.ordering import Order

CHUNK = 64  # records read at once
SEED, POSITION, TASK = 'stream/seed', 'stream/position', 'stream/task'  # fields of an example


# ---- The place in a stream -----------------------------------------------------------------------
@dataclasses.dataclass
class Place:
  """Where a task stands in a shard. Its examples are handed out window by window, each shuffled.

  Attributes:
    position: of the record that gave the first example of the window.
    taken: examples of that record before the window.
    done: examples of the window that have been handed out, in the window's own order.
    last, count: the furthest position among these, and how many of them it gave.
  """

  position: int
  taken: int = 0
  done: int = 0
  last: int = -1
  count: int = 0

  def after(self, position: int, window: int) -> 'Place':
    """The place when one more example, of the record at `position`, has been handed out."""
    count = 1 if position > self.last else self.count + (position == self.last)
    last = max(position, self.last)
    if self.done + 1 < window:
      return Place(self.position, self.taken, self.done + 1, last, count)
    return Place(last, count + (self.taken if last == self.position else 0))


@dataclasses.dataclass
class Cursor:
  """How far a stream has been handed out: a few numbers, kept in checkpoints as JSON.

  Attributes:
    examples: handed out so far, of all tasks and shards.
    mixed: the same, task by task.
    places: [shard][task].
  """

  examples: int
  mixed: list[int]
  places: list[list[Place]]

  @classmethod
  def start(cls, num_tasks: int, num_shards: int) -> 'Cursor':
    """The place before the first example."""
    places = [[Place(shard) for _ in range(num_tasks)] for shard in range(num_shards)]
    return cls(examples=0, mixed=[0] * num_tasks, places=places)

  @classmethod
  def from_json(cls, tree: Mapping[str, Any]) -> 'Cursor':
    """What `dataclasses.asdict` gave, read back; other keys are left aside."""
    places = [[Place(**place) for place in shard] for shard in tree['places']]
    return cls(examples=tree['examples'], mixed=list(tree['mixed']), places=places)

  def advance(self, tasks: np.ndarray, positions: np.ndarray, windows: Mapping[str, int]) -> None:
    """Takes note of the rows of one batch, in order.

    Args:
      tasks: the number of each row's task.
      positions: of the record that gave each row.
      windows: name of each task -> examples in one of its windows.

    Raises:
      ValueError: a task's preprocessors have changed the order of its examples.
    """
    names, sizes = list(windows), list(windows.values())
    rows = len(tasks) // len(self.places)
    for row, (task, position) in enumerate(zip(tasks.tolist(), positions.tolist(), strict=True)):
      shard = self.places[row // rows]
      if position < shard[task].position:
        raise ValueError(
          f'the preprocessors of {names[task]!r} change the order of examples; a stream that can '
          'be resumed needs preprocessors that keep it (no shuffle, no interleave)'
        )
      shard[task] = shard[task].after(position, sizes[task])
      self.mixed[task] += 1
    self.examples += len(tasks)


# ---- Sources -------------------------------------------------------------------------------------
@runtime_checkable
class RandomAccessSource(Protocol):
  """What a seqio source must offer to be streamed in our order."""

  def num_examples(self, split: str) -> int:
    """The number of records."""

  def read(self, split: str, records: np.ndarray) -> np.ndarray:
    """The records of these numbers as they are stored: an object array of bytes."""

  def decode(self, split: str, stored: tf.Tensor) -> dict[str, Any]:
    """One stored record -> its fields, in TensorFlow."""


class TfdsSource(seqio.DataSource):
  """A TFDS folder in a format with random access (ArrayRecord), read by record number."""

  def __init__(
    self,
    tfds_name: str,
    *,
    splits: Mapping[str, str] | None = None,
    data_dir: str | Callable[[], str | None] | None = None,
    build_command: str | None = None,
  ):
    """Touches no file before the first use.

    Args:
      tfds_name: 'name:version' or 'name/config:version'.
      splits: our name of a split -> TFDS's, such as 'train[2000:]'; None for those of the folder.
      data_dir: the root folder, or a function that tells it. `--tfds_data_dir` goes before it;
        without either it is ~/tensorflow_datasets.
      build_command: what makes the folder, for the message when it is missing.
    """
    self.tfds_name, self._given_splits = tfds_name, splits
    self._data_dir, self._build_command = data_dir, build_command
    super().__init__(splits=())

  @property
  def folder(self) -> str:
    """The folder of the dataset, wherever the root is at this moment."""
    override = seqio.utils._TFDS_DATA_DIR_OVERRIDE  # what --tfds_data_dir sets
    root = override or (self._data_dir() if callable(self._data_dir) else self._data_dir)
    root = os.path.expanduser(root or os.path.join('~', 'tensorflow_datasets'))
    return os.path.join(root, *self.tfds_name.replace(':', '/').split('/'))

  @property
  def builder(self) -> tfds.core.DatasetBuilder:
    """The dataset on disk.

    Raises:
      FileNotFoundError: it is not there; the message says what builds it.
    """
    return _builder(self.folder, self._build_command)

  @property
  def splits(self) -> Sequence[str]:
    return tuple(self._given_splits or self.builder.info.splits)

  def _tfds_split(self, split: str) -> str:
    if split not in self.splits:
      near = difflib.get_close_matches(split, self.splits) or list(self.splits)
      raise ValueError(f'{self.tfds_name} has no split {split!r}; did you mean one of {near}?')
    return self._given_splits[split] if self._given_splits else split

  def num_examples(self, split: str) -> int:
    """The number of records."""
    return self.builder.info.splits[self._tfds_split(split)].num_examples

  def num_input_examples(self, split: str) -> int | None:
    """seqio's name for the number of records."""
    return self.num_examples(split)

  def read(self, split: str, records: np.ndarray) -> np.ndarray:
    """The serialized records of these numbers: object array of bytes."""
    stored = _stored_records(self.folder, self._build_command, self._tfds_split(split))
    return np.array(stored.__getitems__([int(i) for i in records]), object)

  def decode(self, split: str, stored: tf.Tensor) -> dict[str, Any]:
    """One serialized record -> its fields; pictures are decoded here, once an example."""
    del split
    return self.builder.info.features.deserialize_example(stored)

  def record(self, split: str, index: int) -> dict[str, Any]:
    """One record as nested numpy values."""
    (stored,) = self.read(split, np.array([index]))
    return tfds.as_numpy(self.decode(split, tf.constant(stored)))

  @property
  def supports_arbitrary_sharding(self) -> bool:
    return True

  def list_shards(self, split: str) -> Sequence[str]:
    return [f'{self.tfds_name}:{split}']

  def get_dataset(
    self,
    split: str = 'train',
    shuffle: bool = True,
    seed: int | None = None,
    shard_info: seqio.ShardInfo | None = None,
    **unused: Any,
  ) -> tf.data.Dataset:
    """One epoch for plain seqio (visualiser, a user's own loop), in our order."""
    shard = shard_info or seqio.ShardInfo(index=0, num_shards=1)
    order = Order(self.tfds_name, self.num_examples(split), seed or 0, shuffle)
    return read_in_order(
      self, split, order, shard=shard.index, num_shards=shard.num_shards, num_epochs=1
    )


@functools.cache
def _builder(folder: str, build_command: str | None) -> tfds.core.DatasetBuilder:
  if not tf.io.gfile.exists(os.path.join(folder, 'dataset_info.json')):
    how = f'build it with: {build_command}' if build_command else 'build it first'
    raise FileNotFoundError(
      f'there is no dataset in {folder}; {how} (or give another folder by --tfds_data_dir)'
    )
  return tfds.builder_from_directory(folder)


@functools.cache
def _stored_records(folder: str, build_command: str | None, split: str) -> Any:
  builder = _builder(folder, build_command)
  raw = tfds.decode.DeserializeMethod.RAW_BYTES
  try:
    return builder.as_data_source(split=split, deserialize_method=raw)
  except NotImplementedError as error:
    raise ValueError(
      f'{folder} is stored as {builder.info.file_format.value}, whose records cannot be read by '
      'number; build it again with file_format=array_record'
    ) from error


# ---- A task's records as a dataset ---------------------------------------------------------------
@tf.autograph.experimental.do_not_convert
def read_in_order(
  source: RandomAccessSource,
  split: str,
  order: Order,
  *,
  start: int | None = None,
  shard: int = 0,
  num_shards: int = 1,
  num_epochs: int | None = None,
) -> tf.data.Dataset:
  """The records of a shard from a position on, decoded, with seed and position.

  Args:
    source: where they are read.
    split: of the source.
    order: which record comes when.
    start: first position; None for the shard's first.
    shard, num_shards: positions p with p % num_shards == shard.
    num_epochs: None for ever.

  Raises:
    ValueError: the split is empty.
  """
  if not order.size:
    raise ValueError(f'the split {split!r} of {order.task!r} has no examples')
  end = 2**62 if num_epochs is None else num_epochs * order.size
  positions = tf.data.Dataset.range(shard if start is None else start, end, num_shards)

  def read(chunk):
    return source.read(split, order.records(chunk)), order.seeds(chunk)

  def fetch(chunk):
    stored, seeds = tf.numpy_function(read, [chunk], (tf.string, tf.int32), stateful=False)
    return tf.ensure_shape(stored, [None]), tf.ensure_shape(seeds, [None, 2]), chunk

  def decode(stored, seed, position):
    return {**source.decode(split, stored), SEED: seed, POSITION: position}

  stored = positions.batch(CHUNK).map(fetch).prefetch(2).unbatch()
  return stored.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
