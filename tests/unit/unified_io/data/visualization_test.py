"""Features back to pictures, and what is drawn on them."""

import io

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from t5x.examples.unified_io import modality_specs
from t5x.examples.unified_io.data import visualization as draw
from t5x.examples.unified_io.data.features import audio, image

GRID = modality_specs.PatchGrid(height=8, width=12, patch=4)  # 2 x 3 patches
IMAGE = modality_specs.PatchInputSpec(name='image', channels=3, grid=GRID)
AUDIO = modality_specs.PatchInputSpec(name='audio', channels=1, grid=GRID)
SEED = tf.constant([0, 1])


def features_of(spec, values, mask=None, samples=None):
  """Stage 2 of one picture or spectrogram."""
  cls = image.ImageInput if spec.channels == 3 else audio.AudioInput
  mask = np.ones((spec.grid.rows, spec.grid.cols), np.int32) if mask is None else np.array(mask)
  example = {
    f'{spec.name}_inputs': tf.constant(values, tf.float32),
    f'{spec.name}_input_masks': tf.constant(draw.by_pixel(mask, spec.grid.patch)),
  }
  made = cls(spec).preprocess(example, {f'{spec.name}_input_samples': samples}, SEED)
  return [made[name].numpy() for name in ('input', 'pos_ids', 'mask')]


def noise(channels):
  return np.random.default_rng(0).random((8, 12, channels))


@pytest.mark.parametrize('spec', [IMAGE, AUDIO], ids=lambda spec: spec.name)
def test_stage_2_and_back_gives_the_values_again(spec):
  values = noise(spec.channels)
  placed = draw.place(*features_of(spec, values), spec)
  np.testing.assert_allclose(placed.seen_values(), values, atol=1e-5)
  assert placed.seen.all()


def test_pixels_come_back_to_the_byte():
  pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
  placed = draw.place(*features_of(IMAGE, pixels / 255), IMAGE)
  np.testing.assert_array_equal(draw.to_uint8(placed.picture()), pixels)


def test_patches_that_were_left_out_are_black_and_masked_ones_magenta():
  mask = [[1, 1, 0], [1, 1, 1]]
  placed = draw.place(*features_of(IMAGE, np.ones((8, 12, 3)), mask, samples=None), IMAGE)
  assert placed.arrived.all()
  np.testing.assert_array_equal(placed.seen, mask)
  np.testing.assert_array_equal(placed.picture()[:4, 8:], 0)
  np.testing.assert_array_equal(placed.picture_of_mask()[:4, 8:], [[draw.MAGENTA] * 4] * 4)
  fewer = draw.place(*features_of(IMAGE, np.ones((8, 12, 3)), mask, samples=4), IMAGE)
  assert fewer.seen.sum() == fewer.arrived.sum() == 4
  absent = draw.by_pixel(fewer.arrived, 4) == 0
  assert absent.sum() == 2 * 16
  np.testing.assert_array_equal(fewer.picture_of_mask()[absent], 0)
  np.testing.assert_allclose(fewer.picture_of_mask()[~absent], 1, atol=1e-6)


def test_padding_at_the_place_of_a_patch_does_not_hide_it():
  patches, positions, mask = features_of(IMAGE, noise(3))
  padded = [np.concatenate([x, np.zeros((2, *x.shape[1:]), x.dtype)]) for x in (patches, mask)]
  positions = np.concatenate([positions, [0, 0]])
  placed = draw.place(padded[0], positions, padded[1], IMAGE)
  np.testing.assert_allclose(placed.picture(), noise(3), atol=1e-5)


def test_targets_come_back_from_their_normalisation():
  grid = modality_specs.DenseTargetSpec(name='image', channels=3, grid=GRID)
  example = {
    'image_targets': tf.constant(noise(3), tf.float32), 'image_target_masks': tf.ones([8, 12]),
  }  # fmt: skip
  made = image.ImageTarget(grid).preprocess(example, {}, SEED)
  np.testing.assert_allclose(draw.target_values(made['image'].numpy(), 3), noise(3), atol=1e-6)
  grid = modality_specs.DenseTargetSpec(name='audio', channels=1, grid=GRID)
  example = {
    'audio_targets': tf.constant(noise(1), tf.float32), 'audio_target_masks': tf.ones([8, 12]),
  }  # fmt: skip
  made = audio.AudioTarget(grid).preprocess(example, {}, SEED)
  np.testing.assert_allclose(draw.target_values(made['audio'].numpy(), 1), noise(1), atol=1e-5)


def test_plots_of_sound_show_time_to_the_right_and_pitch_upwards():
  log_mel = np.full((6, 4, 1), -8.0)
  log_mel[5, 3] = 8  # the last moment, the highest band
  plot = draw.spectrogram(log_mel)
  assert plot.shape == (4, 6, 3)
  brightness = plot.sum(-1)
  assert np.unravel_index(brightness.argmax(), brightness.shape) == (0, 5)
  # 16 nepers of power are 69 decibels.
  quieter = draw.spectrogram(np.where(log_mel < 0, -11.5, log_mel)).sum(-1)
  assert (quieter[1:, :5] < brightness[1:, :5]).all()


def test_hidden_sound_takes_no_part_in_the_scale_of_a_plot():
  values = np.full((8, 12, 1), -3.0)
  values[:4, :4] = 10
  mask = [[0, 1, 1], [1, 1, 1]]
  placed = draw.place(*features_of(AUDIO, values, mask), AUDIO)
  shown = placed.picture()
  assert shown.shape == (12, 8, 3)
  np.testing.assert_array_equal(shown[8:, :4], 0)  # the first moments of the lowest bands
  loudest = draw.spectrogram(np.zeros((2, 2)))[0, 0]
  np.testing.assert_allclose(shown[:8], np.broadcast_to(loudest, (8, 8, 3)))
  np.testing.assert_array_equal(placed.picture_of_mask()[8:, :4], [[draw.MAGENTA] * 4] * 4)


def test_an_outline_lies_on_the_box():
  drawn = draw.draw_boxes(np.zeros((6, 6, 3)), [[1, 2, 4, 5.9]])[..., 0]
  want = np.zeros((6, 6))
  want[[1, 4], 2:5] = 1
  want[1:5, [2, 4]] = 1
  np.testing.assert_array_equal(drawn, want)


@pytest.mark.parametrize(
  'box', [[0, 0, 6, 6], [-3, -3, 9, 9], [5.7, 5.7, 5.8, 5.8], [3, 3, 3, 3], [8, 8, 9, 9]]
)
def test_every_box_can_be_drawn_once_it_is_clipped(box):
  picture = np.zeros((6, 6, 3))
  drawn = draw.draw_boxes(picture, draw.clipped([box], 6, 6))
  assert drawn.any()
  assert not picture.any()
  with pytest.raises(IndexError, match='clip it'):
    draw.draw_boxes(picture, [[0, 0, 6, 6]])


def test_no_box_is_no_drawing():
  picture = np.zeros((6, 6, 3))
  drawn = draw.draw_boxes(picture, draw.clipped(np.zeros((0, 4), int), 6, 6))
  np.testing.assert_array_equal(drawn, picture)


@pytest.mark.parametrize(('side', 'kind'), [(40, 'image/png'), (300, 'image/jpeg')])
def test_small_pictures_are_kept_to_the_pixel_and_large_ones_nearly(side, kind):
  picture = np.full((side, side, 3), (10, 200, 90), np.uint8)
  data, mime = draw.encode(picture)
  assert mime == kind
  again = np.asarray(Image.open(io.BytesIO(data)))
  np.testing.assert_allclose(again, picture, atol=0 if 'png' in kind else 3)


def test_pictures_are_shrunk_and_never_enlarged():
  assert draw.shrink(np.zeros((150, 200, 3), np.uint8), 100).shape == (100, 133, 3)
  assert draw.shrink(np.zeros((50, 200, 3), np.uint8), 100).shape == (50, 200, 3)
