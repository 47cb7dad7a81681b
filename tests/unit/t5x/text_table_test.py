"""Tables of text."""

import pytest

from t5x import text_table


def test_columns_are_as_wide_as_their_widest_cell():
  assert text_table.table([['a', 'bb'], ['ccc', 'd']]) == 'a   bb\nccc d '


def test_keys_head_the_columns_and_what_is_missing_is_marked():
  table = text_table.table([{'x': '1'}, {'y': '22', 'x': '3'}], missing='.')
  assert table == 'x y \n1 . \n3 22'


def test_no_row_is_no_text():
  assert text_table.table([]) == ''


def test_rows_of_unequal_length_are_refused():
  with pytest.raises(ValueError, match='zip'):
    text_table.transposed([[1, 2], [3]])
