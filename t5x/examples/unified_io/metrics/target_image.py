"""Generated pictures back at the size of the picture they were made for."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_SOURCE, _OFFSETS = slice(3, 5), slice(5, 9)  # of the image info of data_utils.resize_and_pad


def build_target_image(
  image: np.ndarray,
  image_info: Sequence[float],
  *,
  method: str = 'bilinear',
  gray: bool = False,
  as_uint8: bool = False,
) -> np.ndarray:
  """A generated picture in [-1, 1] -> in [0, 1] at source size.

  PARITY: it becomes a square of the source's longer side, of which the middle is cut out; for odd
  paddings that is half a pixel beside where the padding was.

  Args:
    image: float32 [height, width, 3] on the square canvas, values outside [-1, 1] are clipped.
    image_info: float32 [11] of the source picture, see `geometry.Geometry.info`.
    method: 'bilinear' or 'nearest'; without antialiasing.
    gray: the mean over the channels, [height, width, 1].
    as_uint8: levels 0 to 255.

  Raises:
    ValueError: The source picture was cut, so that it cannot be made whole again.
  """
  info = np.asarray(image_info, np.float32)
  if info[_OFFSETS].any():
    raise ValueError(
      f'the source picture was cut at {info[_OFFSETS].tolist()}; only a picture resized as in '
      'evaluation, without a random cut, can be put back'
    )
  height, width = (int(side) for side in info[_SOURCE])
  pixels = tf.clip_by_value((tf.cast(image, tf.float32) + 1) / 2, 0, 1)
  if gray:
    pixels = tf.reduce_mean(pixels, -1, keepdims=True)
  side = max(height, width)
  square = tf.image.resize(pixels, (side, side), method)
  top, left = (side - height) // 2, (side - width) // 2
  cut = square[top : top + height, left : left + width]
  return (tf.image.convert_image_dtype(cut, tf.uint8) if as_uint8 else cut).numpy()


def build_depth(image: np.ndarray, image_info: Sequence[float], *, max_depth: float) -> np.ndarray:
  """A generated depth map -> float32 [height, width, 1] at source size, in units of `max_depth`."""
  return build_target_image(image, image_info, gray=True) * np.float32(max_depth)
