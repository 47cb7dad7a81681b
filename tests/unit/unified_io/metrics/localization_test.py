"""Boxes assigned one to one, and the score of any such assignment."""

import itertools

import numpy as np
import pytest

from t5x.examples.unified_io.metrics import localization, matching


def test_the_overlap_of_two_boxes_is_its_worked_example():
  got = localization.box_overlap((0, 0, 2, 2), (1, 1, 3, 3))
  assert got == (pytest.approx(1 / 7, abs=1e-6), 1, 7)


@pytest.mark.parametrize('box', [(1, 1, 1, 4), (3, 3, 1, 1), (0, 0, 0, 0)])
def test_a_box_without_area_overlaps_nothing(box):
  assert localization.box_overlap(box, (0, 0, 4, 4)) == (0, 0, 16)
  assert localization.box_overlap(box, box)[0] == 0


def test_an_invalid_box_has_the_area_that_is_asked_for():
  assert localization.box_area((2, 2, 1, 1)) == 0
  assert localization.box_area((2, 2, 1, 1), invalid=None) is None
  assert localization.box_area((1, 1, 1, 4), invalid=-1) == 0


@pytest.mark.parametrize(
  ('shape', 'score'), [((0, 0), 1.0), ((2, 0), 0.0), ((0, 3), 0.0), ((1, 2), 0.0)]
)
def test_nothing_in_common_is_worth_nothing_unless_both_are_empty(shape, score):
  assert matching.assign(np.zeros(shape)) == (score, [], [])


def test_missed_and_superfluous_boxes_cost_alike():
  box, far = (0, 0, 2, 2), (5, 5, 6, 6)
  one = localization.localization_score([box], [box]).score
  assert one == pytest.approx(1, abs=1e-6)
  assert localization.localization_score([box, far], [box]).score == one / 2
  assert localization.localization_score([box], [far, box]).score == one / 2


def test_the_assignment_is_the_best_of_all():
  similarity = np.random.default_rng(0).uniform(size=(3, 4))
  best = max(
    sum(similarity[i, j] for i, j in enumerate(columns))
    for columns in itertools.permutations(range(4), 3)
  )
  got = matching.assign(similarity)
  assert got.score == pytest.approx(best / (3 + 4 - 3))
  assert got.similarities == [similarity[pair] for pair in got.pairs]
