"""Builds RefCOCO in the layout of TFDS's ref_coco: `ref_coco/refcoco_unc:1.0.0`.

  python create_data/tfdatasets/refcoco/build.py TFDS_DIR REFER_DIR IMAGES_DIR

REFER_DIR holds `instances.json` and `refs(unc).p` as the refer project publishes them (or the same
list as `refs(unc).json`); IMAGES_DIR holds the pictures under their `file_name`. The pickle is read
by an unpickler that knows plain data only, so that it cannot run code.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
import functools
import os
import pathlib
import sys
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from create_data import common
from create_data.tfdatasets import records
from create_data.tfdatasets.refcoco import refer

NAME, VERSION = 'ref_coco', '1.0.0'
DATASETS = ('refcoco', 'refcocoplus', 'refcocog')
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


def _object(annotation: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
  ymin, xmin, ymax, xmax = common.normalised_box(annotation, height, width)
  return {
    'id': annotation['id'],
    'area': int(annotation['area']),
    'bbox': tfds.features.BBox(ymin=ymin, xmin=xmin, ymax=ymax, xmax=xmax),
    'label': annotation['category_id'],
  }


def make_example(
  record: Mapping[str, Any], *, folder: pathlib.Path, complain: Callable[[str], None]
) -> dict[str, Any]:
  """One picture with its annotations and references -> an example of FEATURES.

  Raises:
    BrokenRecordError: The picture cannot be read or no reference is usable.
  """
  name = f'image {record["id"]}'
  encoded, height, width = common.read_picture(folder / record['file_name'], name)
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
      complain(f'reference {ref["ref_id"]} of {name}: there is no annotation {ref["ann_id"]}')
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


def build(
  tfds_dir: pathlib.Path,
  refer_dir: pathlib.Path,
  images_dir: pathlib.Path,
  *,
  splits: Sequence[str] | None = None,
  dataset: str = 'refcoco',
  partition: str = 'unc',
  workers: int = 1,
) -> tuple[pathlib.Path, int]:
  """Builds `ref_coco/DATASET_PARTITION`; returns its folder and how many things were skipped.

  Without `splits` all are built that the references name (official: train, val, testA, testB).
  """
  problems = common.Problems()
  refs = refer.read_refs(refer_dir, partition)
  instances = common.read_json(refer_dir / 'instances.json')
  present = sorted({ref['split'] for ref in refs})
  if unknown := sorted(set(splits or ()) - set(present)):
    raise ValueError(f'no reference belongs to {unknown}; the file has {present}')
  classes: dict[int, str] = {}
  common.add_categories(classes, instances.get('categories'), 'instances.json')
  encoded = {
    records.TFDS_SPLITS.get(split, split): records.encoded_records(
      refer.join(refs, instances, split, problems),
      make=functools.partial(make_example, folder=images_dir),
      features=FEATURES,
      workers=workers,
      label=f'{dataset} {split}',
      problems=problems,
    )
    for split in (splits or present)
  }
  path = records.write_dataset(
    root=tfds_dir,
    name=NAME,
    config=f'{dataset}_{partition}',
    version=VERSION,
    features=FEATURES,
    splits=encoded,
    extra_files={'class_names.json': {str(key): name for key, name in classes.items()}},
    description='Objects of COCO pictures with expressions that refer to them.',
  )
  return path, problems.count


def main(arguments: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('tfds_dir', type=pathlib.Path, help='the TFDS root that is written to')
  parser.add_argument('refer_dir', type=pathlib.Path)
  parser.add_argument('images_dir', type=pathlib.Path)
  parser.add_argument('--splits', help='comma-separated; all that the references name by default')
  parser.add_argument('--dataset', default='refcoco', choices=DATASETS)
  parser.add_argument('--partition', default='unc', choices=['unc', 'google', 'umd'])
  parser.add_argument('--num_workers', type=int, default=os.cpu_count())
  args = parser.parse_args(arguments)
  try:
    path, skipped = build(
      args.tfds_dir,
      args.refer_dir,
      args.images_dir,
      splits=args.splits.split(',') if args.splits else None,
      dataset=args.dataset,
      partition=args.partition,
      workers=args.num_workers,
    )
  except (OSError, ValueError) as error:
    sys.exit(f'{NAME} was not built: {error}')
  print(f'{NAME}: {path} is complete, {skipped} records or parts were skipped.')


if __name__ == '__main__':
  main()
