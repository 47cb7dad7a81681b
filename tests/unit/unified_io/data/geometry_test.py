"""Where pictures and boxes come to lie; sizes small enough to draw."""

import numpy as np
import pytest
import tensorflow as tf

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import geometry

SOURCE = tf.constant([4, 8])


def test_a_picture_lies_in_the_middle_of_its_canvas():
  place = geometry.fit(SOURCE, (6, 4))
  assert place.scaled.numpy().tolist() == [2, 4]
  assert place.pad.numpy().tolist() == [2, 0]
  assert place.mask().numpy().tolist() == [[0] * 4] * 2 + [[1] * 4] * 2 + [[0] * 4] * 2


def test_an_odd_rest_of_the_padding_is_at_the_end():
  assert geometry.fit(SOURCE, (5, 4)).pad.numpy().tolist() == [1, 0]


def test_padding_may_lie_on_one_side(monkeypatch):
  monkeypatch.setattr(config, 'PAD_ONE_SIDE', True)
  assert geometry.fit(SOURCE, (6, 4)).pad.numpy().tolist() == [0, 0]


def test_a_side_without_pixels_is_refused():
  with pytest.raises(tf.errors.InvalidArgumentError, match='too long and narrow'):
    geometry.fit(tf.constant([1, 500]), (384, 384))


def place_at_random(fills, cut=(0.5, 0.999), factor=1.0):
  return geometry.random_fit(
    tf.constant([100, 200]), (100, 100), factor=tf.constant(factor), fills=tf.constant(fills),
    cut=tf.constant(cut),
  )  # fmt: skip


def test_filling_cuts_and_fitting_pads():
  filled, fitted = place_at_random(True), place_at_random(False)
  assert filled.scaled.numpy().tolist() == [100, 200]
  assert filled.offset.numpy().tolist() == [0, 99]
  assert filled.shown.numpy().tolist() == [100, 100]
  # Fitted, the shorter side would have 50 pixels; no side may have fewer than 64.
  assert fitted.scaled.numpy().tolist() == [64, 128]
  assert fitted.mask().numpy().sum() == 64 * 100


def test_boxes_move_with_the_pixels_under_them():
  place = place_at_random(True, cut=(0.0, 0.5))
  image = tf.reshape(tf.range(100.0 * 200), [100, 200, 1])
  canvas = place.crop_and_pad(image)
  box = place.move_boxes(tf.constant([[10.0, 60.0, 20.0, 90.0]])).numpy()[0].astype(int)
  np.testing.assert_array_equal(canvas[box[0] : box[2], box[1] : box[3]], image[10:20, 60:90])


def test_boxes_end_where_the_canvas_ends():
  place = geometry.fit(SOURCE, (4, 8))
  assert place.move_boxes(tf.constant([[-1.0, 0, 9, 9]])).numpy().tolist() == [[0, 0, 4, 8]]


@pytest.mark.parametrize(
  ('box_format', 'columns'),
  [('y1x1y2x2', [1, 2, 3, 4]), ('xyxy', [2, 1, 4, 3]), ('x1x2y1y2', [2, 4, 1, 3])],
)
def test_boxes_come_into_one_order(box_format, columns):
  boxes = tf.constant([columns])
  assert geometry.reorder_boxes(boxes, box_format).numpy().tolist() == [[1, 2, 3, 4]]


def test_an_unknown_order_of_boxes_is_refused():
  with pytest.raises(ValueError, match='y1x1y2x2'):
    geometry.reorder_boxes(tf.zeros([1, 4]), 'cxcywh')
