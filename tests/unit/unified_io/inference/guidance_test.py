import jax
import jax.numpy as jnp
import numpy as np

from t5x.examples.unified_io import config
from t5x.examples.unified_io.inference import guidance

# Ids 2-4 are locations: together likelier than the one word 0 in row 0, unlikely in row 1.
PROBABILITIES = np.array([[0.4, 0.0, 0.2, 0.2, 0.2], [0.9, 0.04, 0.02, 0.02, 0.02]]) + 1e-9
LOGITS = jnp.log(jnp.asarray(PROBABILITIES, jnp.float32))


def select(index=0, **settings):
  fn = guidance.prefer_locations(first_location=2, num_locations=3, **settings)
  return fn(LOGITS, jnp.int32(index))


def test_locations_win_where_they_are_likely_together():
  got = select()
  assert got.argmax(-1).tolist() == [2, 0]
  np.testing.assert_allclose(got[0, 2:], jax.nn.log_softmax(LOGITS)[0, 2:], rtol=1e-6)


def test_threshold_decides():
  assert select(threshold=0.7).argmax(-1).tolist() == [0, 0]


def test_a_required_box_takes_four_locations():
  assert select(index=3, require_one_box=True).argmax(-1).tolist() == [2, 2]
  assert select(index=4, require_one_box=True).argmax(-1).tolist() == [2, 0]


def test_a_pose_is_two_places_and_the_name_of_each_part_and_then_it_ends():
  mask = guidance.pose_mask([[7], [8, 9]], vocab_size=12, first_location=4, num_locations=3)
  allowed = [np.flatnonzero(~row).tolist() for row in mask]
  places = [4, 5, 6]
  assert allowed == [places, places, [7], places, places, [8], [9], [config.EOS_ID]]
