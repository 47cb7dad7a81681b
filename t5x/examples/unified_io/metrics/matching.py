"""One-to-one assignment of predictions to the ground truth, the score that GRIT's tasks share."""

from typing import NamedTuple

import numpy as np
from scipy import optimize

UNION_EPSILON = 1e-6  # pixels; keeps the overlap of two empty things at 0


class Assignment(NamedTuple):
  """What a set of predictions is worth.

  Attributes:
    score: in [0, 1]; 1 where both sides are empty, 0 where one is.
    pairs: (prediction, ground truth) that belong together, by prediction.
    similarities: of each pair, in (0, 1].
  """

  score: float
  pairs: list[tuple[int, int]]
  similarities: list[float]


def assign(similarity: np.ndarray) -> Assignment:
  """The assignment with the largest total similarity; pairs without any likeness are no pairs.

  score = sum over pairs / (predictions + ground truths - pairs)

  Args:
    similarity: [predictions, ground truths] in [0, 1].
  """
  num_predictions, num_truths = similarity.shape
  if not num_predictions or not num_truths:
    return Assignment(float(num_predictions == num_truths), [], [])
  rows, columns = optimize.linear_sum_assignment(1 - similarity)
  likeness = similarity[rows, columns]
  pairs = [(int(i), int(j)) for i, j, like in zip(rows, columns, likeness, strict=True) if like > 0]
  found = [float(similarity[pair]) for pair in pairs]
  return Assignment(sum(found) / (num_predictions + num_truths - len(pairs)), pairs, found)


def overlap(intersection: float, union: float) -> float:
  """Intersection over union, a hair below the true value."""
  return float(intersection) / (float(union) + UNION_EPSILON)
