"""What a dataset is to TFDS, and how its examples become bytes. Nothing imports TensorFlow."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import json
import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer

FILE_FORMAT = 'array_record'  # random access
TFDS_SPLITS = {'val': 'validation'}  # COCO's name -> TFDS's


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
  """What TFDS's metadata says of a dataset.

  Attributes:
    name: in TFDS.
    version: '1.0.1'.
    features: of its examples.
    description: in a sentence.
    config: the variant, if it has any.
  """

  name: str
  version: str
  features: tfds.features.FeaturesDict
  description: str
  config: str | None = None

  def folder(self, tfds_dir: pathlib.Path) -> pathlib.Path:
    """Where it lies below the TFDS root."""
    return tfds_dir.joinpath(self.name, *([self.config] if self.config else []), self.version)

  def shard(self, split: str, number: int, total: int) -> str:
    """The name of a file."""
    return f'{self.name}-{split}.{FILE_FORMAT}-{number:05d}-of-{total:05d}'


class _NumpyTensorInfo(tfds.features.TensorInfo):
  """Says its dtype in NumPy's terms: TFDS's serialiser asks ragged fields for TensorFlow's."""

  @property
  def dtype(self) -> np.dtype:
    return self.np_dtype


def _in_numpy(spec: Any) -> Any:
  if isinstance(spec, Mapping):
    return {key: _in_numpy(value) for key, value in spec.items()}
  return _NumpyTensorInfo.copy_from(spec)


@functools.lru_cache(maxsize=4)
def serializer(features_json: str) -> Callable[[dict[str, Any]], bytes]:
  """Makes bytes of examples, the same in every process, so that checksums can be compared."""
  features = tfds.features.FeaturesDict.from_json(json.loads(features_json))
  spec = _in_numpy(features.get_serialized_info())
  proto_of = example_serializer.ExampleSerializer(spec).get_tf_example

  def serialize(example: dict[str, Any]) -> bytes:
    return proto_of(features.encode_example(example)).SerializeToString(deterministic=True)

  return serialize


def strings(values: Sequence[str], *, width: int | None = None) -> np.ndarray:
  """Text as the object array that TFDS wants: [n], or [n, width] for rows of equal length."""
  shape = (len(values),) if width is None else (len(values), width)
  array = np.empty(shape, object)
  for i, value in enumerate(values):
    array[i] = value
  return array
