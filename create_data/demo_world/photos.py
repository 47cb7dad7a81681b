"""The photographs of the demo world: annotated by looking at them, each with its licence.

Boxes are [x, y, width, height] in pixels of the stored picture.
"""

from collections.abc import Mapping, Sequence
import csv
import pathlib
import shutil
from typing import Any

from PIL import Image

from create_data import common
from create_data.tfdatasets import official

FOLDER = pathlib.Path(__file__).parent / 'photographs'
LICENCE_FIELDS = ('title', 'author', 'licence', 'source_package')
OTHER_CATEGORY_START = 201  # names that COCO does not have
ANSWERS = 10


def licences(folder: pathlib.Path) -> dict[str, dict[str, str]]:
  """LICENSES.csv as file name -> row."""
  with (folder / 'LICENSES.csv').open(encoding='utf-8', newline='') as file:
    return {row['file']: row for row in csv.DictReader(file)}


def load(folder: pathlib.Path) -> list[dict[str, Any]]:
  """The annotated photographs, in the order of photographs.json beside their folder.

  Raises:
    ValueError: A photograph has no licence or no annotation, or an annotation is malformed.
  """
  rows, known = common.read_json(folder.parent / 'photographs.json'), licences(folder)
  files = {path.name for path in folder.iterdir() if path.suffix == '.jpg'}
  for name in sorted(files):
    if missing := [key for key in LICENCE_FIELDS if not known.get(name, {}).get(key)]:
      raise ValueError(
        f'photograph {name} has no {", ".join(missing)} in {folder / "LICENSES.csv"}; add a row '
        'with its licence and source, or remove the picture'
      )
  if files != {row['file'] for row in rows}:
    odd = sorted(files ^ {row['file'] for row in rows})
    raise ValueError(f'{odd} must be both in {folder} and in photographs.json')
  for row in rows:
    _check(row, folder)
  return rows


def _check(row: Mapping[str, Any], folder: pathlib.Path) -> None:
  with Image.open(folder / row['file']) as picture:
    width, height = picture.size
  for item in row['objects']:
    common.normalised_box(
      {'id': item['category'], 'image_id': row['file'], 'bbox': item['box'], 'area': 0},
      height,
      width,
    )
    if not item['expressions']:
      raise ValueError(f'{row["file"]}: {item["category"]} has no referring expression')
  if not row['captions'] or not row['questions']:
    raise ValueError(f'{row["file"]}: it needs captions and questions')
  for question in row['questions']:
    if len(question['answers']) != ANSWERS:
      raise ValueError(
        f'{row["file"]}: {question["question"]!r} has {len(question["answers"])} answers; '
        f'{ANSWERS} are needed'
      )


def categories(photographs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """The categories that the photographs use: COCO's with COCO's ids, then others."""
  of_coco = {row['id']: row['name'] for row in common.read_json(official.COCO_CATEGORIES)}
  names = dict.fromkeys(item['category'] for row in photographs for item in row['objects'])
  found = [
    {'id': key, 'name': name, 'supercategory': 'coco'}
    for key, name in of_coco.items()
    if name in names
  ]
  others = [name for name in names if name not in of_coco.values()]
  return found + [
    {'id': OTHER_CATEGORY_START + i, 'name': name, 'supercategory': 'photograph'}
    for i, name in enumerate(others)
  ]


def write(
  photographs: Sequence[Mapping[str, Any]], folder: pathlib.Path, first_id: int
) -> list[dict[str, Any]]:
  """Copies the photographs under COCO-like names and returns their rows, as scenes have them."""
  ids = {category['name']: category['id'] for category in categories(photographs)}
  rows = []
  for i, photograph in enumerate(photographs):
    image_id = first_id + i
    file_name = f'{image_id:012d}.jpg'
    shutil.copyfile(FOLDER / photograph['file'], folder / file_name)
    with Image.open(folder / file_name) as picture:
      width, height = picture.size
    annotations = [
      {
        'id': image_id * 10 + k,
        'image_id': image_id,
        'category_id': ids[item['category']],
        'bbox': item['box'],
        'area': item['box'][2] * item['box'][3],
        'iscrowd': 0,
        'segmentation': [],
      }
      for k, item in enumerate(photograph['objects'])
    ]
    expressions = [item['expressions'] for item in photograph['objects']]
    rows.append(
      {
        'image': {'id': image_id, 'file_name': file_name, 'width': width, 'height': height},
        'annotations': annotations,
        'captions': photograph['captions'],
        'questions': [(q['question'], q['answers']) for q in photograph['questions']],
        'forms': ['photograph'] * len(photograph['questions']),
        'refs': list(zip(annotations, expressions, strict=True)),
      }
    )
  return rows
