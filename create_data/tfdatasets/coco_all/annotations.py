"""Reads the annotation files of COCO 2017 and VQA v2 and joins them by image id."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from create_data import common
from create_data.tfdatasets import official

ANSWERS_PER_QUESTION = 10
_QUESTION = {'question_id': int, 'image_id': int, 'question': str}
_ANSWERS = {'question_id': int, 'image_id': int, 'answers': list}
_IMAGE = {'id': int, 'file_name': str}
_CAPTION = {'id': int, 'image_id': int}
_OBJECT = {'id': int, 'image_id': int, 'category_id': int}


def read_vqa(
  folder: pathlib.Path, splits: Sequence[str], reader: official.Reader
) -> dict[int, list[tuple[int, str, list[str]]]]:
  """image id -> (question id, question, its ten answers), joined by question id."""
  found: dict[int, list] = {}
  for year in (f'{split}2014' for split in vqa_splits(splits)):
    path = folder / f'v2_OpenEnded_mscoco_{year}_questions.json'
    questions = reader.table(reader.read(path), 'questions', _QUESTION, path)
    path = folder / f'v2_mscoco_{year}_annotations.json'
    rows = reader.table(reader.read(path), 'annotations', _ANSWERS, path)
    answers = reader.unique(rows, 'question_id', 'answers to question')
    for key, question in reader.unique(questions, 'question_id', 'question').items():
      row, image = answers.pop(key, None), question['image_id']
      try:
        texts = _ten_answers(row, image)
      except common.BrokenRecordError as error:
        reader.problems.report(f'question {key} of image {image}: {error}')
      else:
        found.setdefault(image, []).append((key, question['question'], texts))
    for key, row in answers.items():
      reader.problems.report(f'answers {key} of image {row["image_id"]}: there is no such question')
  return found


def _ten_answers(row: Mapping[str, Any] | None, image: int) -> list[str]:
  if row is None:
    raise common.BrokenRecordError('it has no answers')
  if row['image_id'] != image:
    raise common.BrokenRecordError(f'its answers belong to image {row["image_id"]}')
  answers = [a['answer'] for a in row['answers'] if isinstance(a, dict) and 'answer' in a]
  texts = [answer for answer in answers if common.is_text(answer)]
  if len(texts) != ANSWERS_PER_QUESTION:
    raise common.BrokenRecordError(f'{len(texts)} answers, {ANSWERS_PER_QUESTION} are needed')
  return texts


def vqa_splits(splits: Sequence[str]) -> list[str]:
  """The VQA files that the splits need: train and val go together."""
  together = ['train', 'val'] if {'train', 'val'} & set(splits) else []
  return [*together, *(split for split in splits if split not in together)]


def read_split(
  folder: pathlib.Path,
  split: str,
  vqa: Mapping[int, list],
  classes: dict[int, str],
  reader: official.Reader,
) -> list[dict[str, Any]]:
  """The pictures of a split by id, each with its captions, questions and objects.

  `classes` (category id -> name, in order) is extended by the file's own categories.
  """
  path = folder / f'instances_{split}2017.json'
  content = reader.read(path)
  images = reader.unique(reader.table(content, 'images', _IMAGE, path), 'id', 'image')
  reader.add_categories(classes, content, path)
  pictures = {
    key: {
      'id': key,
      'file_name': image['file_name'],
      'captions': [],
      'questions': vqa.get(key, []),
      'objects': [],
    }
    for key, image in images.items()
  }
  _add_objects(pictures, reader.table(content, 'annotations', _OBJECT, path), classes, reader)
  path = folder / f'captions_{split}2017.json'
  _add_captions(pictures, reader.table(reader.read(path), 'annotations', _CAPTION, path), reader)
  return [pictures[key] for key in sorted(pictures)]


def _add_captions(pictures, captions, reader):
  for caption in captions:
    text = caption.get('caption')
    if caption['image_id'] not in pictures:
      reader.problems.report(f'caption {caption["id"]}: there is no image {caption["image_id"]}')
    elif not common.is_text(text) or not text.strip():
      reader.problems.report(
        f'caption {caption["id"]} of image {caption["image_id"]}: it has no text'
      )
    else:
      pictures[caption['image_id']]['captions'].append((caption['id'], text))


def _add_objects(pictures, annotations, classes, reader):
  labels = {key: i for i, key in enumerate(classes)}
  for annotation in annotations:
    name = f'annotation {annotation["id"]} of image {annotation["image_id"]}'
    if annotation['image_id'] not in pictures:
      reader.problems.report(f'{name}: there is no such image')
    elif annotation['category_id'] not in labels:
      reader.problems.report(f'{name}: there is no category {annotation["category_id"]}')
    else:
      row = {key: annotation.get(key) for key in ('id', 'image_id', 'bbox', 'area', 'iscrowd')}
      row['label'] = labels[annotation['category_id']]
      pictures[annotation['image_id']]['objects'].append(row)
