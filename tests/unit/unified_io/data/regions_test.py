"""Boxes and points as text."""

import pytest
import tensorflow as tf

from t5x.examples.unified_io.data import regions


def test_a_box_is_four_pieces_and_its_label():
  text = regions.regions_to_str(
    tf.constant([[0, 192, 384, 384]]), tf.constant(['cat']), image_size=384
  )
  wanted = '<extra_id_200> <extra_id_699> <extra_id_1199> <extra_id_1199> cat'
  assert text.numpy().decode() == wanted


def test_sides_of_a_canvas_may_differ():
  text = regions.regions_to_str(tf.constant([[10, 10]]), image_size=(10, 20))
  assert text.numpy().decode() == '<extra_id_1199> <extra_id_699>'


def test_shuffled_labels_stay_with_their_regions():
  values = tf.repeat(tf.range(8.0)[:, None], 2, 1)
  rows = regions.regions_to_str(
    values, tf.strings.as_string(tf.range(8)), image_size=8, separator=None,
    shuffle_seed=tf.constant([3, 4]),
  )  # fmt: skip
  numbers = [int(row[2]) for row in rows.numpy()]
  assert sorted(numbers) == list(range(8)) != numbers
  for row, number in zip(rows.numpy(), numbers, strict=True):
    assert row[0].decode() == f'<extra_id_{200 + 999 * number // 8}>'


@pytest.mark.parametrize('value', [-0.002, 1.002, float('nan'), float('inf')])
def test_a_coordinate_outside_of_the_picture_is_refused(value):
  with pytest.raises(tf.errors.InvalidArgumentError):
    regions.values_to_tokens(tf.constant([value]))


def test_ids_are_read_up_to_the_end():
  assert regions.tokens_to_values([32999, 7, 32000, 1, 32500]).tolist() == [0, 1]


def test_the_first_location_follows_the_base_pieces():
  assert regions.tokens_to_values([50], first_location_id=50).tolist() == [1]
