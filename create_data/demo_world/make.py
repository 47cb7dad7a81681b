"""Writes the demo world: drawn scenes and annotated photographs as official COCO and VQA files.

  python create_data/demo_world/make.py OUT_DIR

Below OUT_DIR, for the splits train, val, test and photos:
  coco/     {instances,captions}_SPLIT2017.json, pictures in SPLIT2017/
  vqa/      v2_OpenEnded_mscoco_SPLIT2014_questions.json, v2_mscoco_SPLIT2014_annotations.json
  refcoco/  refs(unc).json and instances.json, as the refer project has them
  extra_SPLIT.json  what the official formats have no place for: the number of objects by image id
                    and the form of each question by question id
  manifest.json     the configuration, counts and checksums
"""

import argparse
from collections.abc import Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import random
import sys
from typing import Any

from PIL import Image

from create_data import common
from create_data.demo_world import language, photos, scenes

SPLITS = ('train', 'val', 'test', 'photos')
FIRST_ID = {split: (i + 1) * 1_000_000 for i, split in enumerate(SPLITS)}
CATEGORY_START = 101  # behind COCO's 1 to 90, which photographs use
CATEGORIES = [
  {'id': CATEGORY_START + i, 'name': f'{color} {shape}', 'supercategory': 'drawn shape'}
  for i, (color, shape) in enumerate((c, s) for c in scenes.COLORS for s in scenes.SHAPES)
]
_CATEGORY_ID = {category['name']: category['id'] for category in CATEGORIES}
CHUNK = 256
INFO = {'description': 'Demo world: drawn scenes and photographs', 'version': '1.0', 'year': 2026}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldConfig:
  """How many scenes, and what is said about each.

  easy: additional train scenes of one or two objects.
  train_refs, heldout_refs: how many objects of a scene are referred to; one in held-out scenes, so
    that results count every number of objects alike.
  """

  train: int = 12_000
  easy: int = 4_000
  val: int = 300
  test: int = 400
  seed: int = 0
  questions: int = 4
  expressions: int = 3
  train_refs: int = 3
  heldout_refs: int = 1
  scene: scenes.SceneConfig = dataclasses.field(default_factory=scenes.SceneConfig)

  def __post_init__(self):
    for split in ('train', 'val', 'test'):
      if getattr(self, split) < 1:
        raise ValueError(f'{getattr(self, split)} {split} scenes asked for; give 1 or more')

  def size(self, split: str) -> int:
    return self.train + self.easy if split == 'train' else getattr(self, split)

  def objects(self, split: str, index: int) -> int:
    """The number of objects in a scene: equal shares, easy train scenes last."""
    easy = split == 'train' and index >= self.train
    return 1 + index % (min(2, self.scene.max_objects) if easy else self.scene.max_objects)


def annotate(
  scene: scenes.Scene,
  image_id: int,
  file_name: str,
  rng: random.Random,
  config: WorldConfig,
  refs: int,
) -> dict[str, Any]:
  """Everything that is written about one scene, in the rows of the official files."""
  masks = scenes.visible_masks(scene.objects, scene.image_size)
  annotations = [
    {
      'id': image_id * 10 + i,
      'image_id': image_id,
      'category_id': _CATEGORY_ID[item.name],
      'bbox': [item.x, item.y, item.side, item.side],
      'area': int(mask.sum()),
      'iscrowd': 0,
      'segmentation': [scenes.outline(item)],
    }
    for i, (item, mask) in enumerate(zip(scene.objects, masks, strict=True))
  ]
  chosen = rng.sample(range(len(scene.objects)), min(refs, len(scene.objects)))
  questions = language.ask(scene, rng, config.questions)
  return {
    'image': {
      'id': image_id,
      'file_name': file_name,
      'width': scene.image_size,
      'height': scene.image_size,
    },
    'annotations': annotations,
    'captions': language.describe(scene, rng),
    'questions': [(q.text, [q.answer] * 10) for q in questions],
    'forms': [q.form for q in questions],
    'refs': [
      (annotations[i], language.refer(scene, scene.objects[i], rng, config.expressions))
      for i in sorted(chosen)
    ],
  }


def make_scenes(
  task: tuple[str, int, int], *, config: WorldConfig, folder: pathlib.Path, taken: frozenset[tuple]
) -> tuple[list[dict[str, Any]], list[tuple], str]:
  """Draws scenes `start` to `stop` of a split: their rows, signatures and a checksum of pixels."""
  split, start, stop = task
  rows, signatures, digest = [], [], hashlib.sha256()
  refs = config.train_refs if split == 'train' else config.heldout_refs
  for index in range(start, stop):
    name = f'{config.seed}/{split}/{index}'
    scene = scenes.make_scene(
      config.scene, seed=name, count=config.objects(split, index), taken=taken
    )
    picture = scenes.draw(scene)
    digest.update(picture.tobytes())
    image_id = FIRST_ID[split] + index
    file_name = f'{image_id:012d}.png'
    Image.fromarray(picture).save(folder / f'{split}2017' / file_name, compress_level=1)
    rng = random.Random(f'{name}/language')
    rows.append(annotate(scene, image_id, file_name, rng, config, refs))
    signatures.append(scene.signature)
  return rows, signatures, digest.hexdigest()


def write_split(
  out: pathlib.Path, split: str, rows: Sequence[Mapping[str, Any]], categories: Sequence[Mapping]
) -> list[dict[str, Any]]:
  """Writes a split's COCO and VQA files and what they leave out; returns its references."""
  images = [row['image'] for row in rows]
  common.write_json(
    out / 'coco' / f'instances_{split}2017.json',
    {
      'info': INFO,
      'licenses': [],
      'images': images,
      'annotations': [annotation for row in rows for annotation in row['annotations']],
      'categories': list(categories),
    },
  )
  captions = [
    {'image_id': row['image']['id'], 'id': row['image']['id'] * 10 + i, 'caption': text}
    for row in rows
    for i, text in enumerate(row['captions'])
  ]
  common.write_json(
    out / 'coco' / f'captions_{split}2017.json',
    {'info': INFO, 'licenses': [], 'images': images, 'annotations': captions},
  )
  _write_vqa(out / 'vqa', split, rows)
  common.write_json(
    out / f'extra_{split}.json',
    {
      'objects': {row['image']['id']: len(row['annotations']) for row in rows},
      'forms': {
        row['image']['id'] * 10 + i: form for row in rows for i, form in enumerate(row['forms'])
      },
    },
  )
  return [ref for row in rows for ref in _refs(row, split)]


def _write_vqa(folder: pathlib.Path, split: str, rows: Sequence[Mapping[str, Any]]) -> None:
  questions, annotations = [], []
  for row in rows:
    image_id = row['image']['id']
    for i, (text, answers) in enumerate(row['questions']):
      keys = {'image_id': image_id, 'question_id': image_id * 10 + i}
      questions.append({**keys, 'question': text})
      annotations.append(
        {
          **keys,
          'question_type': ' '.join(text.lower().split()[:2]),
          'answer_type': answer_type(answers),
          'multiple_choice_answer': max(answers, key=answers.count),
          'answers': [
            {'answer': answer, 'answer_confidence': 'yes', 'answer_id': k + 1}
            for k, answer in enumerate(answers)
          ],
        }
      )
  head = {'info': INFO, 'data_type': 'mscoco', 'data_subtype': f'{split}2014'}
  common.write_json(
    folder / f'v2_OpenEnded_mscoco_{split}2014_questions.json',
    {**head, 'task_type': 'Open-Ended', 'questions': questions},
  )
  common.write_json(
    folder / f'v2_mscoco_{split}2014_annotations.json', {**head, 'annotations': annotations}
  )


def answer_type(answers: Sequence[str]) -> str:
  """VQA's three kinds: 'yes/no', 'number' or 'other'."""
  if set(answers) <= {'yes', 'no'}:
    return 'yes/no'
  return 'number' if all(answer.isdigit() for answer in answers) else 'other'


def _refs(row: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
  """The refer project's rows: one an object, with its sentences."""
  return [
    {
      'ref_id': annotation['id'],
      'ann_id': annotation['id'],
      'image_id': annotation['image_id'],
      'category_id': annotation['category_id'],
      'split': split,
      'file_name': row['image']['file_name'],
      'sent_ids': [annotation['id'] * 10 + i for i in range(len(texts))],
      'sentences': [
        {'sent_id': annotation['id'] * 10 + i, 'raw': text, 'sent': text, 'tokens': text.split()}
        for i, text in enumerate(texts)
      ],
    }
    for annotation, texts in row['refs']
  ]


def make(out: pathlib.Path, config: WorldConfig, *, workers: int = 1) -> dict[str, Any]:
  """Writes the demo world below `out` and returns its manifest."""
  photographs = photos.load(photos.FOLDER)  # first: a fault in them should not cost the drawing
  for split in SPLITS:
    (out / 'coco' / f'{split}2017').mkdir(parents=True, exist_ok=True)
  categories = [*CATEGORIES, *photos.categories(photographs)]
  rows: dict[str, list] = {
    'photos': photos.write(photographs, out / 'coco' / 'photos2017', FIRST_ID['photos'])
  }
  checksums, taken = {}, set()
  with common.workers(workers) as run:
    for split in ('test', 'val', 'train'):  # a later one avoids the scenes of those before it
      size, digest, signatures = config.size(split), hashlib.sha256(), []
      tasks = [(split, i, min(i + CHUNK, size)) for i in range(0, size, CHUNK)]
      work = functools.partial(
        make_scenes, config=config, folder=out / 'coco', taken=frozenset(taken)
      )
      rows[split] = []
      for chunk, marks, checksum in run(work, tasks):
        rows[split].extend(chunk)
        signatures.extend(marks)
        digest.update(checksum.encode())
      taken.update(signatures)
      checksums[f'{split} pixels'] = digest.hexdigest()
  refs, images, annotations = [], [], []
  for split in SPLITS:
    refs.extend(write_split(out, split, rows[split], categories))
    for row in rows[split]:
      place = f'{split}2017/{row["image"]["file_name"]}'
      images.append({**row['image'], 'file_name': place})
      annotations.extend(row['annotations'])
  common.write_json(out / 'refcoco' / 'refs(unc).json', refs)
  common.write_json(
    out / 'refcoco' / 'instances.json',
    {
      'info': INFO,
      'images': images,
      'annotations': annotations,
      'categories': categories,
    },
  )
  for path in sorted(out.glob('*/*.json')):
    checksums[str(path.relative_to(out))] = hashlib.sha256(path.read_bytes()).hexdigest()
  manifest = {
    'config': dataclasses.asdict(config),
    'counts': {split: len(rows[split]) for split in SPLITS},
    'sha256': checksums,
  }
  common.write_json(out / 'manifest.json', manifest, indent=1)
  return manifest


def main(arguments: Sequence[str] | None = None) -> None:
  defaults = WorldConfig()
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('out_dir', type=pathlib.Path)
  for name in ('train', 'easy', 'val', 'test', 'seed', 'questions', 'train_refs', 'heldout_refs'):
    parser.add_argument(f'--{name}', type=int, default=getattr(defaults, name))
  parser.add_argument('--image_size', type=int, default=defaults.scene.image_size)
  parser.add_argument('--background', choices=['plain', 'random'], default='plain')
  parser.add_argument('--unaligned', action='store_true', help='corners on any pixel')
  parser.add_argument('--num_workers', type=int, default=os.cpu_count())
  args = vars(parser.parse_args(arguments))
  try:
    config = WorldConfig(
      scene=scenes.SceneConfig(
        image_size=args.pop('image_size'),
        aligned=not args.pop('unaligned'),
        plain_background=args.pop('background') == 'plain',
      ),
      **{key: value for key, value in args.items() if key not in ('out_dir', 'num_workers')},
    )
    manifest = make(args['out_dir'], config, workers=args['num_workers'])
  except (OSError, ValueError) as error:
    sys.exit(f'The demo world was not written: {error}')
  print(f'Demo world in {args["out_dir"]}: {json.dumps(manifest["counts"])} pictures.')


if __name__ == '__main__':
  main()
