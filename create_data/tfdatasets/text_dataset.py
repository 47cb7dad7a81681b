"""What a dataset of texts is: its name, its official source and the texts kept of a row."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from create_data import common
from create_data.tfdatasets import execution, records, shards, text_rows
from create_data.tfdatasets import parts as parts_lib

ROWS_PER_SHARD = 16_384
TRIED_FIRST = 100  # rows: where none is usable, it is the wrong source


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
  def dataset(self) -> records.Dataset:
    """Examples have `example_num`, the number of the row in the source, and the texts."""
    features = tfds.features.FeaturesDict(
      {'example_num': np.int32, **dict.fromkeys(self.fields, np.str_)}
    )
    return records.Dataset(
      name=self.name, version=self.version, features=features, description=self.description
    )

  def example(self, row: text_rows.Row) -> dict[str, Any]:
    """A row of the source -> an example.

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
      if not common.is_text(row.fields[field]):
        raise common.BrokenRecordError(
          f'{name}: {field!r} is {row.fields[field]!a:.40}, which is no text'
        )
    return {'example_num': row.number, **{field: row.fields[field] for field in self.fields}}

  def make(self, part: Sequence[Any], complain: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """The examples of a part of the source, which is given as its fields."""
    for row in text_rows.read(text_rows.Part(*part)):
      try:
        yield self.example(row)
      except common.BrokenRecordError as error:
        complain(str(error))

  def build(
    self,
    tfds_dir: pathlib.Path,
    source: pathlib.Path | None,
    *,
    run: execution.Execution = execution.ONE_PROCESS,
  ) -> shards.Built:
    """Builds `tfds_dir/NAME/VERSION`.

    Args:
      tfds_dir: the TFDS root.
      source: a file or folder, see `text_rows`; None asks the hub.
      run: who writes the shards.

    Raises:
      ImportError, OSError, ValueError: The source cannot be used; the message says why.
    """
    found = text_rows.find(source, self.hub_name, ROWS_PER_SHARD)
    self._try_first(found.parts[0])
    parts = [
      parts_lib.Part(
        split='train',
        inputs=part,
        identity=[self.fields, found.checksums, part._replace(location='')],
        count=part.count,
      )
      for part in found.parts
    ]
    return shards.build(
      self.dataset, tfds_dir, parts, make=self.make, run=run, problems=common.Problems(),
      source=found.checksums,
    )  # fmt: skip

  def _try_first(self, part):
    fault = None
    for row, _ in zip(text_rows.read(part), range(TRIED_FIRST), strict=False):
      try:
        self.example(row)
        return
      except common.BrokenRecordError as error:
        fault = fault or error
    raise ValueError(
      f'none of the first rows is a row of {self.name}: {fault}; wanted are {self.fields}'
    )
