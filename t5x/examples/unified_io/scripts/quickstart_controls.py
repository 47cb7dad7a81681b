"""What can be had without the picture: the lines that a result must stand above.

A control answers every question of a test set with what is best in hindsight, seeing no picture:
one answer for each form of question, one box for all or for each way of saying where, one caption
for all. Controls are texts, scored by the task's own metric like the model's.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from t5x.examples.unified_io import config

GRID = 17  # a constant box is looked for with edges on a grid of so many lines each way
# Expressions with the same of these words share one box in the text-only control.
PLACE_WORDS = frozenset(
  {
    *('left', 'right', 'top', 'bottom', 'upper', 'lower', 'above', 'below'),
    *('leftmost', 'rightmost', 'topmost', 'bottommost', 'lowest', 'highest'),
    *('middle', 'center', 'centre', 'corner', 'small', 'big', 'large'),
  }
)


def box_text(box: Sequence[float]) -> str:
  """(top, left, bottom, right) as fractions -> the four location pieces a model writes."""
  bins = [int(np.float32(v) * np.float32(config.NUM_DETECTION_BINS - 1)) for v in box]
  return ' '.join(f'<extra_id_{config.VOCAB_START + b}>' for b in bins)


def intersection_over_union(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
  """[n, 4] and [m, 4] boxes (top, left, bottom, right) -> [n, m]."""
  top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
  bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
  overlap = np.prod(np.maximum(bottom_right - top_left, 0), axis=-1)
  area, other_area = (np.prod(b[:, 2:] - b[:, :2], axis=-1) for b in (boxes, others))
  return overlap / np.maximum(area[:, None] + other_area[None] - overlap, 1e-9)


def candidate_boxes() -> np.ndarray:
  """[n, 4]: every box whose edges lie on the grid."""
  lines = np.linspace(0, 1, GRID)
  spans = np.array([(a, b) for i, a in enumerate(lines) for b in lines[i + 1 :]])
  rows, cols = (m.ravel() for m in np.meshgrid(*(range(len(spans)),) * 2, indexing='ij'))
  return np.stack([spans[rows, 0], spans[cols, 0], spans[rows, 1], spans[cols, 1]], axis=-1)


def best_box(boxes: np.ndarray) -> np.ndarray:
  """The one box that is right (IoU above a half) for most of `boxes` [n, 4]; ties by mean IoU."""
  candidates = np.concatenate([candidate_boxes(), boxes])
  overlaps = intersection_over_union(candidates, boxes)
  return candidates[np.argmax((overlaps > 0.5).mean(1) + 1e-3 * overlaps.mean(1))]


def constant_boxes(boxes: np.ndarray) -> list[str]:
  """The best box for all, as one text an example."""
  return [box_text(best_box(boxes))] * len(boxes)


def text_only_boxes(boxes: np.ndarray, expressions: Sequence[str]) -> list[str]:
  """The best box for each set of place and size words that an expression may hold."""
  return _by_group(
    [frozenset(PLACE_WORDS & set(e.lower().split())) for e in expressions],
    lambda rows: box_text(best_box(boxes[rows])),
  )


def majority_answers(answers: Sequence[str], forms: Sequence[Hashable]) -> list[str]:
  """The most frequent answer of each form of question."""
  return _by_group(forms, lambda rows: Counter(answers[i] for i in rows).most_common(1)[0][0])


def best_constant(candidates: Sequence[str], score: Callable[[str], float]) -> str:
  """The one text that scores best for all examples."""
  return max(dict.fromkeys(candidates), key=score)


def random_object_accuracy(true_boxes: np.ndarray, scenes: Sequence[np.ndarray]) -> float:
  """Expected accuracy of naming any object of the scene, each as likely.

  Args:
    true_boxes: [n, 4], the box asked for in each example.
    scenes: for each example the boxes [k, 4] of all objects of its scene.
  """
  shares = [
    (intersection_over_union(true[None], scene)[0] > 0.5).mean()
    for true, scene in zip(true_boxes, scenes, strict=True)
  ]
  return float(np.mean(shares))


def _by_group(keys: Sequence[Hashable], answer: Callable[[list[int]], str]) -> list[str]:
  groups = defaultdict(list)
  for row, key in enumerate(keys):
    groups[key].append(row)
  answers = {key: answer(rows) for key, rows in groups.items()}
  return [answers[key] for key in keys]
