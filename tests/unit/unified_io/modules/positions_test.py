"""Rotary rows, learned tables and their lookups."""

import jax
import jax.numpy as jnp
import numpy as np

from t5x.examples.unified_io.modules import positions


def test_a_rotary_row_holds_cosine_and_sine_of_each_pair():
  row = positions.rotary_1d(6, 4)[5]
  angles = 5 * np.array([1.0, 0.01])
  want = [np.cos(angles[0]), np.sin(angles[0]), np.cos(angles[1]), np.sin(angles[1])]
  np.testing.assert_allclose(row, want, atol=1e-6)


def test_a_grid_turns_one_half_by_the_row_and_the_other_by_the_column():
  table = positions.rotary_2d(3, 4, 8, scale=1.5)
  row, col = 2, 1
  own = table[row * 4 + col]
  line = lambda position: [
    f(position * w) for w in (1.0, 0.01) for f in (np.cos, np.sin)
  ]  # fmt: skip
  np.testing.assert_allclose(own, line(1.5 * row) + line(1.5 * col), atol=1e-6)


def test_rotation_turns_adjacent_features():
  x = jnp.asarray([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
  a, b = 0.3, -1.1
  rows = jnp.asarray([[[np.cos(a), np.sin(a), np.cos(b), np.sin(b)]]], jnp.float32)
  got = positions.rotate(x, positions.Rotation.from_rows(rows))[0, 0, 0]
  want = [
    np.cos(a) - 2 * np.sin(a), 2 * np.cos(a) + np.sin(a),
    3 * np.cos(b) - 4 * np.sin(b), 4 * np.cos(b) + 3 * np.sin(b),
  ]  # fmt: skip
  np.testing.assert_allclose(got, want, rtol=1e-6)
  assert positions.rotate(x, None) is x


def test_rotary_rows_are_rounded_to_the_dtype_and_turn_in_float32():
  table = positions.rotary_1d(9, 4)
  rows = positions.lookup(table, jnp.asarray([[7]]), 'bfloat16')
  assert rows.dtype == jnp.bfloat16
  x = jnp.asarray([1.0, 2.0, 3.0, 5.0], jnp.bfloat16).reshape(1, 1, 1, 4)
  got = positions.rotate(x, positions.Rotation.from_rows(rows))
  assert got.dtype == jnp.bfloat16
  cos0, sin0, cos1, sin1 = table[7].astype(jnp.bfloat16).astype(np.float32)
  want = [cos0 - 2 * sin0, 2 * cos0 + sin0, 3 * cos1 - 5 * sin1, 5 * cos1 + 3 * sin1]
  np.testing.assert_array_equal(got[0, 0, 0], np.asarray(want).astype(jnp.bfloat16))


def test_ids_outside_a_table_take_its_ends():
  table = positions.rotary_1d(4, 4)
  got = positions.lookup(table, jnp.asarray([[-3, 0, 3, 99]]), 'float32')[0]
  np.testing.assert_array_equal(got, table[[0, 0, 3, 3]])


def test_cells_are_renumbered_column_by_column():
  ids = positions.transpose_ids(jnp.arange(6), 2, 3)
  np.testing.assert_array_equal(ids, [0, 2, 4, 1, 3, 5])


def test_resizing_a_table_keeps_constants_and_its_size_keeps_all():
  table = jax.random.normal(jax.random.key(0), (4, 5, 3))
  np.testing.assert_allclose(positions.resize_table(table, 4, 5), table, atol=1e-6)
  np.testing.assert_allclose(positions.resize_table(jnp.ones((4, 5, 3)), 7, 2), 1, atol=1e-5)
