"""Audio: log-mel spectrograms [time, mel, 1] of 4.08 seconds, cut into patches like pictures."""

import tensorflow as tf

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data.features import patches


def normalise_input(log_mel: tf.Tensor) -> tf.Tensor:
  """Log-mel values -> what the audio encoder was trained on."""
  return (log_mel - config.AUDIO_VIT_MEAN) / config.AUDIO_VIT_STD


class AudioInput(patches.PatchInput):
  """`audio_inputs`: [256 time, 128 mel, 1]."""

  def normalise(self, values: tf.Tensor) -> tf.Tensor:
    return normalise_input(values)


class AudioTarget(patches.DenseTarget):
  """`audio_targets`: [256 time, 128 mel, 1]."""

  def normalise(self, values: tf.Tensor) -> tf.Tensor:
    return (values - config.AUDIOSET_MEAN) / config.AUDIOSET_STD
