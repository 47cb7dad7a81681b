"""What a record of `coco_all` holds, and how it is made of a picture and what is known of it."""

from collections.abc import Callable, Iterator, Mapping
import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from create_data import common, pictures
from create_data.tfdatasets import records
from create_data.tfdatasets.coco_all import annotations

DATASET = records.Dataset(
  name='coco_all',
  version='1.0.1',
  description='COCO 2017 pictures with captions, objects and VQA v2 questions.',
  features=tfds.features.FeaturesDict(
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
  ),
)


def make(part: Mapping[str, Any], complain: Callable[[str], None]) -> Iterator[dict[str, Any]]:
  """The examples of a part: 'records' of `annotations.read_split`, whose files are in 'folder'."""
  for record in part['records']:
    try:
      yield _example(record, pathlib.Path(part['folder']), complain)
    except common.BrokenRecordError as error:
      complain(str(error))


def _example(record, folder, complain):
  name = f'image {record["id"]}'
  for key in ('captions', 'questions'):
    if not record[key]:
      raise common.BrokenRecordError(f'{name}: it has no {key}')
  encoded, height, width = pictures.read(folder / record['file_name'], name)
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
