"""Builds of text datasets: official files in, TFDS out; stopped builds go on."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from create_data.tfdatasets import text_rows, text_shards
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
  monkeypatch.setattr(text_shards, 'ROWS_PER_SHARD', 2)


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
  assert f'{folder} is complete, 0 rows were skipped' in capsys.readouterr().out
  assert read(folder) == numbered(rows)


@pytest.mark.usefixtures('small_shards')
def test_shards_and_sources_have_their_checksums(tmp_path):
  path = write(tmp_path / 'rows.jsonl', rows_of(alpaca.DATASET))
  folder, _ = text_shards.build(alpaca.DATASET, tmp_path / 'tfds', path)
  sums = dict(line.split()[::-1] for line in (folder / 'SHA256SUMS').read_text().splitlines())
  assert sorted(sums) == [f'alpaca-train.array_record-0000{i}-of-00003' for i in range(3)]
  assert all(hashlib.sha256((folder / n).read_bytes()).hexdigest() == s for n, s in sums.items())
  assert json.loads((folder / 'source.json').read_text()) == {
    'files': {'rows.jsonl': hashlib.sha256(path.read_bytes()).hexdigest()}, 'rows': 5, 'skipped': 0,
  }  # fmt: skip


@pytest.mark.usefixtures('small_shards')
def test_two_processes_write_what_one_writes(tmp_path):
  path = write(tmp_path / 'rows.jsonl', rows_of(dolly.DATASET))
  folders = [
    text_shards.build(dolly.DATASET, tmp_path / str(workers), path, workers=workers)[0]
    for workers in (1, 2)
  ]
  one, two = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
  assert one == two


@pytest.mark.usefixtures('small_shards')
def test_broken_rows_are_named_by_number_skipped_and_counted(tmp_path, capsys):
  rows = rows_of(alpaca.DATASET, 8)
  del rows[1]['output']
  rows[2]['input'], rows[4]['input'], rows[5]['input'] = None, '\ud800', ['a']
  path = write(tmp_path / 'rows.jsonl', rows)
  path.write_text(path.read_text().replace('{"instruction": "instruction 3', '{3'))
  folder, skipped = text_shards.build(alpaca.DATASET, tmp_path / 'tfds', path)
  said = capsys.readouterr().err
  assert skipped == 5
  assert "skipped: row 1 (rows.jsonl, line 2): it has no 'output'" in said
  assert "row 2 (rows.jsonl, line 3): 'input' is None, which is no text" in said
  assert 'row 3 (rows.jsonl, line 4): it is no valid JSON' in said
  assert "row 4 (rows.jsonl, line 5): 'input' is '\\ud800', which is no text" in said
  assert "row 5 (rows.jsonl, line 6): 'input' is ['a'], which is no text" in said
  assert read(folder) == [row for row in numbered(rows) if row['example_num'] in (0, 6, 7)]


def stop_at_third_shard(monkeypatch, root, path):
  real = text_rows.read

  def read_two_parts(part):
    if part.first == 4:
      raise KeyboardInterrupt
    return real(part)

  with monkeypatch.context() as patch:
    patch.setattr(text_rows, 'read', read_two_parts)
    with pytest.raises(KeyboardInterrupt):
      text_shards.build(alpaca.DATASET, root, path)
  assert [p.name for p in (root / 'alpaca').iterdir()] == ['incomplete.1.0.0']


@pytest.mark.usefixtures('small_shards')
def test_a_stopped_build_goes_on_where_it_was(tmp_path, monkeypatch):
  path, root = write(tmp_path / 'rows.jsonl', rows_of(alpaca.DATASET)), tmp_path / 'tfds'
  stop_at_third_shard(monkeypatch, root, path)
  real, started = text_rows.read, []
  monkeypatch.setattr(text_rows, 'read', lambda part: started.append(part.first) or real(part))
  folder, _ = text_shards.build(alpaca.DATASET, root, path)
  assert started == [0, 4]  # the first rows are always looked at
  assert [p.name for p in (root / 'alpaca').iterdir()] == ['1.0.0']
  unbroken, _ = text_shards.build(alpaca.DATASET, tmp_path / 'other', path)
  assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
    p.name: p.read_bytes() for p in unbroken.iterdir()
  }


@pytest.mark.usefixtures('small_shards')
def test_shards_of_another_source_are_not_taken_over(tmp_path, monkeypatch):
  rows, root = rows_of(alpaca.DATASET), tmp_path / 'tfds'
  path = write(tmp_path / 'rows.jsonl', rows)
  stop_at_third_shard(monkeypatch, root, path)
  changed = [{**row, 'output': 'another'} for row in rows]
  folder, _ = text_shards.build(alpaca.DATASET, root, write(path, changed))
  assert read(folder) == numbered(changed)


def test_the_old_dataset_stays_until_the_new_one_is_whole(tmp_path):
  rows, root = rows_of(alpaca.DATASET), tmp_path / 'tfds'
  path = write(tmp_path / 'rows.jsonl', rows)
  folder, _ = text_shards.build(alpaca.DATASET, root, path)
  with pytest.raises(ValueError, match=r"none of the first rows is a row of alpaca.*\['x'\]"):
    text_shards.build(alpaca.DATASET, root, write(tmp_path / 'wrong.jsonl', [{'x': 'y'}]))
  assert read(folder) == numbered(rows)
  text_shards.build(alpaca.DATASET, root, write(path, rows[:2]))
  assert read(folder) == numbered(rows[:2])
  assert [p.name for p in (root / 'alpaca').iterdir()] == ['1.0.0']


def test_two_builds_of_one_dataset_do_not_run_at_once(tmp_path):
  path, root = write(tmp_path / 'rows.jsonl', rows_of(alpaca.DATASET)), tmp_path / 'tfds'
  with (
    text_shards._alone(root / 'alpaca' / 'incomplete.1.0.0'),
    pytest.raises(ValueError, match='another process is writing'),
  ):
    text_shards.build(alpaca.DATASET, root, path)


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
