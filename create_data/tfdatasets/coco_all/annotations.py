"""Reads the annotation files of COCO 2017 and VQA v2 and joins them by image id."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from create_data import common

ANSWERS_PER_QUESTION = 10


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
      if len(texts) != ANSWERS_PER_QUESTION or row['image_id'] != image:
        reason = (
          f'{len(texts)} answers, {ANSWERS_PER_QUESTION} are needed' if row else 'it has no answers'
        )
        if row and len(texts) == ANSWERS_PER_QUESTION:
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
    elif not isinstance(caption.get('caption'), str):
      problems.report(f'caption {caption["id"]} of image {caption["image_id"]}: it has no text')
    else:
      records[caption['image_id']]['captions'].append((caption['id'], caption['caption']))
  for annotation in instances['annotations']:
    name = f'annotation {annotation["id"]} of image {annotation["image_id"]}'
    if annotation['image_id'] not in records:
      problems.report(f'{name}: there is no such image')
    elif annotation['category_id'] not in labels:
      problems.report(f'{name}: there is no category {annotation["category_id"]}')
    else:
      row = {key: annotation.get(key) for key in ('id', 'image_id', 'bbox', 'area', 'iscrowd')}
      row['label'] = labels[annotation['category_id']]
      records[annotation['image_id']]['objects'].append(row)
  return [records[key] for key in sorted(records)]
