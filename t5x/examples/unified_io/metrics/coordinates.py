"""Coordinates that a model wrote as location text, as numbers.

PARITY: text is written in 999 steps and read in 1000 (`<extra_id_k>` is (k - 200) / 1000), as the
published scores were; a box that is written and read again loses up to a thousandth of the picture.
"""

from collections.abc import Sequence
import re

import numpy as np

from t5x.examples.unified_io import config

Size = Sequence[float]  # (height, width)
_LOCATION, _LABEL = r'<extra_id_(\d+)>', r' ?([^<]+)'


def extract_coordinates_from_text(
  text: str,
  image_size: Size | None = None,
  num_bin: int = config.NUM_DETECTION_BINS,
  vocab_start: int = config.VOCAB_START,
  n_coordinates: int = 4,
  allow_all: bool = False,
  use_label: bool = True,
) -> tuple[np.ndarray, list[str]]:
  """Groups of coordinates in a text, with the labels behind them.

  '<extra_id_200> <extra_id_700> cat', 2 coordinates, (10, 10) -> [[0, 5]], ['cat']

  Args:
    text: what the model wrote.
    image_size: (height, width) to multiply with, in turn; None leaves parts of the picture.
    num_bin: steps of the reading.
    vocab_start: number of the first location piece.
    n_coordinates: 2 (points; need a label), 3 (no label) or 4 (boxes).
    allow_all: take groups with numbers that are no location, too.
    use_label: of boxes: take only those with text behind them.

  Returns:
    float64 [k, n] and k labels; int64 [0, n] where there is none. No labels without `use_label`.

  Raises:
    ValueError: another number of coordinates, or a picture's size for three of them.
  """
  if n_coordinates not in (2, 3, 4):
    raise ValueError(f'coordinates come in groups of 2, 3 or 4, not of {n_coordinates}')
  if n_coordinates == 3 and image_size is not None:
    raise ValueError('three coordinates are no place in a picture: image_size must be None')
  labelled = n_coordinates == 2 or (n_coordinates == 4 and use_label)
  pattern = ' ?'.join([_LOCATION] * n_coordinates) + (_LABEL if labelled else '')
  found, labels = [], []
  for match in re.finditer(pattern, text):
    numbers = [int(k) - vocab_start for k in match.groups()[:n_coordinates]]
    if allow_all or all(0 <= number < num_bin for number in numbers):
      found.append(numbers)
      labels += [match.group(n_coordinates + 1).strip()] if labelled else []
  if not found:
    return np.zeros((0, n_coordinates), np.int64), []
  values = np.array(found) / num_bin
  if image_size is not None:
    values = values * np.tile(np.asarray(image_size, np.float64), n_coordinates // 2)
  return values, labels


def extract_bboxes_from_text(
  text: str, image_size: Size | None = None, use_label: bool = True
) -> tuple[np.ndarray, list[str]]:
  """Boxes [k, 4] and their labels, '' for a last box without one."""
  text = f'{text} ' if text.endswith('>') else text
  return extract_coordinates_from_text(text, image_size, use_label=use_label)


def extract_points_from_text(
  text: str, image_size: Size | None = None
) -> tuple[np.ndarray, list[str]]:
  """Points [k, 2] and the labels behind them."""
  return extract_coordinates_from_text(text, image_size, n_coordinates=2)


def extract_xyz_from_text(text: str) -> np.ndarray:
  """Triples [k, 3]."""
  return extract_coordinates_from_text(text, n_coordinates=3, use_label=False)[0]


def undo_box_preprocessing(boxes: np.ndarray, image_info: np.ndarray) -> np.ndarray:
  """Boxes [k, 4] in pixels of the padded canvas -> in pixels of the source, inside of it.

  Args:
    boxes: top, left, bottom, right.
    image_info: the 11 numbers of `data.geometry.Geometry.info`.

  Raises:
    ValueError: the picture was cut, which happens in training only.
  """
  pad, scale, size, offset = image_info[:2], image_info[2], image_info[3:5], image_info[5:9]
  if np.any(offset):
    raise ValueError(f'the picture was cut at {list(offset)}: its boxes cannot be brought back')
  moved = (np.asarray(boxes, np.float64).reshape(-1, 4) - np.tile(pad, 2)) * scale
  return np.clip(moved, 0, np.tile(size, 2))
