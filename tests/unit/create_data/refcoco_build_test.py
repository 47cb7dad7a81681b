"""The build of RefCOCO: refer files in, TFDS out; what is broken is named, skipped and counted."""

import json
import pathlib
import pickle
import re
import struct

import numpy as np
import pytest
import tensorflow_datasets as tfds

from create_data.tfdatasets.refcoco import build as refcoco_build
from create_data.tfdatasets.refcoco import refer
from tests.testdata import tiny_world

# tensorflow_datasets asks protobuf in an outdated way when it reads a dataset's metadata.
pytestmark = pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning')

TRAIN = 1_000_000  # the first image id


def test_references_are_read_in_the_public_layout(built):
  world, root = built
  source = tfds.data_source('ref_coco/refcoco_unc:1.0.0', data_dir=root, split='validation')
  refs = [r for r in tiny_world.read(world / 'refcoco' / 'refs(unc).json') if r['split'] == 'val']
  assert len(source) == len(refs) == 4
  for example, ref in zip(source, refs, strict=True):
    objects, everything = example['objects'], example['coco_annotations']
    assert example['image/id'] == ref['image_id']
    assert list(objects['id']) == [ref['ann_id']]
    place = objects['gt_box_index'][0]
    assert everything['id'][place] == ref['ann_id']
    np.testing.assert_array_equal(everything['bbox'][place], objects['bbox'][0])
    assert [text.decode() for text in objects['refexp']['raw'][0]] == [
      sentence['raw'] for sentence in ref['sentences']
    ]
    assert list(objects['refexp']['refexp_id'][0]) == ref['sent_ids']


def build(world, **options):
  return refcoco_build.build(world.parent / 'tfds', world / 'refcoco', world / 'coco', **options)


def skipped(built):
  return (built.folder / 'skipped.txt').read_text().splitlines()


def refs_of(world):
  return world / 'refcoco' / 'refs(unc).json'


# ---- Pickles -------------------------------------------------------------------------------------
def dumped_by_python_2(value):
  """A pickle as Python 2 wrote it: protocol 2, strings are bytes."""

  def item(value):
    if isinstance(value, dict):
      return b'}(' + b''.join(item(key) + item(part) for key, part in value.items()) + b'u'
    if isinstance(value, list):
      return b'](' + b''.join(map(item, value)) + b'e'
    if isinstance(value, int):
      return b'J' + struct.pack('<i', value)
    return b'T' + struct.pack('<i', len(value.encode())) + value.encode()

  return b'\x80\x02' + item(value) + b'.'


@pytest.mark.parametrize(
  'dump', [dumped_by_python_2, *(lambda v, p=p: pickle.dumps(v, protocol=p) for p in range(6))]
)
def test_a_published_pickle_is_read_like_the_list(world, dump):
  refs = tiny_world.read(refs_of(world))
  refs[0]['sentences'][0]['raw'] = 'the café'
  refs_of(world).write_text(json.dumps(refs), encoding='utf-8')
  want = build(world, splits=['train'])
  before = {path.name: path.read_bytes() for path in want.folder.glob('*array_record*')}
  refs_of(world).with_suffix('.p').write_bytes(dump(refs))
  refs_of(world).unlink()
  made = build(world, splits=['train'])
  assert made.skipped == 0
  assert {path.name: path.read_bytes() for path in made.folder.glob('*array_record*')} == before


class Malicious:
  """Unpickled the usual way it writes a file."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize('protocol', range(6))
def test_a_pickle_that_names_code_is_refused_and_runs_nothing(world, protocol):
  mark = world / 'mark'
  content = pickle.dumps([Malicious(mark)], protocol=protocol)
  pickle.loads(content)
  mark.unlink()  # it works; now ours
  refs_of(world).with_suffix('.p').write_bytes(content)
  with pytest.raises(ValueError, match=r'refs\(unc\)\.p cannot be read: it wants to load '):
    build(world)
  assert not mark.exists()


@pytest.mark.parametrize(
  'content',
  [
    b'cos\nsystem\n(S"true"\ntR.',
    b'\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x031+1\x85R.',
    b'cbuiltins\ngetattr\n.',
    b'(S"true"\nios\nsystem\n.',  # INST
    b'\x82\x01.',  # EXT1
    b'Pdatabase\n.',  # a persistent id
    b'\x80\x02](e',
    b'',
    b'no pickle',
    b'R.',
    b'\x8e\xff\xff\xff\xff\xff\xff\xff\x7f',  # claims to be 8 EiB
  ],
)
def test_what_is_no_pickle_of_plain_data_is_refused(content):
  with pytest.raises(ValueError):
    refer.load_plain_pickle(content)


# ---- Rows ----------------------------------------------------------------------------------------
def test_references_to_nothing_are_named_and_skipped(world):
  def edit(refs):
    lost = [ref for ref in refs if ref['image_id'] in (TRAIN, TRAIN + 2)]
    lost[0]['ann_id'], lost[1]['image_id'] = 7, 8

  tiny_world.change(refs_of(world), edit)
  built = build(world, splits=['train'])
  lines = skipped(built)
  assert len(lines) == built.skipped == 3
  assert re.fullmatch(r'reference \d+: there is no image 8', lines[0])
  assert lines[1:] == [
    'reference 10000000 of image 1000000: there is no usable annotation 7',
    'image 1000000: none of its references is usable',
  ]


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    ({'split': None}, r'refs\(unc\)\.json\[0\]: it has no usable split'),
    ({'image_id': 'x', 'sentences': None}, r'it has no usable image_id, sentences'),
    ({'sentences': []}, r'reference \d+ of image \d+: it has no expression'),
    (
      {'sentences': [{'sent_id': 1, 'raw': ' '}]},
      r'reference \d+, sentences\[0\]: it has no usable raw',
    ),
  ],
)
def test_a_reference_without_its_fields_is_named_and_skipped(world, change, words):
  tiny_world.change(refs_of(world), lambda refs: refs[0].update(change))
  built = build(world)
  assert re.search(words, '\n'.join(skipped(built)))
  assert built.counts['train'] == 3


def test_a_broken_box_takes_its_references_with_it(world):
  path = world / 'refcoco' / 'instances.json'
  ref = tiny_world.read(refs_of(world))[0]

  def edit(content):
    rows = {row['id']: row for row in content['annotations']}
    rows[ref['ann_id']]['bbox'] = [60, 60, 30, 30]

  tiny_world.change(path, edit)
  lines = skipped(build(world))
  assert f'annotation {ref["ann_id"]} of image {ref["image_id"]}: box [60, 60, 30, 30]' in lines[0]
  assert lines[1].endswith(f'there is no usable annotation {ref["ann_id"]}')


def test_references_that_are_no_list_are_refused(world):
  refs_of(world).write_text('{"a": 1}', encoding='utf-8')
  with pytest.raises(ValueError, match=r'refs\(unc\)\.json holds dict, no list of references'):
    build(world)


def test_a_split_that_no_reference_names_is_refused(world):
  with pytest.raises(ValueError, match=r"no reference belongs to \['testA'\]; the file has"):
    build(world, splits=['testA'])


def test_each_variant_has_its_own_folder(world):
  refs_of(world).rename(world / 'refcoco' / 'refs(google).json')
  built = build(world, splits=['val'], dataset='refcocog', partition='google')
  assert built.folder.parts[-3:] == ('ref_coco', 'refcocog_google', '1.0.0')
