"""Joins COCO 2017 and VQA v2 into one TFDS dataset, a picture a record: `coco_all:1.0.1`.

  python create_data/tfdatasets/coco_all/build.py TFDS_DIR VQA_DIR ANNOTATIONS_DIR

ANNOTATIONS_DIR holds {instances,captions}_SPLIT2017.json, VQA_DIR holds
v2_OpenEnded_mscoco_SPLIT2014_questions.json and v2_mscoco_SPLIT2014_annotations.json. The pictures
lie in SPLIT2017/ in or beside ANNOTATIONS_DIR, else in --images_dir, else they are taken from the
public coco/2017 in TFDS_DIR. Further splits (`--splits train,val,test`) are named the same way.

COCO 2017 shuffled the pictures of 2014, so the VQA files of train and val are read together.
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
from create_data.tfdatasets.coco_all import annotations, pictures

NAME, VERSION = 'coco_all', '1.0.1'
FEATURES = tfds.features.FeaturesDict(
  {
    'image': tfds.features.Image(shape=(None, None, 3)),
    'image/filename': tfds.features.Text(),
    'captions': {
      'num': np.int64,
      'id': tfds.features.Tensor(shape=(None,), dtype=np.int64),
      'text': tfds.features.Tensor(shape=(None,), dtype=np.str_),
    },
    'vqa': {
      'num': np.int64,
      'id': tfds.features.Tensor(shape=(None,), dtype=np.int64),
      'questions': tfds.features.Tensor(shape=(None,), dtype=np.str_),
      'answers': tfds.features.Tensor(
        shape=(None, annotations.ANSWERS_PER_QUESTION), dtype=np.str_
      ),
    },
    'objects': {
      'area': tfds.features.Tensor(shape=(None,), dtype=np.int64),
      'bbox': tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
      'id': tfds.features.Tensor(shape=(None,), dtype=np.int64),
      'is_crowd': tfds.features.Tensor(shape=(None,), dtype=np.bool_),
      'label': tfds.features.Tensor(shape=(None,), dtype=np.int64),
    },
  }
)


def make_example(
  record: Mapping[str, Any], *, folder: pathlib.Path, complain: Callable[[str], None]
) -> dict[str, Any]:
  """One picture with all that is known of it -> an example of FEATURES.

  Raises:
    BrokenRecordError: No picture, no caption or no question.
  """
  name = f'image {record["id"]}'
  for key in ('captions', 'questions'):
    if not record[key]:
      raise common.BrokenRecordError(f'{name}: it has no {key}')
  encoded, height, width = common.read_picture(folder / record['file_name'], name)
  objects = []
  for annotation in record['objects']:
    try:
      objects.append((annotation, common.normalised_box(annotation, height, width)))
    except common.BrokenRecordError as error:
      complain(str(error))
  captions, questions = record['captions'], record['questions']
  return {
    'image': encoded,
    'image/filename': record['file_name'],
    'captions': {
      'num': len(captions),
      'id': np.array([key for key, _ in captions], np.int64),
      'text': records.strings([text for _, text in captions]),
    },
    'vqa': {
      'num': len(questions),
      'id': np.array([key for key, _, _ in questions], np.int64),
      'questions': records.strings([text for _, text, _ in questions]),
      'answers': records.strings(
        [answers for *_, answers in questions], width=annotations.ANSWERS_PER_QUESTION
      ),
    },
    'objects': {
      'area': np.array([int(a['area']) for a, _ in objects], np.int64),
      'bbox': np.array([box for _, box in objects], np.float32).reshape(-1, 4),
      'id': np.array([a['id'] for a, _ in objects], np.int64),
      'is_crowd': np.array([bool(a.get('iscrowd', 0)) for a, _ in objects], np.bool_),
      'label': np.array([a['label'] for a, _ in objects], np.int64),
    },
  }


def build(
  tfds_dir: pathlib.Path,
  vqa_dir: pathlib.Path,
  annotations_dir: pathlib.Path,
  *,
  splits: Sequence[str] = ('train', 'val'),
  images_dir: pathlib.Path | None = None,
  workers: int = 1,
) -> tuple[pathlib.Path, int]:
  """Builds the dataset; returns its folder and how many things were skipped."""
  problems, classes = common.Problems(), {}
  vqa = annotations.read_vqa(vqa_dir, splits, problems)
  read = {
    split: annotations.read_split(annotations_dir, split, vqa, classes, problems)
    for split in splits
  }
  if set(annotations.vqa_splits(splits)) <= set(splits):
    known = {record['id'] for found in read.values() for record in found}
    for image, questions in vqa.items():
      if image not in known:
        for key, *_ in questions:
          problems.report(f'question {key}: there is no image {image}')
  encoded = {}
  for split, found in read.items():
    folder = pictures.find(split, annotations_dir, images_dir, tfds_dir)
    encoded[records.TFDS_SPLITS.get(split, split)] = records.encoded_records(
      found,
      make=functools.partial(make_example, folder=folder),
      features=FEATURES,
      workers=workers,
      label=f'{NAME} {split}',
      problems=problems,
    )
  path = records.write_dataset(
    root=tfds_dir,
    name=NAME,
    version=VERSION,
    features=FEATURES,
    splits=encoded,
    extra_files={'class_names.json': list(classes.values())},
    description='COCO 2017 pictures with captions, objects and VQA v2 questions.',
  )
  return path, problems.count


def main(arguments: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('tfds_dir', type=pathlib.Path, help='the TFDS root that is written to')
  parser.add_argument('vqa_dir', type=pathlib.Path)
  parser.add_argument('annotations_dir', type=pathlib.Path)
  parser.add_argument('--splits', default='train,val', help='comma-separated (%(default)s)')
  parser.add_argument('--images_dir', type=pathlib.Path)
  parser.add_argument('--num_workers', type=int, default=os.cpu_count())
  args = parser.parse_args(arguments)
  try:
    path, skipped = build(
      args.tfds_dir,
      args.vqa_dir,
      args.annotations_dir,
      splits=args.splits.split(','),
      images_dir=args.images_dir,
      workers=args.num_workers,
    )
  except (OSError, ValueError) as error:
    sys.exit(f'{NAME} was not built: {error}')
  print(f'{NAME}: {path} is complete, {skipped} records or parts were skipped.')


if __name__ == '__main__':
  main()
