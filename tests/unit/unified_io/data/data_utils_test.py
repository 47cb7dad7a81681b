"""Draws, canvases, and moving fields."""

import io

import gin
import numpy as np
from PIL import Image
import pytest
import seqio
import tensorflow as tf

from t5x.examples.unified_io.data import data_utils

SEED = tf.constant([1, 2])


@data_utils.map_example(num_seeds=2)
def draw_two(ex, first, second, *, count, sequence_length=None):
  """Two draws and nothing of the example."""
  del ex, sequence_length
  return {
    'a': data_utils.draw_index(first, count),
    'b': data_utils.draw_index(second, count),
  }


def seeded(seeds):
  return tf.data.Dataset.from_tensor_slices(
    {'x': tf.zeros([len(seeds)]), data_utils.SEED_KEY: tf.constant(seeds, tf.int32)}
  )


def test_draws_are_a_function_of_the_examples_own_seed():
  rows = list(draw_two(seeded([[1, 2], [3, 4], [1, 2]]), count=10**6).as_numpy_iterator())
  assert rows[0]['a'] == rows[2]['a'] != rows[1]['a']
  assert rows[0]['a'] != rows[0]['b']


@data_utils.map_example(num_seeds=2)
def draw_two_others(ex, first, second, *, count):
  """As `draw_two`, under another name."""
  return draw_two.__wrapped__(ex, first, second, count=count)


def test_two_preprocessors_of_an_example_draw_apart():
  (one,), (other,) = (
    fn(seeded([[1, 2]]), count=10**6).as_numpy_iterator() for fn in (draw_two, draw_two_others)
  )
  assert one['a'] != other['a']


def test_bookkeeping_of_the_stream_passes_through_a_preprocessor():
  (row,) = draw_two(seeded([[1, 2]]), count=3).as_numpy_iterator()
  assert set(row) == {'a', 'b', data_utils.SEED_KEY}


def test_without_the_stream_seqio_gives_the_seeds():
  def rows():
    with seqio.utils.map_seed_manager(7):
      ds = draw_two(tf.data.Dataset.from_tensors({'x': 0}).repeat(2), count=10**6)
    return [(int(row['a']), int(row['b'])) for row in ds]

  first = rows()
  assert first == rows()
  assert first[0] != first[1]


def test_seqio_finds_its_arguments_in_a_preprocessor():
  given = seqio.utils.add_kwargs_to_transform(draw_two, sequence_length={}, unknown=1)
  assert given.keywords == {'sequence_length': {}}


def test_sizes_of_pictures_are_set_in_one_place():
  with gin.unlock_config():
    gin.parse_config('image_sizes.input = (64, 32)')
  try:
    image, mask, _ = data_utils.resize_and_pad_default(tf.zeros([8, 8, 3], tf.uint8), False)
  finally:
    gin.clear_config()
  assert image.shape == (64, 32, 3)
  assert mask.numpy().sum() == 32 * 32
  assert data_utils.image_sizes().input == (384, 384)


def test_a_picture_of_the_right_size_stays_as_it_is():
  pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
  image, mask, _ = data_utils.resize_and_pad(pixels, (6, 4))
  np.testing.assert_allclose(image, pixels / 255, atol=1e-7)
  assert mask.numpy().all()


def test_training_without_augmentation_is_evaluation():
  pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
  plain, _, _ = data_utils.resize_and_pad_default(pixels, False)
  trained, _, _ = data_utils.resize_and_pad_default(pixels, True, augment=False)
  np.testing.assert_array_equal(plain, trained)


def test_bytes_of_pictures_are_decoded_to_three_channels():
  grey = tf.io.encode_png(tf.fill([2, 3, 1], tf.constant(7, tf.uint8)))
  assert data_utils.decode_image(grey).shape == (2, 3, 3)


def test_labels_stay_with_their_boxes():
  boxes = tf.constant([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.5]])
  *_, (_, _, kept, labels, indices) = data_utils.resize_and_pad(
    tf.zeros([4, 4, 3], tf.uint8), (8, 8), boxes=boxes, box_labels=tf.constant(['none', 'half'])
  )
  assert kept.numpy().tolist() == [[0, 0, 8, 4]]
  assert labels.numpy().tolist() == [b'half']
  assert indices.numpy().tolist() == [1]


def test_an_empty_path_gives_an_empty_text():
  ds = tf.data.Dataset.from_tensors({'a': {'b': 3}, 'c': 4})
  (row,) = data_utils.rekey(ds, key_map={'x': ['a', 'b'], 'y': []}).as_numpy_iterator()
  assert row == {'x': 3, 'y': b''}


def test_parts_of_an_example_have_seeds_of_their_own():
  ds = tf.data.Dataset.from_tensors(
    {'p': [5, 6], 'r': tf.ragged.constant([[1], [2, 3]]), data_utils.SEED_KEY: SEED}
  )
  rows = list(data_utils.flatten_parts(ds, ['p', 'r'], add_index=True).as_numpy_iterator())
  assert [row['p'] for row in rows] == [5, 6]
  assert [row['r'].tolist() for row in rows] == [[1], [2, 3]]
  assert [row['index'] for row in rows] == [0, 1]
  assert rows[0][data_utils.SEED_KEY].tolist() != rows[1][data_utils.SEED_KEY].tolist()


def test_labels_gather_their_rows_in_order_of_appearance():
  ds = tf.data.Dataset.from_tensors({'label': [7, 3, 7], 'bbox': tf.range(12.0), 'other': [1, 2]})
  rows = list(data_utils.flatten_by_label(ds, ['bbox', 'label']).as_numpy_iterator())
  assert [row['label'].tolist() for row in rows] == [[7, 7], [3]]
  assert rows[1]['bbox'].tolist() == [[4, 5, 6, 7]]
  assert rows[1]['other'].tolist() == [1, 2]


def test_lengths_without_a_word_are_those_of_training():
  assert data_utils.is_training(None)
  assert data_utils.is_training({'text_inputs': 3})
  assert not data_utils.is_training({'is_training': False})


def test_numbers_of_classes_must_have_no_gap(tmp_path):
  file = tmp_path / 'names.json'
  file.write_text('{"1": "one"}')
  with pytest.raises(ValueError, match='0 to 0, each once'):
    data_utils.load_class_names(str(file))


# ---- Encoded pictures ----------------------------------------------------------------------------
def encoded(form, size=(3, 5), mode='RGB'):
  pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(pixels).convert(mode).save(buffer, form)
  return buffer.getvalue()


def decode(content):
  """In a pipeline, as in a run."""
  ds = tf.data.Dataset.from_tensors(tf.constant(content)).map(data_utils.decode_image)
  (image,) = ds.as_numpy_iterator()
  return image


@pytest.mark.parametrize(
  ('form', 'mode'),
  [('JPEG', 'RGB'), ('JPEG', 'L'), ('JPEG', 'CMYK'), ('PNG', 'RGB'), ('PNG', 'P'), ('PNG', 'L'),
   ('PNG', 'RGBA'), ('GIF', 'P'), ('BMP', 'RGB')],
)  # fmt: skip
def test_every_kind_of_picture_is_decoded_to_three_channels(form, mode):
  image = decode(encoded(form, mode=mode))
  assert (image.shape, image.dtype) == ((3, 5, 3), np.uint8)
  if form in ('PNG', 'BMP'):
    want = Image.open(io.BytesIO(encoded(form, mode=mode)))
    np.testing.assert_array_equal(image, np.asarray(want.convert('RGB')))


def test_sixteen_bits_of_grey_lose_the_low_ones():
  buffer, grey = io.BytesIO(), np.arange(15, dtype=np.uint16).reshape(3, 5) * 4321
  Image.fromarray(grey).save(buffer, 'PNG')
  want = np.repeat((grey >> 8)[..., None], 3, -1)
  np.testing.assert_array_equal(decode(buffer.getvalue()), want)


@pytest.mark.parametrize('place', ['JPEG', 'PNG'])
def test_a_picture_of_too_many_pixels_is_refused_by_its_head(place, monkeypatch):
  monkeypatch.setattr(data_utils.config, 'MAX_PICTURE_PIXELS', 15)
  assert decode(encoded(place)).shape == (3, 5, 3)
  with pytest.raises(tf.errors.InvalidArgumentError, match=r'at most 15 pixels .*\[2 8\]'):
    decode(encoded(place, size=(2, 8)))


@pytest.mark.parametrize('content', [b'', b'words', b'\x89PNG', encoded('JPEG')[:-30]])
def test_what_is_no_whole_picture_is_refused(content):
  with pytest.raises(tf.errors.InvalidArgumentError):
    decode(content)
