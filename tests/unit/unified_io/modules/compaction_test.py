"""Packing keeps the order of valid tokens, loses what has no room, and is undone by unpacking."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io.modules import compaction, sequences

MASK = jnp.asarray([[0, 1, 1, 0, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
X = jnp.arange(1.0, 16.0).reshape(3, 5)


@pytest.mark.parametrize(
  ('length', 'want'),
  [
    (3, [[2, 3, 5], [6, 0, 0], [11, 12, 13]]),
    (6, [[2, 3, 5, 0, 0, 0], [6, 0, 0, 0, 0, 0], [11, 12, 13, 14, 15, 0]]),
  ],
)
def test_valid_tokens_move_to_the_front_in_order(length, want):
  packing = compaction.plan(MASK, length)
  np.testing.assert_array_equal(packing.pack(X), want)
  np.testing.assert_array_equal(packing.pack(MASK) != 0, np.asarray(want) != 0)
  assert packing.pack(None) is None


def test_unpacking_puts_back_what_was_kept_and_zeros_elsewhere():
  packing = compaction.plan(MASK, 3)
  got = packing.unpack(packing.pack(X))
  np.testing.assert_array_equal(got, [[0, 2, 3, 0, 5], [6, 0, 0, 0, 0], [11, 12, 13, 0, 0]])


@pytest.mark.parametrize('length', [3, 6])
def test_gradients_of_both_directions_are_those_of_plain_gathers(length):
  packing = compaction.plan(MASK, length)
  x = jax.random.normal(jax.random.key(0), (3, 5, 2))
  y = jax.random.normal(jax.random.key(1), (3, length, 2))
  # <pack(x), y> is linear in both, so its gradients are pack's transpose and pack itself.
  onto = lambda x: jnp.sum(packing.pack(x) * y)
  places = np.where(packing.kept[..., None], jax.vmap(lambda r, i: r[i])(y, packing.place), 0)
  np.testing.assert_allclose(jax.grad(onto)(x), places, atol=1e-6)
  back = lambda y: jnp.sum(packing.unpack(y) * x)
  np.testing.assert_allclose(jax.grad(back)(y), packing.pack(x), atol=1e-6)


def test_folding_puts_neighbours_side_by_side_and_is_undone():
  x = jnp.arange(24).reshape(4, 3, 2)
  folded = compaction.fold(x, 2, 2)
  np.testing.assert_array_equal(folded[1], x[2:].reshape(6, 2))
  np.testing.assert_array_equal(compaction.unfold(folded, 2), x)
  one = compaction.fold(x[:1], 2, 2)
  np.testing.assert_array_equal(one[0], jnp.concatenate([x[0], x[0]]))


def test_folded_examples_have_different_segments():
  part = sequences.InputSequence(
    embed=jnp.zeros((4, 2, 3)), mask=jnp.ones((4, 2), jnp.int32), rotary=jnp.zeros((1, 2, 4))
  )
  sharing = compaction.Sharing(examples=2)
  _, arranged = compaction.arrange({'a': part, 'b': part}, sequences.join_inputs, None, sharing)
  want = [[0, 0, 1, 1, 0, 0, 1, 1], [2, 2, 3, 3, 2, 2, 3, 3]]
  np.testing.assert_array_equal(arranged.sequence.segments, want)


def test_tokens_go_into_the_row_of_their_example_in_order():
  # Examples 0, 1, 2 of two tokens a part; example 1 goes to the second of two rows.
  mask = jnp.asarray([[1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1]])
  row_of = jnp.asarray([[0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0]])
  x = jnp.arange(1.0, 13.0)[None]
  packing = compaction.plan(mask, 4, rows=2, row_of=row_of)
  np.testing.assert_array_equal(packing.pack(x), [[1, 2, 5, 6, 3, 9, 10, 0]])
  np.testing.assert_array_equal(packing.counts, [[6, 3]])
  got = packing.unpack(packing.pack(x))
  np.testing.assert_array_equal(got, [[1, 2, 3, 0, 5, 6, 0, 0, 9, 10, 0, 0]])


def test_several_rows_need_lengths():
  part = sequences.InputSequence(
    embed=jnp.zeros((4, 2, 3)), mask=jnp.ones((4, 2), jnp.int32), rotary=jnp.zeros((1, 2, 4))
  )
  sharing = compaction.Sharing(examples=4, rows=2, row=jnp.asarray([0, 1, 1, 0]))
  with pytest.raises(ValueError, match='2 rows a group need the lengths'):
    compaction.arrange({'a': part}, sequences.join_inputs, None, sharing)
