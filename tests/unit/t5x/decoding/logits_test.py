import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.decoding import logits as logits_lib

LOGITS = jnp.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
  ('mask', 'forbidden'),
  [
    ([True, False, False], [[1, 0, 0], [1, 0, 0]]),
    ([[True, False, False], [False, True, False]], [[0, 1, 0], [0, 1, 0]]),
    (
      [
        [[True, False, False], [False, True, False]],
        [[True, False, False], [False, False, True]],
      ],
      [[0, 1, 0], [0, 0, 1]],
    ),
  ],
)
def test_forbidden_tokens_are_out_of_reach(mask, forbidden):
  got = logits_lib.mask_logits(jnp.array(mask), length=2)(LOGITS, jnp.int32(1))
  np.testing.assert_array_equal(got, np.where(forbidden, -1e10, LOGITS))


def test_float_table_is_added():
  table = jnp.array([[9.0, 9.0, 9.0], [0.0, 1.0, -1.0]])
  got = logits_lib.mask_logits(table, length=2)(LOGITS, jnp.int32(1))
  np.testing.assert_array_equal(got, LOGITS + table[1:])


def test_table_that_is_too_short_or_of_another_kind_is_refused():
  with pytest.raises(ValueError, match='2 steps is too short to decode 3 tokens'):
    logits_lib.mask_logits(jnp.zeros((2, 3)), length=3)
  with pytest.raises(ValueError, match=r'bool \[V\]'):
    logits_lib.mask_logits(jnp.zeros(3), length=3)


def test_top_p_that_is_never_reached_keeps_everything():
  np.testing.assert_array_equal(logits_lib.keep_top_p(LOGITS, 1.5), LOGITS)


def test_guidance_without_weight_is_the_conditional_model():
  other = jnp.zeros((2, 3))
  np.testing.assert_allclose(
    logits_lib.guide(LOGITS, other, 0.0), jax.nn.log_softmax(LOGITS), rtol=1e-6
  )


def test_guidance_moves_away_from_the_negative_prompt():
  other = jnp.array([[0.0, 2.0, 0.0], [0.0, 2.0, 0.0]])
  alone, moved = (logits_lib.guide(LOGITS, other, alpha) for alpha in (0.0, 2.0))
  change = moved - alone
  assert (change[:, 1] < change[:, 0]).all()


def test_guided_step_feeds_both_halves_the_same_tokens():
  step = lambda ids, cache: (jax.nn.one_hot(ids, 5), cache + ids.sum())
  logits, cache = logits_lib.guided(step, 0.0)(jnp.array([2, 3]), jnp.int32(0))
  assert logits.argmax(-1).tolist() == [2, 3]
  assert cache == 10
