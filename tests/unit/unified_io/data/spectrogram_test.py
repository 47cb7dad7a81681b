"""Waveforms, their windows, and spectrograms of them, against literals and plain definitions."""

import numpy as np
import pytest

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import spectrogram

RATE = config.AUDIO_SAMPLE_RATE
WINDOW = 65_280  # samples of 4.08 s


def noise(samples, seed=0):
  return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


def tone(hz, samples=WINDOW):
  return np.sin(2 * np.pi * hz * np.arange(samples) / RATE).astype(np.float32)


# ---- Windows -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
  ('seconds', 'count'),
  [(0, 0), (2.13, 0), (2.15, 1), (4.08, 1), (6.21, 1), (6.23, 2), (8.16, 2), (20.4, 5)],
)
def test_a_rest_is_a_window_if_it_is_over_half_of_one_and_a_tenth_of_a_second(seconds, count):
  assert spectrogram.count_windows(seconds, 4.08) == count


def test_every_sound_has_a_segment_but_the_empty_one():
  assert spectrogram.count_segments(0) == 0
  assert spectrogram.count_segments(0.001) == 1
  assert spectrogram.count_segments(8.16) == 2


def test_segments_follow_one_another_and_the_last_is_filled_with_zeros():
  wave = np.arange(1, 11)
  cut = spectrogram.cut_segments(wave, 3, segment_seconds=4, spectrogram_seconds=4, sample_rate=1)
  np.testing.assert_array_equal(cut, [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 0, 0]])
  cut = spectrogram.cut_segments(wave, 1, segment_seconds=4, spectrogram_seconds=4, sample_rate=1)
  np.testing.assert_array_equal(cut, [[1, 2, 3, 4]])


def test_a_short_segment_lies_in_the_middle_and_a_long_one_is_cut_around_it():
  wave = np.arange(1, 9)
  short = spectrogram.cut_segments(wave, 2, segment_seconds=4, spectrogram_seconds=7, sample_rate=1)
  np.testing.assert_array_equal(short, [[0, 1, 2, 3, 4, 0, 0], [0, 5, 6, 7, 8, 0, 0]])
  long = spectrogram.cut_segments(wave, 2, segment_seconds=4, spectrogram_seconds=2, sample_rate=1)
  np.testing.assert_array_equal(long, [[2, 3], [6, 7]])


# ---- Spectrograms --------------------------------------------------------------------------------
def test_a_frame_is_the_power_of_the_fourier_sum_through_the_filters():
  settings = config.MelConfig(n_fft=16, hop=4, num_mels=3, sample_rate=16_000)
  wave = noise(21)
  mirrored = np.concatenate([wave[8:0:-1], wave, wave[-2:-10:-1]]).astype(np.float64)
  n, k = np.arange(16), np.arange(9)
  window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 15)
  turns = np.exp(-2j * np.pi * np.outer(k, n) / 16)
  power = [np.abs(turns @ (window * mirrored[4 * t : 4 * t + 16])) ** 2 for t in range(6)]
  want = spectrogram.mel_filterbank(settings) @ np.transpose(power)
  got = spectrogram.mel_spectrogram(wave, settings)
  assert got.dtype == np.float32
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_filters_are_triangles_of_one_area_that_meet_at_their_peaks():
  settings = config.MelConfig(n_fft=32_768)  # fine enough to see their corners
  bank, bin_hz = spectrogram.mel_filterbank(settings), 16_000 / 32_768
  assert bank.shape == (128, 16_385)
  # Evenly spaced up to 1 kHz (mel 15), by equal ratios above.
  step = (15 + 27 * np.log(8) / np.log(6.4)) / 129
  mels = [step * (m + 1) for m in range(128)]
  hz = [mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27) for mel in mels]
  np.testing.assert_allclose(bank.argmax(1) * bin_hz, hz, atol=bin_hz)
  np.testing.assert_allclose(bank.sum(1, dtype=np.float64) * bin_hz, 1, atol=0.01)
  for m in range(1, 127):
    assert bank[m, round(hz[m - 1] / bin_hz)] < 0.05 * bank[m].max()
    assert bank[m, round(hz[m + 1] / bin_hz)] < 0.05 * bank[m].max()


def test_a_tone_sounds_in_its_band_only():
  mel = spectrogram.mel_spectrogram(tone(1000))
  assert mel.shape == (128, 256)
  step = (15 + 27 * np.log(8) / np.log(6.4)) / 129
  band = round(15 / step) - 1  # 1 kHz is mel 15; the first band's peak is one step above 0
  assert mel.mean(1).argmax() == band
  assert mel[band + 4 :, 8:-8].max() < 1e-4 * mel[band].max()


@pytest.mark.parametrize('samples', [600, 1024, 65_279, 65_280, 65_281])
def test_a_frame_stands_on_every_multiple_of_the_hop(samples):
  assert spectrogram.mel_spectrogram(noise(samples)).shape == (128, 1 + samples // 256)


def test_waves_are_transformed_each_on_its_own():
  waves = noise(6 * 4000).reshape(2, 3, 4000)
  mels = spectrogram.mel_spectrogram(waves)
  assert mels.shape == (2, 3, 128, 16)
  np.testing.assert_array_equal(mels[1, 2], spectrogram.mel_spectrogram(waves[1, 2]))


def test_a_quiet_band_beside_a_loud_tone_keeps_its_value():
  loud, quiet = tone(440), 1e-5 * tone(6000)
  apart = spectrogram.mel_spectrogram(quiet)[:, 8:-8]
  band = apart.mean(1).argmax()
  mixed = spectrogram.mel_spectrogram(np.float64(loud) + np.float64(quiet))[:, 8:-8]
  np.testing.assert_allclose(mixed[band], apart[band], rtol=1e-3)


def test_a_sound_gives_a_spectrogram_for_each_segment():
  assert spectrogram.spectrograms_of(noise(int(6.2 * RATE))).shape == (1, 128, 256)
  assert spectrogram.spectrograms_of(noise(int(6.3 * RATE))).shape == (2, 128, 256)
  assert spectrogram.spectrograms_of(noise(800), seconds=12.3).shape == (3, 128, 256)
  assert spectrogram.spectrograms_of(noise(0)).shape == (0, 128, 256)


def test_spectrograms_of_another_length_are_refused():
  with pytest.raises(ValueError, match=r'4\.0 s make spectrograms of 128 mel x 251 time'):
    spectrogram.spectrograms_of(noise(WINDOW), spectrogram_seconds=4.0)


# ---- Fields --------------------------------------------------------------------------------------
def test_log_mel_is_clipped_and_zero_where_there_is_no_sound():
  mels = np.zeros((2, 3), np.float32)  # [mel, time]
  mels[0] = [0, 1e-9, 1e9]
  mels[1] = [1, np.e, 0]
  logs, mask = spectrogram.log_mel(mels)
  low, high = np.log(1e-5), np.log(1e5)
  np.testing.assert_allclose(logs[..., 0], [[0, 0], [low, 1], [high, 0]], rtol=1e-6)
  np.testing.assert_array_equal(mask, [[0, 1], [1, 1], [1, 0]])
  assert (logs.dtype, mask.dtype) == (np.float32, np.int32)


def test_the_last_segment_is_the_input_and_earlier_ones_are_its_history():
  mels = np.exp(np.arange(3, dtype=np.float32))[:, None, None] * np.ones((3, 128, 256), np.float32)
  fields = spectrogram.input_fields(mels)
  assert {name: value.shape for name, value in fields.items()} == {
    'audio_inputs': (256, 128, 1), 'audio_input_masks': (256, 128),
    'audio_history_inputs': (2, 256, 128, 1), 'audio_history_input_masks': (2, 256, 128),
  }  # fmt: skip
  np.testing.assert_allclose(fields['audio_inputs'], 2, rtol=1e-6)
  np.testing.assert_allclose(fields['audio_history_inputs'][:, 0, 0, 0], [0, 1], atol=1e-6)
  target = spectrogram.target_fields(mels)
  assert target['audio_targets'].shape == (256, 128, 1)
  np.testing.assert_allclose(target['audio_targets'], 0, atol=1e-6)


def test_generated_sound_is_scaled_back_to_log_mel():
  audio = np.asarray([[[0.0], [1.0]]], np.float32)  # [mel, time, 1]
  want = [[-5.0945, 3.8312 - 5.0945]]
  np.testing.assert_allclose(spectrogram.generated_log_mel(audio), want, rtol=1e-6)
