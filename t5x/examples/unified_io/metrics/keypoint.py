"""GRIT's metric of human keypoints: sets of persons assigned by object keypoint similarity (OKS).

A person is 17 COCO keypoints as 51 numbers x, y, v (pixels; v > 0: labelled).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t5x.examples.unified_io.metrics import matching

NUM_KEYPOINTS = 17
# COCO's standard deviation of each keypoint, in units of the square root of the object's area.
SIGMAS = (
  np.array(
    [.26, .25, .25, .35, .35, .79, .79, .72, .72, .62, .62, 1.07, 1.07, .87, .87, .89, .89]
  ) / 10
)  # fmt: skip
_VARIANCES = (2 * SIGMAS) ** 2
_EPSILON = np.spacing(1.0)


def _points(person: Sequence[float]) -> np.ndarray:
  points = np.asarray(person, np.float64)
  if points.size != 3 * NUM_KEYPOINTS:
    raise ValueError(
      f'a person of {points.size} numbers; give {3 * NUM_KEYPOINTS}: x, y and visibility of '
      f'{NUM_KEYPOINTS} keypoints'
    )
  return points.reshape(NUM_KEYPOINTS, 3)


def keypoint_box(person: Sequence[float]) -> tuple[float, float, float, float]:
  """(x1, y1, x2, y2) around the labelled keypoints of a person.

  Raises:
    ValueError: No keypoint is labelled.
  """
  points = _points(person)
  labelled = points[points[:, 2] > 0, :2]
  if not len(labelled):
    raise ValueError('a person of the ground truth has no labelled keypoint; leave it out')
  (x1, y1), (x2, y2) = labelled.min(0), labelled.max(0)
  return float(x1), float(y1), float(x2), float(y2)


def keypoint_similarity(prediction: Sequence[float], truth: Sequence[float]) -> float:
  """OKS in [0, 1] over the labelled keypoints of the truth; the prediction's v is not read.

  PARITY: the object's area is that of the box around its labelled keypoints, as in the benchmark.
  """
  x1, y1, x2, y2 = keypoint_box(truth)
  area = (x2 - x1) * (y2 - y1)
  wanted = _points(truth)
  labelled = wanted[:, 2] > 0
  squares = ((_points(prediction)[:, :2] - wanted[:, :2]) ** 2).sum(1)
  exponents = squares / (_VARIANCES * 2 * (area + _EPSILON))
  return float(np.exp(-exponents[labelled]).mean())


def similarity_matrix(
  predictions: Sequence[Sequence[float]], truths: Sequence[Sequence[float]]
) -> np.ndarray:
  """OKS of every prediction with every truth, float64 [predictions, truths]."""
  rows = [[keypoint_similarity(person, truth) for truth in truths] for person in predictions]
  return np.array(rows, np.float64).reshape(len(predictions), len(truths))


def keypoint_score(
  predictions: Sequence[Sequence[float]], truths: Sequence[Sequence[float]]
) -> matching.Assignment:
  """Persons assigned one to one by OKS; see `matching.assign` for the score.

  Raises:
    ValueError: A truth that predictions are compared with has no labelled keypoint.
  """
  return matching.assign(similarity_matrix(predictions, truths))


def example_score(prediction: Mapping[str, Any], example: Mapping[str, Any]) -> float:
  """The score of a prediction in GRIT's submission format.

  Args:
    prediction: {'example_id', 'points': persons}.
    example: {'output': {'example_id', 'points': persons}}.

  Raises:
    ValueError: They are of two examples.
  """
  truth = example['output']
  if prediction['example_id'] != truth['example_id']:
    raise ValueError(
      f'a prediction for example {prediction["example_id"]!r} was compared with example '
      f'{truth["example_id"]!r}; join predictions and examples by example_id'
    )
  return keypoint_score(prediction['points'], truth['points']).score
