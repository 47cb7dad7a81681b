"""python -m t5x.doctor: a line for each thing, and a status that tells whether all of them work."""

import dataclasses

import pytest

from t5x import doctor


@dataclasses.dataclass
class Tokenizer:
  fingerprint: str = 'x'
  num_base_pieces: int = 7


def test_each_thing_is_told_in_a_line(capsys, tmp_path):
  doctor.diagnose(tokenizer=Tokenizer(), folders={'data': str(tmp_path), 'more data': None})
  lines = capsys.readouterr().out.splitlines()
  assert all(line.startswith('ok ') for line in lines)
  assert any('8 of kind cpu' in line for line in lines)
  assert lines[-3].endswith('(7 pieces)')
  assert lines[-2:] == [f'ok      data: {tmp_path}', 'ok      more data: not set']


def test_what_does_not_work_is_told_and_the_status_is_1(capsys):
  with pytest.raises(SystemExit) as ended:
    doctor.diagnose(folders={'data': '/no/such/folder', 'more': None})
  assert ended.value.code == 1
  lines = capsys.readouterr().out.splitlines()
  assert lines[-2:] == ['BROKEN  data: /no/such/folder does not exist', 'ok      more: not set']
