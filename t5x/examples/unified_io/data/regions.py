"""Boxes and points as location text, and ids of location tokens as numbers.

A coordinate v in [0, 1] is written as bin trunc(999 v), bin b as `<extra_id_{200 + b}>`. Boxes are
[top, left, bottom, right], points (down, right).
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import data_utils

_STEPS = config.NUM_DETECTION_BINS - 1
_TEXTS = [f'<extra_id_{config.VOCAB_START + b}>' for b in range(config.NUM_DETECTION_BINS)]


def values_to_tokens(values: tf.Tensor, classes: tf.Tensor | None = None) -> tf.Tensor:
  """Coordinates as location text.

  [[0.0, 0.5]], classes ['cat'] -> [['<extra_id_200>', '<extra_id_699>', 'cat']]

  Args:
    values: float [n, k] (or any shape without classes), each of them in [0, 1].
    classes: strings [n], a further column.

  Raises:
    InvalidArgumentError: a value outside of -1/999 .. 1000/999, or NaN.
  """
  values = tf.cast(values, tf.float32)
  bins = tf.cast(values * _STEPS, tf.int32)
  # -1 stands for what has no bin: NaN may become any integer.
  texts = tf.gather(tf.constant(_TEXTS), tf.where(tf.math.is_finite(values), bins, -1))
  return texts if classes is None else tf.concat([texts, classes[:, None]], -1)


def tokens_to_values(
  ids: Sequence[int], first_location_id: int = config.RELEASED_BASE_PIECES
) -> np.ndarray:
  """Coordinates of the location ids up to the first EOS; other ids are passed over.

  [32999, 32000, 1, 32500] -> [0.0, 1.0]

  Args:
    ids: token ids.
    first_location_id: id of the largest coordinate, = the number of base pieces.

  Returns:
    float64 [n].
  """
  ids = np.asarray(ids, np.int64).reshape(-1)
  ends = np.flatnonzero(ids == config.EOS_ID)
  ids = ids[: ends[0] if ends.size else None] - first_location_id
  return 1 - ids[(ids >= 0) & (ids < config.NUM_DETECTION_BINS)] / _STEPS


def regions_to_str(
  regions: tf.Tensor,
  labels: tf.Tensor | None = None,
  *,
  image_size: int | tuple[int, int] | None = None,
  separator: str | None = ' ',
  shuffle_seed: tf.Tensor | None = None,
) -> tf.Tensor:
  """Boxes or points as one text: coordinates, then the label, row by row.

  [[0, 192, 384, 384]], labels ['cat'], 384 px ->
  '<extra_id_200> <extra_id_699> <extra_id_1199> <extra_id_1199> cat'

  Args:
    regions: [n, 4] or [n, 2] in pixels of the canvas.
    labels: strings [n].
    image_size: of the canvas; None for `data_utils.image_sizes().input`.
    separator: between rows; None gives the [n, k] strings back instead of one text.
    shuffle_seed: int32 [2]; brings the rows into random order.
  """
  size = data_utils.image_sizes().input if image_size is None else image_size
  size = tf.broadcast_to(tf.cast(size, tf.float32), [2])
  if shuffle_seed is not None:
    order = data_utils.draw_order(shuffle_seed, tf.shape(regions)[0])
    regions = tf.gather(regions, order)
    labels = None if labels is None else tf.gather(labels, order)
  size = tf.tile(size, [regions.shape[-1] // 2])
  texts = values_to_tokens(tf.cast(regions, tf.float32) / size, labels)
  if separator is None:
    return texts
  return tf.strings.reduce_join(
    tf.strings.reduce_join(texts, -1, separator=' '), separator=separator
  )
