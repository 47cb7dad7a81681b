"""What is written line by line, and how a file that was cut short is continued."""

import json

import numpy as np
import pytest

from t5x import json_lines


@pytest.mark.parametrize(
  ('value', 'want'),
  [
    (b'caf\xc3\xa9', 'café'),
    (b'\xff\x00', '/wA='),
    (np.float32(0.5), 0.5),
    (float('nan'), None),
    (np.array([1, 2]), [1, 2]),
    (np.array(['a', b'b'], object), ['a', 'b']),
    (np.arange(33), 'array of shape (33,), int64: 0, 1, 2, 3, 4, ...'),
    ({'a': (1, None, True)}, {'a': [1, None, True]}),
    ({'a': {1: np.int32(2)}}, {'a': {'1': 2}}),
  ],
)
def test_values_become_what_json_can_hold(value, want):
  assert json_lines.to_json(value) == want
  json.dumps(json_lines.to_json(value))


def test_bfloat16_becomes_numbers():
  import ml_dtypes

  assert json_lines.to_json(np.array([0.5, 2.0], ml_dtypes.bfloat16)) == [0.5, 2.0]


def test_a_line_is_on_disk_once_it_is_written(tmp_path):
  path = tmp_path / 'new' / 'a.jsonl'
  with json_lines.JsonLines(str(path), 'w') as lines:
    lines.write({'text': 'é'})
    assert path.read_text(encoding='utf-8') == '{"text": "é"}\n'


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with json_lines.JsonLines(None, 'w') as lines:
    lines.write({'a': 1})
  assert not list(tmp_path.iterdir())


def test_whole_lines_are_counted_and_a_line_cut_short_is_removed(tmp_path):
  path = tmp_path / 'a.jsonl'
  assert json_lines.complete_lines(str(path)) == 0
  path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a"')
  assert json_lines.complete_lines(str(path)) == 2
  assert path.read_bytes() == b'{"a": 1}\n{"a": 2}\n'
