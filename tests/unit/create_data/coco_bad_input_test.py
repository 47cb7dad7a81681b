"""COCO and VQA files with faults: a sentence that names the file, or a skip that names the row."""

import io
import pathlib

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from create_data.tfdatasets import shards
from create_data.tfdatasets.coco_all import build as coco_build
from tests.testdata import tiny_world

# tensorflow_datasets asks protobuf in an outdated way when it reads a dataset's metadata.
pytestmark = pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning')

FIRST = 1_000_000  # image id
NAN = float('nan')


def paths(world):
  coco, vqa = world / 'coco', world / 'vqa'
  return {
    'captions': coco / 'captions_train2017.json',
    'instances': coco / 'instances_train2017.json',
    'questions': vqa / 'v2_OpenEnded_mscoco_train2014_questions.json',
    'answers': vqa / 'v2_mscoco_train2014_annotations.json',
    'picture': coco / 'train2017' / f'{FIRST:012d}.png',
  }


def build(world):
  root = world.parent / 'tfds'
  return coco_build.build(root, world / 'vqa', world / 'coco', splits=['train'])


def examples(built):
  return list(tfds.data_source('coco_all:1.0.1', data_dir=built.folder.parents[1], split='train'))


def skipped(built):
  return (built.folder / 'skipped.txt').read_text().splitlines()


# ---- Rows ----------------------------------------------------------------------------------------
@pytest.mark.parametrize('text', ['', '  \n', None, 7, '\ud800'])
def test_a_caption_without_text_is_skipped(world, text):
  edit = lambda c: c['annotations'][0].update(caption=text)
  tiny_world.change(paths(world)['captions'], edit)
  built = build(world)
  assert skipped(built) == [f'caption {FIRST * 10} of image {FIRST}: it has no text']
  assert examples(built)[0]['captions']['num'] == 4


@pytest.mark.parametrize(
  ('file', 'table', 'change', 'words'),
  [
    ('captions', 'annotations', {'image_id': None}, '[0]: it has no usable image_id'),
    ('captions', 'annotations', {'id': 'x'}, '[0]: it has no usable id'),
    ('instances', 'annotations', {'category_id': '3', 'id': None}, 'usable id, category_id'),
    ('instances', 'images', {'file_name': ''}, 'images[0]: it has no usable file_name'),
    ('questions', 'questions', {'question': ' '}, 'questions[0]: it has no usable question'),
    ('questions', 'questions', {'question_id': 1.5}, 'it has no usable question_id'),
    ('answers', 'annotations', {'answers': None}, 'annotations[0]: it has no usable answers'),
  ],
)
def test_a_row_without_its_fields_is_named_and_skipped(world, file, table, change, words):
  tiny_world.change(paths(world)[file], lambda c: c[table][0].update(change))
  built = build(world)
  assert words in '\n'.join(skipped(built))
  assert len(examples(built)) >= 3


def test_a_row_that_is_no_row_is_named_and_skipped(world):
  tiny_world.change(paths(world)['captions'], lambda c: c['annotations'].append('words'))
  assert skipped(build(world)) == [
    'captions_train2017.json, annotations[20]: it is str, no fields with names'
  ]


@pytest.mark.parametrize(
  ('file', 'table', 'words'),
  [
    ('instances', 'images', f'image {FIRST}: there is another of this id before it'),
    ('questions', 'questions', f'question {FIRST * 10}: there is another of this id before it'),
    ('answers', 'annotations', f'answers to question {FIRST * 10}: there is another of this id'),
  ],
)
def test_a_second_row_of_an_id_is_named_and_skipped(world, file, table, words):
  tiny_world.change(paths(world)[file], lambda c: c[table].append(c[table][0]))
  built = build(world)
  assert [words in line for line in skipped(built)] == [True]
  assert examples(built)[0]['vqa']['num'] == 4


def test_answers_without_text_do_not_count(world):
  def edit(content):
    content['annotations'][0]['answers'][3] = {'answer': None}
    content['annotations'][1]['answers'][3] = 'yes'

  tiny_world.change(paths(world)['answers'], edit)
  assert skipped(build(world)) == [
    f'question {FIRST * 10 + i} of image {FIRST}: 9 answers, 10 are needed' for i in range(2)
  ]


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    ({'bbox': [NAN, 1, 2, 3]}, 'empty or outside'),
    ({'bbox': [3, 4, -2, 9]}, 'empty or outside'),
    ({'bbox': [-2, 4, 20, 9]}, 'empty or outside'),
    ({'bbox': [-1, 4, 0.5, 9]}, 'empty or outside'),
    ({'bbox': [4, 64.2, 9, 0.5]}, 'empty or outside'),
    ({'bbox': [3, 4, 2, 62]}, 'empty or outside'),
    ({'bbox': None}, 'no area or no box'),
    ({'area': None}, 'no area or no box'),
    ({'area': NAN}, 'no area or no box'),
  ],
)
def test_a_box_that_is_none_is_skipped_alone(world, change, words):
  tiny_world.change(paths(world)['instances'], lambda c: c['annotations'][0].update(change))
  built = build(world)
  (line,) = skipped(built)
  assert line.startswith(f'annotation {FIRST * 10} of image {FIRST}: ')
  assert words in line
  assert len(examples(built)) == 4


def test_a_box_that_leaves_the_picture_by_a_pixel_is_cut(world):
  edit = lambda c: c['annotations'][0].update(bbox=[-0.5, 10, 65, 54.75])
  tiny_world.change(paths(world)['instances'], edit)
  built = build(world)
  assert built.skipped == 0
  assert examples(built)[0]['objects']['bbox'][0].tolist() == [10 / 64, 0, 1, 1]


def test_crowds_are_kept_and_marked(world):
  def edit(content):
    mask = {'counts': [9, 3], 'size': [64, 64]}
    content['annotations'][0].update(iscrowd=1, segmentation=mask)
    content['annotations'][1].pop('iscrowd')

  tiny_world.change(paths(world)['instances'], edit)
  built = build(world)
  marks = [mark for example in examples(built) for mark in example['objects']['is_crowd']]
  assert built.skipped == 0
  assert marks == [True] + [False] * (len(marks) - 1)


# ---- Pictures ------------------------------------------------------------------------------------
def encoded(picture, form):
  buffer = io.BytesIO()
  picture.save(buffer, form)
  return buffer.getvalue()


def of_mode(mode):
  pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  if mode == '16-bit':
    return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
  return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(
  ('mode', 'form'),
  [('CMYK', 'JPEG'), ('L', 'JPEG'), ('L', 'PNG'), ('P', 'PNG'), ('RGBA', 'PNG'), ('16-bit', 'PNG')],
)
def test_pictures_of_every_mode_are_read_with_three_channels(world, mode, form):
  import tensorflow as tf

  paths(world)['picture'].write_bytes(encoded(of_mode(mode), form))
  built = build(world)
  first = examples(built)[0]['image']
  want = np.asarray(of_mode('L' if mode == '16-bit' else mode).convert('RGB')).astype(int)
  if mode == '16-bit':
    want = (np.asarray(of_mode(mode)) >> 8)[..., None]
  assert built.skipped == 0
  assert (first.shape, first.dtype) == ((64, 64, 3), np.uint8)
  near = 0 if form == 'PNG' else 12
  assert np.abs(first - want).mean() <= near
  raw = tfds.decode.SkipDecoding()
  source = tfds.data_source(
    'coco_all:1.0.1', data_dir=built.folder.parents[1], split='train', decoders={'image': raw}
  )
  by_tensorflow = tf.io.decode_image(source[0]['image'], channels=3).numpy()
  assert np.abs(by_tensorflow - want).mean() <= near


@pytest.mark.parametrize('content', [b'', b'words', encoded(of_mode('RGB'), 'JPEG')[:-99]])
def test_a_broken_picture_costs_only_itself_and_once_mended_only_its_shard(
  world, content, monkeypatch
):
  picture, written, real = paths(world)['picture'], [], shards.write_shard
  whole = picture.read_bytes()
  picture.write_bytes(content)
  monkeypatch.setattr('create_data.tfdatasets.parts.PICTURES_PER_SHARD', 2)
  built = build(world)
  (line,) = skipped(built)
  assert line.startswith(f'image {FIRST}: ')
  assert len(examples(built)) == 3
  monkeypatch.setattr(
    shards, 'write_shard', lambda name, **kwargs: written.append(name) or real(name, **kwargs)
  )
  picture.write_bytes(whole)
  built = build(world)
  assert written == ['coco_all-train.array_record-00000-of-00002']
  assert (built.skipped, len(examples(built))) == (0, 4)


# ---- Files ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
  ('content', 'words'),
  [
    ('[1]', r"instances_train2017\.json has no list 'images', only list; it is another kind"),
    ('{"annotations": []}', r"has no list 'images', only \['annotations'\]"),
    ('{"images": {}}', r"has no list 'images', only \['images'\]"),
    ('{"images": [], "annotations": [], "categories": [{}]}', r'categories are no list of rows'),
    ('{"images": [', r'instances_train2017\.json is no valid JSON .*download or write it again'),
    (b'\xff\xfe{', r'instances_train2017\.json is no valid JSON'),
  ],
)
def test_a_file_of_another_kind_is_named(world, content, words):
  content = content if isinstance(content, bytes) else content.encode()
  paths(world)['instances'].write_bytes(content)
  with pytest.raises(SystemExit, match=rf'^coco_all was not built: .*{words}'):
    main(world)


def main(world):
  folders = [world.parent / 'tfds', world / 'vqa', world / 'coco']
  coco_build.main([*map(str, folders), '--splits=train', '--num_workers=1'])


def test_missing_folders_on_the_command_line_are_named(world, capsys):
  with pytest.raises(SystemExit):
    coco_build.main([str(world), '--splits=train'])
  assert 'required: vqa_dir, annotations_dir' in capsys.readouterr().err


def test_a_split_without_pictures_is_refused(world):
  tiny_world.change(paths(world)['instances'], lambda c: c['images'].clear())
  with pytest.raises(SystemExit, match="split 'train' has no usable example"):
    main(world)


def test_the_last_line_counts_and_the_list_names(world, capsys):
  paths(world)['picture'].unlink()
  main(world)
  folder = pathlib.Path(world.parent, 'tfds', 'coco_all', '1.0.1')
  assert capsys.readouterr().out.splitlines()[-1] == (
    f'coco_all: {folder} is complete: train 3 examples; 1 records or parts of records were '
    'skipped (all of them in skipped.txt).'
  )
  assert f'image {FIRST}: picture' in (folder / 'skipped.txt').read_text()
