"""Boundaries of masks, and masks assigned by their overlap."""

import numpy as np
import pytest

from t5x.examples.unified_io.metrics import segmentation


def rectangle(rows, columns, size=(12, 16)):
  mask = np.zeros(size, np.uint8)
  mask[rows, columns] = 1
  return mask


LEFT, RIGHT = rectangle(slice(2, 9), slice(1, 6)), rectangle(slice(2, 9), slice(9, 15))


def test_the_boundary_is_the_rim_of_one_pixel_at_least():
  want = LEFT.astype(bool)
  want[3:8, 2:5] = False
  np.testing.assert_array_equal(segmentation.boundary(LEFT), want)


def test_the_border_of_the_picture_is_boundary_too():
  want = np.ones((12, 16), bool)
  want[1:-1, 1:-1] = False
  np.testing.assert_array_equal(segmentation.boundary(np.ones((12, 16))), want)


def test_the_width_follows_the_diagonal():
  # A diagonal of 20: 0.15 of it are 3 pixels.
  assert segmentation.boundary(np.ones((12, 16)), 0.15).sum() == 12 * 16 - 6 * 10


def test_masks_are_found_in_any_order():
  got = segmentation.segmentation_score([RIGHT, LEFT], [LEFT, RIGHT])
  assert got.pairs == [(0, 1), (1, 0)]
  assert got.score == pytest.approx(1, abs=1e-6)


def test_a_hole_filled_in_the_middle_does_not_count():
  hollow = LEFT.copy()
  hollow[4:7, 3:4] = 0
  assert segmentation.segmentation_score([LEFT], [LEFT]).score > 0.99
  assert segmentation.segmentation_score([hollow], [LEFT]).score < 0.99


def test_masks_of_stuff_are_merged():
  both = LEFT | RIGHT
  got = segmentation.segmentation_score([LEFT, RIGHT], [both], stuff=True)
  assert got.pairs == [(0, 0)]
  assert got.score == pytest.approx(1, abs=1e-6)
  assert segmentation.segmentation_score([], [LEFT], stuff=True).score == 0
  assert segmentation.segmentation_score([], [], stuff=True).score == 1
  with pytest.raises(ValueError, match='ground truth has no mask'):
    segmentation.segmentation_score([LEFT], [], stuff=True)


def test_masks_of_different_sizes_are_refused():
  with pytest.raises(ValueError, match=r'\(12, 16\) and \(12, 15\)'):
    segmentation.segmentation_score([LEFT], [LEFT[:, 1:]])
