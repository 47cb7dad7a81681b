"""Norms equal their formulas."""

import jax
import jax.numpy as jnp
import numpy as np

from t5x.examples.unified_io.modules import norms

X = 3 + 2 * jax.random.normal(jax.random.key(0), (2, 3, 4, 8))
SCALE, BIAS = jnp.arange(1.0, 9.0), jnp.arange(8.0) - 4


def test_rms_norm_divides_by_the_root_of_the_mean_square():
  x = np.asarray(X, np.float64)
  want = x / np.sqrt((x**2).mean(-1, keepdims=True) + 0.1) * np.asarray(SCALE)
  got = norms.rms_norm(X, SCALE, epsilon=0.1, dtype='float32')
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_rms_norm_is_cast_before_it_is_scaled():
  got = norms.rms_norm(X, jnp.full(8, 1.01), epsilon=1e-6, dtype='bfloat16')
  unit = norms.rms_norm(X, jnp.ones(8), epsilon=1e-6, dtype='float32')
  want = unit.astype(jnp.bfloat16) * jnp.bfloat16(1.01)
  np.testing.assert_array_equal(got, want)


def test_layer_norm_standardises_the_last_axis():
  x = np.asarray(X, np.float64)
  unit = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.1)
  got = norms.layer_norm(X, SCALE, BIAS, epsilon=0.1, dtype='float32')
  np.testing.assert_allclose(got, unit * np.asarray(SCALE) + np.asarray(BIAS), atol=1e-4)
  bare = norms.layer_norm(X, None, BIAS, epsilon=0.1, dtype='float32')
  np.testing.assert_allclose(bare, unit + np.asarray(BIAS), atol=1e-4)


def test_group_norm_standardises_blocks_of_channels_over_all_positions():
  x = np.asarray(X, np.float64)
  unit = np.empty_like(x)
  for start in (0, 4):
    block = x[..., start : start + 4]
    mean, variance = (f(block, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.var))
    unit[..., start : start + 4] = (block - mean) / np.sqrt(variance + 0.1)
  got = norms.group_norm(X, SCALE, BIAS, groups=2, epsilon=0.1, dtype='float32')
  np.testing.assert_allclose(got, unit * np.asarray(SCALE) + np.asarray(BIAS), atol=1e-4)
