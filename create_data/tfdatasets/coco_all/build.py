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
from create_data.tfdatasets.coco_all import pictures

NAME, VERSION = 'coco_all', '1.0.1'
ANSWERS = 10
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
      'answers': tfds.features.Tensor(shape=(None, ANSWERS), dtype=np.str_),
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
      'text': common.strings([text for _, text in captions]),
    },
    'vqa': {
      'num': len(questions),
      'id': np.array([key for key, _, _ in questions], np.int64),
      'questions': common.strings([text for _, text, _ in questions]),
      'answers': common.strings([answers for *_, answers in questions], width=ANSWERS),
    },
    'objects': {
      'area': np.array([int(a['area']) for a, _ in objects], np.int64),
      'bbox': np.array([box for _, box in objects], np.float32).reshape(-1, 4),
      'id': np.array([a['id'] for a, _ in objects], np.int64),
      'is_crowd': np.array([bool(a.get('iscrowd', 0)) for a, _ in objects], np.bool_),
      'label': np.array([a['label'] for a, _ in objects], np.int64),
    },
  }


def read_vqa(
  folder: pathlib.Path, splits: Sequence[str], problems: common.Problems
) -> dict[int, list[tuple[int, str, list[str]]]]:
  """image id -> (question id, question, its ten answers), joined by question id."""
  years = [f'{split}2014' for split in vqa_splits(splits)]
  found: dict[int, list] = {}
  for year in years:
    questions = common.read_json(folder / f'v2_OpenEnded_mscoco_{year}_questions.json')['questions']
    rows = common.read_json(folder / f'v2_mscoco_{year}_annotations.json')['annotations']
    answers = {row['question_id']: row for row in rows}
    for question in questions:
      key, image = question['question_id'], question['image_id']
      row = answers.pop(key, None)
      texts = [answer['answer'] for answer in row['answers']] if row else []
      if len(texts) != ANSWERS or row['image_id'] != image:
        reason = f'{len(texts)} answers, {ANSWERS} are needed' if row else 'it has no answers'
        if row and len(texts) == ANSWERS:
          reason = f'its answers belong to image {row["image_id"]}'
        problems.report(f'question {key} of image {image}: {reason}')
        continue
      found.setdefault(image, []).append((key, question['question'], texts))
    for key, row in answers.items():
      problems.report(f'answers {key} of image {row["image_id"]}: there is no such question')
  return found


def vqa_splits(splits: Sequence[str]) -> list[str]:
  """The VQA files that the splits need: train and val go together."""
  together = ['train', 'val'] if {'train', 'val'} & set(splits) else []
  return [*together, *(split for split in splits if split not in together)]


def read_split(
  folder: pathlib.Path,
  split: str,
  vqa: Mapping[int, list],
  classes: dict[int, str],
  problems: common.Problems,
) -> list[dict[str, Any]]:
  """The pictures of a split by id, each with its captions, questions and objects.

  `classes` (category id -> name, in order) is extended by the file's own categories.
  """
  instances = common.read_json(folder / f'instances_{split}2017.json')
  captions = common.read_json(folder / f'captions_{split}2017.json')
  common.add_categories(classes, instances.get('categories'), f'instances_{split}2017.json')
  labels = {key: i for i, key in enumerate(classes)}
  records = {
    image['id']: {
      'id': image['id'],
      'file_name': image['file_name'],
      'captions': [],
      'questions': vqa.get(image['id'], []),
      'objects': [],
    }
    for image in instances['images']
  }
  for caption in captions['annotations']:
    if caption['image_id'] not in records:
      problems.report(f'caption {caption["id"]}: there is no image {caption["image_id"]}')
      continue
    records[caption['image_id']]['captions'].append((caption['id'], caption['caption']))
  for annotation in instances['annotations']:
    name = f'annotation {annotation["id"]}'
    if annotation['image_id'] not in records:
      problems.report(f'{name}: there is no image {annotation["image_id"]}')
    elif annotation['category_id'] not in labels:
      problems.report(f'{name}: there is no category {annotation["category_id"]}')
    else:
      row = {key: annotation.get(key) for key in ('id', 'image_id', 'bbox', 'area', 'iscrowd')}
      row['label'] = labels[annotation['category_id']]
      records[annotation['image_id']]['objects'].append(row)
  return [records[key] for key in sorted(records)]


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
  vqa = read_vqa(vqa_dir, splits, problems)
  read = {split: read_split(annotations_dir, split, vqa, classes, problems) for split in splits}
  if set(vqa_splits(splits)) <= set(splits):
    known = {record['id'] for records in read.values() for record in records}
    for image, questions in vqa.items():
      if image not in known:
        for key, *_ in questions:
          problems.report(f'question {key}: there is no image {image}')
  encoded = {}
  for split, records in read.items():
    folder = pictures.find(split, annotations_dir, images_dir, tfds_dir)
    encoded[common.TFDS_SPLITS.get(split, split)] = common.encoded_records(
      records,
      make=functools.partial(make_example, folder=folder),
      features=FEATURES,
      workers=workers,
      label=f'{NAME} {split}',
      problems=problems,
    )
  path = common.write_dataset(
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
