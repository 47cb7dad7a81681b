"""What a record of TFDS's `ref_coco` holds, and how it is made of a picture and its references."""

from collections.abc import Callable, Iterator, Mapping
import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from create_data import common, pictures
from create_data.tfdatasets import records

_OBJECT = {
  'id': np.int64,
  'area': np.int64,
  'bbox': tfds.features.BBoxFeature(),
  'label': np.int64,
}
FEATURES = tfds.features.FeaturesDict(
  {
    'image': tfds.features.Image(shape=(None, None, 3)),
    'image/id': np.int64,
    'objects': tfds.features.Sequence(
      {
        **_OBJECT,
        'gt_box_index': np.int64,
        'refexp': tfds.features.Sequence({'refexp_id': np.int64, 'raw': tfds.features.Text()}),
      }
    ),
    'coco_annotations': tfds.features.Sequence(_OBJECT),
  }
)


def dataset(name: str, partition: str) -> records.Dataset:
  """The variant of `ref_coco`: refcoco, refcocoplus or refcocog as unc, google or umd cut it."""
  return records.Dataset(
    name='ref_coco',
    config=f'{name}_{partition}',
    version='1.0.0',
    features=FEATURES,
    description='Objects of COCO pictures with expressions that refer to them.',
  )


def make(part: Mapping[str, Any], complain: Callable[[str], None]) -> Iterator[dict[str, Any]]:
  """The examples of a part: 'records' of `refer.join`, whose files are in 'folder'."""
  for record in part['records']:
    try:
      yield _example(record, pathlib.Path(part['folder']), complain)
    except common.BrokenRecordError as error:
      complain(str(error))


def _example(record, folder, complain):
  name = f'image {record["id"]}'
  encoded, height, width = pictures.read(folder / record['file_name'], name)
  annotations: dict[int, dict[str, Any]] = {}
  for annotation in sorted(record['annotations'], key=lambda a: a['id']):
    try:
      annotations[annotation['id']] = _object(annotation, height, width)
    except common.BrokenRecordError as error:
      complain(str(error))
  places = {key: i for i, key in enumerate(annotations)}
  objects = []
  for ref in sorted(record['refs'], key=lambda r: r['ref_id']):
    if ref['ann_id'] not in annotations:
      complain(
        f'reference {ref["ref_id"]} of {name}: there is no usable annotation {ref["ann_id"]}'
      )
      continue
    sentences = sorted(ref['sentences'], key=lambda s: s['sent_id'])
    objects.append(
      {
        **annotations[ref['ann_id']],
        'gt_box_index': places[ref['ann_id']],
        'refexp': [{'refexp_id': s['sent_id'], 'raw': s['raw']} for s in sentences],
      }
    )
  if not objects:
    raise common.BrokenRecordError(f'{name}: none of its references is usable')
  return {
    'image': encoded,
    'image/id': record['id'],
    'objects': objects,
    'coco_annotations': list(annotations.values()),
  }


def _object(annotation, height, width):
  ymin, xmin, ymax, xmax = common.normalised_box(annotation, height, width)
  return {
    'id': annotation['id'],
    'area': int(annotation['area']),
    'bbox': tfds.features.BBox(ymin=ymin, xmin=xmin, ymax=ymax, xmax=xmax),
    'label': annotation['category_id'],
  }
