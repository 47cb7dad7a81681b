"""The index of a data file: what it says of rows, when it is kept, when it is made anew."""

import json

from PIL import Image
import pytest

from t5x.examples.unified_io.data.own import check, files, index, media


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
  monkeypatch.setenv(files.ENVIRONMENT_VARIABLE, str(tmp_path / 'cache'))


@pytest.fixture
def looked_at(monkeypatch):
  """Rows that were looked at, in order."""
  seen = []
  inspect = check.Checker.__call__

  def counted(self, row):
    seen.append(row)
    return inspect(self, row)

  monkeypatch.setattr(check.Checker, '__call__', counted)
  return seen


def write(folder, *rows):
  path = folder / 'my.jsonl'
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return str(path)


def picture(folder, name='a.png', size=(20, 10)):
  Image.new('RGB', size).save(folder / name)
  return name


def load(path, **options):
  return index.load(path, rename=options.pop('rename', {}), **options)


def test_it_tells_what_rows_bring(tmp_path):
  about = {'image': picture(tmp_path), 'boxes': [0, 0, 20, 10]}
  made = load(
    write(
      tmp_path,
      {**about, 'text': 'the thing'},
      {**about, 'answers': 'thing'},
      {'text': 'Which?', 'answers': 'a', 'options': ['a', 'b c d e f g']},
      {'text': ''},
    )
  )
  assert made.brings(made.good) == {'image'}
  assert made.texts('metric', made.good) == ['refexp', 'exact_match']
  assert made.texts('family', made.good[1:]) == ['', 'Box_Classification_Scene']
  columns = {name: values[:3].tolist() for name, values in made.columns.items()}
  assert columns['num_options'] == [0, 0, 2]
  assert columns['group'][0] == columns['group'][1] != columns['group'][2]
  assert columns['target_tokens'][0] == columns['input_tokens'][1] == 4
  assert columns['target_tokens'][2] > 4
  assert made.bad == {3: ['text is empty']}
  assert made.good.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
  ('box', 'fault'),
  [
    ([0, 0, 21.5, 10], r'box 0 \(left 0, top 0, right 21.5, bottom 10\) lies outside of its image'),
    ([-2, 0, 5, 5], 'lies outside of its image of 20 x 10 pixels'),
    ([5, 5, 5, 8], 'has no area; box_format'),
  ],
)
def test_a_box_outside_of_its_picture_is_a_fault(tmp_path, box, fault):
  made = load(write(tmp_path, {'image': picture(tmp_path), 'text': 'it', 'boxes': box}))
  with pytest.raises(AssertionError, match=fault):
    raise AssertionError(made.bad[0][0])


def test_a_box_may_be_rounded_beyond_the_edge(tmp_path):
  row = {'image': picture(tmp_path), 'text': 'it', 'boxes': [-0.4, 0, 20.6, 10]}
  assert not load(write(tmp_path, row)).bad


def test_fields_may_have_other_names_or_be_left_out(tmp_path):
  row = {'question': 'What?', 'answer': 'that', 'licence': 'CC0'}
  made = load(
    write(tmp_path, row), rename={'question': 'text', 'answer': 'answers', 'licence': None}
  )
  assert not made.bad


def test_it_is_read_again_and_made_anew_when_the_file_changes(tmp_path, looked_at):
  rows = [{'text': f'{i}', 'answers': 'a'} for i in range(200)]
  path = write(tmp_path, *rows)
  first = load(path)
  assert sorted(looked_at) == [*range(200)]
  looked_at.clear()
  again = load(path)
  assert len(looked_at) <= 64
  assert again.names == first.names
  for name, column in first.columns.items():
    assert again.columns[name].tolist() == column.tolist()
    assert again.columns[name].dtype == column.dtype
  assert again.rows.lines.tolist() == first.rows.lines.tolist()
  looked_at.clear()
  load(write(tmp_path, *rows, rows[0]))
  assert len(looked_at) == 201


def test_a_picture_that_comes_later_mends_its_row(tmp_path):
  path = write(tmp_path, {'image': 'a.png', 'text': 'What?', 'answers': 'a'})
  assert 'there is no file' in load(path).bad[0][0]
  picture(tmp_path)
  assert not load(path).bad


def test_pictures_that_went_are_noticed(tmp_path):
  path = write(tmp_path, {'image': picture(tmp_path), 'text': 'What?', 'answers': 'a'})
  assert not load(path).bad
  (tmp_path / 'a.png').unlink()
  assert 'there is no file' in load(path).bad[0][0]


def test_a_picture_of_many_rows_is_opened_once(tmp_path, monkeypatch):
  opened = []
  of = media.check_picture
  monkeypatch.setattr(media, 'check_picture', lambda m, **kw: opened.append(m) or of(m, **kw))
  load(write(tmp_path, *[{'image': picture(tmp_path), 'text': 'What?'}] * 50))
  assert len(opened) == 1


def test_it_lies_in_the_cache_where_the_folder_takes_no_file(tmp_path, looked_at, monkeypatch):
  path = write(tmp_path, {'text': 'What?'})
  (tmp_path / '.my.jsonl.index.npz').mkdir()  # in its place
  load(path)
  assert len(list((tmp_path / 'cache').glob('*.index.npz'))) == 1
  looked_at.clear()
  load(path)
  assert looked_at == [0]  # the sample


def test_an_index_that_was_cut_off_is_made_anew(tmp_path):
  path = write(tmp_path, {'text': 'What?'})
  load(path)
  (stored,) = tmp_path.glob('.my.jsonl.index.npz')
  stored.write_bytes(stored.read_bytes()[:100])
  assert len(load(path).good) == 1
