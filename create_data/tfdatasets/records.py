"""Writes random-access TFDS datasets: ArrayRecord shards with TFDS's metadata beside them.

A dataset is written beside its place and moved there when it is whole, so a folder that exists is
complete. Nothing here imports TensorFlow.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import functools
import itertools
import json
import os
import pathlib
import shutil
import sys
from typing import Any

from array_record.python import array_record_module
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer
import tqdm

from create_data import common

SHARD_PICTURES = 2048
CHUNK = 64
FILE_FORMAT = 'array_record'
TFDS_SPLITS = {'val': 'validation'}  # COCO's name -> TFDS's


class _NumpyTensorInfo(tfds.features.TensorInfo):
  """Says its dtype in NumPy's terms: TFDS's serialiser asks ragged fields for TensorFlow's."""

  @property
  def dtype(self) -> np.dtype:
    return self.np_dtype


def _in_numpy(spec: Any) -> Any:
  if isinstance(spec, Mapping):
    return {key: _in_numpy(value) for key, value in spec.items()}
  return _NumpyTensorInfo.copy_from(spec)


@functools.lru_cache(maxsize=1)
def _serializer(features_json: str) -> tuple[tfds.features.FeaturesDict, Any]:
  features = tfds.features.FeaturesDict.from_json(json.loads(features_json))
  spec = _in_numpy(features.get_serialized_info())
  return features, example_serializer.ExampleSerializer(spec)


def _encode(
  records: Sequence[Any], *, make: Callable[..., dict], features_json: str
) -> list[tuple[bytes | None, list[str]]]:
  features, serializer = _serializer(features_json)
  rows = []
  for record in records:
    complaints: list[str] = []
    try:
      example = make(record, complain=complaints.append)
      rows.append((serializer.serialize_example(features.encode_example(example)), complaints))
    except common.BrokenRecordError as error:
      rows.append((None, [*complaints, str(error)]))
  return rows


def encoded_records(
  records: Sequence[Any],
  *,
  make: Callable[..., dict],
  features: tfds.features.FeaturesDict,
  workers: int,
  label: str,
  problems: common.Problems,
) -> Iterator[bytes]:
  """Serialised examples, in the order of the records, made by `workers` processes.

  Args:
    records: What to encode; a picture each.
    make: (record, complain=) -> example; a function of a module, for other processes to find.
      It calls `complain(message)` for a part that it leaves out and raises BrokenRecordError for a
      record that is of no use.
    features: The feature spec of the examples.
    workers: Processes; with 1 everything happens in this one.
    label: What the progress bar says.
    problems: Told of every complaint.
  """
  chunks = (list(records[start : start + CHUNK]) for start in range(0, len(records), CHUNK))
  encode = functools.partial(_encode, make=make, features_json=json.dumps(features.to_json()))
  bar = tqdm.tqdm(
    total=len(records), desc=label, unit=' pictures', mininterval=1.0, file=sys.stderr
  )
  with bar, common.Workers(workers) as run:
    for rows in run(encode, chunks):
      for encoded, complaints in rows:
        for complaint in complaints:
          problems.report(complaint)
        if encoded is not None:
          yield encoded
      bar.update(len(rows))


def write_dataset(
  *,
  root: pathlib.Path,
  name: str,
  config: str | None = None,
  version: str,
  features: tfds.features.FeaturesDict,
  splits: Mapping[str, Iterable[bytes]],
  extra_files: Mapping[str, Any],
  description: str,
) -> pathlib.Path:
  """Writes `root/name[/config]/version` so that TFDS reads it; replaces what was there.

  Args:
    root: The TFDS root folder.
    name: The name of the dataset.
    config: Its variant, if it has any.
    version: Its version, '1.0.1'.
    features: The feature spec of the records.
    splits: Split -> serialised examples.
    extra_files: File name -> content, written as JSON beside the shards.
    description: What the dataset is, for its metadata.

  Returns:
    The folder.

  Raises:
    ValueError: A split came out empty.
  """
  final = root.joinpath(name, *([config] if config else []), version)
  partial = final.with_name(f'incomplete.{version}.{os.getpid()}')
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  try:
    infos = [_write_split(partial, name, split, records) for split, records in splits.items()]
    for file_name, content in extra_files.items():
      common.write_json(partial / file_name, content, indent=1)
    tfds.folder_dataset.write_metadata(
      data_dir=partial,
      features=features,
      split_infos=infos,
      version=version,
      check_data=False,  # would import TensorFlow; our tests read the datasets
      description=description,
    )
    _replace_folder(partial, final)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  return final


def _write_split(
  folder: pathlib.Path, name: str, split: str, records: Iterable[bytes]
) -> tfds.core.SplitInfo:
  records, paths, lengths, num_bytes = iter(records), [], [], 0
  for first in records:
    paths.append(folder / f'{split}.{len(paths)}.partial')
    writer = array_record_module.ArrayRecordWriter(str(paths[-1]), 'group_size:1')
    lengths.append(0)
    for record in itertools.chain([first], itertools.islice(records, SHARD_PICTURES - 1)):
      writer.write(record)
      lengths[-1] += 1
      num_bytes += len(record)
    writer.close()
  if not lengths:
    raise ValueError(f'split {split!r} has no usable picture; see what was skipped')
  for i, path in enumerate(paths):
    path.rename(folder / f'{name}-{split}.{FILE_FORMAT}-{i:05d}-of-{len(paths):05d}')
  return tfds.core.SplitInfo(
    name=split,
    shard_lengths=lengths,
    num_bytes=num_bytes,
    filename_template=tfds.core.ShardedFileTemplate(
      data_dir=folder, dataset_name=name, split=split, filetype_suffix=FILE_FORMAT
    ),
  )


def _replace_folder(source: pathlib.Path, target: pathlib.Path) -> None:
  outdated = target.with_name(f'outdated.{target.name}.{os.getpid()}')
  if target.exists():
    target.rename(outdated)
  source.rename(target)
  shutil.rmtree(outdated, ignore_errors=True)


def strings(values: Sequence[str], *, width: int | None = None) -> np.ndarray:
  """Text as the object array that TFDS wants: [n], or [n, width] for rows of equal length."""
  shape = (len(values),) if width is None else (len(values), width)
  array = np.empty(shape, object)
  for i, value in enumerate(values):
    array[i] = value
  return array
