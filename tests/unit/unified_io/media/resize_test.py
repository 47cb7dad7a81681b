"""Resizing of frames, against scikit-image and against literals."""

import numpy as np
import pytest
import skimage.transform

from t5x.examples.unified_io.media import resize


def picture(height, width, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_skimage(frame, size):
  return skimage.transform.resize(frame, size, order=1, anti_aliasing=True, preserve_range=True)


# Shrinking by much and by little, one side only, growing, one pixel.
SIZES = [(150, 97, 16, 12), (40, 30, 39, 29), (9, 90, 20, 20), (7, 5, 16, 12), (1, 8, 4, 4)]


@pytest.mark.parametrize(('height', 'width', 'new_height', 'new_width'), SIZES)
def test_every_grey_level_is_scikit_images(height, width, new_height, new_width):
  for frame in (picture(height, width), np.full((height, width, 3), 255, np.uint8)):
    want = by_skimage(frame, (new_height, new_width)).astype(np.uint8)
    got = resize.to_size(frame, (new_height, new_width))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(('height', 'width', 'new_height', 'new_width'), SIZES)
def test_the_faster_way_is_one_level_off_at_most(height, width, new_height, new_width):
  for frame in (picture(height, width), np.full((height, width, 3), 255, np.uint8)):
    exact = resize.to_size(frame, (new_height, new_width)).astype(int)
    fast = resize.to_size(frame, (new_height, new_width), exact=False)
    assert fast.dtype == np.uint8
    assert np.abs(fast - exact).max() <= 1
  fast = resize.to_size(picture(height, width), (new_height, new_width), exact=False)
  exact = resize.to_size(picture(height, width), (new_height, new_width))
  assert (fast != exact).mean() < 0.01  # only even colours are in doubt


def test_a_frame_of_the_size_stays_as_it_is():
  frame = picture(6, 7)
  assert resize.to_size(frame, (6, 7)) is frame


def test_the_shorter_side_gets_the_length_and_the_other_is_cut_to_whole_pixels():
  frame = picture(101, 60)
  made = resize.to_shorter_side(frame, 20)
  assert made.shape == (33, 20, 3)  # 101 / 60 * 20 = 33.67
  assert made.dtype == np.float64
  np.testing.assert_allclose(made, by_skimage(frame, (33, 20)), atol=1e-9)
  assert resize.to_shorter_side(frame.swapaxes(0, 1), 20).shape == (20, 33, 3)


def test_a_small_frame_is_not_enlarged():
  frame = picture(20, 30)
  assert resize.to_shorter_side(frame, 20) is frame
  assert resize.to_shorter_side(frame, 21) is frame
