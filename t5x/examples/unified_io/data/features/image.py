"""Images: normalised patches as input, pixels in [-1, 1] as target."""

import numpy as np
import tensorflow as tf

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data.features import patches


def normalise_pixels(pixels: tf.Tensor) -> tf.Tensor:
  """RGB in [0, 1] -> mean 0 and deviation 1 over the ViT's training images.

  Args:
    pixels: [..., 3], or many pixels in a row, [..., n * 3]: a patch is eight times as fast as its
      pixels one by one.
  """
  count = pixels.shape[-1] // len(config.IMAGE_VIT_MEAN)
  mean, scale = (
    tf.constant(np.tile(np.float32(values), count))
    for values in (config.IMAGE_VIT_MEAN, 1 / np.array(config.IMAGE_VIT_STD))
  )
  return (pixels - mean) * scale


class ImageInput(patches.PatchInput):
  """`image_inputs`: [height, width, 3] in [0, 1]."""

  def normalise(self, values: tf.Tensor) -> tf.Tensor:
    return normalise_pixels(values)


class ImageTarget(patches.DenseTarget):
  """`image_targets`: [height, width, 3] in [0, 1]."""

  def normalise(self, values: tf.Tensor) -> tf.Tensor:
    return values * 2 - 1
