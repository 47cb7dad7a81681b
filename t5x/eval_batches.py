"""Every example of a task in the order of its source, in batches, with the raw fields of each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from t5x import stream, task_examples
from t5x.array_types import Batch
from t5x.ordering import Order
from t5x.task_examples import converter_step, source_of

_STREAM = 'stream/'
_RAW = 'stream/raw/'  # fields as they were before features were made, for metrics and files
_LARGEST_RAW = 1024  # numbers; larger fields (pictures, masks) are not kept


class EvalBatches:
  """Pairs (batch, examples); may be iterated again and again, with equal results.

  `examples` holds the raw fields of each row as they were before features were made, pictures
  left out, `meta/...` included, text as str, and the number of the `record`. The last batch is
  filled up with copies of its first row: rows beyond `len(examples)` are padding.
  """

  def __init__(
    self,
    task: seqio.Task,
    *,
    split: str,
    batch_size: int,
    lengths: Mapping[str, Any],
    seed: int,
    trim: bool,
    num_examples: int | None,
  ):
    """Opens the source and builds the graph; reads no record yet.

    Args:
      task: whose examples they are.
      split: of its source.
      batch_size: rows of a batch.
      lengths: sequence lengths.
      seed: of random draws, which are the same in every pass.
      trim: cut features that `lengths` names.
      num_examples: only so many, from the first; None for all.
    """
    self._batch_size = batch_size
    size = source_of(task).num_examples(split)
    order = Order(task.name, size, seed, shuffle=False)
    records = stream.read_in_order(task.source, split, order, num_epochs=1)
    step = converter_step(task)
    steps = [*task.preprocessors[:step], _keep_raw_fields, *task.preprocessors[step:]]
    examples = task_examples.preprocess(
      task.replace(preprocessors=steps), records, lengths, seed=seed, trim=trim
    )
    converter = task.preprocessors[step].feature_converter()

    @tf.autograph.experimental.do_not_convert
    def finish(example):
      made = converter.convert(example, lengths)
      kept = {name: value for name, value in made.items() if not name.startswith(_STREAM)}
      raw = {k.removeprefix(_RAW): v for k, v in example.items() if k.startswith(_RAW)}
      raw |= {k: v for k, v in example.items() if k.startswith('meta/')}
      record = example[stream.POSITION]  # in one unshuffled epoch they are the same
      return kept, {**raw, 'record': record}

    examples = examples.take(-1 if num_examples is None else num_examples)
    examples = examples.map(finish, num_parallel_calls=tf.data.AUTOTUNE)
    self._dataset = task_examples.with_options(examples).prefetch(2 * batch_size)

  def __iter__(self) -> Iterator[tuple[Batch, list[dict[str, Any]]]]:
    rows, examples = [], []
    for fields, raw in task_examples.NumpyIterator(self._dataset):
      rows.append(fields)
      examples.append({name: _plain(value) for name, value in raw.items()})
      if len(rows) == self._batch_size:
        yield _stack(rows), examples
        rows, examples = [], []
    if rows:
      yield _stack(rows + rows[:1] * (self._batch_size - len(rows))), examples


@tf.autograph.experimental.do_not_convert
def _keep_raw_fields(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """Puts copies of all small fields aside, under names that the next step passes on."""

  def keep(example):
    small = {k: v for k, v in example.items() if not isinstance(v, Mapping) and _is_small(v)}
    return {**example, **{_RAW + k: v for k, v in small.items() if not k.startswith(_STREAM)}}

  return dataset.map(keep, num_parallel_calls=tf.data.AUTOTUNE)


def _is_small(value: tf.Tensor | tf.RaggedTensor) -> bool:
  if isinstance(value, tf.RaggedTensor) or value.shape.rank is None or value.shape.rank > 2:
    return False
  return (value.shape.num_elements() or 0) <= _LARGEST_RAW


def _plain(value: Any) -> Any:
  """Bytes and arrays of bytes as text, other values as they are."""
  if isinstance(value, bytes):
    return value.decode('utf-8', 'replace')
  if isinstance(value, np.ndarray) and value.dtype == object:
    texts = np.empty(value.shape, object)
    texts.flat = [_plain(item) for item in value.flat]
    return texts
  return value


def _stack(rows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
  batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  if 'choices' in batch:
    # Options are far shorter than answers may be. Steps of 4 keep the number of shapes small.
    longest = int((batch['choices'] != 0).sum(-1).max())
    batch['choices'] = batch['choices'][..., : -(-longest // 4) * 4]
  return batch
