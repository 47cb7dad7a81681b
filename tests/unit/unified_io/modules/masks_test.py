"""Patterns: who sees whom, per token and written out."""

import jax.numpy as jnp
import numpy as np

from t5x.examples.unified_io.modules import masks

ROWS, COLS = 4, 3


def test_a_pattern_joins_segments_causality_and_the_extra_mask():
  valid = jnp.asarray([[1, 1, 1, 0]])
  segments = jnp.asarray([[1, 2, 2, 2]])
  extra = jnp.ones((1, 1, 4, 4), bool).at[..., 2, 1].set(False)
  pattern = masks.Pattern.between(valid, valid, segments, segments, causal=True)
  want = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
  np.testing.assert_array_equal(pattern.replace(extra=extra).dense(4, 4)[0, 0], want)
  assert masks.Pattern().dense(4, 4) is None


def test_keys_that_stand_first_are_said_by_their_number():
  keys = jnp.asarray([[1, 1, 0], [1, 1, 1]])
  queries = jnp.ones((2, 2), jnp.int32)
  pattern = masks.Pattern.between(queries, keys, keys_first=True)
  assert pattern.query_segments is None
  np.testing.assert_array_equal(pattern.key_lengths, [2, 3])
  want = masks.Pattern.between(queries, keys)
  np.testing.assert_array_equal(pattern.dense(2, 3), want.dense(2, 3))


def test_segments_are_told_apart_even_where_keys_stand_first():
  ones, segments = jnp.ones((1, 2), jnp.int32), jnp.asarray([[0, 1]])
  pattern = masks.Pattern.between(ones, ones, segments, segments, keys_first=True)
  np.testing.assert_array_equal(pattern.dense(2, 2)[0, 0], np.eye(2))


def test_a_token_that_is_alone_sees_and_is_seen_by_itself():
  ids = masks.alone(jnp.asarray([[False, True, False, True]]))
  want = [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
  np.testing.assert_array_equal(masks.Pattern(ids, ids).dense(4, 4)[0, 0], want)


def test_rows_columns_and_squares_reach_as_far_as_they_should():
  cells = jnp.asarray(masks.grid_cells(ROWS, COLS))[None]
  patterns = masks.grid_patterns(cells, cells, conv_kernel=3)
  of_seven = {  # the cell in row 2, column 1
    kind: np.flatnonzero(
      masks.Pattern(causal=True, extra=extra).dense(ROWS * COLS, ROWS * COLS)[0, 0, 7]
    ).tolist()
    for kind, extra in patterns.items()
  }
  assert of_seven == {'row': [4, 5, 6, 7], 'col': [1, 4, 7], 'conv': [3, 4, 5, 6, 7]}


def test_every_fourth_layer_sees_columns_the_last_one_squares_and_the_others_rows():
  kinds = np.array(['row', 'col', 'conv'])[masks.layer_patterns(8)]
  assert kinds.tolist() == ['row', 'col', 'row', 'row', 'row', 'col', 'row', 'conv']
  assert masks.layer_patterns(1).tolist() == [2]
