"""Sounds and videos inside a tf.data pipeline: a string tensor in, raw fields of static shape out.

Every function answers the fields and `valid`. An empty string is an example without this medium:
it is valid, and its fields are masked wholly. What cannot be used gives the same fields, but is not
valid: leave it out with `data_utils.only_valid`. It is counted, and the log tells its name.
"""

import collections
from collections.abc import Callable, Mapping
import os

from absl import logging
import numpy as np
import tensorflow as tf

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import data_utils
from t5x.examples.unified_io.media import audio, sources, video

LEFT_OUT: collections.Counter[str] = collections.Counter()  # 'audio', 'video': of this process
Fields = dict[str, tf.Tensor]
Specs = Mapping[str, tuple[tf.DType, list[int | None]]]

_TIME_MEL = list(config.AUDIO_INPUT_SIZE)
_AUDIO_INPUT = {
  'audio_inputs': (tf.float32, [*_TIME_MEL, 1]),
  'audio_input_masks': (tf.int32, _TIME_MEL),
}
_AUDIO_HISTORY = {
  'audio_history_inputs': (tf.float32, [None, *_TIME_MEL, 1]),
  'audio_history_input_masks': (tf.int32, [None, *_TIME_MEL]),
}
_AUDIO_TARGET = {
  'audio_targets': (tf.float32, [*_TIME_MEL, 1]),
  'audio_target_masks': (tf.int32, _TIME_MEL),
}


@tf.autograph.experimental.do_not_convert
def audio_fields(source: tf.Tensor, max_segments: int = 1, *, is_path: bool) -> Fields:
  """`audio.fields_from_audio`.

  Args:
    source: string scalar, the path of a sound file or its bytes.
    max_segments: of 4.08 seconds; the last is the audio input, earlier ones are the history.
    is_path: which of the two `source` is.
  """
  specs = _AUDIO_INPUT | (_AUDIO_HISTORY if max_segments > 1 else {})
  return _call('audio', lambda s: audio.fields_from_audio(s, max_segments), source, is_path, specs)


@tf.autograph.experimental.do_not_convert
def audio_target_fields(source: tf.Tensor, *, is_path: bool) -> Fields:
  """`audio.target_from_audio`; see `audio_fields`."""
  return _call('audio', audio.target_from_audio, source, is_path, _AUDIO_TARGET)


@tf.autograph.experimental.do_not_convert
def video_fields(
  source: tf.Tensor,
  num_frames: int,
  *,
  is_path: bool,
  use_audio: bool = True,
  exact: bool = True,
) -> Fields:
  """`video.fields_from_video` with frames of the size of `data_utils.image_sizes`.

  Args:
    source: string scalar, the path of a video file or its bytes.
    num_frames: at most so many.
    is_path: which of the two `source` is.
    use_audio: also make the audio history, of no segments where the video is silent.
    exact: False resizes faster; see `resize.to_size`.
  """
  size = data_utils.image_sizes().history
  specs = {
    'image_history_inputs': (tf.float32, [None, *size, 3]),
    'image_history_input_masks': (tf.int32, [None, *size]),
    **(_AUDIO_HISTORY if use_audio else {}),
  }

  def make(source):
    return video.fields_from_video(source, num_frames, use_audio=use_audio, size=size, exact=exact)

  return _call('video', make, source, is_path, specs)


def _call(
  medium: str,
  make: Callable[[sources.Source], Mapping[str, np.ndarray]],
  source: tf.Tensor,
  is_path: bool,
  specs: Specs,
) -> Fields:
  """`make` as an operation of the graph."""

  def run(source: bytes) -> list[np.ndarray]:
    none = [np.zeros([n or 0 for n in shape], t.as_numpy_dtype) for t, shape in specs.values()]
    if not source:
      return [*none, np.bool_(True)]
    try:
      fields = make(os.fsdecode(source) if is_path else source)
    except sources.MediaError as error:
      _count(medium, error)
      return [*none, np.bool_(False)]
    return [*(fields[name] for name in specs), np.bool_(True)]

  dtypes = [dtype for dtype, _ in specs.values()]
  *values, valid = tf.numpy_function(run, [source], [*dtypes, tf.bool], stateful=False)
  shaped = {
    name: tf.ensure_shape(value, shape)
    for value, (name, (_, shape)) in zip(values, specs.items(), strict=True)
  }
  return {**shaped, 'valid': tf.ensure_shape(valid, [])}


def _count(medium: str, error: sources.MediaError) -> None:
  LEFT_OUT[medium] += 1
  count = LEFT_OUT[medium]
  if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th, ...
    logging.warning('%d %s examples were left out; the last: %s', count, medium, error)
