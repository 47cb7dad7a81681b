"""Referring expressions: is the box where it should be?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t5x.examples.unified_io.data import data_utils
from t5x.examples.unified_io.metrics import coordinates

_EPSILON = 1e-6  # PARITY: in the denominator, as in the published scores


def box_iou(box: np.ndarray, other: np.ndarray) -> float:
  """Intersection over union of two boxes [4] (top, left, bottom, right)."""
  sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
  common = np.prod(np.maximum(sides, 0))
  areas = [np.prod(np.maximum(b[2:] - b[:2], 0)) for b in (box, other)]
  return float(common / (sum(areas) - common + _EPSILON))


def refexp_ious(
  targets: Sequence[Mapping[str, Any]], texts: Sequence[str], original_scale: bool = True
) -> list[float]:
  """The overlap of each example's first predicted box with the true one; 0 where there is no box.

  Args:
    targets: 'boxes' [1, 4] in pixels of the canvas, 'src_boxes' [4] as parts of the source,
      'image_info' [11].
    texts: what the model wrote.
    original_scale: compare in pixels of the source, else of the canvas.

  Raises:
    ValueError: an example without exactly one true box.
  """
  return [_iou(target, text, original_scale) for target, text in zip(targets, texts, strict=True)]


def _iou(target, text, original_scale):
  true = np.asarray(target['boxes'])
  if true.shape != (1, 4):
    raise ValueError(f'an expression means one box; the target has boxes of shape {true.shape}')
  found, _ = coordinates.extract_bboxes_from_text(
    text, image_size=data_utils.image_sizes().input, use_label=False
  )
  if not len(found):
    return 0.0
  true, box = true[0], found[:1]
  if original_scale:
    info = np.asarray(target['image_info'])
    box = coordinates.undo_box_preprocessing(box, info)
    true = np.asarray(target['src_boxes']) * np.tile(info[3:5], 2)
  return box_iou(box[0], true)


def ref_exp_metric(
  targets: Sequence[Mapping[str, Any]],
  predictions: Sequence[Any],
  aux_values: Mapping[str, Any] | None = None,
  original_scale: bool = True,
) -> dict[str, float]:
  """{'acc': share of boxes whose overlap is above one half, 'iou': mean overlap}.

  Raises:
    ValueError: no example, or one without exactly one true box.
  """
  del aux_values
  if not targets:
    raise ValueError('there is no example to score')
  ious = refexp_ious(targets, [output.text for output in predictions], original_scale)
  return {'acc': float(np.mean([iou > 0.5 for iou in ious])), 'iou': float(np.mean(ious))}
