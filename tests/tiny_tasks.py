"""seqio tasks about numbers, for tests of the stream: record i says which example is which."""

import contextlib
import json

import numpy as np
import seqio
import tensorflow as tf

from t5x import stream

OUTPUT = {'inputs': seqio.ContinuousFeature(dtype=tf.int32, rank=1, required=False)}


class Numbers(seqio.DataSource):
  """Record i of a split is {'id': first + i, 'text': '<id>'}; `reads` has the records read."""

  def __init__(self, size, first=0):
    super().__init__(splits=('train', 'test'))
    self.size, self.first, self.reads = size, first, []

  def num_examples(self, split):
    return self.size

  def read(self, split, records):
    self.reads.extend(records.tolist())
    return np.array([json.dumps(self.first + int(i)).encode() for i in records], object)

  def decode(self, split, stored):
    return {'id': tf.strings.to_number(stored, tf.int32), 'text': stored}

  def get_dataset(self, *args, **kwargs):
    raise AssertionError('the stream reads by number')

  supports_arbitrary_sharding = True
  num_input_examples = num_examples
  list_shards = None


def in_sequence(size, first=0):
  """The same records from a source that cannot be read by number."""
  source = Numbers(size, first)
  texts = source.read('train', np.arange(size)).tolist()

  def dataset(split, shuffle_files):
    return tf.data.Dataset.from_tensor_slices(texts).map(lambda text: source.decode(split, text))

  return seqio.FunctionDataSource(dataset, splits=['train', 'test'])


def keeping(fn):
  """A preprocessor of single examples that carries the stream's fields on."""

  def preprocess(ds):
    return ds.map(lambda ex: {**{k: v for k, v in ex.items() if k.startswith('stream/')}, **fn(ex)})

  return preprocess


def features(ex):
  """`inputs`: the number, and one drawn by the example's seed."""
  noise = tf.random.stateless_uniform([], ex[stream.SEED], 0, 2**30, tf.int32)
  kept = {k: v for k, v in ex.items() if k.startswith('meta/')}
  return {'inputs': tf.stack([ex['id'], noise]), **kept}


class PadTo3:
  """Features to fixed shapes: `x` [3]."""

  def convert(self, example, lengths):
    return {'x': tf.pad(example['inputs'], [[0, 3 - lengths['inputs']]])}


def make_features(ds, sequence_length):
  """The last preprocessor of every task."""
  del sequence_length
  return keeping(features)(ds)


make_features.feature_converter = PadTo3


class Masks:
  """Features to what packing and the tiny model look at; all is made of the number."""

  def convert(self, example, lengths):
    number, noise = example['inputs'][0], example['inputs'][1]
    return {
      'x': tf.stack([number, noise]),
      'inputs/text/tokens': (number + tf.range(3)) % 16,
      'targets/text/targets': (number * 3 + tf.range(3)) % 16,
      'inputs/text/mask': tf.cast(tf.range(9) <= number * 7 % 9, tf.int32),
      'inputs/image_history/mask': tf.cast(tf.range(3)[:, None] < number % 4, tf.int32),
      'targets/text/mask': tf.cast(tf.range(6) <= number * 5 % 6, tf.int32),
    }


def make_masks(ds, sequence_length):
  """The last preprocessor of tasks that are packed."""
  del sequence_length
  return keeping(features)(ds)


make_masks.feature_converter = Masks


def odd_only(ds):
  return ds.filter(lambda ex: ex['id'] % 2 == 1)


def as_many_as_the_last_digit(ds):
  """Record i becomes i % 3 examples; each has its own seed."""

  def expand(ex):
    copies = tf.data.Dataset.range(tf.cast(ex['id'] % 3, tf.int64))
    return copies.map(lambda i: {**ex, stream.SEED: ex[stream.SEED] + tf.cast(i, tf.int32)})

  return ds.flat_map(expand)


def forget_the_stream(ds):
  return ds.map(lambda ex: {'id': ex['id'], stream.SEED: ex[stream.SEED]})


@contextlib.contextmanager
def registered(tasks, mixtures=None, last=make_features):
  """Registers tasks for a while.

  Args:
    tasks: name -> (source, preprocessors before the last).
    mixtures: name -> [(task, rate)].
    last: the last preprocessor.
  """
  for name, (source, steps) in tasks.items():
    seqio.TaskRegistry.add(
      name, source=source, preprocessors=[*steps, last], output_features=OUTPUT
    )
  for name, rates in (mixtures or {}).items():
    seqio.MixtureRegistry.add(name, rates)
  yield
  for name in tasks:
    seqio.TaskRegistry.remove(name)
  for name in mixtures or {}:
    seqio.MixtureRegistry.remove(name)
