"""The records that a stored case feeds to a registered task."""

import functools
import json

import numpy as np
import seqio
import tensorflow as tf

from create_data.tfdatasets.alpaca import build as alpaca
from create_data.tfdatasets.flan import build as flan
from t5x import stream
from tests.parity import harness
from tests.parity.data import raw
from tests.parity.data.preprocessing_test import raw_field

PICTURE = 'uint8 picture'


def task_of(name, case):
  """The registered task of a case; one that was served from memory goes by its data."""
  if name in seqio.TaskRegistry.names():
    return seqio.TaskRegistry.get(name)
  if 'source' in case:
    builders = [alpaca.DATASET, *(flan.dataset(kind) for kind in flan.KINDS)]
    source = case_file(case['source']['case'])['source']
    return seqio.TaskRegistry.get({b.hub_name: b.name for b in builders}[source])
  mixture = seqio.MixtureRegistry.get(name.removesuffix('_memory'))
  return min(mixture.tasks, key=lambda task: task.name)


def case_file(case):
  return json.loads((harness.root() / 'data' / case / 'case.json').read_text())


def records_of(c, case, task):
  """A dataset of the records of a case, as the task's source gives them."""
  if 'raw_examples' in case:
    key_map = task.preprocessors[0].keywords['key_map']
    rows = [unkeyed({k: raw_field(c, v) for k, v in row.items()}, key_map)
            for row in case['raw_examples']]  # fmt: skip
    spec = tf.nest.map_structure(open_spec, rows[0])
  else:
    source = case['source']
    features = case_file(source['case'])['dataset']['features']
    rows = [
      typed(row, features, lambda i=i: picture(source, i)) for i, row in enumerate(rows_of(source))
    ]
    spec = spec_of(features)
  spec |= {stream.SEED: tf.TensorSpec([2], tf.int32), stream.POSITION: tf.TensorSpec([], tf.int64)}
  numbered = [
    {**row, stream.SEED: np.array([i, 0], np.int32), stream.POSITION: np.int64(i)}
    for i, row in enumerate(rows)
  ]
  return tf.data.Dataset.from_generator(lambda: iter(numbered), output_signature=spec)


def rows_of(source):
  """The records of another case as JSON holds them."""
  path = source['records'].split('.')
  return functools.reduce(lambda tree, key: tree[key], path, case_file(source['case']))


def picture(source, i):
  """The picture of record i."""
  return raw.arrays_of(source['case'])[source['pictures'].replace('<i>', str(i))]


def unkeyed(example, key_map):
  """The record whose fields a task moves to where `example` has them."""
  record = {}
  for name, path in key_map.items():
    *folders, last = path
    functools.reduce(lambda tree, key: tree.setdefault(key, {}), folders, record)[last] = example[
      name
    ]
  return record


def open_spec(tensor):
  """The spec of a tensor whose lengths are not known beforehand, save the channels of a picture."""
  if isinstance(tensor, tf.RaggedTensor):
    return tf.RaggedTensorSpec([None, None], tensor.dtype)
  lengths = [None] * tensor.shape.rank
  return tf.TensorSpec([*lengths[:-1], 3] if len(lengths) == 3 else lengths, tensor.dtype)


def spec_of(feature):
  if 'dtype' in feature:
    return tf.TensorSpec(feature['shape'], feature['dtype'])
  return {name: spec_of(part) for name, part in feature.items()}


def typed(value, feature, pixels):
  """What JSON holds -> what the dataset holds."""
  if 'dtype' not in feature:
    return {name: typed(value[name], part, pixels) for name, part in feature.items()}
  if isinstance(value, str) and value.startswith(PICTURE):
    return pixels()
  if feature['dtype'] == 'string':
    return np.array(value, object)
  shape = [-1 if size is None else size for size in feature['shape']]
  return np.array(value, feature['dtype']).reshape(shape)
