"""Sound files: wav, flac, ogg, mp3, or the audio of a video, to waveforms and spectrograms.

A path or the bytes of a file come in. What cannot be used is a `MediaError` that names it; only
`load_spectrograms` answers None with a warning where there is no such file, as the original does.
"""

import importlib.util
import io
import math
import pathlib
from typing import NamedTuple
import warnings

import numpy as np
import soundfile
import soxr

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import spectrogram
from t5x.examples.unified_io.media import containers, sources

# Read beyond the part that is asked for, so that the resampler's end lies behind it.
EXTRA_SECONDS = 1


class Sound(NamedTuple):
  """A waveform, and the length that its file states."""

  wave: np.ndarray  # float32 [samples], mono, 16 kHz, in [-1, 1]
  seconds: float  # of the whole file, even if less was read


def read(source: sources.Source, max_seconds: float | None = None) -> Sound:
  """Reads a sound as mono at 16 kHz: channels are averaged, the rate is changed by soxr.

  What libsndfile does not know (m4a, mp4, webm, mkv) is decoded by FFmpeg, if PyAV (of the extra
  `data`) is installed.

  Args:
    source: path or bytes.
    max_seconds: what lies well behind it need not be read; the wave may still be longer.

  Raises:
    MediaError: no such file, not a sound, or a sound without samples.
  """
  file = sources.open_source(source)
  try:
    sound = _read_by_soundfile(file, max_seconds)
  except (soundfile.LibsndfileError, TypeError, ValueError):  # the last two for .raw and .vox
    sound = _read_by_ffmpeg(source, max_seconds)
  if not (len(sound.wave) and sound.seconds):
    raise sources.MediaError(f'{sources.name_of(source)}: the sound has no samples')
  if not np.isfinite(sound.wave).all():
    raise sources.MediaError(f'{sources.name_of(source)}: samples of the sound are no numbers')
  return sound


def _read_by_soundfile(file: str | io.BytesIO, max_seconds: float | None) -> Sound:
  with soundfile.SoundFile(file) as opened:
    rate, total = opened.samplerate, opened.frames
    frames = -1 if max_seconds is None else math.ceil((max_seconds + EXTRA_SECONDS) * rate)
    samples = opened.read(frames, dtype='float32', always_2d=True)
  # Containers state their length in microseconds, and that length decides the number of segments.
  return Sound(resample(samples.mean(1), rate), round(total / rate, 6))


def _read_by_ffmpeg(source: sources.Source, max_seconds: float | None) -> Sound:
  if importlib.util.find_spec('av') is None:
    raise sources.MediaError(
      f'{sources.name_of(source)} is no sound that libsndfile can read; `pip install av` (extra '
      '`data`) lets FFmpeg try'
    )
  with containers.opened(source) as container:
    wave = containers.read_audio(container, max_seconds)
    if wave is None:
      raise sources.MediaError(f'{sources.name_of(source)} has no audio')
    seconds = containers.seconds_of(container)
  return Sound(wave, len(wave) / config.AUDIO_SAMPLE_RATE if seconds is None else seconds)


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
  """A mono waveform at 16 kHz: float32 [ceil(samples * 16000 / rate)]."""
  wanted = config.AUDIO_SAMPLE_RATE
  if rate == wanted:
    return wave
  made = soxr.resample(wave, rate, wanted, quality='HQ')
  missing = math.ceil(len(wave) * wanted / rate) - len(made)
  return np.pad(made, (0, missing)) if missing > 0 else made[: len(made) + missing]


def spectrograms(source: sources.Source, max_seconds: float | None = None) -> np.ndarray:
  """The mel spectrograms of a sound's segments of 4.08 seconds.

  Args:
    source: path or bytes.
    max_seconds: the sound is cut there; a warning says so.

  Returns:
    float32 [segments, 128 mel, 256 time].

  Raises:
    MediaError: see `read`.
  """
  wave, seconds = read(source, max_seconds)
  if max_seconds is not None and seconds > max_seconds:
    warnings.warn(
      f'{sources.name_of(source)} lasts {seconds:.2f} s; what follows {max_seconds:.2f} s is cut',
      stacklevel=2,
    )
    seconds = max_seconds
  return spectrogram.spectrograms_of(wave, seconds)


def load_spectrograms(path: str, max_seconds: float | None = None) -> np.ndarray | None:
  """`spectrograms` of a file; None, with a warning, where there is no such file."""
  if not pathlib.Path(path).exists():
    warnings.warn(f'there is no sound file {path!r}', stacklevel=2)
    return None
  return spectrograms(path, max_seconds)


def write(path: str, wave: np.ndarray, rate: int = config.AUDIO_SAMPLE_RATE) -> None:
  """Writes a mono waveform in [-1, 1] as 16-bit wav (or flac, ogg, by the name's ending)."""
  subtype = 'PCM_16' if pathlib.Path(path).suffix in ('.wav', '.flac') else None
  soundfile.write(path, np.clip(wave, -1, 1), rate, subtype=subtype)


# ---- Raw fields of tasks -------------------------------------------------------------------------
def fields_from_audio(source: sources.Source, max_segments: int = 1) -> dict[str, np.ndarray]:
  """What the general preprocessor reads of a sound.

  Args:
    source: path or bytes.
    max_segments: of 4.08 seconds each, from the start of the sound; the last of them is the audio
      input, those before it are the audio history.

  Returns:
    `audio_inputs` float32 [256, 128, 1] and `audio_input_masks` int32 [256, 128]; with more than
    one segment allowed also `audio_history_inputs` [0 to max_segments - 1, 256, 128, 1] and
    `audio_history_input_masks`.

  Raises:
    MediaError: see `read`.
  """
  fields = spectrogram.input_fields(_first_segments(source, max_segments))
  if max_segments > 1:
    return fields
  return {name: value for name, value in fields.items() if 'history' not in name}


def target_from_audio(source: sources.Source) -> dict[str, np.ndarray]:
  """The first 4.08 seconds of a sound as a target.

  Returns:
    `audio_targets` float32 [256, 128, 1] and `audio_target_masks` int32 [256, 128].

  Raises:
    MediaError: see `read`.
  """
  return spectrogram.target_fields(_first_segments(source, 1))


def _first_segments(source: sources.Source, count: int) -> np.ndarray:
  max_seconds = count * config.AUDIO_SEGMENT_SECONDS
  wave, seconds = read(source, max_seconds)
  return spectrogram.spectrograms_of(wave, min(seconds, max_seconds))
