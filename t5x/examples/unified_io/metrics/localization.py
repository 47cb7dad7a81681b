"""GRIT's metric of boxes: how well sets of boxes agree, without confidences or classes.

A box is four numbers (x1, y1, x2, y2) or (y1, x1, y2, x2), the same order on both sides.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from t5x.examples.unified_io.metrics import matching

Box = Sequence[float]


class Overlap(NamedTuple):
  """How two boxes or masks overlap; areas in pixels."""

  iou: float
  intersection: float
  union: float


def box_area(box: Box, invalid: float | None = 0.0) -> float | None:
  """The area of a box; `invalid` for a box whose end lies before its start."""
  height, width = box[2] - box[0], box[3] - box[1]
  return invalid if height < 0 or width < 0 else height * width


def box_overlap(a: Box, b: Box) -> Overlap:
  """Intersection over union of two boxes.

  (0, 0, 2, 2), (1, 1, 3, 3) -> (1 / 7, 1, 7)
  """
  area_a, area_b = box_area(a), box_area(b)
  common = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
  intersection = box_area(common) if area_a and area_b else 0.0
  union = area_a + area_b - intersection
  return Overlap(matching.overlap(intersection, union), intersection, union)


def localization_score(predictions: Sequence[Box], truths: Sequence[Box]) -> matching.Assignment:
  """Boxes assigned one to one by IoU; see `matching.assign` for the score."""
  similarity = np.array(
    [[box_overlap(box, truth).iou for truth in truths] for box in predictions], float
  )
  return matching.assign(similarity.reshape(len(predictions), len(truths)))
