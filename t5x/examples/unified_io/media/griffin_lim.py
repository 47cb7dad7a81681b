"""Spectrograms back to sound without a trained vocoder.

A mel spectrogram lacks the powers inside of its bands and all phases. The powers are found as the
non-negative ones that give the same bands (multiplicative updates, Lee and Seung 2001), the phases
by going to and fro between spectrogram and wave (Griffin and Lim 1984, with the momentum of
Perraudin, Balazs and Sondergaard 2013).
"""

import numpy as np
import scipy.fft

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import spectrogram

ROUNDS = 32  # as in the original's demo
MOMENTUM = 0.99
POWER_ROUNDS = 100
TINY = 1e-12  # keeps quotients finite


def waveform_of(
  log_mel: np.ndarray, *, rounds: int = ROUNDS, seed: int = 0, mel: config.MelConfig = config.MEL
) -> np.ndarray:
  """A waveform whose log-mel spectrogram is near the given one.

  Args:
    log_mel: natural logarithms [mel, time].
    rounds: more come nearer.
    seed: of the phases at the start.
    mel: what the spectrogram was made with.

  Returns:
    float32 [(time - 1) * hop] at the sample rate; 65,280 samples for 256 moments.
  """
  magnitudes = np.sqrt(linear_power(np.exp(log_mel.astype(np.float64)), mel)).T  # [time, bins]
  turns = np.random.default_rng(seed).uniform(-np.pi, np.pi, magnitudes.shape)
  guess, last = magnitudes * np.exp(1j * turns), 0
  for _ in range(rounds):
    wave = _wave_of(guess, mel)
    heard = scipy.fft.rfft(spectrogram.frames_of(wave, mel) * spectrogram.hann(mel.n_fft))
    ahead = heard + MOMENTUM * (heard - last)
    guess, last = magnitudes * ahead / (np.abs(ahead) + TINY), heard
  return _wave_of(guess, mel).astype(np.float32)


def linear_power(mels: np.ndarray, mel: config.MelConfig = config.MEL) -> np.ndarray:
  """Powers >= 0 of all frequencies, [1 + n_fft // 2, time], that give the bands [mel, time]."""
  filters = spectrogram.sparse_filterbank(mel).astype(np.float64)
  wanted = filters.T @ mels
  power = wanted + TINY
  for _ in range(POWER_ROUNDS):
    power *= wanted / (filters.T @ (filters @ power) + TINY)
  return power


def _wave_of(frames: np.ndarray, mel: config.MelConfig) -> np.ndarray:
  """The wave whose windowed transform is nearest to [time, bins], by least squares."""
  window = spectrogram.hann(mel.n_fft)
  waves = _add_up(scipy.fft.irfft(frames, mel.n_fft) * window, mel.hop)
  weights = _add_up(np.broadcast_to(window**2, (len(frames), mel.n_fft)), mel.hop)
  half = mel.n_fft // 2
  return (waves / np.maximum(weights, TINY))[half:-half]


def _add_up(frames: np.ndarray, hop: int) -> np.ndarray:
  """Frames laid one hop after another and added: [(time - 1) * hop + n_fft]."""
  count, length = frames.shape
  parts = frames.reshape(count, length // hop, hop)
  sums = np.zeros((count + length // hop - 1, hop))
  for i in range(length // hop):
    sums[i : i + count] += parts[:, i]
  return sums.ravel()
