"""Where a picture lies on its canvas, and what that does to boxes: numbers only, no draws.

Sizes are (height, width) in pixels, boxes are [top, left, bottom, right].
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from t5x.examples.unified_io import config

Size = tuple[int, int]
MIN_SIDE = 64  # pixels that random scaling leaves on the shorter side


class Geometry(NamedTuple):
  """How a source picture comes onto a canvas: scaled, then cut from `offset`, then padded."""

  source: tf.Tensor  # int32 (height, width)
  canvas: Size  # (height, width)
  scale: tf.Tensor  # float32, of both sides
  scaled: tf.Tensor  # int32 (height, width)
  offset: tf.Tensor  # int32 (down, right), inside the scaled picture
  shown: tf.Tensor  # int32 (height, width) of what is cut out
  pad: tf.Tensor  # int32 (top, left)

  def info(self) -> tf.Tensor:
    """float32 [11]: pad (2), 1 / scale, source (2), offset / source (2), offset (2), scaled (2)."""
    source, pad, offset = (tf.cast(v, tf.float32) for v in (self.source, self.pad, self.offset))
    scaled = tf.cast(self.scaled, tf.float32)
    return tf.concat([pad, [1 / self.scale], source, offset / source, offset, scaled], 0)

  def mask(self) -> tf.Tensor:
    """int32 [height, width]: 1 on the picture, 0 on the padding."""
    ranges = zip(self.canvas, tf.unstack(self.pad), tf.unstack(self.pad + self.shown), strict=True)
    rows, cols = (
      tf.cast((begin <= np.arange(side)) & (end > np.arange(side)), tf.int32)
      for side, begin, end in ranges
    )
    # Each row is one of two: copied, which costs a quarter of multiplying rows by columns.
    return tf.gather(tf.stack([tf.zeros_like(cols), cols]), rows)

  def crop_and_pad(self, image: tf.Tensor, value: float = 0) -> tf.Tensor:
    """[..., scaled height, scaled width, channels] -> [..., canvas, channels]."""
    lead = [0] * (image.shape.rank - 3)
    begin = tf.concat([lead, self.offset, [0]], 0)
    size = tf.concat([[-1] * len(lead), self.shown, [-1]], 0)
    return self.onto_canvas(tf.slice(image, begin, size), value)

  def onto_canvas(self, window: tf.Tensor, value: float = 0) -> tf.Tensor:
    """What is cut out of the scaled picture, [..., shown, channels] -> [..., canvas, channels]."""
    *lead, height, width, channels = tf.unstack(tf.shape(window))
    channels = window.shape[-1] or channels
    rows = tf.reshape(window, [*lead, height, width * channels])  # whole rows are filled faster
    paddings = tf.stack([self.pad, self.canvas - self.shown - self.pad], 1) * [[1], [channels]]
    paddings = tf.pad(paddings, [[len(lead), 0], [0, 0]]) if lead else paddings
    canvas = tf.pad(rows, paddings, constant_values=tf.cast(value, window.dtype))
    return tf.reshape(canvas, [*lead, *self.canvas, channels])

  def move_boxes(self, boxes: tf.Tensor) -> tf.Tensor:
    """Boxes [n, 4] in pixels of the source -> in pixels of the canvas, cut off at its edges."""
    moved = shift_boxes(boxes, self.scale, offset=self.offset, pad=self.pad)
    return clip_boxes(moved, self.canvas)


def fit(source: tf.Tensor, canvas: Size) -> Geometry:
  """The whole picture as large as the canvas allows, in its middle: the geometry of evaluation.

  Raises:
    InvalidArgumentError: the picture is so long that its other side would vanish.
  """
  # PARITY: float32 truncation makes the long side of 5 % of all sizes one pixel short.
  scale = tf.reduce_min(tf.cast(canvas, tf.float32) / tf.cast(source, tf.float32))
  return _place(source, canvas, scale, None)


def random_fit(
  source: tf.Tensor, canvas: Size, *, factor: tf.Tensor, fills: tf.Tensor, cut: tf.Tensor
) -> Geometry:
  """The canvas scaled by a factor, filled (and the rest cut off) or fitted into: that of training.

  Args:
    source: int32 (height, width).
    canvas: (height, width).
    factor: float32 scalar.
    fills: bool scalar, filled rather than fitted into.
    cut: float32 [2] in [0, 1): where to cut, down and across.
  """
  size = tf.cast(source, tf.float32)
  scales = tf.floor(factor * tf.cast(canvas, tf.float32)) / size
  scale = tf.where(fills, tf.reduce_max(scales), tf.reduce_min(scales))
  scale = tf.maximum(scale, MIN_SIDE / tf.reduce_min(size))
  return _place(source, canvas, scale, cut)


def _place(source, canvas, scale, cut):
  scaled = tf.cast(tf.cast(source, tf.float32) * scale, tf.int32)
  tf.debugging.assert_positive(
    scaled, 'the picture is too long and narrow: scaled to fit, one of its sides has no pixel left'
  )
  spare = tf.cast(tf.maximum(scaled - canvas, 0), tf.float32)
  offset = tf.zeros_like(scaled) if cut is None else tf.cast(spare * cut, tf.int32)
  shown = tf.minimum(scaled - offset, canvas)
  pad = tf.zeros_like(shown) if config.PAD_ONE_SIDE else (canvas - shown) // 2
  return Geometry(source, canvas, scale, scaled, offset, shown, pad)


# ---- Boxes and masks in pixels -------------------------------------------------------------------
def _twice(size):
  size = tf.cast(size, tf.float32)
  return tf.concat([size, size], 0)


def denormalize_boxes(boxes: tf.Tensor, size: tf.Tensor | Size) -> tf.Tensor:
  """Boxes [n, 4] as parts of a picture of `size` -> in its pixels."""
  # Reshaped, so that TensorFlow does not join this product with the next and round otherwise.
  corners = tf.reshape(boxes, [-1, 2, 2]) * tf.cast(size, tf.float32)
  return tf.reshape(corners, [-1, 4])


def clip_boxes(boxes: tf.Tensor, size: tf.Tensor | Size) -> tf.Tensor:
  """Cuts boxes [n, 4] off at the edges of a picture of `size`."""
  return tf.clip_by_value(boxes, 0.0, _twice(size))


def shift_boxes(boxes: tf.Tensor, scale: Any, *, offset: Any, pad: Any) -> tf.Tensor:
  """Boxes [n, 4] in pixels, scaled, then seen from `offset`, then moved by `pad`."""
  return boxes * scale - _twice(offset) + _twice(pad)


def non_empty_boxes(boxes: tf.Tensor) -> tf.Tensor:
  """int64 indices of the boxes that have a height and a width."""
  return tf.where(tf.reduce_all(boxes[:, 2:] > boxes[:, :2], 1))[:, 0]


def box_mask(box: tf.Tensor, size: Size, inclusive: bool = False) -> tf.Tensor:
  """int32 [height, width], 1 inside the int32 box [4]; `inclusive`: on its last row, too."""
  end = box[2:] + 1 if inclusive else box[2:]
  inside = [(tf.range(n) >= box[axis]) & (tf.range(n) < end[axis]) for axis, n in enumerate(size)]
  return tf.cast(inside[0][:, None] & inside[1][None], tf.int32)


_FORMATS = {
  'y1x1y2x2': (0, 1, 2, 3), 'yxyx': (0, 1, 2, 3), 'x1y1x2y2': (1, 0, 3, 2), 'xyxy': (1, 0, 3, 2),
  'x1x2y1y2': (2, 0, 3, 1),
}  # fmt: skip


def reorder_boxes(boxes: tf.Tensor, box_format: str) -> tf.Tensor:
  """Boxes [n, 4] or [4] whose columns stand in another order -> [top, left, bottom, right].

  Raises:
    ValueError: the format is none of y1x1y2x2 (or yxyx), x1y1x2y2 (or xyxy), x1x2y1y2.
  """
  if box_format not in _FORMATS:
    raise ValueError(f'unknown box format {box_format!r}; the formats are {sorted(_FORMATS)}')
  return tf.gather(boxes, _FORMATS[box_format], axis=-1)
