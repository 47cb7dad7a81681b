"""Sources whose records are read by number, and a task's records in the order of a run.

A task's records are read epoch by epoch, each epoch in its own order; position p of a task is
record `order(p % size)` of epoch `p // size` (`t5x.ordering`), so any position can be sought at
once. How positions become examples, shards and batches is told in `t5x.shards`.
"""

from collections.abc import Callable, Mapping, Sequence
import difflib
import functools
import os
from typing import Any, Protocol, runtime_checkable

import numpy as np
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from t5x import record_files
from t5x.ordering import Order

CHUNK = 64  # records read at once
SEED, POSITION = 'stream/seed', 'stream/position'  # fields of an example


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


class NumberedSource(seqio.DataSource):
  """Base of our sources: what seqio asks for, in terms of `RandomAccessSource`."""

  def __init__(self, name: str):
    """Touches no file.

    Args:
      name: goes into the order of records.
    """
    self.name = name
    super().__init__(splits=())

  def num_examples(self, split: str) -> int:
    """The number of records."""
    raise NotImplementedError

  def num_input_examples(self, split: str) -> int | None:
    """seqio's name for the number of records."""
    return self.num_examples(split)

  @property
  def supports_arbitrary_sharding(self) -> bool:
    return True

  def list_shards(self, split: str) -> Sequence[str]:
    return [f'{self.name}:{split}']

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
    order = Order(self.name, self.num_examples(split), seed or 0, shuffle)
    positions = tf.data.Dataset.range(shard.index, order.size, shard.num_shards)
    return read(self, split, order, positions)

  def _known(self, split: str) -> str:
    if split not in self.splits:
      near = difflib.get_close_matches(split, self.splits) or list(self.splits)
      raise ValueError(f'{self.name} has no split {split!r}; did you mean one of {near}?')
    return split


class TfdsSource(NumberedSource):
  """A TFDS folder (ArrayRecord, or TFRecord by an index of offsets), read by record number."""

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
    self._given_splits, self._data_dir, self._build_command = splits, data_dir, build_command
    super().__init__(tfds_name)

  @property
  def folder(self) -> str:
    """The folder of the dataset, wherever the root is at this moment."""
    override = seqio.utils._TFDS_DATA_DIR_OVERRIDE  # what --tfds_data_dir sets
    root = override or (self._data_dir() if callable(self._data_dir) else self._data_dir)
    root = os.path.expanduser(root or os.path.join('~', 'tensorflow_datasets'))
    return os.path.join(root, *self.name.replace(':', '/').split('/'))

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
    return (self._given_splits or {}).get(self._known(split), split)

  def num_examples(self, split: str) -> int:
    """The number of records.

    Raises:
      ValueError: the split asks for more than there are.
    """
    part, splits = self._tfds_split(split), self.builder.info.splits
    try:
      return splits[part].num_examples
    except ValueError as error:
      raise ValueError(
        f'{self.name} has too few examples for its split {split!r}, {part}: {error}'
      ) from error

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
  if builder.info.file_format is tfds.core.FileFormat.TFRECORD:
    parts = builder.info.splits[split].file_instructions
    named = [(part.filename, part.skip, part.take) for part in parts]
    return record_files.RecordFiles(named, record_files.scan_tfrecord)
  raw = tfds.decode.DeserializeMethod.RAW_BYTES
  try:
    return builder.as_data_source(split=split, deserialize_method=raw)
  except NotImplementedError as error:
    raise ValueError(
      f'{folder} is stored as {builder.info.file_format.value}, whose records cannot be read by '
      'number; build it again with file_format=array_record'
    ) from error


class FileSource(NumberedSource):
  """Plain files: JSONL by lines, or TFRecord."""

  def __init__(
    self,
    files: Mapping[str, str | Sequence[str]],
    decode: Callable[[tf.Tensor], dict[str, Any]],
    scan: record_files.Scan = record_files.scan_lines,
  ):
    """Touches no file before the first use.

    Args:
      files: split -> the path or paths of its files, in order.
      decode: one stored record, a scalar string, -> its fields, in TensorFlow. For TFRecord of
        tf.train.Example, `tf.io.parse_single_example` with its features.
      scan: finds the records: `record_files.scan_lines` (those not blank) or `scan_tfrecord`.
    """
    self._files = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in files.items()}
    self._decode, self._scan = decode, scan
    super().__init__(os.path.basename(next(iter(self._files.values()))[0]))

  @property
  def splits(self) -> Sequence[str]:
    return tuple(self._files)

  def _records(self, split: str) -> record_files.RecordFiles:
    return _indexed(self._files[self._known(split)], self._scan)

  def num_examples(self, split: str) -> int:
    """The number of records."""
    return len(self._records(split))

  def read(self, split: str, records: np.ndarray) -> np.ndarray:
    """The records of these numbers: object array of bytes."""
    return objects(self._records(split).__getitems__(records))

  def decode(self, split: str, stored: tf.Tensor) -> dict[str, Any]:
    """One stored record -> its fields."""
    del split
    return self._decode(stored)


@functools.cache
def _indexed(paths: tuple[str, ...], scan: record_files.Scan) -> record_files.RecordFiles:
  return record_files.RecordFiles([(path, 0, None) for path in paths], scan)


def objects(values: Sequence[bytes]) -> np.ndarray:
  """Records as an object array, which numpy makes of no other kind."""
  array = np.empty(len(values), object)
  array[:] = values
  return array


# ---- A task's records as a dataset ---------------------------------------------------------------
@tf.autograph.experimental.do_not_convert
def read(
  source: RandomAccessSource, split: str, order: Order, positions: tf.data.Dataset
) -> tf.data.Dataset:
  """The records at some positions, decoded, with seed and position.

  A record that cannot be read or decoded is an error in its place; the ones after it follow.

  Args:
    source: where they are read.
    split: of the source.
    order: which record comes when.
    positions: int64 scalars.

  Raises:
    ValueError: the split is empty.
  """
  if not order.size:
    raise ValueError(f'the split {split!r} of {order.task!r} has no examples')

  def read_chunk(chunk):
    return *_read(source, split, order.records(chunk)), order.seeds(chunk)

  def fetch(chunk):
    types = (tf.string, tf.string, tf.int32)
    stored, faults, seeds = tf.numpy_function(read_chunk, [chunk], types, stateful=False)
    shapes = [None], [None], [None, 2]
    return *map(tf.ensure_shape, (stored, faults, seeds), shapes), chunk

  def decode(stored, fault, seed, position):
    with tf.control_dependencies([tf.debugging.Assert(fault == '', [fault])]):
      stored = tf.identity(stored)
    return {**source.decode(split, stored), SEED: seed, POSITION: position}

  stored = positions.batch(CHUNK).map(fetch).prefetch(2).unbatch()
  return stored.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _read(source, split, records):
  """(stored records, what is wrong with each); what fails together is read one by one."""
  try:
    return source.read(split, records), objects([b''] * len(records))
  except Exception as error:  # whatever a reader raises; where every record fails, the run ends
    if len(records) == 1:
      return objects([b'']), objects([str(error).encode() or b'unreadable'])
    parts = [_read(source, split, records[i : i + 1]) for i in range(len(records))]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


@tf.autograph.experimental.do_not_convert
def numbered(
  records: tf.data.Dataset,
  order: Order,
  wanted: Callable[[tf.Tensor], tf.Tensor],
  last: tf.Tensor,
) -> tf.data.Dataset:
  """As `read`, of records that come one after the other and cannot be sought.

  Args:
    records: in their own order.
    order: gives the seeds.
    wanted: int64 position -> whether it is.
    last: position after which nothing is wanted.
  """

  def seed(position):
    made = tf.numpy_function(lambda p: order.seeds(p[None])[0], [position], tf.int32, False)
    return tf.ensure_shape(made, [2])

  chosen = records.enumerate().take_while(lambda position, record: position <= last)
  chosen = chosen.filter(lambda position, record: wanted(position))
  return chosen.map(lambda p, record: {**record, SEED: seed(p), POSITION: p})
