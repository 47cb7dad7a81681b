"""Generated pictures back at the size of their source."""

import numpy as np
import pytest

from t5x.examples.unified_io.data import data_utils
from t5x.examples.unified_io.metrics import target_image


def info(height, width, offset=0.0):
  return [0, 0, 1, height, width, 0, 0, offset, 0, height, width]


def test_the_middle_of_the_square_is_cut_out():
  rows = np.linspace(-1, 1, 8, dtype=np.float32)
  image = np.tile(rows[:, None, None], (1, 8, 3))
  got = target_image.build_target_image(image, info(4, 8), method='nearest')
  np.testing.assert_allclose(got[:, 0, 0], (rows[2:6] + 1) / 2, rtol=1e-6)
  assert got.shape == (4, 8, 3)


def test_values_are_clipped_before_the_grey_mean():
  image = np.full((2, 2, 3), [-3, 1, 1], np.float32)
  got = target_image.build_target_image(image, info(2, 2), gray=True)
  np.testing.assert_allclose(got, np.full((2, 2, 1), 2 / 3), rtol=1e-6)


def test_levels_are_truncated_from_255_and_a_half():
  image = np.array([[[-1, 0, 1]]], np.float32)
  got = target_image.build_target_image(image, info(1, 1), as_uint8=True)
  assert got.tolist() == [[[0, 127, 255]]]
  assert got.dtype == np.uint8


def test_depth_is_the_grey_level_times_the_largest_depth():
  image = np.full((4, 4, 3), 0.5, np.float32)
  got = target_image.build_depth(image, info(3, 5), max_depth=8.0)
  np.testing.assert_allclose(got, np.full((3, 5, 1), 6.0))


def test_a_picture_brought_to_the_canvas_comes_back():
  ramp = np.linspace(0, 1, 24, dtype=np.float32)
  picture = np.tile(ramp[None, :, None], (12, 1, 3))
  canvas, _, (image_info, *_) = data_utils.resize_and_pad(picture, (48, 48))
  back = target_image.build_target_image(canvas.numpy() * 2 - 1, image_info)
  assert back.shape == picture.shape
  np.testing.assert_allclose(back, picture, atol=0.03)


def test_a_picture_that_was_cut_cannot_come_back():
  with pytest.raises(ValueError, match='source picture was cut'):
    target_image.build_target_image(np.zeros((4, 4, 3)), info(4, 4, offset=1.0))
