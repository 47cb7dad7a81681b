"""Pools where nothing fits into a batch, and where there is nothing to learn from."""

import itertools

import pytest

from t5x.examples.unified_io.packing_pools import BestFit, Item, LimitedRows


def test_rows_that_each_break_a_limit_by_themselves_come_one_a_batch():
  limited = LimitedRows(2, (5,), 2)
  stream = iter([(Item(i, 1, 1, (count,)),) for i, count in enumerate([9, 9, 1, 1])])
  batches = [[[item.example for item in row] for row in limited.batch(stream)] for _ in range(4)]
  assert batches == [[[0], []], [[1], []], [[2], [3]], []]


def test_best_fit_refuses_data_without_targets():
  endless = (Item(i, 5, 0) for i in itertools.count())
  with pytest.raises(ValueError, match='there is nothing to train on'):
    BestFit((9, 9), 4, groups=1, group_rows=1, group_examples=3).batch(endless)
