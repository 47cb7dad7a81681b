"""What the build scripts share: reading annotations and pictures, writing random-access datasets.

A dataset is written beside its place and moved there when it is whole, so a folder that exists is
complete. Nothing here imports TensorFlow.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import functools
import io
import itertools
import json
import multiprocessing
import os
import pathlib
import shutil
import sys
from typing import Any

from array_record.python import array_record_module
import numpy as np
from PIL import Image
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer
import tqdm

SHARD_PICTURES = 2048
CHUNK = 64
FILE_FORMAT = 'array_record'


class BrokenRecordError(ValueError):
  """A record that cannot be used; its message names the record and says why."""


@dataclasses.dataclass
class Problems:
  """Counts and prints what was skipped."""

  count: int = 0

  def report(self, message: str) -> None:
    self.count += 1
    tqdm.tqdm.write(f'skipped: {message}', file=sys.stderr)


def read_json(path: pathlib.Path) -> Any:
  """The content of a JSON file; a missing or broken file is named in the error."""
  if not path.is_file():
    beside = sorted(p.name for p in path.parent.glob('*.json')) if path.parent.is_dir() else []
    raise FileNotFoundError(
      f'{path} does not exist; JSON files beside it: {beside or "none"}. Check the folders given.'
    )
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except json.JSONDecodeError as error:
    raise ValueError(f'{path} is no valid JSON ({error}); download or write it again') from error


def write_json(path: pathlib.Path, content: Any, *, indent: int | None = None) -> None:
  """Writes a JSON file whole or not at all, its folder included."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
  partial.write_text(
    json.dumps(content, ensure_ascii=False, indent=indent) + '\n', encoding='utf-8'
  )
  partial.replace(path)


def read_picture(path: pathlib.Path, name: str) -> tuple[bytes, int, int]:
  """The encoded bytes of a picture with its height and width in pixels.

  The picture is decoded once to know that it is whole. Grey and RGB files stay as they are, other
  modes become RGB PNG, because readers ask for three channels.

  Raises:
    BrokenRecordError: The file is missing or cannot be decoded.
  """
  try:
    encoded = path.read_bytes()
    with Image.open(io.BytesIO(encoded)) as picture:
      mode, (width, height) = picture.mode, picture.size
      if mode in ('RGB', 'L'):
        picture.draft(mode, (1, 1))  # JPEG: an eighth of the work, a cut file shows all the same
        picture.load()
      else:
        buffer = io.BytesIO()
        picture.convert('RGB').save(buffer, 'PNG')
        encoded = buffer.getvalue()
  except (OSError, SyntaxError, ValueError) as error:
    raise BrokenRecordError(f'{name}: picture {path} cannot be read ({error})') from error
  return encoded, height, width


def normalised_box(annotation: Mapping[str, Any], height: int, width: int) -> list[float]:
  """COCO's [x, y, width, height] in pixels -> (y1, x1, y2, x2) as shares of the picture.

  {'bbox': [10, 20, 30, 40]} in a 100 x 200 picture -> [0.2, 0.05, 0.6, 0.2]

  Raises:
    BrokenRecordError: The box is malformed, empty or leaves the picture by more than a pixel.
  """
  name = f'annotation {annotation.get("id")} of image {annotation.get("image_id")}'
  try:
    x, y, w, h = (float(value) for value in annotation['bbox'])
  except (KeyError, TypeError, ValueError) as error:
    raise BrokenRecordError(f'{name}: no box of four numbers ({error!r})') from error
  right, bottom = x + w, y + h
  if not (w > 0 and h > 0 and x >= -1 and y >= -1 and right <= width + 1 and bottom <= height + 1):
    raise BrokenRecordError(
      f'{name}: box {annotation["bbox"]} (x, y, width, height) is empty or outside the picture of '
      f'{width}x{height} pixels'
    )
  shares = (y / height, x / width, bottom / height, right / width)
  return [min(max(share, 0.0), 1.0) for share in shares]


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
    except BrokenRecordError as error:
      rows.append((None, [*complaints, str(error)]))
  return rows


def encoded_records(
  records: Sequence[Any],
  *,
  make: Callable[..., dict],
  features: tfds.features.FeaturesDict,
  workers: int,
  label: str,
  problems: Problems,
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
  with bar, worker_pool(workers) as run:
    for rows in run(encode, chunks):
      for encoded, complaints in rows:
        for complaint in complaints:
          problems.report(complaint)
        if encoded is not None:
          yield encoded
      bar.update(len(rows))


class worker_pool:
  """`with worker_pool(2) as run:` -> run(function, items), in order, in that many processes."""

  def __init__(self, workers: int):
    if workers < 1:
      raise ValueError(f'{workers} worker processes asked for; give 1 or more')
    # Spawned, because a forked child of a process with threads (TensorFlow, JAX) may hang.
    self._pool = multiprocessing.get_context('spawn').Pool(workers) if workers > 1 else None

  def __enter__(self) -> Callable[[Callable, Iterable], Iterator]:
    return self._pool.imap if self._pool else map

  def __exit__(self, kind: type | None, *_: object) -> None:
    if self._pool:
      self._pool.terminate() if kind else self._pool.close()
      self._pool.join()


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
      write_json(partial / file_name, content, indent=1)
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


TFDS_SPLITS = {'val': 'validation'}  # COCO's name -> TFDS's


def add_categories(
  classes: dict[int, str], categories: Sequence[Mapping] | None, name: str
) -> None:
  """Adds a file's categories (official COCO's where it has none) to category id -> name, in order.

  Raises:
    ValueError: A category id has another name than before.
  """
  if categories is None:
    path = pathlib.Path(__file__).parent / 'tfdatasets' / 'coco_all' / 'coco_categories.json'
    categories = read_json(path)
  for category in categories:
    known = classes.setdefault(category['id'], category['name'])
    if known != category['name']:
      raise ValueError(
        f'{name}: category {category["id"]} is {category["name"]!r}, but {known!r} in another '
        'split; give the splits one list of categories'
      )
