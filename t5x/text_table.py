"""Tables of text for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any


def transposed(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
  """[[1, 2, 3], [4, 5, 6]] -> [[1, 4], [2, 5], [3, 6]]."""
  return [list(column) for column in zip(*rows, strict=True)]


def table(rows: Sequence[Sequence[str] | Mapping[str, str]], missing: str = '-') -> str:
  """Rows with their cells below each other: each column as wide as its widest cell, then a space.

  [['a', 'bbb'], ['cccc', 'd']] -> 'a    bbb\\ncccc d  '

  Args:
    rows: lists of cells of one length, or mappings, whose keys become the first line.
    missing: stands for a key that a mapping lacks.
  """
  if rows and isinstance(rows[0], Mapping):
    keys = list(dict.fromkeys(key for row in rows for key in row))
    rows = [keys, *([row.get(key, missing) for key in keys] for row in rows)]
  widths = [max(map(len, column)) for column in transposed(rows)]
  return '\n'.join(
    ' '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
  )
