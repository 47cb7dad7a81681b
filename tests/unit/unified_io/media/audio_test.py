"""Sound files in and out."""

import sys

import numpy as np
import pytest

from t5x.examples.unified_io.media import audio, sources
from tests.unit.unified_io.media import files


def noise(samples, seed=0):
  return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


@pytest.mark.parametrize('container', ['WAV', 'FLAC', 'OGG', 'MP3'])
def test_every_kind_of_sound_file_is_read_from_a_path_and_from_bytes(tmp_path, container):
  wave = np.sin(np.arange(16_000) / 8).astype(np.float32) / 2
  file = files.sound(wave, container=container)
  path = tmp_path / 'sound'
  path.write_bytes(file)
  sound = audio.read(path)
  assert sound.wave.dtype == np.float32
  assert sound.seconds == pytest.approx(1, abs=0.1)
  middle = sound.wave[4000:12_000]
  assert np.abs(middle).max() == pytest.approx(0.5, abs=0.05)
  np.testing.assert_array_equal(audio.read(file).wave, sound.wave)
  np.testing.assert_array_equal(audio.read(str(path)).wave, sound.wave)


def test_channels_are_averaged():
  stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)], 1)
  np.testing.assert_allclose(audio.read(files.sound(stereo)).wave, 0.125, atol=1e-4)


def test_the_length_is_stated_in_microseconds():
  assert audio.read(files.sound(noise(7), rate=16_000)).seconds == 0.000438


def test_the_sound_of_a_video_is_read():
  wave = np.sin(np.arange(32_000) / 8) / 2
  sound = audio.read(files.video(20, wave=wave))
  assert sound.seconds == pytest.approx(2, abs=0.1)
  assert np.abs(sound.wave[8000:24_000]).max() == pytest.approx(0.5, abs=0.05)


def test_the_rate_becomes_16_khz():
  rate, samples = 22_050, 22_051
  wave = np.sin(2 * np.pi * 440 * np.arange(samples) / rate)
  made = audio.read(files.sound(wave, rate, subtype='FLOAT')).wave
  assert len(made) == 16_001  # upwards
  want = np.sin(2 * np.pi * 440 * np.arange(16_001) / 16_000)
  np.testing.assert_allclose(made[200:-200], want[200:-200], atol=1e-3)


@pytest.mark.parametrize('rate', [16_000, 44_100])
def test_reading_only_the_start_gives_the_same_start(rate):
  file = files.sound(noise(10 * rate), rate)
  part, whole = audio.read(file, 4.08), audio.read(file)
  assert part.seconds == whole.seconds == 10
  assert len(part.wave) < 6 * 16_000
  np.testing.assert_allclose(part.wave[:65_280], whole.wave[:65_280], atol=1e-6)


# ---- Bad input -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
  ('source', 'words'),
  [
    (b'', 'no bytes'),
    (b'no sound at all' * 20, '300 bytes is no sound or video that FFmpeg can read'),
    (files.sound(np.zeros(0)), 'the sound has no samples'),
    (files.sound(np.zeros(0), 44_100), 'the sound has no samples'),
    (files.sound(np.zeros(9), 100_000_000), 'the sound has no samples'),  # 0.00000009 s
    (files.sound(np.full(9, np.nan), subtype='FLOAT'), 'are no numbers'),
    ('no/such/file.wav', "no file 'no/such/file.wav'"),
    ('.', "no file '.'"),
    (files.video(3), 'has no audio'),
  ],
)
def test_what_is_no_sound_is_refused_by_name(source, words):
  with pytest.raises(sources.MediaError, match=words):
    audio.read(source)


@pytest.mark.parametrize('name', ['a.wav', 'a.mp3', 'a.raw', 'a.vox'])
def test_garbage_is_refused_whatever_it_calls_itself(tmp_path, name):
  path = tmp_path / name
  path.write_bytes(b'no sound at all' * 20)
  with pytest.raises(sources.MediaError, match=r'is no sound or video|has no audio'):
    audio.read(path)


def test_an_empty_file_is_refused_by_name(tmp_path):
  path = tmp_path / 'empty.wav'
  path.touch()
  with pytest.raises(sources.MediaError, match=r"empty\.wav' is empty"):
    audio.read(path)


def test_without_pyav_a_bad_sound_is_still_an_example_to_leave_out(monkeypatch):
  monkeypatch.setitem(sys.modules, 'av', None)
  with pytest.raises(sources.MediaError, match=r'libsndfile.*pip install av'):
    audio.read(b'no sound at all' * 20)


# ---- Spectrograms and fields ---------------------------------------------------------------------
def test_a_sound_is_cut_where_it_is_too_long_and_that_is_told():
  file = files.sound(noise(10 * 16_000))
  assert audio.spectrograms(file).shape == (2, 128, 256)
  with pytest.warns(UserWarning, match='lasts 10.00 s; what follows 4.08 s is cut'):
    cut = audio.spectrograms(file, 4.08)
  np.testing.assert_array_equal(cut, audio.spectrograms(file)[:1])


def test_a_missing_file_gives_nothing_and_a_warning(tmp_path):
  with pytest.warns(UserWarning, match='no sound file'):
    assert audio.load_spectrograms(str(tmp_path / 'none.wav')) is None


@pytest.mark.parametrize(
  ('seconds', 'max_segments', 'history'), [(3, 5, 0), (9, 5, 1), (30, 5, 4), (30, 2, 1)]
)
def test_the_last_segment_is_the_input_and_earlier_ones_the_history(seconds, max_segments, history):
  wave = noise(seconds * 16_000)
  fields = audio.fields_from_audio(files.sound(wave, subtype='FLOAT'), max_segments)
  assert fields['audio_history_inputs'].shape == (history, 256, 128, 1)
  assert fields['audio_history_input_masks'].shape == (history, 256, 128)
  start = history * 65_280
  alone = audio.fields_from_audio(files.sound(wave[start : start + 65_280], subtype='FLOAT'))
  np.testing.assert_array_equal(fields['audio_inputs'], alone['audio_inputs'])
  assert set(alone) == {'audio_inputs', 'audio_input_masks'}


def test_a_target_is_the_first_segment():
  file = files.sound(noise(9 * 16_000))
  target = audio.target_from_audio(file)
  first = audio.fields_from_audio(file)
  np.testing.assert_array_equal(target['audio_targets'], first['audio_inputs'])
  np.testing.assert_array_equal(target['audio_target_masks'], first['audio_input_masks'])


def test_a_written_sound_is_read_again(tmp_path):
  wave = np.asarray([0, 0.25, -0.5, 1, 7], np.float32)
  for name in ('a.wav', 'a.flac'):
    audio.write(str(tmp_path / name), wave)
    np.testing.assert_allclose(
      audio.read(tmp_path / name).wave, [0, 0.25, -0.5, 1, 1], atol=1 / 32_767
    )
