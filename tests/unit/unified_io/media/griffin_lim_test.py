"""Spectrograms back to sound."""

import numpy as np
import scipy.fft

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import spectrogram
from t5x.examples.unified_io.media import griffin_lim

SAMPLES = 255 * 256
SECONDS = np.arange(SAMPLES) / 16_000
TONE = 0.3 * np.sin(2 * np.pi * 440 * SECONDS)
CHIRP = 0.3 * np.sin(2 * np.pi * (200 + 300 * SECONDS) * SECONDS)


def log_mel(wave):
  return np.log(np.clip(spectrogram.mel_spectrogram(wave), 1e-5, 1e5))


def distance(wave, other):
  """Of their spectrograms, as a share."""
  one, two = (np.sqrt(spectrogram.mel_spectrogram(w)) for w in (wave, other))
  return np.linalg.norm(one - two) / np.linalg.norm(one)


def test_a_tone_comes_back_at_its_pitch_and_strength():
  wave = griffin_lim.waveform_of(log_mel(TONE))
  assert (wave.shape, wave.dtype) == ((SAMPLES,), np.float32)
  powers = np.abs(np.fft.rfft(wave)) ** 2
  assert abs(powers.argmax() * 16_000 / SAMPLES - 440) < 1
  np.testing.assert_allclose(np.std(wave), np.std(TONE), rtol=0.1)


def test_the_wave_has_nearly_the_spectrogram_and_more_rounds_come_nearer():
  given = log_mel(CHIRP)
  far = distance(CHIRP, griffin_lim.waveform_of(given, rounds=1))
  near = distance(CHIRP, griffin_lim.waveform_of(given))
  assert near < 0.1
  assert near < 0.5 * far


def test_silence_stays_silent():
  silence = np.full((128, 256), np.log(1e-5), np.float32)
  assert np.abs(griffin_lim.waveform_of(silence)).max() < 0.01


def test_the_seed_decides_the_phases():
  given = log_mel(TONE)[:, :32]
  one, same, other = (griffin_lim.waveform_of(given, rounds=2, seed=seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(one, same)
  assert np.abs(one - other).max() > 0.01


def test_powers_of_frequencies_are_none_below_zero_and_give_the_bands():
  mels = spectrogram.mel_spectrogram(CHIRP)
  power = griffin_lim.linear_power(mels)
  assert power.shape == (513, 256)
  assert power.min() >= 0
  again = spectrogram.mel_filterbank() @ power
  assert np.linalg.norm(again - mels) < 0.02 * np.linalg.norm(mels)


def test_a_transform_turned_back_is_the_wave():
  small = config.MelConfig(n_fft=32, hop=8)
  wave = np.random.default_rng(0).standard_normal(10 * 8)
  frames = scipy.fft.rfft(spectrogram.frames_of(wave, small) * spectrogram.hann(32))
  np.testing.assert_allclose(griffin_lim._wave_of(frames, small), wave, atol=1e-12)
