"""Video files: which moments of a clip are seen, their frames, and the sound beside them.

A clip is cut into windows, and the frame in the middle of each is taken. A path or the bytes of a
file come in. What cannot be used is a `MediaError` that names it.
"""

from collections.abc import Sequence
from typing import NamedTuple
import warnings

import numpy as np

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import spectrogram
from t5x.examples.unified_io.media import containers, resize, sources

Size = tuple[int, int]


# ---- Moments -------------------------------------------------------------------------------------
def window_times(
  start: float,
  end: float,
  *,
  window: float | None = None,
  num_frames: int | None = None,
  video_seconds: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Cuts a clip into equal windows: their borders and their middles, in seconds.

  Args:
    start, end: of the clip. PARITY: an end behind the video's is taken as it is.
    window: about how long a window is, or
    num_frames: how many windows there are.
    video_seconds: with `window`: windows are counted for at most this length.

  Returns:
    float64 [n + 1] and [n].

  Raises:
    ValueError: both or none of `window` and `num_frames`.
  """
  if (window is None) == (num_frames is None):
    raise ValueError(f'give either window or num_frames; they are {window!r} and {num_frames!r}')
  if num_frames is None:
    seconds = end - start if video_seconds is None else min(end - start, video_seconds)
    num_frames = spectrogram.count_windows(seconds, window)
  borders = np.linspace(start, end, num_frames + 1)
  return borders, (borders[:-1] + borders[1:]) / 2


def clip_times(seconds: float, max_frames: int) -> np.ndarray:
  """The moments of a clip of `seconds`.

  PARITY: windows are counted by dividing, so that rounding may leave one fewer than `max_frames`
  where they are as short as 0.2 s: clips of 0.5 or 1 s give four frames where five are wanted.
  """
  window = seconds / max_frames
  return window_times(0, seconds, window=window, video_seconds=seconds)[1]


# ---- Frames --------------------------------------------------------------------------------------
def frames_at(
  source: sources.Source, times: Sequence[float], size: Size | int | None = None
) -> np.ndarray | None:
  """The first frame at or after each time, the times rounded to milliseconds.

  Args:
    source: path or bytes.
    times: seconds, ascending, at least one.
    size: (height, width) stretches to it; a number shrinks the shorter side to it; None changes
      nothing.

  Returns:
    [n, height, width, 3], uint8, or float64 with grey levels 0 to 255 where the shorter side was
    given; None if there is no frame for one of the times.

  Raises:
    MediaError: no such file, or not a video.
  """
  with containers.opened(source) as container:
    frames = containers.read_frames(container, times)
  if frames is None:
    return None
  if isinstance(size, int):
    frames = [resize.to_shorter_side(frame, size) for frame in frames]
  elif size is not None:
    frames = [resize.to_size(frame, size) for frame in frames]
  return np.stack(frames)


def frames_of_clip(
  source: sources.Source,
  *,
  start: float = 0,
  end: float | None = None,
  window: float | None = None,
  num_frames: int | None = None,
  size: Size | int | None = config.IMAGE_HISTORY_INPUT_SIZE,
) -> np.ndarray | None:
  """A frame from the middle of each window of a part of a video; see `window_times`, `frames_at`.

  Args:
    source: path or bytes.
    start: in seconds.
    end: in seconds; None is the video's end. An end behind that is moved to it, with a warning.
    window, num_frames: see `window_times`.
    size: see `frames_at`.

  Raises:
    MediaError: no such file, not a video, or one that states no length.
  """
  seconds = _length_of(source)
  if seconds is None:
    raise sources.MediaError(f'{sources.name_of(source)} does not state its length')
  if end is not None and end > seconds:
    warnings.warn(
      f'{sources.name_of(source)} ends at {seconds:.2f} s; there is no {end:.2f} s', stacklevel=2
    )
  end = seconds if end is None else min(end, seconds)
  _, times = window_times(start, end, window=window, num_frames=num_frames)
  return frames_at(source, times, size)


def _length_of(source: sources.Source) -> float | None:
  with containers.opened(source) as container:
    return containers.seconds_of(container)


# ---- Clips: frames and sound ---------------------------------------------------------------------
class Clip(NamedTuple):
  """Frames of a video and the spectrograms of its sound."""

  times: np.ndarray  # seconds [n]
  frames: np.ndarray  # uint8 [n, height, width, 3]
  mels: np.ndarray | None  # float32 [segments, 128 mel, 256 time]; None: the video is silent


def load(
  source: sources.Source,
  max_frames: int,
  segment_seconds: float = config.AUDIO_SEGMENT_SECONDS,
  *,
  use_audio: bool = True,
  size: Size = config.IMAGE_HISTORY_INPUT_SIZE,
) -> Clip | None:
  """The start of a video: about `max_frames` frames, at most one for each segment of sound.

  Args:
    source: path or bytes.
    max_frames: at most so many frames, and so many segments of sound. A shorter clip gives as many
      frames, closer together.
    segment_seconds: of sound. What follows `max_frames` of them is cut, with a warning.
    use_audio: also read the sound.
    size: (height, width) of the frames.

  Returns:
    None where the file states no length or a frame cannot be read.

  Raises:
    MediaError: no such file, or not a video.
  """
  seconds = _length_of(source)
  if not seconds:
    return None
  longest = max_frames * segment_seconds
  if seconds > longest:
    warnings.warn(
      f'{sources.name_of(source)} lasts {seconds:.2f} s; what follows {longest:.2f} s is cut',
      stacklevel=2,
    )
  return _load_start(source, min(seconds, longest), max_frames, segment_seconds, use_audio, size)


def _load_start(source, seconds, max_frames, segment_seconds, use_audio, size, exact=True):
  times = clip_times(seconds, max_frames)
  with containers.opened(source) as container:
    frames = containers.read_frames(container, times)
  if frames is None:
    return None
  frames = np.stack([resize.to_size(frame, size, exact=exact) for frame in frames])
  mels = _spectrograms(source, seconds, segment_seconds) if use_audio else None
  return Clip(times, frames, mels)


def _spectrograms(source, seconds, segment_seconds):
  with containers.opened(source) as container:  # anew, so that decoding starts at the first sample
    wave = containers.read_audio(container, seconds)
  if wave is None:
    return None
  return spectrogram.spectrograms_of(wave, seconds, segment_seconds=segment_seconds)


# ---- Raw fields of tasks -------------------------------------------------------------------------
def fields_from_video(
  source: sources.Source,
  num_frames: int,
  *,
  use_audio: bool = True,
  size: Size = config.IMAGE_HISTORY_INPUT_SIZE,
  exact: bool = True,
) -> dict[str, np.ndarray]:
  """What the general preprocessor reads of a video: frames, and the sound beside them.

  Args:
    source: path or bytes.
    num_frames: at most so many frames, one for each 4.08 seconds of sound; a shorter clip gives as
      many, closer together.
    use_audio: also read the sound.
    size: (height, width) of the frames; they are stretched to it.
    exact: see `resize.to_size`.

  Returns:
    `image_history_inputs` float32 [t, height, width, 3] in [0, 1] and `image_history_input_masks`
    int32 [t, height, width]; with `use_audio` also `audio_history_inputs` float32 [s, 256, 128, 1]
    and `audio_history_input_masks` int32 [s, 256, 128], of no segments where the video is silent.

  Raises:
    MediaError: no such file, not a video, one that states no length, or a frame that is not there.
  """
  seconds = _length_of(source)
  if not seconds:
    raise sources.MediaError(f'{sources.name_of(source)} does not state its length')
  segment = config.AUDIO_SEGMENT_SECONDS
  seconds = min(seconds, num_frames * segment)
  clip = _load_start(source, seconds, num_frames, segment, use_audio, size, exact)
  if clip is None:
    raise sources.MediaError(f'{sources.name_of(source)} has no frames, or none near its end')
  fields = {
    'image_history_inputs': clip.frames.astype(np.float32) / 255,
    'image_history_input_masks': np.ones(clip.frames.shape[:3], np.int32),
  }
  if use_audio:
    time, bands = config.AUDIO_HISTORY_INPUT_SIZE
    mels = np.zeros((0, bands, time), np.float32) if clip.mels is None else clip.mels
    logs, masks = spectrogram.log_mel(mels)
    fields |= {'audio_history_inputs': logs, 'audio_history_input_masks': masks}
  return fields
