"""Every example of a task in the order of its source, in batches, with the raw fields of each."""

from collections.abc import Iterator, Mapping, Sequence
import itertools
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from t5x import stream, task_examples
from t5x.array_types import Batch

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
    max_bad_share: float,
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
      max_bad_share: of its records may be unusable, which are named in the log and left out.
      num_examples: only so many, from the first; None for all.
    """
    self._batch_size, self._num_examples = batch_size, num_examples
    order = task_examples.order_of(task, split, seed, shuffle=False)
    step = task_examples.converter_step(task)
    steps = [*task.preprocessors[:step], _keep_raw_fields, *task.preprocessors[step:]]
    converter = task.preprocessors[step].feature_converter()

    def finish(example):
      made = converter.convert(example, lengths)
      kept = {name: value for name, value in made.items() if not name.startswith(_STREAM)}
      raw = {k: v for k, v in example.items() if k.startswith(_RAW)}
      raw |= {_RAW + k: v for k, v in example.items() if k.startswith('meta/')}
      position = example[stream.POSITION]  # in one unshuffled epoch it is the record
      return {**kept, **raw, _RAW + 'record': position, stream.POSITION: position}

    self._source = task_examples.TaskExamples(
      task.replace(preprocessors=steps), split, order, lengths, finish,
      trim=trim, max_bad_share=max_bad_share, epochs=1,
    )  # fmt: skip

  def __iter__(self) -> Iterator[tuple[Batch, list[dict[str, Any]]]]:
    rows, examples = [], []
    for made in itertools.islice(self._source.start(0, 1), self._num_examples):
      names = [name for name in made.fields if name.startswith(_RAW)]
      examples.append({n.removeprefix(_RAW): _plain(made.fields.pop(n)) for n in names})
      rows.append(made.fields)
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
