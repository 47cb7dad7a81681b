"""Sounds and videos of users: what they bring, what their tensors are, what is refused by name."""

import numpy as np
import pytest

from t5x.examples.unified_io.data.own import media_fields
from t5x.examples.unified_io.data.own.media import Media, MediaError
from tests.unit.unified_io.media import files as made

pytest.importorskip('av')


def noise(seconds):
  return np.random.default_rng(0).uniform(-0.5, 0.5, round(16_000 * seconds)).astype(np.float32)


def sound(seconds):
  return Media(data=made.sound(noise(seconds)))


def clip(with_sound=True):
  return Media(data=made.video(12, fps=4, wave=noise(3) if with_sound else None))


@pytest.mark.parametrize(
  ('name', 'media', 'brings'),
  [
    ('audio', sound(3), {'audio'}),
    ('audio', sound(9), {'audio', 'audio_history'}),
    ('audio_target', sound(9), {'audio_target'}),
    ('audio', clip(), {'audio'}),
    ('video', clip(), {'video', 'audio_history'}),
    ('video', clip(with_sound=False), {'video'}),
  ],
)
def test_what_a_field_brings_is_read_from_its_header(name, media, brings):
  found, _ = media_fields.check(name, media, decode=False)
  assert set(found) == brings
  values = media_fields.read({name: media}, brings, max_frames=4)
  specs = media_fields.specs(brings)
  assert set(values) == set(specs)
  for key, spec in specs.items():
    assert spec.shape.is_compatible_with(values[key].shape)
    assert values[key].dtype == spec.dtype.as_numpy_dtype
    assert values[key].any()


def test_what_a_row_lacks_is_masked():
  everything = media_fields.BRINGS
  for key, value in media_fields.read({}, everything, max_frames=4).items():
    spec = media_fields.specs(everything)[key]
    assert spec.shape.is_compatible_with(value.shape)
    assert value.dtype == spec.dtype.as_numpy_dtype
    assert not value.any()


def test_the_sound_of_a_row_goes_before_that_of_its_video():
  brings = ('audio', 'video', 'audio_history')
  values = media_fields.read({'audio': sound(9), 'video': clip()}, brings, max_frames=4)
  alone = media_fields.read({'audio': sound(9)}, brings, max_frames=4)
  assert values['image_history_inputs'].any()
  for name in ('audio_inputs', 'audio_history_inputs'):
    np.testing.assert_array_equal(values[name], alone[name])


@pytest.mark.parametrize(
  ('name', 'media', 'fault'),
  [
    ('audio', Media(data=made.sound(noise(0))), 'it has no samples'),
    ('audio', Media(data=b'no sound'), 'no sound or video'),
    ('audio', Media(path='/nowhere.wav'), 'there is no file /nowhere.wav'),
    ('audio', clip(with_sound=False), 'it has no sound'),
    ('audio_target', Media(data=made.sound(noise(0))), 'it has no samples'),
    ('video', Media(data=b'no video'), 'no sound or video'),
    ('video', Media(path='/nowhere.mp4'), '/nowhere.mp4'),
    ('video', sound(1), 'it has no pictures'),
  ],
)
def test_what_cannot_be_used_is_named_by_its_header(name, media, fault):
  with pytest.raises(MediaError, match=fault):
    media_fields.check(name, media, decode=False)
