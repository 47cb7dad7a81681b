"""Sounds and videos inside a tf.data pipeline."""

import functools
import pathlib
import re

from absl import logging
import numpy as np
import pytest
import tensorflow as tf

from t5x.examples.unified_io import modality_processing
from t5x.examples.unified_io.data import data_utils
from t5x.examples.unified_io.media import audio, tensors, video
from tests.unit.unified_io.media import files

SOUND = files.sound(np.random.default_rng(0).uniform(-0.5, 0.5, 9 * 16_000))
CLIP = files.video(20)
BAD = b'neither sound nor video' * 20


@pytest.fixture(autouse=True)
def small_frames(monkeypatch):
  sizes = data_utils.ImageSizes(input=(32, 32), target=(32, 32), history=(16, 32))
  monkeypatch.setattr(data_utils, 'image_sizes', lambda: sizes)
  tensors.LEFT_OUT.clear()


def examples(contents, make):
  ds = tf.data.Dataset.from_tensor_slices(contents).map(make)
  return ds.element_spec, list(ds.as_numpy_iterator())


def test_fields_in_a_dataset_are_those_of_the_file():
  spec, (example,) = examples([SOUND], lambda s: tensors.audio_fields(s, 3, is_path=False))
  want = audio.fields_from_audio(SOUND, 3)
  assert set(example) == {*want, 'valid'}
  for name, value in want.items():
    np.testing.assert_array_equal(example[name], value)
    assert spec[name].dtype == value.dtype
  assert spec['audio_inputs'].shape == [256, 128, 1]
  assert spec['audio_history_inputs'].shape.as_list() == [None, 256, 128, 1]

  spec, (example,) = examples([CLIP], lambda s: tensors.video_fields(s, 2, is_path=False))
  want = video.fields_from_video(CLIP, 2, size=(16, 32))
  assert set(example) == {*want, 'valid'}
  for name, value in want.items():
    np.testing.assert_array_equal(example[name], value)
  assert spec['image_history_inputs'].shape.as_list() == [None, 16, 32, 3]

  _, (example,) = examples([SOUND], lambda s: tensors.audio_target_fields(s, is_path=False))
  for name, value in audio.target_from_audio(SOUND).items():
    np.testing.assert_array_equal(example[name], value)


def test_a_path_gives_what_its_bytes_give(tmp_path):
  path = tmp_path / 'söund.wav'
  path.write_bytes(SOUND)
  _, (by_path,) = examples([str(path)], lambda s: tensors.audio_fields(s, is_path=True))
  _, (by_bytes,) = examples([SOUND], lambda s: tensors.audio_fields(s, is_path=False))
  np.testing.assert_array_equal(by_path['audio_inputs'], by_bytes['audio_inputs'])


def test_one_segment_has_no_history_and_a_video_need_not_sound():
  spec, _ = examples([SOUND], lambda s: tensors.audio_fields(s, is_path=False))
  assert set(spec) == {'audio_inputs', 'audio_input_masks', 'valid'}
  make = lambda s: tensors.video_fields(s, 2, is_path=False, use_audio=False)
  spec, _ = examples([CLIP], make)
  assert set(spec) == {'image_history_inputs', 'image_history_input_masks', 'valid'}


def test_an_example_without_sound_is_valid_and_masked_wholly():
  _, (sound,) = examples([b''], lambda s: tensors.audio_fields(s, 3, is_path=True))
  assert sound['valid']
  assert not sound['audio_input_masks'].any()
  assert len(sound['audio_history_inputs']) == 0
  _, (clip,) = examples([b''], lambda s: tensors.video_fields(s, 2, is_path=True))
  assert clip['valid']
  assert len(clip['image_history_inputs']) == 0
  assert not tensors.LEFT_OUT


def test_bad_files_are_counted_and_left_out_and_the_rest_goes_on(monkeypatch):
  told = []
  monkeypatch.setattr(logging, 'warning', lambda text, *args: told.append(text % args))
  ds = tf.data.Dataset.from_tensor_slices([BAD, SOUND, BAD, BAD, SOUND])
  ds = ds.map(lambda s: tensors.audio_fields(s, is_path=False))
  assert len(list(data_utils.only_valid(ds))) == 2
  assert tensors.LEFT_OUT == {'audio': 3}
  assert len(told) == 2  # the first and the second; the next would be the fourth
  assert 'were left out' in told[0]
  assert '460 bytes is no sound' in told[0]


@pytest.mark.parametrize('source', [CLIP, b''])
def test_the_fields_go_through_stages_2_and_3(source, monkeypatch):
  inputs, targets = (
    modality_processing.get_input_modalities,
    modality_processing.get_target_modalities,
  )
  histories = functools.partial(inputs, ('image_history', 'audio_history'))
  monkeypatch.setattr(modality_processing, 'get_input_modalities', histories)
  monkeypatch.setattr(modality_processing, 'get_target_modalities', lambda: targets(()))
  lengths = {'image_history_input_samples': 2, 'num_frames': 3}
  ds = tf.data.Dataset.from_tensors(source)
  ds = ds.map(lambda s: tensors.video_fields(s, 3, is_path=False))
  ds = modality_processing.unified_io_preprocessor(ds, sequence_length=lengths)
  batch = next(modality_processing.UnifiedIOFeatureConverter()(ds, lengths).as_numpy_iterator())
  mask = batch['inputs/image_history/mask']
  assert mask.tolist() == ([[1, 1]] * 3 if source else [[0, 0]] * 3)


def test_the_task_of_the_docs_hears():
  page = (pathlib.Path(__file__).parents[4] / 'docs' / 'data.md').read_text(encoding='utf-8')
  (code,) = (part for part in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if 'wav' in part)
  names = {}
  exec(code, names)
  ds = tf.data.Dataset.from_tensor_slices({'wav': [SOUND, BAD, SOUND], 'label': ['a', 'b', 'c']})
  for preprocess in names['preprocessors'][:-1]:
    ds = preprocess(ds)
  examples = list(ds.as_numpy_iterator())
  assert [example['text_targets'] for example in examples] == [b'a', b'c']
  assert examples[0]['audio_history_inputs'].shape == (1, 256, 128, 1)
