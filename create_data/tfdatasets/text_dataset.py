"""What a dataset of texts is: its name, its official source and the texts kept of a row."""

from collections.abc import Callable
import dataclasses
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer

from create_data import common
from create_data.tfdatasets import text_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextDataset:
  """A dataset of rows with texts.

  Attributes:
    name: name in TFDS.
    hub_name: the official source on Hugging Face's hub.
    fields: the texts of a row that are kept, under the names of the source.
    description: for TFDS's metadata.
    version: of the dataset.
  """

  name: str
  hub_name: str
  fields: tuple[str, ...]
  description: str
  version: str = '1.0.0'

  @property
  def features(self) -> tfds.features.FeaturesDict:
    """`example_num`, the number of the row in the source, and the texts."""
    return tfds.features.FeaturesDict(
      {'example_num': np.int32, **dict.fromkeys(self.fields, np.str_)}
    )

  def serializer(self) -> Callable[[dict[str, Any]], bytes]:
    """Makes bytes of examples, the same in every process, so that checksums can be compared."""
    features = self.features
    proto_of = example_serializer.ExampleSerializer(features.get_serialized_info()).get_tf_example
    return lambda example: proto_of(features.encode_example(example)).SerializeToString(
      deterministic=True
    )

  def example(self, row: text_rows.Row) -> dict[str, Any]:
    """A row of the source -> an example of `features`.

    Raises:
      BrokenRecordError: It cannot be read, or a text is missing or no text.
    """
    name = f'row {row.number} ({row.place})'
    if row.fields is None:
      raise common.BrokenRecordError(f'{name}: {row.fault}')
    for field in self.fields:
      if field not in row.fields:
        raise common.BrokenRecordError(
          f'{name}: it has no {field!r}, only {sorted(map(str, row.fields))}'
        )
      if not _is_text(row.fields[field]):
        raise common.BrokenRecordError(
          f'{name}: {field!r} is {row.fields[field]!a:.40}, which is no text'
        )
    return {'example_num': row.number, **{field: row.fields[field] for field in self.fields}}


def _is_text(value: Any) -> bool:
  """Text that can be written: JSON may hold halves of characters."""
  try:
    return isinstance(value, str) and value.encode() is not None
  except UnicodeEncodeError:
    return False
