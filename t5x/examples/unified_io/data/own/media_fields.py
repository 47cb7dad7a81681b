"""What pictures, sounds and videos of a row become: tensors of fixed kind, and what is checked."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import soundfile
import tensorflow as tf

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import data_utils, spectrogram
from t5x.examples.unified_io.data.own import media as media_lib
from t5x.examples.unified_io.media import audio, containers, video

HISTORY = 'audio_history'  # brought by sounds of several segments, and by videos with sound
BRINGS = ('image', 'image_target', 'audio', 'audio_target', 'video', HISTORY)
_PICTURE = tf.TensorSpec([None, None, 3], tf.uint8)


# ---- Tensors -------------------------------------------------------------------------------------
def specs(brings: Collection[str]) -> dict[str, tf.TensorSpec]:
  """The tensors of a file whose rows bring these, by name."""
  time, bands = config.AUDIO_INPUT_SIZE
  height, width = data_utils.image_sizes().history
  of = {
    'image': ('image', _PICTURE, 'has_image', []),
    'image_target': ('image_target', _PICTURE, 'has_image_target', []),
    'audio': ('audio_inputs', [time, bands, 1], 'audio_input_masks', [time, bands]),
    'audio_target': ('audio_targets', [time, bands, 1], 'audio_target_masks', [time, bands]),
    'video': (
      'image_history_inputs', [None, height, width, 3],
      'image_history_input_masks', [None, height, width],
    ),
    HISTORY: (
      'audio_history_inputs', [None, time, bands, 1],
      'audio_history_input_masks', [None, time, bands],
    ),
  }  # fmt: skip
  made = {}
  for name in BRINGS:
    if name in brings:
      values, shape, mask, mask_shape = of[name]
      made[values] = shape if shape is _PICTURE else tf.TensorSpec(shape, tf.float32)
      made[mask] = tf.TensorSpec(mask_shape, tf.int32)
  return made


def read(
  media: Mapping[str, media_lib.Media],
  brings: Collection[str],
  max_frames: int,
  *,
  exact: bool = True,
) -> dict[str, np.ndarray]:
  """The tensors of one row; what it does not have is a black pixel, silence or no frame, masked.

  Args:
    media: of the row, by field.
    brings: what rows of the file bring, see `specs`.
    max_frames: of a video, and segments of a sound before its last.
    exact: of frames, see `media.resize.to_size`.

  Raises:
    ValueError: one of them cannot be used.
  """
  made = {name: _blank(spec) for name, spec in specs(brings).items()}
  for name in ('image', 'image_target'):
    if name in media:
      picture = media_lib.decode_picture(media[name])
      made |= {name: picture, f'has_{name}': np.int32(1)}
  if 'audio_target' in media:
    made |= audio.target_from_audio(media['audio_target'].source)
  if 'video' in media:
    size = data_utils.image_sizes().history
    with_sound = HISTORY in brings and 'audio' not in media
    made |= video.fields_from_video(
      media['video'].source, max_frames, use_audio=with_sound, size=size, exact=exact
    )
  if 'audio' in media:
    segments = 1 + max_frames if HISTORY in brings else 1
    made |= audio.fields_from_audio(media['audio'].source, segments)
  return made


def _blank(spec: tf.TensorSpec) -> np.ndarray:
  shape = [1, 1, 3] if spec is _PICTURE else [size or 0 for size in spec.shape]
  return np.zeros(shape, spec.dtype.as_numpy_dtype)


# ---- Checks --------------------------------------------------------------------------------------
def check(name: str, media: media_lib.Media, *, decode: bool) -> tuple[tuple[str, ...], Any]:
  """What a field brings, and the (height, width) of a picture, from the header of its file.

  Args:
    name: of the field.
    media: its picture, sound or video.
    decode: decode a picture's pixels.

  Raises:
    MediaError: it cannot be used.
  """
  if name in ('image', 'image_target'):
    return (name,), media_lib.check_picture(media, decode=decode)
  if name == 'video':
    return (name, *([HISTORY] if _has_sound(media) else [])), None
  segments = spectrogram.count_segments(_seconds_of_sound(media))
  return (name, *([HISTORY] if name == 'audio' and segments > 1 else [])), None


def _seconds_of_sound(media: media_lib.Media) -> float:
  """The length of a sound.

  Raises:
    MediaError: it is none, or has no samples.
  """
  try:
    with media.open() as file:
      found = soundfile.info(file)
    seconds = found.frames / found.samplerate
  except FileNotFoundError as e:
    raise media_lib.MediaError(f'there is no file {media.path}') from e
  except soundfile.LibsndfileError:
    with containers.opened(media.source) as container:
      if not container.streams.audio:
        raise media_lib.MediaError(f'{media.name}has no sound') from None
      seconds = containers.seconds_of(container) or 0.0
  if not seconds:
    raise media_lib.MediaError(f'{media.name}has no samples: it lasts 0 seconds')
  return seconds


def _has_sound(media: media_lib.Media) -> bool:
  """Whether a video has sound.

  Raises:
    MediaError: it is none, or tells no length.
  """
  with containers.opened(media.source) as container:
    if not container.streams.video:
      raise media_lib.MediaError(f'{media.name}has no pictures')
    if not containers.seconds_of(container):
      raise media_lib.MediaError(f'{media.name}tells no length')
    return bool(container.streams.audio)
