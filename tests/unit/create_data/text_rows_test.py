"""Rows of text from every published form, cut into parts that are read by themselves."""

import json

import pytest

from create_data.tfdatasets import text_rows

ROWS = [{'a': f'text {i}', 'b': None if i == 3 else 'é'} for i in range(7)]


def write_jsonl(path, rows=ROWS):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows), encoding='utf-8')
  return path


def write_json(path, rows=ROWS):
  path.write_text(json.dumps(rows, indent=1), encoding='utf-8')
  return path


def write_parquet(path, rows=ROWS):
  import pyarrow
  from pyarrow import parquet

  parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)
  return path


def write_saved(path, rows=ROWS):
  import datasets

  datasets.Dataset.from_list(rows).save_to_disk(path)
  return path


def write_splits(path, rows=ROWS):
  import datasets

  made = datasets.Dataset.from_list(rows)
  datasets.DatasetDict({'test': made.select([0]), 'train': made}).save_to_disk(path)
  return path


FORMS = {
  'rows.jsonl': write_jsonl, 'rows.json': write_json, 'lines.json': write_jsonl,
  'rows.parquet': write_parquet, 'saved': write_saved, 'splits': write_splits,
}  # fmt: skip


@pytest.mark.parametrize('name', FORMS)
@pytest.mark.parametrize('rows_per_part', [1, 3, 7, 100])
def test_every_form_gives_the_same_rows_however_it_is_cut(tmp_path, name, rows_per_part):
  found = text_rows.find(FORMS[name](tmp_path / name), 'no/hub', rows_per_part)
  rows = [row for part in reversed(found.parts) for row in text_rows.read(part)]
  rows.sort(key=lambda row: row.number)
  assert [row.fields for row in rows] == ROWS
  assert [row.number for row in rows] == list(range(7))
  assert sum(part.count for part in found.parts) == 7
  assert found.checksums
  if rows_per_part == 1:
    assert len(found.parts) >= 4  # parquet is cut at its row groups


def test_files_of_a_folder_are_numbered_through(tmp_path):
  write_jsonl(tmp_path / 'train-00001.jsonl', ROWS[4:])
  write_jsonl(tmp_path / 'train-00000.jsonl', ROWS[:4])
  write_jsonl(tmp_path / 'test-00000.jsonl', ROWS[:1])
  write_json(tmp_path / 'dataset_info.json')
  found = text_rows.find(tmp_path, 'no/hub', 3)
  rows = [row for part in found.parts for row in text_rows.read(part)]
  assert [(row.number, row.fields) for row in rows] == list(enumerate(ROWS))
  assert [part.count for part in found.parts] == [3, 1, 3]
  assert list(found.checksums) == ['train-00000.jsonl', 'train-00001.jsonl']
  assert rows[5].place == 'train-00001.jsonl, line 2'


def test_lines_that_are_no_rows_keep_their_number_and_say_why(tmp_path):
  path = tmp_path / 'rows.jsonl'
  path.write_bytes(b'{"a": "x"}\n\n{"a": \n[1]\n"\xff"\n{"a": "y"}')
  for rows_per_part in (1, 2, 9):
    found = text_rows.find(path, 'no/hub', rows_per_part)
    rows = [row for part in found.parts for row in text_rows.read(part)]
    assert [row.fields for row in rows] == [{'a': 'x'}, None, None, None, {'a': 'y'}]
    assert [row.place[-6:] for row in rows] == ['line 1', 'line 3', 'line 4', 'line 5', 'line 6']
    assert 'no valid JSON' in rows[1].fault
    assert 'it is list' in rows[2].fault
    assert 'no valid JSON' in rows[3].fault


def test_a_list_may_hold_other_things_than_rows(tmp_path):
  found = text_rows.find(write_json(tmp_path / 'a.json', [{'a': 'x'}, 3]), 'no/hub', 9)
  good, bad = text_rows.read(found.parts[0])
  assert good.fields == {'a': 'x'}
  assert (bad.fields, bad.place, bad.fault) == (
    None, 'a.json, row 1', 'it is int, no fields with names',
  )  # fmt: skip


@pytest.mark.parametrize(
  ('make', 'error', 'words'),
  [
    (lambda p: p / 'absent', FileNotFoundError, 'absent does not exist'),
    (lambda p: write_jsonl(p / 'a.csv'), ValueError, r'is none of \.parquet, \.jsonl, \.json'),
    (lambda p: p, FileNotFoundError, 'holds no file'),
    (lambda p: write_jsonl(p / 'a.jsonl', []), ValueError, 'has no row'),
    (lambda p: write_jsonl(p / 'a.parquet'), ValueError, 'arquet'),
  ],
)
def test_a_source_that_cannot_be_read_is_named(tmp_path, make, error, words):
  with pytest.raises(error, match=words):
    text_rows.find(make(tmp_path), 'no/hub', 9)


def test_a_missing_package_is_named_with_the_extra(tmp_path, monkeypatch):
  path = write_parquet(tmp_path / 'a.parquet')
  monkeypatch.setitem(__import__('sys').modules, 'pyarrow.parquet', None)
  with pytest.raises(ImportError, match=r'needs pyarrow.*extra \[data\]'):
    text_rows.find(path, 'no/hub', 9)


def test_the_hub_is_asked_only_without_a_source(tmp_path, monkeypatch):
  import datasets

  asked = []

  def load(name, split):
    asked.append((name, split))
    return datasets.load_from_disk(write_saved(tmp_path / 'saved'))

  text_rows._table.cache_clear()
  monkeypatch.setattr(datasets, 'load_dataset', load)
  text_rows.find(write_json(tmp_path / 'a.json'), 'official/name', 9)
  assert not asked
  found = text_rows.find(None, 'official/name', 4)
  assert asked == [('official/name', 'train')]
  assert [row.fields for part in found.parts for row in text_rows.read(part)] == ROWS
