"""GRIT's metric of masks: sets of masks assigned by the overlap of their boundaries.

A mask is an array [height, width], not zero on the object.
"""

from collections.abc import Sequence
import math

import numpy as np
from scipy import ndimage

from t5x.examples.unified_io.metrics import matching
from t5x.examples.unified_io.metrics.localization import Overlap

BOUNDARY_RATIO = 0.02  # width of the boundary over the picture's diagonal


def boundary(mask: np.ndarray, ratio: float = BOUNDARY_RATIO) -> np.ndarray:
  """The rim of a mask, bool [height, width]; what lies outside of the picture counts as empty.

  Args:
    mask: [height, width].
    ratio: width of the rim over the diagonal of the picture; the rim has one pixel at least.
  """
  mask = np.asarray(mask) != 0
  width = max(1, round(ratio * math.hypot(*mask.shape)))
  inner = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
  return mask & ~inner


def mask_overlap(a: np.ndarray, b: np.ndarray) -> Overlap:
  """Intersection over union of two masks.

  Raises:
    ValueError: They are of different sizes.
  """
  a, b = np.asarray(a) != 0, np.asarray(b) != 0
  if a.shape != b.shape:
    raise ValueError(
      f'masks of {a.shape} and {b.shape} cannot be compared; bring predictions to the size of '
      'their picture'
    )
  intersection, union = float((a & b).sum()), float((a | b).sum())
  return Overlap(matching.overlap(intersection, union), intersection, union)


def segmentation_score(
  predictions: Sequence[np.ndarray], truths: Sequence[np.ndarray], *, stuff: bool = False
) -> matching.Assignment:
  """Masks assigned one to one by the IoU of their boundaries; see `matching.assign`.

  Args:
    predictions: masks.
    truths: masks.
    stuff: the masks of a side are parts of one thing, such as grass, and are merged first.

  Raises:
    ValueError: Masks differ in size, or there is stuff without a ground truth.
  """
  if stuff and predictions:
    if not truths:
      raise ValueError(
        'stuff was predicted, but the ground truth has no mask of it; ask for stuff that is there'
      )
    predictions, truths = [_merge(predictions)], [_merge(truths)]
  rims = [boundary(mask) for mask in truths]
  similarity = np.array(
    [[mask_overlap(rim, other).iou for other in rims] for rim in map(boundary, predictions)], float
  )
  return matching.assign(similarity.reshape(len(predictions), len(truths)))


def _merge(masks):
  return np.any([np.asarray(mask) != 0 for mask in masks], axis=0)
