"""The examples of a registered seqio task: its preprocessors over records in our order.

A pipeline is traced once a task. It is then started at any position, for any shard, in a moment.
A record that cannot be read, decoded or preprocessed gives no example: it is named in the log and
counted, and the run ends only when there are too many of them.
"""

import atexit
from collections.abc import Callable, Iterator, Mapping, Sequence
import difflib
import functools
import re
from typing import Any, NamedTuple
import weakref

from absl import logging
import numpy as np
import seqio
import tensorflow as tf

from t5x import stream
from t5x.ordering import Order

_END = 2**62  # of the positions of an endless stream
_FEWEST = 1000  # records that a share of bad ones is taken of, at the beginning of a run


# ---- Tasks ---------------------------------------------------------------------------------------
# kind -> function that registers what 'KIND:REST' means, and tells its name
RESOLVERS: dict[str, Callable[[str], str]] = {}


def get_mixture_or_task(name: str) -> seqio.Task | seqio.Mixture:
  """A registered task or mixture, or what one of RESOLVERS makes of a name like 'jsonl:my.jsonl'.

  Raises:
    ValueError: for an unknown name, with the near ones.
  """
  kind, colon, rest = name.partition(':')
  if colon and kind in RESOLVERS:
    name = RESOLVERS[kind](rest)
  known = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
  if name not in known:
    near = difflib.get_close_matches(name, known) or sorted(known)
    raise ValueError(f'there is no task or mixture {name!r}; did you mean one of {near}?')
  return seqio.get_mixture_or_task(name)


def tasks_and_rates(name: str) -> tuple[list[seqio.Task], list[float]]:
  """The tasks of a mixture by name, and their rates; a task alone has rate 1."""
  provider = get_mixture_or_task(name)
  if isinstance(provider, seqio.Task):
    return [provider], [1.0]
  tasks = sorted(provider.tasks, key=lambda task: task.name)
  return tasks, [float(provider.get_rate(task)) for task in tasks]


def order_of(task: seqio.Task, split: str, seed: int, shuffle: bool) -> Order:
  """The order of a task's records; a source that cannot seek keeps its own."""
  if isinstance(task.source, stream.RandomAccessSource):
    return Order(task.name, task.source.num_examples(split), seed, shuffle)
  logging.warning(
    'The source of %r (%s) cannot be read by record number: its records come in their own order, '
    'mixed only within a window, and a resumed run reads all those before its place again.',
    task.name, type(task.source).__name__,
  )  # fmt: skip
  return Order(task.name, _END, seed, shuffle=False)


def converter_step(task: seqio.Task) -> int:
  """Which of the task's preprocessors makes the features and names their converter.

  Raises:
    ValueError: none does.
  """
  for i, preprocessor in enumerate(task.preprocessors):
    if hasattr(preprocessor, 'feature_converter'):
      return i
  raise ValueError(
    f'no preprocessor of task {task.name!r} has a feature_converter; its last one must make the '
    "model's features, such as unified_io_preprocessor"
  )


def finish_of(
  task: seqio.Task, lengths: Mapping[str, Any]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
  """The `finish` of `TaskExamples` that gives what the network reads, and nothing else."""
  converter = task.preprocessors[converter_step(task)].feature_converter()

  def finish(example):
    made = converter.convert(example, lengths)
    fields = {name: value for name, value in made.items() if not name.startswith('stream/')}
    return {**fields, stream.POSITION: example[stream.POSITION]}

  return finish


# ---- Examples ------------------------------------------------------------------------------------
class Made(NamedTuple):
  """One example, as numpy, and the record it was made of.

  Attributes:
    position: of the record in the order of its task.
    index: among the examples of this record.
    fields: of the example.
  """

  position: int
  index: int
  fields: dict[str, np.ndarray]


class TaskExamples:
  """What a task makes of its records."""

  def __init__(
    self,
    task: seqio.Task,
    split: str,
    order: Order,
    lengths: Mapping[str, Any],
    finish: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    trim: bool = True,
    max_bad_share: float = 0.0,
    epochs: int | None = None,
  ):
    """Opens the source and builds the pipeline; reads no record yet.

    Args:
      task: whose preprocessors are run.
      split: of its source.
      order: of the records, see `order_of`.
      lengths: sequence lengths.
      finish: an example with features and position -> fields of fixed shape, the position included.
      trim: cut features that `lengths` names.
      max_bad_share: so many of the records may be bad, or of the first thousand.
      epochs: how often the records come; None for ever.

    Raises:
      ValueError: an empty split; preprocessors that cannot be used.
      FileNotFoundError: the files are missing; the message says what builds them.
    """
    self.task, self.split, self.order, self.max_bad_share = task, split, order, max_bad_share
    self._epochs, self._end = epochs, _END if epochs is None else epochs * order.size
    scalar = tf.TensorSpec([], tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64), scalar, scalar], autograph=False)
    def started(chosen, start, step):
      records = self._records(chosen, start, step)
      made = preprocess(task, records, lengths, seed=order.seed, trim=trim)
      finished = tf.autograph.experimental.do_not_convert(finish)
      made = made.map(finished, num_parallel_calls=tf.data.AUTOTUNE)
      self._spec = made.element_spec
      return tf.data.experimental.to_variant(made)

    self._started = started.get_concrete_function()
    self.spec: dict[str, tf.TensorSpec] = {
      name: field for name, field in self._spec.items() if name != stream.POSITION
    }

  @property
  def can_seek(self) -> bool:
    """Whether records are read by number."""
    return isinstance(self.task.source, stream.RandomAccessSource)

  def _records(self, chosen, start, step):
    """Those at the positions `chosen`, then every `step`-th from `start` on."""
    source = self.task.source
    if self.can_seek:
      positions = tf.data.Dataset.from_tensor_slices(chosen)
      positions = positions.concatenate(tf.data.Dataset.range(start, self._end, step))
      return stream.read(source, self.split, self.order, positions)

    def wanted(position):
      in_range = (position >= start) & ((position - start) % step == 0)
      return in_range | tf.reduce_any(chosen == position)

    last = tf.where(start < self._end, self._end - 1, tf.reduce_max(chosen))
    records = source.get_dataset(split=self.split, shuffle=False, num_epochs=1)
    records = records.repeat(self._epochs)
    return stream.numbered(records, self.order, wanted, last)

  def start(self, start: int, step: int, bad: int = 0) -> 'Examples':
    """The examples of every `step`-th record from a position on; `bad` ones were met before it."""
    return Examples(self, self._elements([], start, step), start, step, bad)

  def at(self, positions: Sequence[int]) -> Iterator[Made]:
    """The examples of the records at these positions alone; a bad one gives those before it."""
    elements = self._elements(sorted(set(positions)), self._end, 1)
    before, index = -1, 0
    while True:
      try:
        fields = next(elements)
      except tf.errors.OpError:
        continue
      except StopIteration:
        return
      position = int(fields.pop(stream.POSITION))
      before, index = position, index + 1 if position == before else 0
      yield Made(position, index, fields)

  def fault(self, position: int) -> str | None:
    """What is wrong with the record at a position; None where nothing is."""
    try:
      for _ in self._elements([position], self._end, 1):
        pass
    except tf.errors.OpError as error:
      return _first_line(error)
    return None

  def _elements(self, chosen, start, step):
    numbers = (np.array(chosen, np.int64), np.int64(start), np.int64(step))
    variant = self._started(*map(tf.constant, numbers))
    dataset = tf.data.experimental.from_variant(variant, self._spec)
    return NumpyIterator(with_options(dataset))


class Examples:
  """An iterator over examples that leaves out what is bad."""

  def __init__(
    self, source: TaskExamples, elements: 'NumpyIterator', start: int, step: int, bad: int
  ):
    """Takes the elements of `source` at `start`, `start + step`, ...; `bad` as in `start`."""
    self._source, self._elements, self._step = source, elements, step
    self._position, self._index = start, -1
    self._errors: list[tf.errors.OpError] = []  # since the last example
    self._blamed = -1
    self.bad = bad
    self.skipped: list[tuple[str, str]] = []  # bad records met here, and what is wrong with them

  def __iter__(self) -> 'Examples':
    return self

  def __next__(self) -> Made:
    while True:
      try:
        fields = next(self._elements)
      except tf.errors.OpError as error:
        self._errors.append(error)
        self._check(len(self._errors))
        continue
      except StopIteration:
        if self._errors:
          self._blame(min(self._position + _FEWEST, self._source.order.size - 1))
        raise
      return self._made(int(fields.pop(stream.POSITION)), fields)

  def close(self) -> None:
    """Stops reading ahead."""
    self._elements.close()

  def _made(self, position, fields):
    task = self._source.task.name
    if position < self._position:
      raise ValueError(
        f'the preprocessors of {task!r} change the order of examples; a stream that can be resumed '
        'needs preprocessors that keep it (no shuffle, no interleave)'
      )
    if self._errors:
      self._blame(position)
    self._index = self._index + 1 if position == self._position else 0
    self._position = position
    return Made(position, self._index, fields)

  def _blame(self, last):
    """Finds and names the bad records from that of the last example on."""
    if not self._source.can_seek:  # each look would read everything before it again
      for error in self._errors:
        self._skip(f'a record after {self._position}', _first_line(error))
    else:
      first = max(self._position, self._blamed + self._step)
      for position in range(first, last + 1, self._step):
        if fault := self._source.fault(position):
          self._skip(f'record {self._source.order.records(np.array([position]))[0]}', fault)
          self._blamed = position
    self._errors.clear()
    self._check(0)

  def _skip(self, record, fault):
    name, split = self._source.task.name, self._source.split
    logging.warning('Skipped: %s of %s (%s): %s', record, name, split, fault)
    self.skipped.append((record, fault))
    self.bad += 1

  def _check(self, more):
    seen = self._position // self._step + 1  # by this shard, since the run began
    allowed = self._source.max_bad_share * max(seen, _FEWEST)
    if self.bad + more > allowed:
      told = f'; the last: {_first_line(self._errors[-1])}' if self._errors else ''
      raise BadDataError(
        f'{self.bad + more} records of task {self._source.task.name!r} ({self._source.split}) '
        f'cannot be used, more than max_bad_share={self._source.max_bad_share} allows{told}'
      )


class BadDataError(RuntimeError):
  """Too many records of a task are bad."""


def _first_line(error: tf.errors.OpError) -> str:
  """TensorFlow's message without the names of nodes and iterators that stand before it."""
  lines = [line for line in error.message.splitlines() if line.strip()]
  text = re.sub(r'^.*(}} | with iterator: Iterator::\S+: )', '', lines[0]) if lines else ''
  return text[:300] or type(error).__name__


# ---- Preprocessors -------------------------------------------------------------------------------
def preprocess(
  task: seqio.Task,
  records: tf.data.Dataset,
  lengths: Mapping[str, Any],
  *,
  seed: int,
  trim: bool,
) -> tf.data.Dataset:
  """All preprocessors of a task; each example keeps its position, whatever becomes of a record.

  Args:
    task: whose preprocessors are run.
    records: with seed and position, as `stream.read` gives them.
    lengths: sequence lengths.
    seed: of preprocessors that do not take theirs from the example.
    trim: cut features that `lengths` names.
  """

  def apply(dataset):
    dataset = task.preprocess_precache(dataset, seed)
    dataset = task.preprocess_postcache(dataset, lengths, seed)
    dataset = task._validate_preprocessing(dataset)
    if trim and set(lengths) & set(dataset.element_spec):
      dataset = seqio.utils.trim_dataset(dataset, lengths, task.output_features)
    return dataset

  examples = _traced(apply, records)
  if stream.POSITION in examples.element_spec:
    return examples

  # Some preprocessor keeps only fields of its own: each record goes through all of them alone.
  def one_record(record):
    position = record[stream.POSITION]
    made = _traced(apply, tf.data.Dataset.from_tensors(record))
    return made.map(lambda example: {**example, stream.POSITION: position})

  return records.flat_map(one_record)


def _traced(apply, dataset):
  """Runs `apply` without AutoGraph, whose conversion of every function takes seconds a task.

  A preprocessor that needs it, with `if` or `for` over tensors, raises an error of its own.
  """
  try:
    return tf.autograph.experimental.do_not_convert(apply)(dataset)
  except tf.errors.OperatorNotAllowedInGraphError:
    return apply(dataset)


# ---- Reading -------------------------------------------------------------------------------------
def with_options(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """As fast as order and repeatability allow."""
  options = tf.data.Options()
  options.deterministic = True
  options.autotune.enabled = False  # its thread may sleep for a minute before an iterator closes
  options.threading.max_intra_op_parallelism = 1  # examples are parallel, not what is in them
  return dataset.with_options(options)


_OPEN: weakref.WeakSet = weakref.WeakSet()  # iterators that read ahead


class NumpyIterator:
  """Elements of a dataset as dicts of numpy; `close`, or the end of Python, stops reading ahead.

  It asks TensorFlow itself, since `as_numpy_iterator` takes half a millisecond an element.
  """

  def __init__(self, dataset: tf.data.Dataset):
    """Begins to read ahead. Elements are flat dicts of tensors."""
    close_at_exit(self)
    self._names = sorted(dataset.element_spec)
    specs = [dataset.element_spec[name] for name in self._names]
    shapes = [None if spec.shape.rank is None else spec.shape.as_list() for spec in specs]
    self._form = {'output_types': [spec.dtype for spec in specs], 'output_shapes': shapes}
    self._iterator: tf.Tensor | None = tf.raw_ops.AnonymousIteratorV3(**self._form)
    # Maps become one, a change of threads less for each; the option needs autotuning.
    variant = tf.raw_ops.OptimizeDataset(
      input_dataset=tf.data.experimental.to_variant(dataset), optimizations=['map_fusion'],
      optimization_configs=['map_fusion:autotune:true'], **self._form,
    )  # fmt: skip
    tf.raw_ops.MakeIterator(dataset=variant, iterator=self._iterator)

  def __iter__(self) -> 'NumpyIterator':
    return self

  def __next__(self) -> dict[str, Any]:
    if self._iterator is None:
      raise StopIteration
    try:
      values = tf.raw_ops.IteratorGetNext(iterator=self._iterator, **self._form)
    except tf.errors.OutOfRangeError:
      raise StopIteration from None
    # Neither a copy, as by `numpy()`, nor a look through Python's buffers, as by `np.asarray`.
    element = dict(zip(self._names, [value.__array__() for value in values], strict=True))
    for array in element.values():
      if isinstance(array, np.ndarray):
        array.flags.writeable = False  # it is TensorFlow's memory
    return element

  def close(self) -> None:
    """Ends the threads that read ahead."""
    self._iterator = None


def close_at_exit(reader: Any) -> None:
  """Calls `reader.close()` before Python ends, if it still lives then."""
  _close_all_at_exit()
  _OPEN.add(reader)


@functools.cache
def _close_all_at_exit() -> None:
  """TensorFlow's threads call our Python; one that does so while Python ends would never return."""
  atexit.register(lambda: [reader.close() for reader in list(_OPEN)])
