"""Reads the files of the refer project and joins them by image id."""

from collections.abc import Mapping, Sequence
import pathlib
import pickle
from typing import Any

from create_data import common


class _PlainUnpickler(pickle.Unpickler):
  """Reads lists, dicts, numbers and text; anything that names code is refused."""

  def find_class(self, module: str, name: str) -> Any:
    raise pickle.UnpicklingError(
      f'it wants to load {module}.{name}, but only plain data is read; '
      'convert the file to JSON if you trust it'
    )


def read_refs(folder: pathlib.Path, partition: str) -> list[dict[str, Any]]:
  """The list of references from `refs(PARTITION).json`, else from `refs(PARTITION).p`."""
  path = folder / f'refs({partition}).p'
  if not path.is_file():
    return common.read_json(path.with_suffix('.json'))
  with path.open('rb') as file:
    try:
      # The published files were written by Python 2: their strings are bytes.
      return _PlainUnpickler(file, encoding='utf-8', errors='replace').load()
    except (pickle.UnpicklingError, EOFError, ValueError) as error:
      raise ValueError(f'{path} cannot be read: {error}') from error


def join(
  refs: Sequence[Mapping], instances: Mapping[str, Any], split: str, problems: common.Problems
) -> list[dict[str, Any]]:
  """The pictures of a split by id, each with its annotations and the references to them."""
  images = {image['id']: image for image in instances['images']}
  wanted: dict[int, dict[str, Any]] = {}
  for ref in refs:
    if ref['split'] != split:
      continue
    image = ref['image_id']
    if image not in images:
      problems.report(f'reference {ref["ref_id"]}: there is no image {image}')
      continue
    record = {'id': image, 'file_name': images[image]['file_name'], 'annotations': [], 'refs': []}
    wanted.setdefault(image, record)['refs'].append(ref)
  for annotation in instances['annotations']:
    if annotation['image_id'] in wanted:
      wanted[annotation['image_id']]['annotations'].append(annotation)
  return [wanted[key] for key in sorted(wanted)]
