"""The metric of a user's own data: each row is scored in the way that suits it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t5x.examples.unified_io.data import data_utils
from t5x.examples.unified_io.metrics import caption, coordinates, localization, refexp, text, vqa


def own_data_metric(
  targets: Sequence[Mapping[str, Any]],
  predictions: Sequence[Any],
  aux_values: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """The scores of all kinds of rows: {'exact_match': 0.5, 'refexp_acc': 1.0, 'refexp_iou': 0.8}.

  Args:
    targets: 'metric' (its name, '' for a row that is not scored), 'all_references', 'boxes' and
      'src_boxes' [n, 4], 'image_info' [11].
    predictions: with `.text`.
    aux_values: not used.
  """
  del aux_values
  scores: dict[str, Any] = {}
  for name, score in _METRICS.items():
    pairs = [p for p in zip(targets, predictions, strict=True) if p[0]['metric'] == name]
    if pairs:
      scores |= score(*zip(*pairs, strict=True))
  return scores


def _exact_match(targets, predictions):
  references = [target['all_references'] for target in targets]
  return {'exact_match': text.exact_match(references, predictions)['score']}


def _vqa(targets, predictions):
  score = vqa.vqa_metric([target['all_references'] for target in targets], predictions)
  return {'vqa': score['score']}


def _cider(targets, predictions):
  return caption.cider_metric([target['all_references'] for target in targets], predictions)


def _refexp(targets, predictions):
  one = [{**target, 'src_boxes': target['src_boxes'][0]} for target in targets]
  scores = refexp.ref_exp_metric(one, predictions)
  return {f'refexp_{name}': value for name, value in scores.items()}


def _localization(targets, predictions):
  size = data_utils.image_sizes().input
  said = [
    coordinates.extract_bboxes_from_text(output.text, image_size=size, use_label=False)[0]
    for output in predictions
  ]
  found = zip(said, targets, strict=True)
  scores = [localization.localization_score(b, t['boxes']).score for b, t in found]
  return {'localization': float(np.mean(scores))}


_METRICS = {
  'exact_match': _exact_match, 'vqa': _vqa, 'cider': _cider, 'refexp': _refexp,
  'localization': _localization,
}  # fmt: skip
