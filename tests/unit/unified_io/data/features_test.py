import numpy as np
import pytest
import tensorflow as tf

from t5x.examples.unified_io import modality_specs as specs
from t5x.examples.unified_io.data import features, vocabulary
from t5x.examples.unified_io.data.features import history, image, patches, text

SEED = tf.constant([1, 2])
GRID = specs.PatchGrid(height=4, width=6, patch=2)
LENGTHS = {'text_inputs': 4, 'text_targets': 5}


def values(tree):
  return {name: value.numpy().tolist() for name, value in tree.items()}


# ---- Text ----------------------------------------------------------------------------------------
TEXT_INPUT = text.TextInput(specs.TextInputSpec())
TEXT_TARGET = text.TextTarget(specs.TextTargetSpec())


@pytest.mark.parametrize(
  ('example', 'tokens'),
  [
    ({}, []),
    ({'text_inputs': ''}, [1]),
    ({'text_inputs': [7, 8]}, [7, 8, 1]),
    ({'text_inputs': [7, 8, 9, 10]}, [7, 8, 9, 1]),
    ({'text_inputs': [7, 1]}, [7, 1, 1]),
    ({'text_inputs': [7, 8], 'use_text': False}, []),
    ({'text_inputs': [7, 8], 'use_text': True}, [7, 8, 1]),
  ],
)
def test_input_text_is_cut_and_ended(example, tokens):
  example = {k: tf.constant(v) for k, v in example.items()}
  assert values(TEXT_INPUT.preprocess(example, LENGTHS, SEED)) == {'tokens': tokens}


def test_strings_become_the_ids_of_the_vocabulary():
  ids = vocabulary.get_default_vocabulary().encode('a cat')
  made = TEXT_INPUT.preprocess({'text_inputs': tf.constant('a cat')}, {'text_inputs': 99}, SEED)
  assert made['tokens'].numpy().tolist() == [*ids, 1]


def test_input_text_is_filled_to_its_length():
  made = TEXT_INPUT.convert({'tokens': tf.constant([7, 1])}, LENGTHS)
  assert values(made) == {'tokens': [7, 1, 0, 0], 'pos_ids': [0, 1, 2, 3], 'mask': [1, 1, 0, 0]}
  assert all(value.shape == [4] for value in made.values())


def test_lengths_may_have_the_evaluators_names():
  made = TEXT_INPUT.convert({'tokens': tf.constant([7, 1])}, {'inputs/text/tokens': 3})
  assert values(made)['tokens'] == [7, 1, 0]
  with pytest.raises(ValueError, match="lack 'text_inputs'"):
    TEXT_INPUT.convert({'tokens': tf.constant([7, 1])}, {})


@pytest.mark.parametrize(
  ('targets', 'tokens', 'positions', 'segments'),
  [
    (tf.constant([7, 8]), [7, 8, 1], [0, 1, 2], [1, 1, 1]),
    (tf.constant([7, 1]), [7, 1], [0, 1], [1, 1]),
    (tf.constant([7, 8, 9, 10, 11]), [7, 8, 9, 10, 1], [0, 1, 2, 3, 4], [1] * 5),
    (
      tf.ragged.constant([[7, 8], [], [9]]),
      [7, 8, 1, 1, 9, 1], [0, 1, 2, 0, 0, 1], [1, 1, 1, 2, 3, 3],
    ),
  ],
)  # fmt: skip
def test_target_texts_end_and_restart(targets, tokens, positions, segments):
  made = values(TEXT_TARGET.preprocess({'text_targets': targets}, LENGTHS, SEED))
  assert made == {'tokens': tokens, 'pos_ids': positions, 'segment_ids': segments}


def test_the_decoder_reads_each_segment_from_its_start():
  fields = {
    'tokens': tf.constant([7, 1, 9, 1]),
    'pos_ids': tf.constant([0, 1, 0, 1]),
    'segment_ids': tf.constant([1, 1, 2, 2]),
  }
  assert values(TEXT_TARGET.convert(fields, LENGTHS)) == {
    'inputs': [0, 7, 0, 9, 0],
    'targets': [7, 1, 9, 1, 0],
    'pos_ids': [0, 1, 0, 1, 0],
    'segment_ids': [1, 1, 2, 2, 0],
    'mask': [1, 1, 1, 1, 0],
  }


def test_an_empty_target_carries_no_loss():
  made = TEXT_TARGET.convert(TEXT_TARGET.preprocess({}, LENGTHS, SEED), LENGTHS)
  assert values(made)['targets'] == [1, 0, 0, 0, 0]
  assert values(made)['mask'] == [0, 0, 0, 0, 0]


def test_choices_end_and_have_one_width():
  ragged = text.convert_choices(tf.ragged.constant([[7, 8, 9, 10, 11], []]), LENGTHS)
  assert ragged.numpy().tolist() == [[7, 8, 9, 10, 1], [1, 0, 0, 0, 0]]
  assert ragged.shape == [2, 5]
  filled = text.convert_choices(tf.constant([[7, 1], [0, 0]]), LENGTHS)
  assert filled.numpy().tolist() == [[7, 1, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_filled_choices_without_end_or_beyond_the_length_are_refused():
  with pytest.raises(tf.errors.InvalidArgumentError, match='an option has no EOS'):
    text.convert_choices(tf.constant([[7, 8], [7, 1]]), LENGTHS)
  with pytest.raises(tf.errors.InvalidArgumentError, match='longer than text_targets'):
    text.convert_choices(tf.constant([[7, 1, 0, 0, 0, 0]]), LENGTHS)


# ---- Patches -------------------------------------------------------------------------------------
def test_patches_run_along_rows_pixels_along_patches():
  picture = tf.reshape(tf.range(24), [4, 6, 1])
  assert patches.cut_patches(picture, GRID).numpy().tolist() == [
    [0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11],
    [12, 13, 18, 19], [14, 15, 20, 21], [16, 17, 22, 23],
  ]  # fmt: skip
  frames = patches.cut_patches(tf.stack([picture, picture + 24]), GRID)
  assert frames.shape == [2, 6, 4]
  assert frames[1, 0].numpy().tolist() == [24, 25, 30, 31]


def test_the_pixel_at_its_centre_decides_for_a_patch():
  pixels = np.zeros((4, 6), np.int32)
  pixels[1, 1] = pixels[3, 5] = 1
  pixels[0, 2] = 1  # no centre
  assert patches.patch_mask(pixels, GRID).numpy().tolist() == [1, 0, 0, 0, 0, 1]
  assert patches.patch_mask(tf.constant([1, 0, 1, 0, 0, 0]), GRID).numpy().tolist() == [
    1, 0, 1, 0, 0, 0,
  ]  # fmt: skip


def test_a_mask_of_another_size_is_looked_at_where_its_patches_lie():
  pixels = np.arange(8 * 12).reshape(8, 12)
  assert patches.patch_mask(pixels, GRID).numpy().tolist() == [26, 30, 34, 74, 78, 82]


@pytest.mark.parametrize(
  ('wanted', 'count'), [(None, 576), (1.0, 576), (0.5, 288), (144, 144), (600, 600)]
)
def test_the_number_of_patches_is_a_number_a_share_or_all(wanted, count):
  assert patches.num_samples(wanted, 576) == count


def test_hidden_patches_are_chosen_last():
  mask = tf.constant([0, 1, 0, 1, 1, 0])
  for seed in ([1, 2], [3, 4], [5, 6]):
    chosen = patches.sample_patches(mask, 4, tf.constant(seed)).numpy().tolist()
    assert set(chosen[:3]) == {1, 3, 4}
    assert chosen[3] in (0, 2, 5)


# ---- Images --------------------------------------------------------------------------------------
def image_input(**changes):
  grid = specs.PatchGrid(height=4, width=4, patch=2)
  return image.ImageInput(specs.PatchInputSpec(name='image', channels=3, grid=grid, **changes))


def picture():
  pixels = tf.reshape(tf.range(48, dtype=tf.float32), [4, 4, 3]) / 48
  return {'image_inputs': pixels, 'image_input_masks': tf.ones([4, 4], tf.int32)}


def test_images_are_normalised_channel_by_channel():
  made = image_input().preprocess(picture(), {}, SEED)
  red, green, blue = made['input'].numpy()[0, :3].tolist()
  assert red == pytest.approx((0 / 48 - 0.48145466) / 0.26862954, abs=1e-6)
  assert green == pytest.approx((1 / 48 - 0.4578275) / 0.26130258, abs=1e-6)
  assert blue == pytest.approx((2 / 48 - 0.40821073) / 0.27577711, abs=1e-6)
  assert values(made)['pos_ids'] == [0, 1, 2, 3]
  assert values(made)['mask'] == [1, 1, 1, 1]


def test_a_choice_of_patches_keeps_features_mask_and_position_together():
  whole = image_input().preprocess(picture(), {}, SEED)
  some = image_input().preprocess(picture(), {'image_input_samples': 3}, SEED)
  positions = some['pos_ids'].numpy()
  assert len(set(positions.tolist())) == 3
  np.testing.assert_array_equal(some['input'], whole['input'].numpy()[positions])


def test_another_seed_chooses_other_patches():
  def choose(seed):
    made = image_input().preprocess(picture(), {'image_input_samples': 2}, tf.constant(seed))
    return tuple(made['pos_ids'].numpy().tolist())

  assert choose([1, 2]) == choose([1, 2])
  assert len({choose([i, 7]) for i in range(9)}) > 3


def test_a_missing_image_is_masked_zeros_of_full_size():
  made = image_input().preprocess({}, {}, SEED)
  assert {k: v.shape.as_list() for k, v in made.items()} == {
    'input': [4, 0], 'mask': [0], 'pos_ids': [0],
  }  # fmt: skip
  made = image_input().convert(made, {})
  assert {k: v.shape.as_list() for k, v in made.items()} == {
    'input': [4, 12], 'mask': [4], 'pos_ids': [4],
  }  # fmt: skip
  assert not any(np.any(value) for value in made.values())


def test_an_image_of_another_size_is_refused():
  example = picture() | {'image_inputs': tf.zeros([6, 4, 3])}
  with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
    image_input().preprocess(example, {}, SEED)
  made = image_input().preprocess(picture(), {'image_input_samples': 3}, SEED)
  with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
    image_input().convert(made, {'image_input_samples': 2})


def target():
  grid = specs.PatchGrid(height=4, width=4, patch=2)
  return image.ImageTarget(specs.DenseTargetSpec(name='image', channels=3, grid=grid))


def test_target_images_span_minus_one_to_one():
  example = {'image_targets': tf.ones([4, 4, 3]) / 4, 'image_target_masks': tf.ones([4, 4])}
  made = target().preprocess(example, {}, SEED)
  assert set(made['image'].numpy().ravel()) == {-0.5}
  assert values(made)['mask'] == values(made)['loss_mask'] == [1, 1, 1, 1]
  assert values(made)['task_mask'] == [0, 0, 0, 0]


def test_target_masks_without_a_picture_are_refused():
  with pytest.raises(ValueError, match=r"there are .'mask'. of image targets"):
    target().preprocess({'image_target_masks': tf.ones([4, 4])}, {}, SEED)


def test_codes_stand_in_place_of_a_target_picture_all_of_them_real_unless_masked():
  grid = specs.PatchGrid(height=4, width=4, patch=2)
  spec = specs.DenseTargetSpec(name='image', channels=3, grid=grid, use_codes=True)
  codes = image.ImageTarget(spec)
  example = {'image_target_tokens': [5, 6, 7, 8]}
  made = codes.convert(codes.preprocess(example, {}, SEED), {})
  assert set(made) == {'tokens', 'mask', 'loss_mask', 'task_mask'}
  assert (values(made)['tokens'], values(made)['mask']) == ([5, 6, 7, 8], [1, 1, 1, 1])
  masked = {**example, 'image_target_masks': tf.constant([0, 1, 1, 0])}
  assert values(codes.preprocess(masked, {}, SEED))['loss_mask'] == [0, 1, 1, 0]
  none = codes.convert(codes.preprocess({}, {}, SEED), {})
  assert {k: (v.shape.as_list(), v.dtype) for k, v in none.items()} == {
    k: ([4], tf.int32) for k in made
  }
  with pytest.raises(ValueError, match='but no image_target_tokens'):
    codes.preprocess({'image_targets': tf.ones([4, 4, 3]), 'image_target_masks': [1]}, {}, SEED)


# ---- Histories -----------------------------------------------------------------------------------
def frames_input():
  grid = specs.PatchGrid(height=4, width=4, patch=2)
  return history.ImageHistory(specs.HistoryInputSpec(name='image_history', channels=3, grid=grid))


@pytest.mark.parametrize(('frames', 'kept'), [(2, 2), (3, 3), (5, 3)])
def test_frames_are_cut_or_filled_to_their_number(frames, kept):
  example = {
    'image_history_inputs': tf.ones([frames, 4, 4, 3]),
    'image_history_input_masks': tf.ones([frames, 4], tf.int32),
  }
  lengths = {'num_frames': 3}
  made = frames_input().convert(frames_input().preprocess(example, lengths, SEED), lengths)
  assert made['input'].shape == [3, 4, 12]
  assert made['mask'].numpy().tolist() == [[1] * 4] * kept + [[0] * 4] * (3 - kept)
  assert not np.any(made['input'].numpy()[kept:])


def test_each_frame_chooses_patches_of_its_own():
  example = {
    'image_history_inputs': tf.ones([6, 4, 4, 3]),
    'image_history_input_masks': tf.ones([6, 4], tf.int32),
  }
  lengths = {'num_frames': 6, 'image_history_input_samples': 2}
  made = frames_input().preprocess(example, lengths, SEED)
  assert made['pos_ids'].shape == [6, 2]
  assert len({tuple(row) for row in made['pos_ids'].numpy().tolist()}) > 1


# ---- The registry --------------------------------------------------------------------------------
def test_every_released_modality_has_features():
  assert tuple(features.input_specs()) == specs.INPUT_ORDER
  assert tuple(features.target_specs()) == specs.TARGET_ORDER
  for spec in features.input_specs().values():
    assert callable(features.for_input(spec).convert)


def test_an_unknown_modality_is_answered_with_the_near_ones():
  with pytest.raises(ValueError, match=r"'imgae'; did you mean one of .'image'"):
    features.for_input(specs.TextInputSpec(name='imgae'))
