"""Each row of a user's own data is scored in its own way, and rows of one way together."""

import numpy as np
import pytest

from t5x.examples.unified_io.metrics import own

INFO = np.array([0, 0, 1, 384, 384, 0, 0, 0, 0, 384, 384], np.float32)
HALF = '<extra_id_200> <extra_id_200> <extra_id_700> <extra_id_1200>'


class Said:
  def __init__(self, text):
    self.text = text


def target(metric, *references, boxes=()):
  boxes = np.array(boxes, np.float32).reshape(-1, 4)
  return {
    'metric': metric, 'all_references': np.array(references, object), 'boxes': boxes * 384,
    'src_boxes': boxes, 'image_info': INFO,
  }  # fmt: skip


def score(*pairs):
  targets, said = zip(*pairs, strict=True)
  return own.own_data_metric(list(targets), [Said(text) for text in said])


def test_rows_are_scored_by_kind():
  scores = score(
    (target('exact_match', 'Cat', 'kitten'), 'cat'),
    (target('exact_match', 'dog'), 'cat'),
    (target('vqa', '2', '2', '2', '3'), 'two'),
    (target('vqa', '2', '2', '2', '3'), '3'),
    (target('cider', 'a cat sits on a mat'), 'a cat sits on a mat'),
    (target('cider', 'two dogs run over a field'), 'a cat sits on a mat'),
  )
  assert scores['exact_match'] == 0.5
  assert scores['vqa'] == pytest.approx((1 + 1 / 3) / 2)
  assert 0 < scores['cider'] < 10
  assert set(scores) == {'exact_match', 'vqa', 'cider'}


def test_boxes_are_scored_by_overlap():
  one = target('refexp', HALF, boxes=[[0, 0, 0.5, 0.999]])
  two = target('localization', '', boxes=[[0, 0, 0.5, 0.999], [0.5, 0, 1, 1]])
  scores = score((one, '<extra_id_200> <extra_id_200> <extra_id_700> <extra_id_1199>'), (one, 'no'),
                 (two, '<extra_id_200> <extra_id_200> <extra_id_700> <extra_id_1199>'))  # fmt: skip
  assert scores['refexp_acc'] == 0.5
  assert scores['refexp_iou'] == pytest.approx(0.5, abs=1e-3)
  assert scores['localization'] == pytest.approx(0.5, abs=1e-3)


def test_rows_without_a_metric_are_not_scored():
  assert score((target('', 'a'), 'b')) == {}
