"""Plain text, answers, and coordinates in text."""

import types

import numpy as np
import pytest

from t5x.examples.unified_io.metrics import coordinates, refexp, text, vqa

LOCATIONS = '<extra_id_200> <extra_id_300> <extra_id_700> <extra_id_800>'


def said(*texts):
  return [types.SimpleNamespace(text=t) for t in texts]


def test_texts_are_equal_whatever_their_case():
  assert text.exact_match(['Cat', b'dog'], said('cat', 'dogs'), {}) == {'score': 0.5}


def test_any_of_several_texts_is_right():
  several = np.array(['x', 'Cat'], object)
  assert text.exact_match([several], said('cat'), {}) == {'score': 1.0}


@pytest.mark.parametrize('metric', [text.exact_match, vqa.vqa_metric, refexp.ref_exp_metric])
def test_nothing_to_score_is_an_error(metric):
  with pytest.raises(ValueError, match='no example'):
    metric([], [], {})


@pytest.mark.parametrize(
  ('answer', 'wanted'),
  [
    ('A dog.', 'dog'), ('1,000 dogs', '1000 dogs'), ('dont know', "don't know"), ('a-b', 'b'),
    ('c-b', 'c b'), ('U.S.', 'us'), ('Two', '2'), ('3.5', '3.5'),
  ],
)  # fmt: skip
def test_answers_are_brought_into_one_form(answer, wanted):
  assert vqa.normalize_answer(answer) == wanted


@pytest.mark.parametrize(('number', 'score'), [(0, 0), (1, 1 / 3), (2, 2 / 3), (3, 1), (9, 1)])
def test_three_people_who_agree_are_enough(number, score):
  people = np.array(['two'] * number + ['no'] * (10 - number), object)
  assert vqa.vqa_score(people, '2') == pytest.approx(score)


def test_answers_are_told_beside_the_true_ones():
  got = vqa.vqa_metric([['a', 'b']] * 30, said(*['c'] * 30), {})
  assert got == {'score': 0.0, 'examples': ['c | a, b'] * 20}


def test_boxes_are_read_with_their_labels():
  boxes, labels = coordinates.extract_bboxes_from_text(f'{LOCATIONS} cat {LOCATIONS}', (10, 20))
  assert boxes.tolist() == [[0, 2, 5, 12]] * 2
  assert labels == ['cat', '']


def test_points_need_a_label():
  text_of = '<extra_id_200> <extra_id_300> nose <extra_id_400> <extra_id_500>'
  points, labels = coordinates.extract_points_from_text(text_of)
  assert points.tolist() == [[0, 0.1]]
  assert labels == ['nose']


def test_numbers_that_are_no_location_are_passed_over():
  outside = '<extra_id_199> <extra_id_200> <extra_id_200> <extra_id_200>'
  assert coordinates.extract_bboxes_from_text(outside)[0].shape == (0, 4)


def test_a_cut_picture_has_no_way_back():
  info = np.array([0, 0, 1, 4, 4, 0.25, 0, 1, 0, 4, 4])
  with pytest.raises(ValueError, match='was cut'):
    coordinates.undo_box_preprocessing(np.zeros((1, 4)), info)


def target(box):
  """The picture of 192 x 384 lies in the middle of the canvas of 384 x 384."""
  info = np.array([96, 0, 1, 192, 384, 0, 0, 0, 0, 192, 384], np.float32)
  source = np.array(box, np.float32)
  on_canvas = source * [192, 384, 192, 384] + [96, 0, 96, 0]
  return {'boxes': on_canvas[None], 'src_boxes': source, 'image_info': info}


@pytest.mark.parametrize('original_scale', [True, False])
def test_a_box_counts_above_one_half(original_scale):
  true = target([0.0, 0.0, 1.0, 0.5])  # on the canvas: 96, 0, 288, 192
  right = '<extra_id_450> <extra_id_200> <extra_id_950> <extra_id_700>'
  half = '<extra_id_450> <extra_id_200> <extra_id_950> <extra_id_1199>'
  got = refexp.ref_exp_metric(
    [true] * 3, said(right, half, 'nowhere'), original_scale=original_scale
  )
  assert got['acc'] == pytest.approx(2 / 3)  # 0.5005 of a common area is above one half
  assert got['iou'] == pytest.approx((1 + 1 / 1.998) / 3, abs=1e-4)


def test_only_the_first_box_counts():
  true = target([0.0, 0.0, 1.0, 0.5])
  wrong = '<extra_id_200> <extra_id_200> <extra_id_210> <extra_id_210>'
  right = '<extra_id_450> <extra_id_200> <extra_id_950> <extra_id_700>'
  assert refexp.refexp_ious([true], [f'{wrong} {right}']) == [0.0]


def test_an_expression_means_one_box():
  with pytest.raises(ValueError, match='one box'):
    refexp.refexp_ious([{'boxes': np.zeros((2, 4))}], ['x'])
