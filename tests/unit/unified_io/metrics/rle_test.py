"""Run-length encoded masks."""

import json
import sys

import numpy as np
import pytest

from t5x.examples.unified_io.metrics import rle

# pycocotools hands NumPy an array in a way that NumPy 2 calls outdated.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

MASK = np.array([[0, 1, 1], [0, 1, 0]], np.uint8)


@pytest.mark.parametrize(
  ('mask', 'counts'),
  [(MASK, [2, 3, 1]), (1 - MASK, [0, 2, 3, 1]), (np.zeros((2, 3)), [6]), (np.ones((2, 3)), [0, 6])],
)
def test_runs_go_down_the_columns_and_begin_with_zeros(mask, counts):
  assert rle.run_lengths(mask) == {'size': [2, 3], 'counts': counts}


@pytest.mark.parametrize('mask', [MASK, 1 - MASK, MASK.astype(bool), MASK * 255, np.zeros((4, 1))])
def test_both_forms_give_the_mask_back(mask):
  want = (mask != 0).astype(np.uint8)
  packed = json.loads(json.dumps(rle.encode(mask)))
  assert packed == rle.compress(rle.run_lengths(mask))
  for form in (packed, rle.run_lengths(mask)):
    np.testing.assert_array_equal(rle.decode(form), want)
  np.testing.assert_array_equal(rle.decode([packed, packed])[1], want)


def test_runs_that_do_not_fill_the_mask_are_refused():
  with pytest.raises(ValueError, match='runs of 5 pixels in a mask of 2x3'):
    rle.decode({'size': [2, 3], 'counts': [2, 3]})


def test_without_pycocotools_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'pycocotools', None)
  with pytest.raises(ImportError, match=r'extra \[data\]'):
    rle.encode(MASK)
