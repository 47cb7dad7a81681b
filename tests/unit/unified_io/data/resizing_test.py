"""Resizing: TensorFlow's own numbers, and a window of them."""

import numpy as np
import pytest
import tensorflow as tf

from t5x.examples.unified_io.data import resizing


def picture(rng, *shape, dtype=np.uint8):
  pixels = rng.integers(0, 256, shape, np.uint8)
  return pixels if dtype == np.uint8 else (pixels / 255).astype(dtype)


@pytest.mark.parametrize('method', resizing.METHODS)
def test_pixels_are_those_of_tensorflow_to_the_last_bit(method):
  rng = np.random.default_rng(0)
  for _ in range(6):
    height, width, *size = rng.integers(1, 90, 4)
    pixels = picture(rng, height, width, 3)
    want = tf.cast(tf.image.resize(pixels, size, method, antialias=True), tf.float32) * (1 / 255)
    got = resizing.resize(tf.constant(pixels), tf.constant(size, tf.int32), method)
    np.testing.assert_array_equal(got, tf.clip_by_value(want, 0.0, 1.0))


def test_frames_are_resized_as_pictures_are():
  frames = picture(np.random.default_rng(1), 2, 30, 20, 3, dtype=np.float32)
  got = resizing.resize(tf.constant(frames), tf.constant([11, 50]), 'bicubic')
  for one, frame in zip(got, frames, strict=True):
    want = resizing.resize(tf.constant(frame), tf.constant([11, 50]), 'bicubic')
    np.testing.assert_array_equal(one, want)


@pytest.mark.parametrize('method', ['bilinear', 'lanczos3', 'nearest'])
@pytest.mark.parametrize('size', [(40, 70), (30, 20)])  # another, and that of the picture
def test_a_window_is_cut_out_of_the_whole(method, size):
  pixels = tf.constant(picture(np.random.default_rng(2), 30, 20, 3))
  offset, shown = tf.constant([5, 3]), tf.constant([9, 14])
  whole = resizing.resize(pixels, tf.constant(size), method)
  window = resizing.resize(pixels, tf.constant(size), method, offset=offset, shown=shown)
  np.testing.assert_array_equal(window, whole[5:14, 3:17])


@pytest.mark.parametrize('method', resizing.METHODS)
def test_every_kernel_keeps_an_even_grey_even(method):
  grey = tf.fill([5, 7, 3], tf.constant(100, tf.uint8))
  image = resizing.resize(grey, tf.constant([9, 4]), method)
  np.testing.assert_allclose(image, 100 / 255, atol=1e-6)
