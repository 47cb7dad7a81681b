"""Tokenized datasets: batches' fields as training reads them, with codes in place of target pixels.

`scripts/tokenize_dataset.py` writes one; a task made by `add_tokenized_task` reads it back. What is
stored are the fields of stage 3, in their fixed shapes, so nothing is left to be done but reading.
"""

from collections.abc import Mapping
import json
import os
from typing import Any

import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from t5x import stream
from t5x.examples.unified_io import config, modality_processing
from t5x.examples.unified_io.data import vocabulary

SUFFIX, VERSION = '_tokenized', '1.0.0'  # of the dataset and the task that reads it
MANIFEST = 'tokenized.json'  # what it was made with
_COMMAND = 'python t5x/examples/unified_io/scripts/tokenize_dataset.py {} TFDS_DIR'


# ---- What is stored ------------------------------------------------------------------------------
def features_of(fields: Mapping[str, tuple[tuple[int, ...], Any]]) -> tfds.features.FeaturesDict:
  """TFDS features, nested and compressed, of fields given as name -> (shape, dtype)."""
  tensors = {
    name: tfds.features.Tensor(shape=shape, dtype=dtype, encoding=tfds.features.Encoding.ZLIB)
    for name, (shape, dtype) in fields.items()
  }
  return tfds.features.FeaturesDict(nested(tensors))


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
  """{'inputs/text/tokens': x} -> {'inputs': {'text': {'tokens': x}}}."""
  tree: dict[str, Any] = {}
  for name, value in flat.items():
    side, modality, field = name.split('/')
    tree.setdefault(side, {}).setdefault(modality, {})[field] = value
  return tree


# ---- Reading -------------------------------------------------------------------------------------
class TokenizedSource(stream.TfdsSource):
  """A tokenized dataset, which was made for one tokenizer of text."""

  @property
  def builder(self) -> tfds.core.DatasetBuilder:
    """The dataset on disk.

    Raises:
      FileNotFoundError: it is not there; the message says what builds it.
      ValueError: its texts were made with another vocabulary.
    """
    builder = super().builder
    with tf.io.gfile.GFile(os.path.join(self.folder, MANIFEST)) as file:
      stored = json.load(file)['tokenizer']
    ours = vocabulary.get_default_vocabulary().fingerprint
    if stored != ours:
      raise ValueError(
        f'the texts of {self.folder} were made with another tokenizer (fingerprint {stored}) than '
        f'this run has ({ours}); set config.LLAMA_TOKENIZER_PATH or UIO2_TOKENIZER to its file, or '
        'tokenize the task again'
      )
    return builder

  def decode(self, split: str, stored: tf.Tensor) -> dict[str, tf.Tensor]:
    """One stored record -> 'inputs/text/tokens' and so on."""
    tree = super().decode(split, stored)
    return {
      f'{side}/{modality}/{field}': value
      for side, modalities in tree.items()
      for modality, fields in modalities.items()
      for field, value in fields.items()
    }


class StoredFields:
  """In place of `UnifiedIOFeatureConverter`: takes the fields that the modalities ask for."""

  def convert(
    self, example: Mapping[str, Any], task_feature_lengths: Mapping[str, Any] | None
  ) -> dict[str, tf.Tensor]:
    """One example; a modality that was not stored is an empty one.

    Raises:
      ValueError: a field is missing or has another shape than the run asks for.
    """
    made = {k: v for k, v in example.items() if k.startswith(modality_processing.PASSED_ON)}
    for name, empty in _empty_example(task_feature_lengths).items():
      modality = f'{name.rpartition("/")[0]}/'
      there = [field for field in example if field.startswith(modality)]
      made[name] = _stored(name, example, empty, there) if there else empty
    return made


def _stored(name, example, empty, there):
  if name not in example:
    raise ValueError(
      f'the dataset holds no {name}, but {there}; if it holds codes, ask for them by '
      f"get_target_modalities.use_codes = ['{name.split('/')[1]}']"
    )
  if example[name].shape != empty.shape:
    raise ValueError(
      f'{name} is stored as {example[name].shape}, this run wants {empty.shape}: give it the '
      f'sequence lengths and sizes that stand in {MANIFEST}, or tokenize the task again'
    )
  return example[name]


def _empty_example(lengths):
  """The fields of an example without any content."""
  none = modality_processing.make_features({}, lengths, tf.zeros([2], tf.int32))
  return modality_processing.UnifiedIOFeatureConverter().convert(none, lengths)


def pass_on(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """The only preprocessor of a tokenized task: everything is done."""
  return dataset


pass_on.feature_converter = StoredFields


def add_tokenized_task(task_name: str, version: str = VERSION) -> seqio.Task:
  """Registers `TASK_tokenized`, which reads what tokenize_dataset.py made of a task.

  Args:
    task_name: of the task that was tokenized.
    version: of the dataset.
  """
  name = task_name + SUFFIX
  source = TokenizedSource(
    f'{name}:{version}',
    data_dir=lambda: config.MULTITASK_TFDS_DATA_DIR,
    build_command=_COMMAND.format(task_name),
  )
  return seqio.TaskRegistry.add(
    name,
    source=source,
    preprocessors=[pass_on],
    output_features=modality_processing.OUTPUT_FEATURES(),
    metric_fns=[],
  )
