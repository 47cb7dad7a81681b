"""Reads the files of the refer project and joins them by image id."""

from collections.abc import Sequence
import io
import pathlib
import pickle
from typing import Any

from create_data.tfdatasets import manifest, official

_REF = {'ref_id': int, 'ann_id': int, 'image_id': int, 'split': str, 'sentences': list}
_SENTENCE = {'sent_id': int, 'raw': str}
_IMAGE = {'id': int, 'file_name': str}
_OBJECT = {'id': int, 'image_id': int, 'category_id': int}


class _PlainUnpickler(pickle.Unpickler):
  """Reads lists, dicts, numbers and text; anything that names code is refused."""

  def find_class(self, module: str, name: str) -> Any:
    raise pickle.UnpicklingError(
      f'it wants to load {module}.{name}, but only plain data is read; '
      'convert the file to JSON if you trust it'
    )

  def persistent_load(self, pid: Any) -> Any:
    raise pickle.UnpicklingError(f'it refers to {pid!r} outside of it; only plain data is read')


def load_plain_pickle(content: bytes) -> Any:
  """What a pickle of plain data holds. No code that it names is imported or called.

  Raises:
    ValueError: It is no pickle, is cut, or holds more than plain data.
  """
  try:
    # The published files were written by Python 2: their strings are bytes.
    return _PlainUnpickler(io.BytesIO(content), encoding='utf-8', errors='replace').load()
  except (
    Exception
  ) as error:  # a broken pickle may raise anything: IndexError, KeyError, MemoryError
    raise ValueError(str(error) or type(error).__name__) from error


def read_refs(
  folder: pathlib.Path, partition: str, reader: official.Reader
) -> list[dict[str, Any]]:
  """The references of `refs(PARTITION).p`, else of `refs(PARTITION).json`, that are usable."""
  path = folder / f'refs({partition}).p'
  if path.is_file():
    try:
      refs = load_plain_pickle(path.read_bytes())
    except ValueError as error:
      raise ValueError(f'{path} cannot be read: {error}') from error
    reader.checksums[path.name] = manifest.checksum(path)
  else:
    path = path.with_suffix('.json')
    refs = reader.read(path)
  if not isinstance(refs, list):
    raise ValueError(f'{path} holds {type(refs).__name__}, no list of references')
  usable = list(reader.complete(refs, _REF, path.name))
  for ref in usable:
    name = f'{path.name}, reference {ref["ref_id"]}, sentences'
    ref['sentences'] = [
      {key: sentence[key] for key in _SENTENCE}
      for sentence in reader.complete(ref['sentences'], _SENTENCE, name)
    ]
  return usable


class Instances:
  """Files of pictures, annotations and names of classes in `instances.json`."""

  def __init__(self, folder: pathlib.Path, reader: official.Reader):
    """Reads the file."""
    path = folder / 'instances.json'
    content = reader.read(path)
    images = reader.table(content, 'images', _IMAGE, path)
    self.files = {image['id']: image['file_name'] for image in images}
    self.annotations = reader.table(content, 'annotations', _OBJECT, path)
    self.classes: dict[int, str] = {}
    reader.add_categories(self.classes, content, path)


def join(
  refs: Sequence[dict], instances: Instances, split: str, reader: official.Reader
) -> list[dict[str, Any]]:
  """The pictures of a split by id, each with its annotations and the references to them."""
  wanted: dict[int, dict[str, Any]] = {}
  for ref in refs:
    name, image = f'reference {ref["ref_id"]}', ref['image_id']
    if ref['split'] != split:
      continue
    if image not in instances.files:
      reader.problems.report(f'{name}: there is no image {image}')
    elif not ref['sentences']:
      reader.problems.report(f'{name} of image {image}: it has no expression')
    else:
      record = {'id': image, 'file_name': instances.files[image], 'annotations': [], 'refs': []}
      kept = {key: ref[key] for key in ('ref_id', 'ann_id', 'sentences')}
      wanted.setdefault(image, record)['refs'].append(kept)
  for annotation in instances.annotations:
    if annotation['image_id'] in wanted:
      keys = ('id', 'image_id', 'category_id', 'bbox', 'area')
      kept = {key: annotation.get(key) for key in keys}
      wanted[annotation['image_id']]['annotations'].append(kept)
  return [wanted[key] for key in sorted(wanted)]
