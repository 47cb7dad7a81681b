"""Controls without the picture equal what is best by counting."""

import numpy as np
import pytest

from t5x.examples.unified_io.scripts import quickstart_controls as controls


def test_a_box_is_written_as_four_location_pieces():
  assert controls.box_text((0, 0.5, 0.75, 1)) == (
    '<extra_id_200> <extra_id_699> <extra_id_949> <extra_id_1199>'
  )


def test_overlap_of_a_half_and_of_nothing():
  box = np.array([[0, 0, 1, 1.0]])
  others = np.array([[0, 0, 0.5, 1.0], [2, 2, 3, 3.0]])
  np.testing.assert_allclose(controls.intersection_over_union(box, others), [[0.5, 0]])


def test_the_best_constant_box_is_the_most_frequent_one():
  often, seldom = (0.0, 0.0, 0.25, 0.25), (0.5, 0.5, 0.75, 0.75)
  boxes = np.array([often, seldom, often])
  assert controls.constant_boxes(boxes) == [controls.box_text(often)] * 3


def test_the_text_only_box_knows_where_but_not_what():
  left, right = (0.0, 0.0, 0.5, 0.25), (0.0, 0.75, 0.5, 1.0)
  expressions = ['the LEFT cross', 'the right cross', 'left disk']
  texts = controls.text_only_boxes(np.array([left, right, left]), expressions)
  assert texts == [controls.box_text(left), controls.box_text(right), controls.box_text(left)]


def test_the_majority_answer_is_taken_by_form():
  answers = ['red', 'blue', 'red', '2', '3', '3']
  forms = ['color'] * 3 + ['count'] * 3
  assert controls.majority_answers(answers, forms) == ['red'] * 3 + ['3'] * 3


def test_the_best_constant_is_the_one_that_scores_highest():
  assert controls.best_constant(['a', 'bbb', 'cc'], len) == 'bbb'


def test_a_random_object_is_right_as_often_as_it_is_the_one_asked_for():
  one, other = [0, 0, 1, 1.0], [2, 2, 3, 3.0]
  scenes = [np.array([one, other]), np.array([one])]
  accuracy = controls.random_object_accuracy(np.array([one, one]), scenes)
  assert accuracy == pytest.approx(0.75)
