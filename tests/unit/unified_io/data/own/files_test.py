"""Files of rows: any row of any kind of file is read by its number."""

import json

import numpy as np
import pytest

from t5x.examples.unified_io.data.own import files

pa = pytest.importorskip('pyarrow')
pq = pytest.importorskip('pyarrow.parquet')


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
  monkeypatch.setenv(files.ENVIRONMENT_VARIABLE, str(tmp_path / 'cache'))


def write_lines(folder, *lines):
  path = folder / 'my.jsonl'
  path.write_bytes(b'\n'.join(lines))
  return str(path)


def all_fields(rows):
  return [rows.fields(rows.read(i)) for i in reversed(range(len(rows)))][::-1]


def test_lines_are_numbered_as_an_editor_does_and_empty_ones_left_out(tmp_path):
  rows = files.open_rows(
    write_lines(tmp_path, b'\xef\xbb\xbf{"a": 1}\r', b'', b'  ', '{"a": "é"}'.encode())
  )
  assert all_fields(rows) == [{'a': 1}, {'a': 'é'}]
  assert [rows.number(i) for i in range(2)] == [1, 4]


@pytest.mark.parametrize(
  ('line', 'fault'),
  [
    (b'{"a": 1', 'not JSON: .* at column 8'),
    (b'[1, 2]', 'a JSON list instead of an object'),
    (b'{"a": "\xff"}', 'not UTF-8 text: .* at byte 8'),
  ],
)
def test_a_line_that_is_no_row_is_named(tmp_path, line, fault):
  rows = files.open_rows(write_lines(tmp_path, line))
  with pytest.raises(ValueError, match=fault):
    rows.fields(rows.read(0))


def table(rows=600):
  pictures = pa.array([{'bytes': bytes([i % 256]), 'path': None} for i in range(rows)])
  texts = [f'row {i}' if i % 3 else None for i in range(rows)]
  return pa.table({'text': texts, 'image': pictures, 'answers': [['a', 'b']] * rows})


def expected(i):
  image = {'bytes': bytes([i % 256]), 'path': None}
  return {'text': f'row {i}' if i % 3 else None, 'image': image, 'answers': ['a', 'b']}


def write_parquet(folder):
  pq.write_table(table(), folder / 'my.parquet', row_group_size=500)
  return folder / 'my.parquet'


def write_dataset(folder):
  datasets = pytest.importorskip('datasets')
  made = datasets.Dataset(table()).select([*range(599, -1, -1)])
  made.select([*range(599, -1, -1)]).save_to_disk(str(folder / 'my'), num_shards=2)
  return folder / 'my'


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('write', [write_parquet, write_dataset])
def test_any_row_of_a_table_is_read_without_the_others(tmp_path, write):
  rows = files.open_rows(str(write(tmp_path)))
  assert len(rows) == 600
  for i in (599, 0, 256, 255, 499, 500):
    stored = rows.read(i)
    assert rows.fields(stored) == expected(i)
    assert len(stored) < 2000
    assert rows.number(i) == i + 1


def test_columns_of_categories_are_texts(tmp_path):
  names = pa.array([f'name {i % 7}' for i in range(600)]).dictionary_encode()
  pq.write_table(pa.table({'answers': names}), tmp_path / 'my.parquet', row_group_size=100)
  rows = files.open_rows(str(tmp_path / 'my.parquet'))
  assert [row['answers'] for row in all_fields(rows)] == names.to_pylist()


def test_a_parquet_file_is_converted_once_and_again_when_it_changes(tmp_path):
  path = write_parquet(tmp_path)
  for _ in range(2):
    files.open_rows(str(path))
    assert len(list((tmp_path / 'cache').iterdir())) == 1
  pq.write_table(table(3), path)
  assert len(files.open_rows(str(path))) == 3


def test_a_folder_with_splits_asks_for_one(tmp_path):
  (tmp_path / 'dataset_dict.json').write_text(json.dumps({'splits': ['train', 'test']}))
  with pytest.raises(ValueError, match=f'holds the splits .*give one of them: {tmp_path}/train'):
    files.open_rows(str(tmp_path))


@pytest.mark.parametrize('name', ['a.csv', 'folder'])
def test_another_kind_of_file_is_refused_with_those_that_are_read(tmp_path, name):
  path = tmp_path / name
  path.write_text('') if '.' in name else path.mkdir()
  with pytest.raises(ValueError, match='save_to_disk'):
    files.open_rows(str(path))


def test_a_signature_changes_with_the_file_and_not_with_time(tmp_path):
  path = write_lines(tmp_path, b'{"a": 1}')
  before = files.signature(path)
  assert files.signature(path) == before
  write_lines(tmp_path, b'{"a": 2}')
  assert files.signature(path) != before


def test_lines_are_found_once(tmp_path):
  path = write_lines(tmp_path, b'{"a": 1}', b'{"a": 2}')
  lines = np.array([[2, 9, 8]])
  assert all_fields(files.open_rows(path, lines)) == [{'a': 2}]
