"""Moments of clips, frames from files, and the fields made of them."""

import sys

import numpy as np
import pytest

from t5x.examples.unified_io.media import containers, sources, video
from tests.unit.unified_io.media import files

CLIP = files.video(60)  # 6 s at 10 frames a second


def noise(seconds):
  return np.random.default_rng(0).uniform(-0.5, 0.5, int(seconds * 16_000)).astype(np.float32)


def numbers(frames):
  return [files.number_of(frame) for frame in frames]


# ---- Moments -------------------------------------------------------------------------------------
def test_a_frame_is_taken_from_the_middle_of_each_window():
  borders, times = video.window_times(2, 8, num_frames=3)
  np.testing.assert_array_equal(borders, [2, 4, 6, 8])
  np.testing.assert_array_equal(times, [3, 5, 7])
  np.testing.assert_array_equal(video.window_times(0, 6, window=3)[1], [1.5, 4.5])
  # Windows are counted in the video, and then cover the whole clip.
  np.testing.assert_array_equal(video.window_times(0, 8, window=2, video_seconds=4)[1], [2, 6])


def test_windows_are_told_by_their_length_or_their_number():
  for wrong in ({}, {'window': 1, 'num_frames': 2}):
    with pytest.raises(ValueError, match='either window or num_frames'):
      video.window_times(0, 8, **wrong)


@pytest.mark.parametrize(('seconds', 'frames'), [(16.32, 5), (1.1, 5), (1, 4), (0.5, 4), (0.4, 5)])
def test_rounding_may_take_a_frame_from_a_clip_of_short_windows(seconds, frames):
  assert len(video.clip_times(seconds, 5)) == frames


# ---- Frames --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
  ('time', 'number'), [(0, 0), (0.0004, 0), (0.0006, 1), (1.2, 12), (1.21, 13), (5.9, 59)]
)
def test_the_frame_is_the_first_at_or_after_the_time_in_milliseconds(time, number):
  assert numbers(video.frames_at(CLIP, [time])) == [number]


# Frames that are shown before the key frame which they follow in the file.
OPEN_GROUPS = {'x264-params': 'open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0'}


@pytest.mark.parametrize(
  ('container', 'codec', 'options'),
  [
    ('mp4', 'libx264', {}), ('mp4', 'libx264', OPEN_GROUPS), ('mp4', 'mpeg4', {}),
    ('matroska', 'libx264', {}), ('webm', 'libvpx-vp9', {}), ('mpegts', 'libx264', {}),
    ('flv', 'libx264', {}),
  ],
)  # fmt: skip
def test_jumping_gives_the_frames_that_going_through_gives(container, codec, options):
  clip = files.video(60, container=container, codec=codec, options=options)
  times = np.arange(0, 5.9, 0.17)
  want = [int(np.ceil(round(time * 1000) / 100)) for time in times]
  assert numbers(video.frames_at(clip, times)) == want
  assert [numbers(video.frames_at(clip, [time]))[0] for time in times] == want


def test_a_time_may_be_asked_for_twice():
  assert numbers(video.frames_at(CLIP, [1.25, 1.25, 1.28, 4])) == [13, 13, 13, 40]


def test_a_jump_leaves_out_what_lies_between(monkeypatch):
  seeks = []
  reader = containers._FrameReader

  class Counting(reader):
    def _jump_towards(self, time):
      frames = self._frames
      super()._jump_towards(time)
      seeks.append(self._frames is not frames)

  monkeypatch.setattr(containers, '_FrameReader', Counting)
  assert numbers(video.frames_at(CLIP, [0.1, 0.5, 4.7, 4.9, 5.7])) == [1, 5, 47, 49, 57]
  assert seeks == [False, False, True, False, True]


def test_a_time_behind_the_last_frame_gives_nothing():
  assert video.frames_at(CLIP, [1, 5.95]) is None


def test_frames_come_in_the_size_asked_for():
  assert video.frames_at(CLIP, [1]).shape == (1, 48, 64, 3)
  assert video.frames_at(CLIP, [1], (16, 24)).shape == (1, 16, 24, 3)
  small = video.frames_at(CLIP, [1, 2], 24)
  assert (small.shape, small.dtype) == ((2, 24, 32, 3), np.float64)


@pytest.mark.parametrize('rotation', [90, 180, -90])
def test_frames_stand_upright(rotation):
  lying = video.frames_at(files.video(9, rotation=rotation), [0.5])[0]
  upright = video.frames_at(files.video(9), [0.5])[0]
  np.testing.assert_array_equal(lying, np.rot90(upright, rotation // 90))


# ---- Clips ---------------------------------------------------------------------------------------
def test_a_part_of_a_video_ends_with_the_video():
  got = video.frames_of_clip(CLIP, start=1, num_frames=2, size=(48, 64))
  assert numbers(got) == [23, 48]  # of 2.25 and 4.75 s
  with pytest.warns(UserWarning, match=r'ends at 6.00 s; there is no 9.00 s'):
    same = video.frames_of_clip(CLIP, start=1, end=9, num_frames=2, size=(48, 64))
  np.testing.assert_array_equal(same, got)
  part = video.frames_of_clip(CLIP, end=4, window=2, size=(48, 64))
  assert numbers(part) == [10, 30]


def test_a_clip_brings_frames_and_sound():
  clip = video.load(files.video(60, wave=noise(6)), 4)
  np.testing.assert_array_equal(clip.times, [0.75, 2.25, 3.75, 5.25])
  assert numbers(clip.frames) == [8, 23, 38, 53]
  assert clip.frames.shape == (4, 256, 256, 3)
  assert clip.mels.shape == (1, 128, 256)  # the 1.92 s behind 4.08 are too few for another
  assert video.load(CLIP, 4).mels is None
  assert video.load(files.video(60, wave=noise(6)), 4, use_audio=False).mels is None


def test_a_long_video_is_cut_and_that_is_told():
  with pytest.warns(UserWarning, match=r'lasts 6.00 s; what follows 4.08 s is cut'):
    clip = video.load(files.video(60, wave=noise(6)), 1)
  np.testing.assert_array_equal(clip.times, [2.04])
  assert len(clip.mels) == 1


def test_fields_hold_pixels_from_0_to_1_that_are_all_seen():
  fields = video.fields_from_video(files.video(60, wave=noise(6)), 4, size=(48, 64))
  assert {name: (value.shape, value.dtype.name) for name, value in fields.items()} == {
    'image_history_inputs': ((4, 48, 64, 3), 'float32'),
    'image_history_input_masks': ((4, 48, 64), 'int32'),
    'audio_history_inputs': ((1, 256, 128, 1), 'float32'),
    'audio_history_input_masks': ((1, 256, 128), 'int32'),
  }
  frames = video.frames_at(files.video(60), [0.75, 2.25, 3.75, 5.25])
  np.testing.assert_allclose(fields['image_history_inputs'], frames / 255, atol=1e-6)
  assert fields['image_history_input_masks'].all()


def test_a_silent_video_has_no_segments_of_sound():
  fields = video.fields_from_video(CLIP, 2)
  assert fields['audio_history_inputs'].shape == (0, 256, 128, 1)
  assert fields['audio_history_input_masks'].shape == (0, 256, 128)
  assert set(video.fields_from_video(CLIP, 2, use_audio=False)) == {
    'image_history_inputs', 'image_history_input_masks',
  }  # fmt: skip


# ---- Bad input -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
  ('source', 'words'),
  [
    (b'no video at all' * 20, '300 bytes is no sound or video that FFmpeg can read'),
    (CLIP[: len(CLIP) // 2], 'is no sound or video that FFmpeg can read'),
    ('no/such/clip.mp4', "no file 'no/such/clip.mp4'"),
    (files.sound(np.zeros(16_000)), 'has no frames'),
  ],
)
def test_what_is_no_video_is_refused_by_name(source, words):
  with pytest.raises(sources.MediaError, match=words):
    video.fields_from_video(source, 2)


def test_without_pyav_it_is_told_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'av', None)
  with pytest.raises(ImportError, match='pip install av'):
    video.load(CLIP, 2)
