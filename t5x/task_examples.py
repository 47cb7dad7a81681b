"""Runs the preprocessors of registered seqio tasks over records that come in our order."""

import atexit
from collections.abc import Iterator, Mapping
import difflib
import functools
import os
from typing import Any
import weakref

import seqio
import tensorflow as tf

from t5x import stream


def get_mixture_or_task(name: str) -> seqio.Task | seqio.Mixture:
  """A registered task or mixture.

  Raises:
    ValueError: for an unknown name, with the near ones.
  """
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


def source_of(task: seqio.Task) -> stream.RandomAccessSource:
  """The task's source, if its records can be read by number.

  Raises:
    ValueError: if they cannot.
  """
  if not isinstance(task.source, stream.RandomAccessSource):
    raise ValueError(
      f'the source of task {task.name!r} ({type(task.source).__name__}) cannot be read by record '
      'number; give it num_examples, read and decode, as t5x.stream.TfdsSource has'
    )
  return task.source


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
    records: with seed and position, as `stream.read_in_order` gives them.
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


def with_options(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """As fast as order and repeatability allow."""
  options = tf.data.Options()
  options.deterministic = True
  options.experimental_optimization.map_fusion = True  # a call less for each preprocessor
  options.threading.max_intra_op_parallelism = 1  # examples are parallel, not what is in them
  options.threading.private_threadpool_size = os.cpu_count()
  return dataset.with_options(options)


_OPEN: weakref.WeakSet = weakref.WeakSet()  # iterators that read ahead


class NumpyIterator:
  """The elements of a dataset as numpy; `close`, or the end of Python, stops reading ahead."""

  def __init__(self, dataset: tf.data.Dataset):
    """Begins to read ahead."""
    _close_all_at_exit()
    self._elements: Iterator[Any] | None = dataset.as_numpy_iterator()
    _OPEN.add(self)

  def __iter__(self) -> 'NumpyIterator':
    return self

  def __next__(self) -> Any:
    if self._elements is None:
      raise StopIteration
    return next(self._elements)

  def close(self) -> None:
    """Ends the threads that read ahead."""
    self._elements = None


@functools.cache
def _close_all_at_exit() -> None:
  """TensorFlow's threads call our Python; one that does so while Python ends would never return."""
  atexit.register(lambda: [iterator.close() for iterator in list(_OPEN)])
