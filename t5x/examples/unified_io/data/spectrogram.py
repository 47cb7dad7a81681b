"""Sound as pictures: waveforms -> windows of 4.08 seconds -> mel power spectrograms -> log-mel.

Conventions are librosa's (0.11), which the released models were trained with: Slaney's mel scale
with filters of equal area, frames centred on multiples of the hop, the ends of a window mirrored.
One difference: the Hann window is the symmetric one. Everything here is numpy; a waveform is mono
float32 in [-1, 1] at 16 kHz.
"""

import functools

import numpy as np
import scipy.fft
import scipy.sparse

from t5x.examples.unified_io import config

BLOCK = 16  # frames transformed at once: few enough to stay in the cache
SLACK_SECONDS = 0.1  # what a rest must exceed half a window by, to become a window
LOG_FLOOR, LOG_CEILING = 1e-5, 1e5


# ---- Windows of a clip ---------------------------------------------------------------------------
def count_windows(seconds: float, window: float) -> int:
  """Whole windows in a clip, and one more where the rest is over half a window plus 0.1 s.

  PARITY: with Python's `//` and `%` of floats: 20.4 holds 4 whole windows of 4.08 and a rest.
  """
  return int(seconds // window) + int(seconds % window - SLACK_SECONDS > window / 2)


def count_segments(seconds: float, window: float = config.AUDIO_SEGMENT_SECONDS) -> int:
  """Windows of a sound: those of `count_windows`, but one for any sound that is not empty."""
  return max(count_windows(seconds, window), int(seconds > 0))


def cut_segments(
  wave: np.ndarray,
  count: int,
  segment_seconds: float = config.AUDIO_SEGMENT_SECONDS,
  spectrogram_seconds: float = config.AUDIO_SEGMENT_SECONDS,
  sample_rate: int = config.AUDIO_SAMPLE_RATE,
) -> np.ndarray:
  """The first `count` segments, each centred in the length of a spectrogram.

  Args:
    wave: [samples]; filled with zeros at its end, or cut, to `count` segments.
    count: number of segments.
    segment_seconds: from one segment to the next.
    spectrogram_seconds: length of what is given back; a longer segment is cut around its middle,
      a shorter one lies in the middle of zeros.
    sample_rate: of the wave, in Hz.

  Returns:
    [count, samples of a spectrogram], dtype of the wave.
  """
  segment, wanted = (round(s * sample_rate) for s in (segment_seconds, spectrogram_seconds))
  wave = wave[: count * segment]
  segments = np.zeros(count * segment, wave.dtype)
  segments[: len(wave)] = wave
  segments = segments.reshape(count, segment)
  if wanted <= segment:
    start = (segment - wanted) // 2
    return segments[:, start : start + wanted]
  before = (wanted - segment) // 2
  return np.pad(segments, [(0, 0), (before, wanted - segment - before)])


# ---- Mel spectrograms ----------------------------------------------------------------------------
def _hz_of_mel(mel: np.ndarray) -> np.ndarray:
  """Slaney's scale: even steps up to 1 kHz, which is mel 15, and equal ratios above."""
  return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def _mel_of_hz(hz: float) -> float:
  return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)


@functools.cache
def mel_filterbank(mel: config.MelConfig = config.MEL) -> np.ndarray:
  """Weight of every frequency in every mel band: triangles of equal area.

  Returns:
    float32 [num_mels, 1 + n_fft // 2].
  """
  hz = np.linspace(0, mel.sample_rate / 2, 1 + mel.n_fft // 2)
  ends = np.linspace(_mel_of_hz(mel.fmin), _mel_of_hz(mel.fmax), mel.num_mels + 2)
  low, peak, high = np.lib.stride_tricks.sliding_window_view(_hz_of_mel(ends), 3).T[..., None]
  rising, falling = (hz - low) / (peak - low), (high - hz) / (high - peak)
  weights = np.maximum(np.minimum(rising, falling), 0) * (2 / (high - low))
  return weights.astype(np.float32)


@functools.cache
def sparse_filterbank(mel: config.MelConfig) -> scipy.sparse.csr_array:
  """`mel_filterbank`: a frequency is in two bands at most, and a dense product wakes threads."""
  return scipy.sparse.csr_array(mel_filterbank(mel))


@functools.cache
def hann(length: int) -> np.ndarray:
  """The symmetric Hann window, 0 at both ends: float64 [length]."""
  return 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, length))


def frames_of(wave: np.ndarray, mel: config.MelConfig = config.MEL) -> np.ndarray:
  """Frames around every multiple of the hop; the wave's ends are mirrored.

  Args:
    wave: [samples].
    mel: says how long frames are and how far apart.

  Returns:
    float64 [1 + samples // hop, n_fft], a view that must not be written to.
  """
  wave = np.pad(wave.astype(np.float64), mel.n_fft // 2, mode='reflect')
  return np.lib.stride_tricks.sliding_window_view(wave, mel.n_fft)[:: mel.hop]


def mel_spectrogram(waves: np.ndarray, mel: config.MelConfig = config.MEL) -> np.ndarray:
  """Mel power spectrograms of waveforms [..., samples].

  The transform runs in float64: in float32, the rounding noise of a loud tone would drown the quiet
  bands that the logarithm makes visible.

  Returns:
    float32 [..., num_mels, 1 + samples // hop].
  """
  window, filters = hann(mel.n_fft), sparse_filterbank(mel)
  lead, samples = waves.shape[:-1], waves.shape[-1]
  mels = np.empty((*lead, mel.num_mels, 1 + samples // mel.hop), np.float32)
  power = np.empty((mels.shape[-1], 1 + mel.n_fft // 2), np.float32)
  for place in np.ndindex(lead):
    frames = frames_of(waves[place], mel)
    for i in range(0, len(frames), BLOCK):
      squares = scipy.fft.rfft(frames[i : i + BLOCK] * window, overwrite_x=True).view(np.float64)
      squares *= squares
      np.add(squares[:, ::2], squares[:, 1::2], out=power[i : i + BLOCK], casting='same_kind')
    mels[place] = filters @ power.T
  return mels


def spectrograms_of(
  wave: np.ndarray,
  seconds: float | None = None,
  *,
  segment_seconds: float = config.AUDIO_SEGMENT_SECONDS,
  spectrogram_seconds: float = config.AUDIO_SEGMENT_SECONDS,
) -> np.ndarray:
  """The mel spectrograms of a waveform's segments.

  Args:
    wave: [samples] at 16 kHz.
    seconds: length that decides how many segments there are; None is that of the wave.
    segment_seconds, spectrogram_seconds: see `cut_segments`.

  Returns:
    float32 [segments, 128 mel, 256 time]; 6.2 seconds are one segment, 6.3 two.

  Raises:
    ValueError: the segments give spectrograms of another shape.
  """
  seconds = len(wave) / config.AUDIO_SAMPLE_RATE if seconds is None else seconds
  count = count_segments(seconds, segment_seconds)
  mels = mel_spectrogram(cut_segments(wave, count, segment_seconds, spectrogram_seconds))
  time, bands = config.AUDIO_INPUT_SIZE
  if mels.shape[1:] != (bands, time):
    raise ValueError(
      f'{spectrogram_seconds} s make spectrograms of {mels.shape[1]} mel x {mels.shape[2]} time; '
      f'the models read {bands} x {time}, which are {config.AUDIO_SEGMENT_SECONDS} s'
    )
  return mels


# ---- Log-mel: what tasks hand to the features ----------------------------------------------------
def log_mel(mels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mel power [..., mel, time] -> log-mel and its mask, as the fields of tasks hold them.

  Returns:
    float32 [..., time, mel, 1], and int32 [..., time, mel], 0 where the power is exactly 0.
    PARITY: there the log-mel is 0 as well, and not the logarithm of the floor.
  """
  mels = np.swapaxes(mels, -1, -2)
  is_sound = mels != 0
  logs = np.log(np.clip(mels, LOG_FLOOR, LOG_CEILING, dtype=np.float32)) * is_sound
  return logs[..., None], is_sound.astype(np.int32)


def input_fields(mels: np.ndarray) -> dict[str, np.ndarray]:
  """The last spectrogram as the audio input, those before it as the audio history.

  Args:
    mels: [segments, 128 mel, 256 time], at least one.

  Returns:
    `audio_inputs` [256, 128, 1], `audio_input_masks` [256, 128], and with a leading axis of
    segments - 1, `audio_history_inputs` and `audio_history_input_masks`.
  """
  logs, masks = log_mel(mels)
  return {
    'audio_inputs': logs[-1],
    'audio_input_masks': masks[-1],
    'audio_history_inputs': logs[:-1],
    'audio_history_input_masks': masks[:-1],
  }


def target_fields(mels: np.ndarray) -> dict[str, np.ndarray]:
  """The first spectrogram as what is to be written: `audio_targets`, `audio_target_masks`."""
  logs, masks = log_mel(mels[0])
  return {'audio_targets': logs, 'audio_target_masks': masks}


def generated_log_mel(audio: np.ndarray) -> np.ndarray:
  """What the network writes, [..., mel, time, 1] -> log-mel [..., mel, time] for a vocoder."""
  return audio[..., 0] * config.AUDIOSET_STD + config.AUDIOSET_MEAN
