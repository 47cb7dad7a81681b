"""Convolutions and patches, against literals and against another way to compute them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io.modules import conv


def _picture(*shape):
  return jnp.asarray(np.random.RandomState(0).randn(*shape), jnp.float32)


def test_stride_two_pads_nothing_before_and_one_pixel_after():
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  first = jnp.zeros((3, 3, 1, 1)).at[0, 0].set(1)
  last = jnp.zeros((3, 3, 1, 1)).at[2, 2].set(1)
  np.testing.assert_array_equal(conv.convolve(x, first, stride=2)[0, ..., 0], [[0, 2], [8, 10]])
  np.testing.assert_array_equal(conv.convolve(x, last, stride=2)[0, ..., 0], [[10, 0], [0, 0]])


def test_stride_one_pads_one_pixel_on_each_side():
  x = jnp.ones((1, 3, 3, 1))
  y = conv.convolve(x, jnp.ones((3, 3, 1, 1)))
  np.testing.assert_array_equal(y[0, ..., 0], [[4, 6, 4], [6, 9, 6], [4, 6, 4]])


def test_doubled_equals_convolving_the_repeated_picture():
  x, kernel = _picture(2, 3, 5, 4), _picture(3, 3, 4, 6)
  repeated = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
  np.testing.assert_allclose(
    conv.convolve_doubled(x, kernel), conv.convolve(repeated, kernel), atol=1e-5
  )


def test_conv_adds_its_bias_and_names_its_axes():
  layer = conv.Conv(2, 'float32', kernel_size=1)
  boxed = layer.init(jax.random.key(0), _picture(1, 2, 2, 3))['params']
  assert boxed['kernel'].names == ('axis_0', 'axis_1', 'axis_2', 'axis_3')
  assert boxed['bias'].names == ('axis_3',)
  params = {'kernel': jnp.zeros((1, 1, 3, 2)), 'bias': jnp.asarray([1.0, 2.0])}
  y = layer.apply({'params': params}, _picture(1, 2, 2, 3))
  np.testing.assert_array_equal(y, np.broadcast_to([1.0, 2.0], (1, 2, 2, 2)))


def test_patches_are_cut_row_by_row_and_flattened_row_by_row():
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  want = [[[0, 1, 4, 5], [2, 3, 6, 7]], [[8, 9, 12, 13], [10, 11, 14, 15]]]
  np.testing.assert_array_equal(conv.cut_patches(x, 2)[0], want)
  coloured = jnp.arange(8.0).reshape(1, 2, 2, 2)
  np.testing.assert_array_equal(conv.cut_patches(coloured, 2)[0, 0, 0], np.arange(8))


def test_a_part_of_a_patch_is_refused():
  with pytest.raises(ValueError, match='4x3 is no whole number of 2-wide patches'):
    conv.cut_patches(jnp.zeros((1, 4, 3, 1)), 2)


def test_the_first_pixel_of_an_emitted_patch_comes_from_the_last_kernel_entry():
  kernel = jnp.arange(4.0).reshape(2, 2, 1, 1)
  y = conv.emit_patches(jnp.asarray([1.0, 10.0]).reshape(1, 1, 2, 1), kernel)
  np.testing.assert_array_equal(y[0, ..., 0], [[3, 2, 30, 20], [1, 0, 10, 0]])


def test_emitting_patches_equals_a_transposed_convolution():
  x, kernel = _picture(2, 3, 5, 4), _picture(2, 2, 4, 3)
  want = jax.lax.conv_transpose(
    x, kernel, (2, 2), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  np.testing.assert_allclose(conv.emit_patches(x, kernel), want, atol=1e-5)
