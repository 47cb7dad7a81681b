"""Builds of text datasets: official files in, TFDS out."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from create_data.tfdatasets import text_dataset
from create_data.tfdatasets.alpaca import build as alpaca
from create_data.tfdatasets.dolly import build as dolly
from create_data.tfdatasets.flan import build as flan

# tensorflow_datasets asks protobuf in an outdated way when it reads a dataset's metadata.
pytestmark = pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning')


def rows_of(dataset, count=5):
  return [{field: f'{field} {i} é' for field in dataset.fields} for i in range(count)]


def write(path, rows):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows), encoding='utf-8')
  return path


def read(folder):
  name, version = folder.parts[-2:]
  source = tfds.data_source(f'{name}:{version}', data_dir=folder.parents[1], split='train')
  return [
    {key: value.decode() if isinstance(value, bytes) else int(value) for key, value in e.items()}
    for e in source
  ]


def numbered(rows):
  return [{'example_num': i, **row} for i, row in enumerate(rows)]


@pytest.fixture
def small_shards(monkeypatch):
  monkeypatch.setattr(text_dataset, 'ROWS_PER_SHARD', 2)


@pytest.mark.parametrize(
  ('main', 'arguments', 'dataset', 'name'),
  [
    (alpaca.main, [], alpaca.DATASET, 'alpaca'),
    (dolly.main, [], dolly.DATASET, 'dolly'),
    *((flan.main, [k], flan.dataset(k), f'flan2_{k.lower()}') for k in flan.KINDS),
  ],
)
def test_rows_become_examples_under_the_readers_name(
  tmp_path, capsys, main, arguments, dataset, name
):
  rows = rows_of(dataset)
  path = write(tmp_path / 'rows.jsonl', [{**row, 'extra': 1} for row in rows])
  main([*arguments, str(tmp_path / 'tfds'), str(path), '--num_workers', '1'])
  folder = tmp_path / 'tfds' / name / '1.0.0'
  assert f'{folder} is complete: train 5 examples; 0 records' in capsys.readouterr().out
  assert read(folder) == numbered(rows)


@pytest.mark.usefixtures('small_shards')
def test_broken_rows_are_named_by_number_skipped_and_counted(tmp_path, capsys):
  rows = rows_of(alpaca.DATASET, 8)
  del rows[1]['output']
  rows[2]['input'], rows[4]['input'], rows[5]['input'] = None, '\ud800', ['a']
  path = write(tmp_path / 'rows.jsonl', rows)
  path.write_text(path.read_text().replace('{"instruction": "instruction 3', '{3'))
  built = alpaca.DATASET.build(tmp_path / 'tfds', path)
  said = capsys.readouterr().err
  assert built.skipped == 5
  assert "skipped: row 1 (rows.jsonl, line 2): it has no 'output'" in said
  assert "row 2 (rows.jsonl, line 3): 'input' is None, which is no text" in said
  assert 'row 3 (rows.jsonl, line 4): it is no valid JSON' in said
  assert "row 4 (rows.jsonl, line 5): 'input' is '\\ud800', which is no text" in said
  assert "row 5 (rows.jsonl, line 6): 'input' is ['a'], which is no text" in said
  assert read(built.folder) == [row for row in numbered(rows) if row['example_num'] in (0, 6, 7)]


def test_the_old_dataset_stays_until_the_new_one_is_whole(tmp_path):
  rows, root = rows_of(alpaca.DATASET), tmp_path / 'tfds'
  path = write(tmp_path / 'rows.jsonl', rows)
  folder = alpaca.DATASET.build(root, path).folder
  with pytest.raises(ValueError, match=r"none of the first rows is a row of alpaca.*\['x'\]"):
    alpaca.DATASET.build(root, write(tmp_path / 'wrong.jsonl', [{'x': 'y'}]))
  assert read(folder) == numbered(rows)
  alpaca.DATASET.build(root, write(path, rows[:2]))
  assert read(folder) == numbered(rows[:2])
  assert [p.name for p in (root / 'alpaca').iterdir()] == ['1.0.0']


def test_a_missing_source_ends_in_one_sentence(tmp_path):
  with pytest.raises(SystemExit, match=r'flan2_cot was not built: .*absent does not exist'):
    flan.main(['CoT', str(tmp_path), str(tmp_path / 'absent')])


def test_building_imports_neither_tensorflow_nor_jax(tmp_path):
  import datasets

  source = tmp_path / 'saved'
  datasets.Dataset.from_list(rows_of(alpaca.DATASET)).save_to_disk(source)
  code = (
    'import sys; from create_data.tfdatasets.alpaca import build\n'
    'build.main([*sys.argv[1:], "--num_workers", "1"])\n'
    'sys.exit(bool({"tensorflow", "jax"} & set(sys.modules)))'
  )
  environment = {**os.environ, 'PYTHONPATH': str(pathlib.Path(__file__).parents[3])}
  command = [sys.executable, '-c', code, tmp_path / 'tfds', source]
  subprocess.run(command, check=True, env=environment)
  shutil.rmtree(source)
