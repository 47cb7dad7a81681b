"""What the build scripts write: features, splits, files and every example.

Records lie in source order and in ArrayRecord shards here, in hash order and in TFRecord shards
there, so that examples are compared by their key and names of shards without the format's name.
"""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from create_data.tfdatasets import manifest, records
from create_data.tfdatasets.alpaca import build as alpaca
from create_data.tfdatasets.coco_all import build as coco_all
from create_data.tfdatasets.coco_all import examples as coco_examples
from create_data.tfdatasets.flan import build as flan
from tests.parity import harness
from tests.parity.data import coco_files

# tensorflow_datasets asks protobuf in an outdated way when it reads a dataset's metadata.
pytestmark = pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning')

NOT_THERE = (  # of ours alone
  manifest.SUMS, manifest.SOURCE, manifest.SHARDS, manifest.SKIPPED, 'class_names.json',
)  # fmt: skip


def described(feature, want):
  """A feature as the cases tell it; a kind of Tensor may be called that."""
  if isinstance(feature, tfds.features.FeaturesDict):
    return {name: described(part, want.get(name, {})) for name, part in feature.items()}
  if isinstance(feature, tfds.features.Sequence):
    return {'sequence_of': described(feature.feature, want['sequence_of'])}
  kind = type(feature).__name__
  if want.get('type') == 'Tensor' and isinstance(feature, tfds.features.Tensor):
    kind = 'Tensor'
  dtype = np.dtype(feature.np_dtype)
  name = 'string' if dtype.kind in 'OSU' else dtype.name
  return {'type': kind, 'shape': list(feature.shape), 'dtype': name}


def plain(value):
  """What a reader gives -> what JSON holds; pictures as the cases tell them."""
  if isinstance(value, dict):
    return {name: plain(part) for name, part in value.items()}
  if isinstance(value, bytes):
    return value.decode()
  if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3:
    return f'uint8 picture {list(value.shape)}'
  if isinstance(value, np.ndarray | list):
    return [plain(part) for part in value]
  return value.item() if isinstance(value, np.generic) else value


def shard_names(folder):
  """The files of a dataset under the names that the cases use."""
  names = {path.name for path in folder.iterdir()} - set(NOT_THERE)
  return {name.replace(records.FILE_FORMAT, 'tfrecord'): True for name in names}


def compare_dataset(case, builder, name, splits):
  """`dataset` without the files: name, features and sizes."""
  want = case.config['dataset']
  if name is not None:
    case.exact('dataset/name', name, want['name'])
  case.exact(
    'dataset/features', described(builder.info.features, want['features']), want['features']
  )
  case.exact('dataset/splits', {s: len(rows) for s, rows in splits.items()}, want['splits'])


def compare_examples(case, splits, key):
  """`examples_in_read_order`, joined by `key`; returns each example of ours at its place there."""
  stored, ordered = case.config['examples_in_read_order'], {}
  assert set(splits) == set(stored)
  for split, examples in splits.items():
    ours = {plain(example[key]): example for example in examples}
    assert len(ours) == len(examples)
    assert set(ours) == {want[key] for want in stored[split]}
    ordered[split] = [ours[want[key]] for want in stored[split]]
    for i, (got, want) in enumerate(zip(ordered[split], stored[split], strict=True)):
      case.exact(f'examples_in_read_order/{split}/{i}', plain(got), want)
  return ordered


def read(folder):
  """(builder, split -> examples) of a dataset's folder."""
  builder = tfds.builder_from_directory(folder)
  return builder, {split: list(builder.as_data_source(split)) for split in builder.info.splits}


# ---- Text ----------------------------------------------------------------------------------------
def build_text(case, dataset, tmp_path):
  path = tmp_path / 'rows.json'
  path.write_text(json.dumps(case.config[case.config['input_field']]), encoding='utf-8')
  built = dataset.build(tmp_path / 'tfds', path)
  assert built.skipped == 0
  case.given('input_field', case.config['input_field'])
  case.exact('source', dataset.hub_name, case.config['source'])
  return built.folder


@pytest.mark.parametrize('path', harness.cases('data/i_build', 'alpaca*'))
def test_alpaca_is_the_originals(path, tmp_path):
  with harness.case(path) as c:
    folder = build_text(c, alpaca.DATASET, tmp_path)
    builder, splits = read(folder)
    compare_dataset(c, builder, '/'.join(folder.parts[-2:]), splits)
    c.exact('dataset/files', shard_names(folder), c.config['dataset']['files'])
    compare_examples(c, splits, 'example_num')


@pytest.mark.parametrize('path', harness.cases('data/i_build', 'flan*'))
def test_flan_is_the_originals_under_the_readers_name(path, tmp_path):
  with harness.case(path) as c:
    kinds = {flan.dataset(kind).hub_name: kind for kind in flan.KINDS}
    kind = kinds[c.config['source']]
    folder = build_text(c, flan.dataset(kind), tmp_path)
    builder, splits = read(folder)
    compare_dataset(c, builder, None, splits)
    want = c.config['dataset']
    original, ours = want['name'].split('/')[0], f'flan2_{kind.lower()}'
    assert '/'.join(folder.parts[-2:]) == want['name'].replace(original, ours)
    assert shard_names(folder) == {n.replace(original, ours): True for n in want['files']}
    c.fixed('dataset/name', 'data-5')
    c.fixed('dataset/files', 'data-5')
    compare_examples(c, splits, 'example_num')


@pytest.mark.parametrize('path', harness.cases('data/i_build', 'dataset_dirs'))
def test_datasets_lie_where_their_readers_look(path):
  with harness.case(path) as c:
    made = {kind: flan.dataset(kind) for kind in flan.KINDS}
    sources = {kind: dataset.hub_name for kind, dataset in made.items()}
    c.exact('flan_sources', sources, c.config['flan_sources'])
    names = [dataset.name for dataset in made.values()]
    c.exact('flan_task_names', names, c.config['flan_task_names'])
    coco = f'{coco_examples.DATASET.name}/{coco_examples.DATASET.version}'
    ours = {f'{dataset.name}/{dataset.version}' for dataset in (*made.values(), alpaca.DATASET)}
    kept = {d for d in c.config['dirs'] if not d.startswith(('FLANv2-', f'{coco}/', 'coco/'))}
    assert ours | {coco} == kept | {f'{name}/1.0.0' for name in names}
    c.fixed('dirs', 'data-5')
    c.fixed('dirs', 'data-37')


# ---- COCO ----------------------------------------------------------------------------------------
@pytest.mark.parametrize('path', harness.cases('data/i_build', 'raw'))
def test_raw_files_are_inputs(path):
  with harness.case(path) as c:
    c.given('*')


def build_coco(folder):
  return coco_all.build(folder / 'tfds', folder / 'vqa', folder / 'annotations')


def compare_pictures(case, ordered):
  atol = case.config['tolerance']['levels_atol_other_jpeg_decoder']  # TFDS decodes with Pillow
  for split, examples in ordered.items():
    for i, example in enumerate(examples):
      name = f'{split}_{i}_image'
      case.equal(name, example['image'], case.outputs[name], atol=atol)


@pytest.mark.parametrize('path', harness.cases('data/i_build', 'coco_all*', ('*_errors',)))
def test_coco_all_is_the_originals(path, tmp_path):
  with harness.case(path) as c:
    c.given('source')
    raw = coco_files.CocoFiles(c.config['source']['case'])
    built = build_coco(raw.write(tmp_path))
    assert built.skipped == 0
    builder, splits = read(built.folder)
    compare_dataset(c, builder, '/'.join(built.folder.parts[-2:]), splits)
    # The original prepares COCO once more inside its own folder.
    nested = {'coco', 'downloads'}
    assert set(shard_names(built.folder)) == set(c.config['dataset']['files']) - nested
    c.fixed('dataset/files', 'data-37')
    ordered = compare_examples(c, splits, 'image/filename')
    compare_pictures(c, ordered)


@pytest.mark.parametrize('path', harness.cases('data/i_build', 'coco_all_errors'))
def test_incomplete_pictures_are_skipped_and_missing_files_refused(path, tmp_path):
  with harness.case(path) as c:
    c.given('source')
    raw = coco_files.CocoFiles(c.config['source']['case'])
    for i, row in enumerate(c.config['rows']):
      c.given(f'rows/{i}/change', f'rows/{i}/edit')
      edit = row['edit']
      folder = raw.write(tmp_path / str(i), raw.edited(edit))
      try:
        built = build_coco(folder)
      except (OSError, ValueError):
        built = None
      if edit['op'] != 'remove':
        c.exact(f'rows/{i}/raises', built is None, row['raises'] is not None)
        continue
      examples = [example for rows in read(built.folder)[1].values() for example in rows]
      names = [example['image/filename'].decode() for example in examples]
      assert sorted(names) == sorted(list(raw.pictures().values())[edit['pictures'] :])
      assert built.skipped == edit['pictures']
      c.fixed(f'rows/{i}/raises', 'data-37')


@pytest.fixture
def public_coco(monkeypatch):
  """Prepares TFDS's own coco/2017 from files that lie in a folder."""

  def prepare(folder: pathlib.Path) -> tfds.core.DatasetBuilder:
    def extracted(self, urls):
      return {key: str(folder) for key in urls}

    monkeypatch.setattr(tfds.download.DownloadManager, 'download_and_extract', extracted)
    builder = tfds.builder('coco/2017', data_dir=folder / 'tfds')
    builder.download_and_prepare(download_dir=folder / 'downloads')
    return builder

  return prepare


@pytest.mark.parametrize('path', harness.cases('data/i_build', 'tfds_coco*'))
def test_pictures_and_objects_are_those_of_the_public_dataset(path, tmp_path, public_coco):
  with harness.case(path) as c:
    c.given('source')
    raw = coco_files.CocoFiles(c.config['source']['case'])
    folder = raw.write(tmp_path)
    builder = public_coco(folder)
    splits = {
      split: list(tfds.as_numpy(builder.as_dataset(split))) for split in builder.info.splits
    }
    compare_dataset(c, builder, '/'.join(builder.data_path.parts[-3:]), splits)
    c.exact('dataset/files', shard_names(builder.data_path), c.config['dataset']['files'])
    compare_examples(c, splits, 'image/filename')
    # Our build takes its pictures from there and reads the same objects.
    for split in ('train2017', 'val2017'):
      shutil.rmtree(folder / split)
    ours = read(build_coco(folder).folder)[1]
    for split, examples in ours.items():
      public = {example['image/filename']: example for example in splits[split]}
      assert len(examples) == len(public)
      for example in examples:
        want = public[example['image/filename']]
        assert plain(example['objects']) == plain(want['objects'])
        assert example['image'].shape == want['image'].shape
