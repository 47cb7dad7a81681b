"""Images: normalised patches as input, pixels in [-1, 1] as target."""

import tensorflow as tf

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data.features import patches


def normalise_pixels(pixels: tf.Tensor) -> tf.Tensor:
  """RGB in [0, 1] on the last axis -> mean 0 and deviation 1 over the ViT's training images."""
  return (pixels - tf.constant(config.IMAGE_VIT_MEAN)) / tf.constant(config.IMAGE_VIT_STD)


class ImageInput(patches.PatchInput):
  """`image_inputs`: [height, width, 3] in [0, 1]."""

  def normalise(self, values: tf.Tensor) -> tf.Tensor:
    return normalise_pixels(values)


class ImageTarget(patches.DenseTarget):
  """`image_targets`: [height, width, 3] in [0, 1]."""

  def normalise(self, values: tf.Tensor) -> tf.Tensor:
    return values * 2 - 1
