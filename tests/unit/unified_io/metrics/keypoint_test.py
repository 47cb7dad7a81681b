"""Object keypoint similarity, and persons assigned by it."""

import numpy as np
import pytest

from t5x.examples.unified_io.metrics import keypoint


def person(points):
  """51 numbers, of which {index: (x, y, v)} are not 0."""
  values = np.zeros((17, 3))
  for i, point in points.items():
    values[i] = point
  return values.ravel().tolist()


# Labelled at two corners of a box of 10 x 20: area 200.
TRUTH = person({0: (0, 0, 2), 16: (10, 20, 1)})


def test_the_box_goes_around_labelled_points_only():
  assert keypoint.keypoint_box(person({0: (3, 4, 1), 5: (9, 1, 2), 6: (99, 99, 0)})) == (3, 1, 9, 4)


def test_the_similarity_is_the_mean_over_labelled_points():
  moved = person({0: (2, 0, 0), 16: (10, 23, 0), 8: (500, 500, 2)})
  nose = np.exp(-4 / (2 * (2 * 0.026) ** 2 * 200))
  ankle = np.exp(-9 / (2 * (2 * 0.089) ** 2 * 200))
  got = keypoint.keypoint_similarity(moved, TRUTH)
  assert got == pytest.approx((nose + ankle) / 2)


def test_one_labelled_point_must_be_hit_exactly():
  truth = person({3: (10, 10, 2)})
  assert keypoint.keypoint_score([truth], [truth]) == (1.0, [(0, 0)], [1.0])
  assert keypoint.keypoint_score([person({3: (10, 11, 2)})], [truth]).score == 0


def test_a_truth_without_labelled_points_is_refused():
  with pytest.raises(ValueError, match='no labelled keypoint'):
    keypoint.keypoint_score([TRUTH], [person({})])


def test_a_person_of_other_length_is_refused():
  with pytest.raises(ValueError, match='person of 34 numbers; give 51'):
    keypoint.keypoint_score([[0.0] * 34], [TRUTH])


def test_predictions_are_scored_against_their_own_example_only():
  prediction = {'example_id': 'a', 'points': [TRUTH]}
  example = {'output': {'example_id': 'a', 'points': [TRUTH, person({2: (90, 90, 1)})]}}
  assert keypoint.example_score(prediction, example) == 0.5
  with pytest.raises(ValueError, match="'b' was compared with example 'a'"):
    keypoint.example_score({**prediction, 'example_id': 'b'}, example)
