"""Compaction of frames, against a plain frame-by-frame definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io.modules import frames


def _batch(shown):
  """(x, mask, pos_ids) of frames with 3 patches of width 2; only the frames `shown` are valid."""
  rng = np.random.RandomState(0)
  count = len(shown)
  mask = rng.randint(0, 2, (count, 3)) * np.asarray(shown)[:, None]
  mask[:, 1] = shown
  return (
    jnp.float32(rng.randn(count, 3, 2)),
    jnp.asarray(mask, jnp.int32),
    jnp.asarray(rng.randint(0, 9, (count, 3)), jnp.int32),
  )


def _one_by_one(arrays, mask, slots):
  """Frame by frame: take a slot if the frame shows something and one is left."""
  packed = [np.zeros((slots, *np.shape(a)[1:]), a.dtype) for a in arrays]
  home, dropped = {}, 0
  for frame in range(len(mask)):
    if not np.any(mask[frame]):
      continue
    if len(home) == slots:
      dropped += 1
      continue
    for new, old in zip(packed, arrays, strict=True):
      new[len(home)] = old[frame]
    home[frame] = len(home)
  return packed, home, dropped


@pytest.mark.parametrize('slots', [1, 3, 8])
@pytest.mark.parametrize(
  'shown', [[1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0], [1, 0, 1, 1, 1, 1]]
)
def test_compaction_equals_the_frame_by_frame_definition(shown, slots):
  arrays = _batch(shown)
  *packed, plan = frames.compact_frames(*arrays, slots)
  want, home, dropped = _one_by_one(arrays, arrays[1], slots)
  for got, expected in zip(packed, want, strict=True):
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == expected.dtype
  assert plan.dropped == dropped

  made = jnp.arange(1.0, slots + 1)[:, None] * jnp.ones((1, 4))
  back = np.zeros((len(shown), 4))
  for frame, slot in home.items():
    back[frame] = made[slot]
  np.testing.assert_array_equal(plan.unpack(made), back)


def test_frames_that_fit_come_back_as_they_were():
  x, mask, pos_ids = _batch([1, 0, 1, 0])
  packed, packed_mask, _, plan = frames.compact_frames(x, mask, pos_ids, 2)
  shown = np.float32([1, 0, 1, 0])
  np.testing.assert_array_equal(plan.unpack(packed), x * shown[:, None, None])
  np.testing.assert_array_equal(plan.unpack(packed_mask), mask)
  assert plan.dropped == 0


def test_gradients_go_back_to_the_frames_that_were_kept():
  x, mask, pos_ids = _batch([1, 0, 1, 1])

  def value(x):
    packed, _, _, plan = frames.compact_frames(x, mask, pos_ids, 2)
    return plan.unpack(packed * 3.0).sum()

  want = np.asarray([3, 0, 3, 0])[:, None, None] * np.ones((4, 3, 2))
  np.testing.assert_array_equal(jax.grad(value)(x), want)


def test_the_number_of_slots_is_rounded_to_the_even_neighbour():
  assert [frames.slot_count(m, 1) for m in (1, 1.5, 2.5, 3.5, 2.6)] == [1, 2, 2, 4, 3]
  assert frames.slot_count(1.25, 4) == 5


def test_a_limit_that_leaves_no_frame_is_refused():
  with pytest.raises(ValueError, match=r'0\.1 frames an example are none for a batch of 4'):
    frames.slot_count(0.1, 4)
