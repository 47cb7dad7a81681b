"""What a caller hands in, as a batch of one."""

import numpy as np
import pytest

from t5x.examples.unified_io import config
from t5x.examples.unified_io.inference import inputs

LENGTHS = {
  'text_inputs': 16, 'text_targets': 4, 'image_input_samples': 576, 'audio_input_samples': 128,
  'image_history_input_samples': 256, 'audio_history_input_samples': 128, 'num_frames': 3,
  'is_training': False,
}  # fmt: skip


def grey(height, width):
  return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.parametrize(
  ('size', 'shrunk'),
  [
    ((100, 50), (384, 192)),
    ((768, 384), (384, 192)),
    ((50, 1000), (19, 384)),
    ((9, 7), (384, 298)),
  ],
)
def test_the_longer_side_gets_the_length_and_the_shorter_is_cut(size, shrunk):
  assert inputs.shrink(grey(*size)).shape == (*shrunk, 3)
  assert (inputs.shrink(grey(*size)) == 128).all()
  assert inputs.shrink(grey(10, 5), long_side=4).shape == (4, 2, 3)


def test_only_what_is_handed_in_becomes_a_field():
  assert set(inputs.raw_fields('hi')) == {'text_inputs'}
  fields = inputs.raw_fields('hi', image=grey(10, 20), audio=np.ones((128, 256), np.float32))
  assert set(fields) == {
    'text_inputs', 'image_inputs', 'image_input_masks', 'audio_inputs', 'audio_input_masks',
  }  # fmt: skip


def test_a_missing_frame_is_masked_wholly():
  fields = inputs.raw_fields('hi', image_history=[None, grey(20, 10)])
  masks = np.asarray(fields['image_history_input_masks'])
  assert masks.shape == (2, 256, 256)
  assert not masks[0].any()
  assert masks[1].sum() == 256 * 128


def test_a_batch_of_one_has_every_field_and_counts_its_tokens():
  mels = np.ones((2, 128, 256), np.float32)
  fields = inputs.raw_fields(
    'hi', image=grey(20, 10), image_history=np.stack([grey(9, 9)] * 2), audio_history=mels
  )
  batch = inputs.batch_of_one(fields, LENGTHS)
  assert batch['inputs/image/input'].shape == (1, 576, 768)
  assert batch['inputs/audio_history/input'].shape == (1, 3, 128, 256)
  assert not batch['inputs/audio/mask'].any()
  model = config.model_config(
    'tiny',
    image_resampler=config.ResamplerConfig(latents=5),
    audio_resampler=config.ResamplerConfig(latents=7),
  )
  text = int(batch['inputs/text/mask'].sum())
  assert inputs.count_tokens(batch, model) == text + 576 // 2 + 2 * 5 + 2 * 7


@pytest.mark.parametrize(('tokens', 'bucket'), [(0, 64), (64, 64), (65, 256), (1024, 1024)])
def test_the_bucket_is_the_shortest_that_holds_the_tokens(tokens, bucket):
  assert inputs.length_bucket(tokens) == bucket


def test_more_tokens_than_the_longest_bucket_are_refused():
  with pytest.raises(ValueError, match='1025 input tokens are more than 1024'):
    inputs.length_bucket(1025)
