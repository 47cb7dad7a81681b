"""Frames and audio out of what FFmpeg reads (PyAV, of the extra `data`)."""

from collections.abc import Iterator, Sequence
import contextlib
from fractions import Fraction
import itertools
import math
from typing import Any

import numpy as np

from t5x.examples.unified_io import config
from t5x.examples.unified_io.media import sources

STEP_BACK = Fraction(1, 5)  # seconds; a seek may land behind the time it was given


@contextlib.contextmanager
def opened(source: sources.Source) -> Iterator[Any]:
  """Opens a path or bytes as an `av` container.

  Raises:
    MediaError: no such file, or nothing that FFmpeg can read, then or while it is open.
    ImportError: PyAV is not installed.
  """
  try:
    import av
  except ImportError as error:
    raise ImportError(
      f"{sources.name_of(source)} needs FFmpeg's decoders; `pip install av` (extra `data`)"
    ) from error
  file = sources.open_source(source)
  try:
    with av.open(file) as container:
      yield container
  except av.FFmpegError as error:
    raise sources.MediaError(
      f'{sources.name_of(source)} is no sound or video that FFmpeg can read: {error.strerror}'
    ) from error


def seconds_of(container: Any) -> float | None:
  """The length that the file states, to the microsecond; None where it states none."""
  return None if container.duration is None else container.duration / 1e6


# ---- Audio ---------------------------------------------------------------------------------------
def read_audio(container: Any, max_seconds: float | None = None) -> np.ndarray | None:
  """The first audio stream as mono 16-bit sound at 16 kHz, scaled to [-1, 1].

  Returns:
    float32 [samples], at least those of `max_seconds`; None where there is no audio.
  """
  import av

  if not container.streams.audio:
    return None
  wanted = math.inf if max_seconds is None else max_seconds * config.AUDIO_SAMPLE_RATE
  resampler = av.AudioResampler(format='s16', layout='mono', rate=config.AUDIO_SAMPLE_RATE)
  parts, count = [], 0
  for frame in itertools.chain(container.decode(audio=0), [None]):
    for part in resampler.resample(frame):
      parts.append(part.to_ndarray()[0])
      count += part.samples
    if count >= wanted:
      break
  wave = np.concatenate(parts) if parts else np.zeros(0, np.int16)
  return wave.astype(np.float32) / np.float32(32768)


# ---- Frames --------------------------------------------------------------------------------------
def read_frames(container: Any, times: Sequence[float]) -> list[np.ndarray] | None:
  """For each time the first frame at or after it, the time rounded to milliseconds.

  Args:
    container: see `opened`.
    times: seconds, ascending.

  Returns:
    uint8 [height, width, 3] each, upright; None if there is no frame for one of the times.
  """
  if not container.streams.video:
    return None
  reader, frames = _FrameReader(container), []
  for time in times:
    frame = reader.first_from(Fraction(round(time * 1000), 1000))
    if frame is None:
      return None
    frames.append(frame)
  return [_pixels(frame) for frame in frames]


def _pixels(frame: Any) -> np.ndarray:
  return np.rot90(frame.to_ndarray(format='rgb24'), frame.rotation // 90)


class _FrameReader:
  """Goes forward through a video's frames, and jumps where the file knows of a nearer start."""

  def __init__(self, container):
    self._container = container
    self._stream = container.streams.video[0]
    self._start = Fraction(container.start_time or 0, 1_000_000)
    self._frames = container.decode(self._stream)
    self._last = None

  def first_from(self, time: Fraction) -> Any | None:
    """The first frame at or after `time`, counted from the file's start; None behind the end."""
    time += self._start
    if self._last is None or self._time_of(self._last) < time:
      self._jump_towards(time)
      self._last = next((f for f in self._frames if self._time_of(f) >= time), None)
    return self._last

  def _jump_towards(self, time: Fraction) -> None:
    here = self._start if self._last is None else self._time_of(self._last)
    back, has_moved = Fraction(0), False
    while has_moved or self._key_frame_before(time - back) > here:
      goal, has_moved = max(time - back, self._start), True
      self._container.seek(int(goal / self._stream.time_base), stream=self._stream)
      frames = self._container.decode(self._stream)
      first = next(frames, None)
      if first is not None:
        self._frames = itertools.chain([first], frames)
        if self._time_of(first) <= time:
          return
      if goal == self._start:
        return
      back = 2 * back + STEP_BACK  # between `time` and this frame there may be others

  def _key_frame_before(self, time: Fraction) -> Fraction:
    """Time from which the last key frame before `time` is decoded; 0 where there is no index."""
    entries = self._stream.index_entries
    place = entries.search_timestamp(int(time / self._stream.time_base))
    return Fraction(0) if place < 0 else entries[place].timestamp * self._stream.time_base

  def _time_of(self, frame: Any) -> Fraction:
    return frame.pts * self._stream.time_base
