"""Boxes, answers and texts scored as by the original."""

import types

import numpy as np
import pytest

from t5x.examples.unified_io.data import data_utils, vocabulary
from t5x.examples.unified_io.inference import evaluator
from t5x.examples.unified_io.metrics import coordinates, refexp, text, vqa
from tests.parity import harness
from tests.parity.data import compare, raw

FOLDER = 'data/f_metrics'


def said(texts):
  """Outputs of a model that said this."""
  return [types.SimpleNamespace(text=t) for t in texts]


def is_refused(compute):
  try:
    compute()
  except ValueError:
    return True
  return False


def read(reader, call, line):
  """(coordinates, labels) of one text, as a variant of the case asks."""
  size, labelled = call['image_size'], call['use_label']
  if reader == 'boxes':
    return coordinates.extract_bboxes_from_text(line, size, labelled)
  if reader == 'points':
    return coordinates.extract_points_from_text(line, size)
  if reader == 'xyz':
    return coordinates.extract_xyz_from_text(line), []
  return coordinates.extract_coordinates_from_text(
    line, size, call['num_bin'], call['vocab_start'], call['n_coordinates'], call['allow_all'],
    labelled,
  )  # fmt: skip


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'extract_coordinates'))
def test_coordinates_are_read_as_by_the_original(path):
  with harness.case(path) as c:
    c.given('variants', 'error_inputs', 'num_bin', 'vocab_start')
    bins = {name: c.config[name] for name in ('num_bin', 'vocab_start')}
    for i, row in enumerate(c.config['rows']):
      c.given(f'rows/{i}/text')
      for name, call in c.config['variants'].items():
        at, want = f'rows/{i}/{name}', row[name]
        values, labels = read(call['reader'], {**bins, **call}, row['text'])
        shape = (len(want['coords']), call['n_coordinates'])
        compare.number(c, f'{at}/coords', values, np.reshape(want['coords'], shape))
        c.exact(f'{at}/names', labels, want['names'])
        c.exact(f'{at}/dtype', values.dtype.name, want['dtype'])
    for name, call in c.config['error_inputs'].items():
      call = {'allow_all': False, **bins, **call}
      refused = is_refused(lambda call=call: read('coordinates', call, call['text']))
      c.exact(name, refused, c.config[name] is not None)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'undo_box'))
def test_boxes_come_back_to_the_source_as_in_the_original(path):
  with harness.case(path) as c:
    c.given('with_offset_input', 'empty_int_input')
    for i, row in enumerate(c.config['rows']):
      c.given(*(f'rows/{i}/{name}' for name in ('size', 'image_info', 'boxes')))
      got = coordinates.undo_box_preprocessing(row['boxes'], np.array(row['image_info']))
      compare.number(c, f'rows/{i}/out', got, row['out'])
    call = c.config['with_offset_input']
    info = np.array(call['image_info'])
    refused = is_refused(lambda: coordinates.undo_box_preprocessing(call['boxes'], info))
    c.exact('with_offset', refused, c.config['with_offset'] is not None)
    call = c.config['empty_int_input']
    none = np.zeros(call['shape'], call['dtype'])
    got = coordinates.undo_box_preprocessing(none, np.array(call['image_info']))
    c.exact('empty_int', list(got.shape), c.config['empty_int'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'refexp'))
def test_referred_boxes_are_scored_as_by_the_original(path, monkeypatch):
  sizes = data_utils.ImageSizes(input=(384, 384), target=(256, 256), history=(256, 256))
  monkeypatch.setattr(data_utils, 'image_sizes', lambda: sizes)
  with harness.case(path) as c:
    fields, rows = ('boxes', 'src_boxes', 'image_info'), c.config['rows']
    for i, row in enumerate(rows):
      c.given(*(f'rows/{i}/{name}' for name in (*fields, 'size', 'prediction')))
      for name in ('original_scale', 'network_scale'):
        got = refexp.ref_exp_metric(
          [row], said([row['prediction']]), original_scale=name == 'original_scale'
        )
        for metric, want in row[name].items():
          compare.number(c, f'rows/{i}/{name}/{metric}', got[metric], want)
    got = refexp.ref_exp_metric(rows, said([row['prediction'] for row in rows]))
    for metric, want in c.config['all_together'].items():
      compare.number(c, f'all_together/{metric}', got[metric], want)
    c.given('error_inputs')
    for name, call in c.config['error_inputs'].items():
      targets = [{**rows[i], **broken(call)} for i in call['rows']]
      outputs = said([rows[i]['prediction'] for i in call['rows']])
      refused = is_refused(lambda t=targets, o=outputs: refexp.ref_exp_metric(t, o))
      c.exact(name, refused, c.config[name] is not None)


def broken(call):
  return {'boxes': np.reshape(call['boxes'], call['shape'])} if 'boxes' in call else {}


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'vqa_text'))
def test_answers_are_normalised_as_by_the_original(path):
  with harness.case(path) as c:
    for i, row in enumerate(c.config['rows']):
      c.given(f'rows/{i}/text')
      c.exact(f'rows/{i}/out', vqa.normalize_answer(row['text']), row['out'])
      c.exact(f'rows/{i}/punctuation', vqa.process_punctuation(row['text']), row['punctuation'])
      c.exact(f'rows/{i}/articles', vqa.process_words(row['text']), row['articles'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'vqa_score'))
def test_answers_are_scored_as_by_the_original(path):
  with harness.case(path) as c:
    for i, row in enumerate(c.config['rows']):
      c.given(f'rows/{i}/target', f'rows/{i}/pred')
      got = vqa.vqa_score(row['target'], row['pred'])
      compare.number(c, f'rows/{i}/score', got, row['score'])
    for name in ('metric_lists', 'metric_strings'):
      call = c.config[name]
      c.given(f'{name}/targets', f'{name}/preds', f'{name}/type')
      got = vqa.vqa_metric(call['targets'], said(call['preds']), {})
      compare.number(c, f'{name}/score', got['score'], call['score'])
      if 'keys' in call:
        c.exact(f'{name}/keys', sorted(got), sorted(call['keys']))
    compare_empty(c, vqa.vqa_metric)


def compare_empty(c, metric):
  c.given('error_inputs')
  for name, call in c.config['error_inputs'].items():
    refused = is_refused(lambda call=call: metric(call['targets'], said(call['preds']), {}))
    c.exact(name, refused, c.config[name] is not None)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'exact_match'))
def test_equal_texts_are_counted_as_by_the_original(path):
  with harness.case(path) as c:
    for i, row in enumerate(c.config['rows']):
      c.given(f'rows/{i}/targets', f'rows/{i}/preds')
      got = text.exact_match(row['targets'], said(row['preds']), {})
      assert set(got) == set(row['value'])
      for name, want in row['value'].items():
        compare.number(c, f'rows/{i}/value/{name}', got[name], want)
      c.exact(f'rows/{i}/raises', None, row['raises'])
    compare_empty(c, text.exact_match)
    c.given('null_metric_input')
    call = c.config['null_metric_input']
    got = text.null_metric(call['targets'], said(call['preds']), {})
    c.exact('null_metric', got, c.config['null_metric'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'output_wrapper'))
def test_outputs_are_wrapped_as_by_the_original(path):
  with harness.case(path) as c:
    c.given('aux_values', 'tokenizer', 'tokens')
    vocab = vocabulary.Vocabulary(raw.tokenizer(c))
    outputs = {
      name: evaluator.build_uio_outputs({k: np.array(v) for k, v in aux.items()}, vocab)
      for name, aux in c.config['aux_values'].items()
    }
    for name in ('text', 'nested_text', 'no_text'):
      c.exact(name, [output.text for output in outputs[name]], c.config[name])
    tokens = [output.text_tokens.tolist() for output in outputs['text']]
    c.exact('tokens', tokens, c.config['tokens'])
    c.exact('scores', [float(o.scores) for o in outputs['text']], c.config['scores'])
    got = [float(o.scores) for o in outputs['image_scores']]
    c.exact('image_scores', got, c.config['image_scores'])
    refused = is_refused(lambda: outputs['no_scores'][0].scores)
    c.exact('no_scores', refused, c.config['no_scores'] is not None)
