"""The demo world on disk: official files that agree with each other, licensed photographs."""

import csv
import json
import shutil

from PIL import Image
from pycocotools import coco
import pytest

from create_data.demo_world import make, photos, scenes

CONFIG = make.WorldConfig(train=12, easy=6, val=5, test=10)


def read(path):
  return json.loads(path.read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def world(tmp_path_factory):
  folder = tmp_path_factory.mktemp('world')
  return folder, make.make(folder, CONFIG)


def test_the_public_coco_reader_loads_every_split_and_every_box_is_in_its_picture(world, capsys):
  for split, size in {'train': 18, 'val': 5, 'test': 10, 'photos': 9}.items():
    data = coco.COCO(world[0] / 'coco' / f'instances_{split}2017.json')
    assert len(data.imgs) == size
    for image in data.imgs.values():
      with Image.open(world[0] / 'coco' / f'{split}2017' / image['file_name']) as picture:
        assert picture.size == (image['width'], image['height'])
      for row in data.imgToAnns[image['id']]:
        x, y, w, h = row['bbox']
        assert 0 <= x < x + w <= image['width']
        assert 0 <= y < y + h <= image['height']
        assert row['category_id'] in data.cats
        if split != 'photos':
          box = coco.maskUtils.toBbox(data.annToRLE(row))
          assert abs(box - row['bbox']).max() <= 1
  capsys.readouterr()  # the reader prints


def test_held_out_scenes_have_one_to_five_objects_in_equal_shares(world):
  for split in ('val', 'test'):
    counts = list(read(world[0] / f'extra_{split}.json')['objects'].values())
    assert [counts.count(n) for n in range(1, 6)] == [len(counts) // 5] * 5


def test_easy_scenes_have_one_or_two_objects(world):
  counts = list(read(world[0] / 'extra_train.json')['objects'].values())
  assert len(counts) == 18
  assert set(counts[12:]) == {1, 2}


def test_no_scene_is_in_two_splits(tmp_path):
  few = scenes.SceneConfig(image_size=32, max_objects=1, small=(28, 28), large=(32, 32))
  make.make(tmp_path, make.WorldConfig(train=600, easy=0, val=60, test=60, scene=few))
  seen = {
    split: {
      (row['category_id'], *row['bbox'])
      for row in read(tmp_path / 'coco' / f'instances_{split}2017.json')['annotations']
    }
    for split in ('train', 'val', 'test')
  }
  assert len(seen['train']) < 600  # so few scenes exist that they repeat by chance
  assert not seen['test'] & seen['val']
  assert not seen['train'] & (seen['test'] | seen['val'])


def test_questions_have_ten_answers_and_forms(world):
  for split in make.SPLITS:
    stem = world[0] / 'vqa'
    questions = read(stem / f'v2_OpenEnded_mscoco_{split}2014_questions.json')['questions']
    rows = read(stem / f'v2_mscoco_{split}2014_annotations.json')['annotations']
    forms = read(world[0] / f'extra_{split}.json')['forms']
    assert [q['question_id'] for q in questions] == [r['question_id'] for r in rows]
    assert {str(q['question_id']) for q in questions} == set(forms)
    assert all(len(row['answers']) == 10 for row in rows)


def test_references_point_at_boxes_and_held_out_scenes_have_one_each(world):
  refs = read(world[0] / 'refcoco' / 'refs(unc).json')
  instances = read(world[0] / 'refcoco' / 'instances.json')
  boxes = {row['id']: row for row in instances['annotations']}
  assert all(boxes[ref['ann_id']]['image_id'] == ref['image_id'] for ref in refs)
  test = [ref['image_id'] for ref in refs if ref['split'] == 'test']
  assert len(test) == len(set(test)) == 10
  assert all((world[0] / 'coco' / image['file_name']).is_file() for image in instances['images'])


def test_a_seed_fixes_every_byte_of_pixels_and_annotations(world, tmp_path):
  again = make.make(tmp_path / 'again', CONFIG)
  assert again == world[1]
  other = make.make(tmp_path / 'other', make.WorldConfig(train=12, easy=6, val=5, test=10, seed=1))
  assert not set(other['sha256'].values()) & {
    checksum for name, checksum in again['sha256'].items() if 'photos' not in name
  }


def test_a_split_without_scenes_is_refused():
  with pytest.raises(ValueError, match='0 test scenes'):
    make.WorldConfig(test=0)


# ---- Photographs ---------------------------------------------------------------------------------
def test_there_are_at_least_eight_small_photographs_with_a_cat_among_them():
  rows = photos.load(photos.FOLDER)
  assert len(rows) >= 8
  assert 'cat' in {item['category'] for row in rows for item in row['objects']}
  for row in rows:
    path = photos.FOLDER / row['file']
    assert path.stat().st_size < 100_000
    with Image.open(path) as picture:
      assert max(picture.size) <= 640
    assert 2 <= len(row['captions']) <= 5


def test_every_licence_row_belongs_to_a_photograph_and_allows_to_share_it():
  rows = photos.licences(photos.FOLDER)
  assert set(rows) == {path.name for path in photos.FOLDER.glob('*.jpg')}
  for row in rows.values():
    assert row['licence'].startswith(('CC0', 'CC-BY-', 'Public domain'))
    assert 'NC' not in row['licence']
    assert 'ND' not in row['licence']


@pytest.fixture
def copied_photographs(tmp_path):
  shutil.copytree(photos.FOLDER, tmp_path / 'photographs')
  shutil.copy(photos.FOLDER.parent / 'photographs.json', tmp_path)
  return tmp_path / 'photographs'


@pytest.mark.parametrize('field', ['file', 'licence', 'author'])
def test_a_photograph_without_its_licence_row_is_refused(copied_photographs, field):
  path = copied_photographs / 'LICENSES.csv'
  with path.open(encoding='utf-8', newline='') as file:
    rows = list(csv.DictReader(file))
  next(row for row in rows if row['file'] == 'cat.jpg')[field] = ''
  with path.open('w', encoding='utf-8', newline='') as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
  with pytest.raises(ValueError, match=r'cat\.jpg has no .*licence and source'):
    photos.load(copied_photographs)


def test_a_photograph_without_annotations_is_refused(copied_photographs):
  path = copied_photographs.parent / 'photographs.json'
  rows = [row for row in read(path) if row['file'] != 'cat.jpg']
  path.write_text(json.dumps(rows), encoding='utf-8')
  with pytest.raises(ValueError, match=r"\['cat\.jpg'\] must be both"):
    photos.load(copied_photographs)


def test_nine_answers_to_a_photograph_are_refused(copied_photographs):
  path = copied_photographs.parent / 'photographs.json'
  rows = read(path)
  rows[0]['questions'][0]['answers'].pop()
  path.write_text(json.dumps(rows), encoding='utf-8')
  with pytest.raises(ValueError, match='has 9 answers; 10 are needed'):
    photos.load(copied_photographs)
