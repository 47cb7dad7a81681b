"""What a caller hands in - text, pictures, frames, sound - as one row of a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
import tensorflow as tf

from t5x.examples.unified_io import config, modality_processing
from t5x.examples.unified_io.data import data_utils, spectrogram

LENGTH_BUCKETS = (64, 256, 512, 1024)  # packed input lengths that are compiled for


def shrink(picture: np.ndarray, long_side: int = config.IMAGE_INPUT_SIZE[0]) -> np.ndarray:
  """Brings the longer side of a picture to `long_side` pixels, before it travels to the model.

  Args:
    picture: uint8 [h, w, 3].
    long_side: in pixels; smaller pictures grow.

  Returns:
    uint8; [100, 50, 3] becomes [384, 192, 3]. The shorter side is cut to whole pixels.
  """
  height, width = picture.shape[:2]
  scale = long_side / max(height, width)
  size = int(width * scale), int(height * scale)
  return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def raw_fields(
  text: str,
  *,
  image: np.ndarray | None = None,
  image_history: np.ndarray | Sequence[np.ndarray | None] | None = None,
  audio: np.ndarray | None = None,
  audio_history: np.ndarray | None = None,
) -> dict[str, Any]:
  """The fields that stage 2 reads, as a task would write them in evaluation.

  Args:
    text: the prompt, its mode prefix included.
    image: uint8 [h, w, 3].
    image_history: frames uint8 [n, h, w, 3], or pictures of any sizes; None among them becomes a
      frame that is masked wholly.
    audio: mel spectrogram [128 mel, 256 time].
    audio_history: mel spectrograms [n, 128 mel, 256 time].
  """
  fields = {'text_inputs': tf.constant(text)}
  if image is not None:
    fields |= _pair('image', data_utils.resize_and_pad_default(image, False)[:2])
  if image_history is not None:
    fields |= _pair('image_history', _history(image_history))
  if audio is not None:
    fields |= _pair('audio', spectrogram.log_mel(audio))
  if audio_history is not None:
    fields |= _pair('audio_history', spectrogram.log_mel(audio_history))
  return fields


def _pair(name, values_and_mask):
  values, mask = values_and_mask
  return {f'{name}_inputs': values, f'{name}_input_masks': mask}


def _history(frames):
  if isinstance(frames, np.ndarray):
    return data_utils.resize_and_pad_default(frames, False)[:2]
  size = data_utils.image_sizes().history
  none = tf.zeros([*size, 3]), tf.zeros(size, tf.int32)
  fitted = [
    none if frame is None else data_utils.resize_and_pad_default(frame, False, is_history=True)[:2]
    for frame in frames
  ]
  return tuple(tf.stack(part) for part in zip(*fitted, strict=True))


def batch_of_one(
  fields: Mapping[str, Any], sequence_length: Mapping[str, Any], seed: int = 0
) -> dict[str, np.ndarray]:
  """Raw fields -> what the network reads, with a batch axis of 1.

  Args:
    fields: see `raw_fields`.
    sequence_length: as for the tasks.
    seed: chooses patches where the lengths take fewer than there are.
  """
  tensors = {name: tf.convert_to_tensor(value) for name, value in fields.items()}
  seeds = tf.constant([0, seed], tf.int32)
  made = modality_processing.make_features(tensors, sequence_length, seeds)
  made = modality_processing.UnifiedIOFeatureConverter().convert(made, sequence_length)
  return {name: value.numpy()[None] for name, value in made.items()}


def count_tokens(batch: Mapping[str, np.ndarray], model: config.ModelConfig) -> int:
  """Positions of the encoder that the inputs of a batch take, rows added up.

  Text and patches count singly, a frame or a segment of sound by its latents; masked ones do not.
  """
  latents = {
    'inputs/image_history/mask': model.image_resampler.latents,
    'inputs/audio_history/mask': model.audio_resampler.latents,
  }
  count = 0
  for name, mask in batch.items():
    if name in latents:
      count += int(mask.any(-1).sum()) * latents[name]
    elif name.startswith('inputs/') and name.endswith('/mask'):
      count += int(mask.sum())
  return count


def length_bucket(tokens: int) -> int:
  """The shortest compiled input length that holds so many tokens.

  Raises:
    ValueError: there are more than the longest.
  """
  fitting = [length for length in LENGTH_BUCKETS if length >= tokens]
  if not fitting:
    raise ValueError(f'{tokens} input tokens are more than {LENGTH_BUCKETS[-1]}; hand in less')
  return fitting[0]
