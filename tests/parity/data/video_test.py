"""Moments, frames and sound of video clips."""

import contextlib
import math
import warnings

import numpy as np
import pytest

from t5x.examples.unified_io.data import spectrogram
from t5x.examples.unified_io.media import containers, resize, video
from tests.parity import harness
from tests.parity.data import compare, raw

FOLDER = 'data/h_video'
OPTIONS = {
  'audio_segment_length': 'segment_seconds', 'video_segment_length': 'window',
  'video_length': 'video_seconds', 'clip_start_time': 'start', 'clip_end_time': 'end',
}  # fmt: skip


def options_of(row):
  return {OPTIONS.get(name, name): value for name, value in row['options'].items()}


@contextlib.contextmanager
def warnings_told():
  with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter('always')
    yield told


class BlackFile:
  """Stands for a file that gives black frames, and remembers for which moments it was asked."""

  def __init__(self):
    self.seconds, self.moments = None, []

  def read_frames(self, container, times):
    self.moments = [float(time) for time in times]
    return [np.zeros((256, 256, 3), np.uint8) for _ in times]


@pytest.fixture
def file(monkeypatch):
  made = BlackFile()
  monkeypatch.setattr(containers, 'opened', contextlib.nullcontext)
  monkeypatch.setattr(containers, 'seconds_of', lambda container: made.seconds)
  monkeypatch.setattr(containers, 'read_frames', made.read_frames)
  return made


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'frame_times'))
def test_frames_are_taken_at_the_moments_of_the_original(path, file):
  with harness.case(path) as c:
    for i, row in enumerate(c.config['rows']):
      file.seconds, file.moments = row['duration'], []
      c.given(f'rows/{i}/duration', f'rows/{i}/options')
      with warnings_told() as told:
        clip = video.load('clip', **options_of(row), use_audio=False)
      c.exact(f'rows/{i}/times', file.moments, row['times'])
      frames = None if clip is None else list(clip.frames.shape)
      c.exact(f'rows/{i}/frames', frames, row['frames'])
      c.exact(f'rows/{i}/warned', bool(told), row['warned'])
      c.exact(f'rows/{i}/raises', None, row['raises'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'segments'))
def test_clips_are_cut_into_the_windows_of_the_original(path, file):
  with harness.case(path) as c:
    for i, row in enumerate(c.config['counts']):
      c.given(f'counts/{i}/length', f'counts/{i}/window')
      got = spectrogram.count_windows(row['length'], row['window'])
      c.exact(f'counts/{i}/n', got, row['n'])
    for i, row in enumerate(c.config['calls']):
      c.given(f'calls/{i}/options')
      borders, times, raises = windows_of(options_of(row), file)
      c.exact(f'calls/{i}/times', times, row['times'])
      c.exact(f'calls/{i}/boundaries', borders, row['boundaries'])
      assert raises == (row['raises'] is not None)  # the name of a class is not compared
      c.given(f'calls/{i}/raises')


def windows_of(options, file):
  """(borders, times, whether the call was refused)."""
  if 'times' in options:
    video.frames_at('clip', options['times'])
    return None, file.moments, False
  try:
    borders, times = video.window_times(**{'start': 0, **options})
  except (TypeError, ValueError):
    return None, [], True
  return borders.tolist(), times.tolist(), False


# ---- Resizing ------------------------------------------------------------------------------------
@pytest.mark.parametrize('path', harness.cases(FOLDER, 'frame_resize'))
def test_frames_are_stretched_as_in_the_original(path):
  with harness.case(path) as c:
    c.given('images', 'output_size')
    for i, row in enumerate(c.config['rows']):
      c.given(f'rows/{i}/image')
      picture = raw.arrays_of(c.config['images'])[row['image']]
      frame = resize.to_size(picture, tuple(c.config['output_size']))
      # Not a single grey level differs; the case would allow one.
      compare.summary(c, f'rows/{i}/summary', row['image'], frame, row['summary'], 0)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'resize_shorter_side'))
def test_frames_shrink_to_a_shorter_side_as_in_the_original(path):
  with harness.case(path) as c:
    c.given('other_side')
    pictures = raw.arrays_of('b_images/inputs')
    for i, row in enumerate(c.config['rows']):
      c.given(f'rows/{i}/image', f'rows/{i}/target', f'rows/{i}/arrays')
      frame = resize.to_shorter_side(pictures[row['image']], row['target'])
      atol = compare.tolerance(c, f'rows.{i}.summary')
      prefix = row['arrays'].removesuffix('.*')
      compare.summary(c, f'rows/{i}/summary', prefix, frame, row['summary'], atol)
    given = c.config['untouched_input']
    c.given('untouched_input')
    picture = pictures[given['image']]
    same = np.array_equal(resize.to_shorter_side(picture, given['target']), picture)
    c.exact('untouched', same, c.config['untouched'])


# ---- Files ---------------------------------------------------------------------------------------
def index_of(frame):
  """The number that eight dark or bright stripes of a frame spell, its lowest bit at the left."""
  middle = frame[len(frame) // 4 : 3 * len(frame) // 4].mean((0, 2))
  stripes = middle[: len(middle) // 8 * 8].reshape(8, -1).mean(1)
  return int(((stripes > 128) << np.arange(8)).sum())


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'decode_*'))
def test_clips_are_decoded_to_the_frames_and_the_sound_of_the_original(path):
  with harness.case(path) as c:
    c.given('fps', 'mp4', 'options')
    file = c.outputs['mp4'].tobytes()
    with warnings_told() as told:
      clip = video.load(file, **options_of(c.config))
    with containers.opened(file) as container:
      c.exact(
        'container_duration', containers.seconds_of(container), c.config['container_duration']
      )
      c.exact('frames', container.streams.video[0].frames, c.config['frames'])
      c.exact('has_audio', bool(container.streams.audio), c.config['has_audio'])
    c.exact('warned', bool(told), c.config['warned'])
    c.exact('raises', None, c.config['raises'])
    c.exact('times', clip.times, c.config['times'])
    c.exact('shape', list(clip.frames.shape), c.config['shape'])
    c.exact('frame_index', [index_of(frame) for frame in clip.frames], c.config['frame_index'])
    floors = [math.floor(time * c.config['fps']) for time in clip.times]
    c.exact('expected_index_floor', floors, c.config['expected_index_floor'])
    compare_sound(c, clip.mels)
    for i, row in enumerate(c.config['seek_sweep']):
      c.given(f'seek_sweep/{i}/t')
      place = row['t'] * c.config['fps']
      c.exact(f'seek_sweep/{i}/floor', math.floor(place), row['floor'])
      c.exact(f'seek_sweep/{i}/ceil', math.ceil(place), row['ceil'])
      got = index_of(video.frames_at(file, [row['t']])[0])
      c.exact(f'seek_sweep/{i}/frame_index', got, row['frame_index'])
    moments = [row['t'] for row in c.config['seek_sweep']]
    together = [index_of(frame) for frame in video.frames_at(file, moments)]
    assert together == [row['frame_index'] for row in c.config['seek_sweep']]


def compare_sound(c, mels):
  if mels is None:
    c.exact('audio', None, c.config['audio'])
    return
  c.exact('audio/shape', list(mels.shape), c.config['audio']['shape'])
  want = c.outputs['mel.band_mean']
  atol = compare.tolerance(c, 'mel.band_mean') * float(mels.max())
  c.equal('mel.band_mean', mels.mean(2, dtype=np.float64), want, atol=atol)
