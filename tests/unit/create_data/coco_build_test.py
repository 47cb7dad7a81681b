"""The build of COCO: official files in, TFDS out; what is broken is named, skipped and counted."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from create_data.tfdatasets import execution
from create_data.tfdatasets import parts as parts_lib
from create_data.tfdatasets.coco_all import build as coco_build
from create_data.tfdatasets.coco_all import examples as coco_examples
from tests.testdata import tiny_world

# tensorflow_datasets asks protobuf in an outdated way when it reads a dataset's metadata.
pytestmark = pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning')

SPLITS = ('train', 'val')
TRAIN, VAL = 1_000_000, 2_000_000  # the first image ids


def build_coco(world, splits=SPLITS, **options):
  built = coco_build.build(
    world.parent / 'tfds', world / 'vqa', world / 'coco', splits=splits, **options
  )
  return built.folder, built.skipped


def file_names(root, split='train'):
  source = tfds.data_source('coco_all:1.0.1', data_dir=root, split=split)
  return [example['image/filename'].decode() for example in source]


def test_a_record_holds_the_picture_with_all_that_is_known_of_it(built):
  world, root = built
  source = tfds.data_source('coco_all:1.0.1', data_dir=root, split='validation')
  assert len(source) == 4
  instances = tiny_world.read(world / 'coco' / 'instances_val2017.json')
  example, image = source[3], VAL + 3
  rows = [row for row in instances['annotations'] if row['image_id'] == image]
  assert example['image'].shape == (64, 64, 3)
  assert example['image'].dtype == np.uint8
  assert example['image/filename'] == b'000002000003.png'
  assert example['captions']['num'] == len(example['captions']['text']) == 5
  assert example['vqa']['num'] == len(example['vqa']['questions']) == 4
  assert example['vqa']['answers'].shape == (4, 10)
  assert example['vqa']['id'].tolist() == [image * 10 + i for i in range(4)]
  objects = example['objects']
  assert objects['id'].tolist() == [row['id'] for row in rows]
  assert objects['area'].tolist() == [row['area'] for row in rows]
  assert not objects['is_crowd'].any()
  x, y, w, h = np.array([row['bbox'] for row in rows], np.float32).T
  np.testing.assert_array_equal(objects['bbox'], np.stack([y, x, y + h, x + w], 1) / 64)
  names = {row['id']: row['name'] for row in instances['categories']}
  classes = tiny_world.read(root / 'coco_all' / '1.0.1' / 'class_names.json')
  assert [classes[i] for i in objects['label']] == [names[row['category_id']] for row in rows]


def test_the_features_are_those_of_the_specification():
  features = coco_examples.DATASET.features
  assert {k: (v.shape, v.np_dtype) for k, v in features['objects'].items()} == {
    'area': ((None,), np.int64),
    'bbox': ((None, 4), np.float32),
    'id': ((None,), np.int64),
    'is_crowd': ((None,), np.bool_),
    'label': ((None,), np.int64),
  }
  assert features['vqa']['answers'].shape == (None, 10)
  assert set(features) == {'image', 'image/filename', 'captions', 'vqa', 'objects'}
  assert set(features['vqa']) == {'num', 'id', 'questions', 'answers'}
  assert set(features['captions']) == {'num', 'id', 'text'}


def test_coco_names_the_classes_where_the_file_has_none(world):
  for split in SPLITS:
    tiny_world.change(world / 'coco' / f'instances_{split}2017.json', lambda c: c.pop('categories'))
    tiny_world.change(
      world / 'coco' / f'instances_{split}2017.json',
      lambda c: [row.update(category_id=90) for row in c['annotations']],
    )
  path, skipped = build_coco(world)
  names = tiny_world.read(path / 'class_names.json')
  assert skipped == 0
  assert len(names) == 80
  assert (names[0], names[9], names[-1]) == ('person', 'traffic-light', 'toothbrush')
  source = tfds.data_source('coco_all:1.0.1', data_dir=path.parents[1], split='train')
  (label,) = {int(value) for example in source for value in example['objects']['label']}
  assert label == 79


def test_a_cut_picture_is_named_and_skipped(world, capsys):
  path = world / 'coco' / 'train2017' / '000001000001.png'
  path.write_bytes(path.read_bytes()[:-40])
  folder, skipped = build_coco(world)
  assert skipped == 1
  assert 'skipped: image 1000001: picture' in capsys.readouterr().err
  assert '000001000001.png' not in file_names(folder.parents[1])


def test_a_missing_picture_is_named_and_skipped(world, capsys):
  (world / 'coco' / 'val2017' / '000002000000.png').unlink()
  assert build_coco(world)[1] == 1
  assert 'image 2000000: picture' in capsys.readouterr().err


def test_rows_of_an_unknown_image_are_named_and_skipped(world, capsys):
  def lose_first(content):
    content['images'].pop(0)

  tiny_world.change(world / 'coco' / 'instances_train2017.json', lose_first)
  folder, skipped = build_coco(world)
  said = capsys.readouterr().err
  assert skipped == 5 + 4 + 1  # captions, questions, box
  assert 'caption 10000000: there is no image 1000000' in said
  assert 'question 10000000: there is no image 1000000' in said
  assert 'annotation 10000000 of image 1000000: there is no such image' in said
  assert '000001000000.png' not in file_names(folder.parents[1])


@pytest.mark.parametrize(
  ('box', 'words'),
  [
    ([3, 4, 0, 9], 'empty or outside'),
    ([60, 4, 20, 9], 'empty or outside'),
    ([3, 4, 9], 'no area or no box'),
  ],
)
def test_a_broken_box_is_named_and_only_it_is_skipped(world, capsys, box, words):
  tiny_world.change(
    world / 'coco' / 'instances_train2017.json',
    lambda c: c['annotations'][0].update(bbox=box),
  )
  folder, skipped = build_coco(world)
  said = capsys.readouterr().err
  assert skipped == 1
  assert 'annotation 10000000 of image 1000000' in said
  assert words in said
  assert '000001000000.png' in file_names(folder.parents[1])


def test_questions_without_ten_answers_of_their_own_image_are_named_and_skipped(world, capsys):
  def edit(content):
    content['annotations'][0]['answers'].pop()
    content['annotations'][1]['image_id'] += 1
    del content['annotations'][2]

  tiny_world.change(world / 'vqa' / 'v2_mscoco_train2014_annotations.json', edit)
  folder, skipped = build_coco(world)
  said = capsys.readouterr().err
  assert skipped == 3
  assert 'question 10000000 of image 1000000: 9 answers, 10 are needed' in said
  assert 'question 10000001 of image 1000000: its answers belong to image 1000001' in said
  assert 'question 10000002 of image 1000000: it has no answers' in said
  example = tfds.data_source('coco_all:1.0.1', data_dir=folder.parents[1], split='train')[0]
  assert example['vqa']['id'].tolist() == [10000003]


@pytest.mark.parametrize('kind', ['captions', 'questions'])
def test_a_picture_without_captions_or_questions_is_named_and_skipped(world, capsys, kind):
  path = {
    'captions': world / 'coco' / 'captions_train2017.json',
    'questions': world / 'vqa' / 'v2_mscoco_train2014_annotations.json',
  }[kind]

  def edit(content):
    rows = content['annotations']
    content['annotations'] = [row for row in rows if row['image_id'] != TRAIN + 2]

  tiny_world.change(path, edit)
  assert build_coco(world)[1] == (1 if kind == 'captions' else 5)
  assert f'image 1000002: it has no {kind}' in capsys.readouterr().err


def test_answers_are_joined_by_id_and_not_by_place(world):
  path = world / 'vqa' / 'v2_mscoco_train2014_annotations.json'
  before = file_answers(build_coco(world)[0])
  tiny_world.change(path, lambda c: c['annotations'].reverse())
  assert file_answers(build_coco(world)[0]) == before


def file_answers(folder):
  source = tfds.data_source('coco_all:1.0.1', data_dir=folder.parents[1], split='train')
  return [example['vqa']['answers'].tolist() for example in source]


def test_train_and_val_read_the_questions_of_both():
  from create_data.tfdatasets.coco_all import annotations

  assert annotations.vqa_splits(['val']) == ['train', 'val']
  assert annotations.vqa_splits(['train', 'val', 'test']) == ['train', 'val', 'test']
  assert annotations.vqa_splits(['test']) == ['test']


def test_questions_of_pictures_in_other_splits_are_no_problem(world):
  assert build_coco(world, splits=('val',))[1] == 0


def test_a_missing_file_ends_in_a_sentence_that_lists_its_neighbours(world):
  (world / 'coco' / 'captions_val2017.json').unlink()
  with pytest.raises(SystemExit, match=r'captions_val2017\.json does not exist.*captions_test'):
    coco_build.main([str(world / 'tfds'), str(world / 'vqa'), str(world / 'coco')])


def test_pictures_may_lie_beside_the_annotations_or_in_a_folder_of_their_own(world):
  moved = world / 'elsewhere'
  moved.mkdir()
  (world / 'coco' / 'train2017').rename(world / 'train2017')
  (world / 'coco' / 'val2017').rename(moved / 'val2017')
  with pytest.raises(FileNotFoundError, match=r"no pictures of split 'val'.*--images_dir"):
    build_coco(world)
  assert build_coco(world, images_dir=moved)[1] == 0


def test_pictures_are_taken_from_the_public_tfds_dataset_where_no_folder_has_them(world):
  import tensorflow as tf

  folder = world.parent / 'tfds' / 'coco' / '2017' / '1.1.0'
  folder.mkdir(parents=True)
  splits = {'train': 'train', 'val': 'validation'}
  for split, name in splits.items():
    with tf.io.TFRecordWriter(str(folder / f'coco-{name}.tfrecord-00000-of-00001')) as writer:
      for path in sorted((world / 'coco' / f'{split}2017').iterdir()):
        fields = {'image': path.read_bytes(), 'image/filename': path.name.encode()}
        features = {
          key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
          for key, value in fields.items()
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        writer.write(example.SerializeToString())
    shutil.rmtree(world / 'coco' / f'{split}2017')
  tfds.folder_dataset.write_metadata(
    data_dir=folder,
    features={'image': tfds.features.Image(), 'image/filename': tfds.features.Text()},
    split_infos=[
      tfds.core.SplitInfo(name=name, shard_lengths=[4], num_bytes=0) for name in splits.values()
    ],
    version='1.1.0',
    check_data=False,
  )
  path, skipped = build_coco(world)
  assert skipped == 0
  assert file_names(path.parents[1]) == [f'{TRAIN + i:012d}.png' for i in range(4)]


def test_a_failing_build_leaves_the_old_dataset(world):
  folder, _ = build_coco(world)
  for path in (world / 'coco' / 'val2017').iterdir():
    path.write_bytes(b'no picture')
  with pytest.raises(ValueError, match="split 'validation' has no usable example"):
    build_coco(world)
  assert len(file_names(folder.parents[1], 'validation')) == 4


def test_categories_that_contradict_each_other_are_refused(world):
  tiny_world.change(
    world / 'coco' / 'instances_val2017.json',
    lambda c: c['categories'][0].update(name='something else'),
  )
  with pytest.raises(ValueError, match="category 101 is 'something else', but 'red circle'"):
    build_coco(world)


def test_shards_are_cut_by_number_and_keep_the_order(world, monkeypatch):
  monkeypatch.setattr(parts_lib, 'PICTURES_PER_SHARD', 3)
  folder, _ = build_coco(world)
  assert sorted(path.name for path in folder.glob('*train*')) == [
    'coco_all-train.array_record-00000-of-00002',
    'coco_all-train.array_record-00001-of-00002',
  ]
  assert file_names(folder.parents[1]) == [f'{TRAIN + i:012d}.png' for i in range(4)]


def test_two_processes_write_what_one_writes(built, tmp_path, monkeypatch):
  world, _ = built
  monkeypatch.setattr(parts_lib, 'PICTURES_PER_SHARD', 2)
  one, two = (
    coco_build.build(
      tmp_path / str(workers), world / 'vqa', world / 'coco', run=execution.Processes(workers)
    ).folder
    for workers in (1, 2)
  )
  assert {p.name: p.read_bytes() for p in one.iterdir()} == {
    p.name: p.read_bytes() for p in two.iterdir()
  }


def test_building_imports_neither_tensorflow_nor_jax(built, tmp_path):
  code = (
    'import pathlib, sys; world, root = map(pathlib.Path, sys.argv[1:])\n'
    'from create_data.tfdatasets.coco_all import build\n'
    'build.build(root, world / "vqa", world / "coco")\n'
    'from create_data.tfdatasets.refcoco import build\n'
    'build.build(root, world / "refcoco", world / "coco", splits=["val"])\n'
    'sys.exit(bool({"tensorflow", "jax"} & set(sys.modules)))'
  )
  environment = {**os.environ, 'PYTHONPATH': str(pathlib.Path(__file__).parents[3])}
  subprocess.run([sys.executable, '-c', code, built[0], tmp_path], check=True, env=environment)
