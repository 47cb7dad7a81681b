"""Stage 1: raw examples in, texts, pictures and metadata of the original out."""

import functools
import inspect
import json
import re

import numpy as np
import pytest
import tensorflow as tf

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import data_utils, geometry, postprocessing
from t5x.examples.unified_io.data import prompts as prompts_lib
from t5x.examples.unified_io.data.preprocessing import (
  captioning,
  classification,
  generation,
  grounding,
  nlp,
  vqa,
)
from tests.parity import harness
from tests.parity.data import compare, raw

FOLDER = 'data/c_preprocessing'
FUNCTIONS = {
  'refer_expression_preprocessor': grounding.refer_expression_preprocessor,
  'image_caption_preprocessor': captioning.image_caption_preprocessor,
  'vqa_preprocessor': vqa.vqa_preprocessor,
  'box_classification_preprocessor': classification.box_classification_preprocessor,
  'image_generation_preprocessor': generation.image_generation_preprocessor,
  'image_inpainting_preprocessor': generation.image_inpainting_preprocessor,
  'filter_non_english': nlp.filter_non_english,
  'preprocess_flan': nlp.preprocess_flan,
  'filter_by_len': nlp.filter_by_len,
  'preprocess_instruction_context': nlp.preprocess_instruction_context,
  'tokenize': nlp.tokenize,
  'tokenize_with_truncate': nlp.tokenize_with_truncate,
  'flatten_by_label': data_utils.flatten_by_label,
  'flatten_parts': data_utils.flatten_parts,
  'rekey': data_utils.rekey,
}
PASSING_ON = ('flatten_by_label', 'flatten_parts', 'rekey', 'filter_non_english')
SETTINGS = (
  'function', 'raw_examples', 'options', 'sequence_length', 'pinned', 'class_names_from',
  'tokenizer',
)  # fmt: skip


def raw_field(c, value):
  """One field of a raw example as TensorFlow has it."""
  if isinstance(value, str) and (named := re.fullmatch('<(image|array) (.+)>', value)):
    if named[1] == 'image':
      return tf.constant(raw.arrays_of('b_images/inputs')[named[2]])
    return tf.constant(c.outputs[named[2]].tobytes())
  if isinstance(value, dict):
    if 'ragged' in value:
      ragged = tf.ragged.constant(value['ragged'])
      return tf.cast(ragged, tf.int64) if ragged.dtype.is_integer else ragged
    return {name: raw_field(c, child) for name, child in value.items()}
  values = np.asarray(value)
  return tf.constant(values.astype('f4') if values.dtype.kind == 'f' else value_of(values))


def value_of(values):
  return values.astype(object) if values.dtype.kind == 'U' else values


def records(example):
  """A dataset of one example whose lengths are not known beforehand, as those of files are."""

  def spec_of(tensor):
    spec = tf.type_spec_from_value(tensor)
    if isinstance(spec, tf.RaggedTensorSpec):
      return tf.RaggedTensorSpec([None, None], spec.dtype)
    lengths = [None] * spec.shape.rank
    return tf.TensorSpec([*lengths[:-1], 3] if len(lengths) == 3 else lengths, spec.dtype)

  signature = tf.nest.map_structure(spec_of, example)
  return tf.data.Dataset.from_generator(lambda: iter([example]), output_signature=signature)


def pin(c, monkeypatch):
  """Replaces every draw as the case says; returns the list of the prompts asked for."""
  pinned, asked = c.config['pinned'], []

  def prompt_list(self, task_family, dataset_family='', dictionary=None):
    asked.append((task_family, dataset_family))
    templates = pinned['prompt_templates']
    if isinstance(templates, dict):
      templates = templates[task_family]
    return [templates] if isinstance(templates, str) else templates

  monkeypatch.setattr(prompts_lib.Prompt, 'get_prompt_list', prompt_list)
  monkeypatch.setattr(generation, 'unconditional_prompts', lambda: [pinned['free_text_prompt']])
  monkeypatch.setattr(
    data_utils, 'draw_index', lambda seed, count: tf.cast(pinned['random_index'], tf.int32) % count
  )
  monkeypatch.setattr(
    data_utils, 'draw_float',
    lambda seed, low, high: tf.constant(low + (high - low) * pinned['random_float'], tf.float32),
  )  # fmt: skip
  return asked


def run(c):
  """All examples that come out, each a flat dict of numpy values."""
  function, options = FUNCTIONS[c.config['function']], dict(c.config['options'])
  if names := c.config.get('class_names_from'):
    case = json.loads((harness.root() / 'data' / names['case'] / 'case.json').read_text())
    options['class_names'] = lambda: case[names['field']]
  if 'sequence_length' in inspect.signature(function).parameters:
    options['sequence_length'] = c.config['sequence_length']
  made = []
  for example in c.config['raw_examples']:
    ds = records({name: raw_field(c, value) for name, value in example.items()})
    made += function(ds, **options).as_numpy_iterator()
  return made


def decoded(value):
  if isinstance(value, bytes):
    return value.decode()
  return [decoded(item) for item in value]


def compare_field(c, i, name, got, want):
  at = f'outputs/{i}/{name}'
  if 'text' in want:
    c.exact(f'{at}/text', decoded(got), want['text'])
    c.exact(f'{at}/shape', list(np.shape(got)), want['shape'])
    return
  got = np.asarray(got)
  atol = compare.tolerance(c, at)
  if 'summary' in want:
    c.given(f'{at}/arrays')
    compare.summary(
      c, f'{at}/summary', want['arrays'].removesuffix('.*'), got, want['summary'], atol
    )
    return
  c.equal(f'{at}/value', got, np.asarray(want['value']).reshape(want['shape']), atol=atol)
  c.exact(f'{at}/shape', list(got.shape), want['shape'])
  if got.dtype.kind == 'i' and c.config['function'] in PASSING_ON:
    # Integers of the raw example have the width that the test gave them.
    c.exact(f'{at}/dtype', np.dtype(want['dtype']).kind, got.dtype.kind)
  else:
    c.exact(f'{at}/dtype', got.dtype.name, want['dtype'])


def compare_outputs(c, made, fixed=()):
  """All fields of all outputs; `fixed` are (field, defect) that we mend."""
  c.exact('n_outputs', len(made), c.config['n_outputs'])
  if not c.config['outputs']:
    c.exact('outputs', made, [])
  mended = dict(fixed)
  for i, (got, want) in enumerate(zip(made, c.config['outputs'], strict=True)):
    assert set(got) == set(want)
    for name in want:
      if name in mended:
        c.fixed(f'outputs/{i}/{name}', mended[name])
        for array in c.outputs:
          if array.startswith(f'out{i}.{name}.'):
            c.fixed(array, mended[name])
      else:
        compare_field(c, i, name, got[name], want[name])


def compare_asked(c, asked):
  unchecked = [reason.split(':')[0] for reason in c.config.get('not_for_a_test', [])]
  if 'asked_prompt_lists' not in unchecked:
    want = sorted(map(tuple, c.config['asked_prompt_lists']))
    c.exact('asked_prompt_lists', sorted(set(asked)), want)
  c.given('asked_prompt_lists')


def is_refused_by_mistake(c):
  """The defect of the original for which it refuses what ours takes, None without one."""
  options, examples = c.config['options'], c.config['raw_examples']
  if c.config['function'] == 'refer_expression_preprocessor' and options.get('label_boxes'):
    return 'data-8'
  if c.config['function'] == 'vqa_preprocessor' and 'text_targets' not in examples[0]:
    return 'data-7'
  return None


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'refexp_*'))
def test_referring_expressions_are_those_of_the_original(path, monkeypatch):
  check(path, monkeypatch)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'caption_*'))
def test_captions_are_those_of_the_original(path, monkeypatch):
  check(path, monkeypatch)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'vqa_*'))
def test_questions_are_those_of_the_original(path, monkeypatch):
  check(path, monkeypatch)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'boxcls_*'))
def test_classes_of_boxes_are_those_of_the_original(path, monkeypatch):
  check(path, monkeypatch)


def check(path, monkeypatch):
  with harness.case(path) as c:
    c.given(*SETTINGS, 'jpeg_bytes', 'jpeg_decoded')
    asked = pin(c, monkeypatch)
    if 'raises' in c.config:
      assert run(c), 'what the original refuses by mistake gives examples here'
      c.given('asked_prompt_lists')
      c.fixed('raises', is_refused_by_mistake(c))
      return
    compare_outputs(c, run(c))
    compare_asked(c, asked)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'imagegen_*'))
def test_generation_asks_as_the_original_but_always_for_content_in_evaluation(path, monkeypatch):
  with harness.case(path) as c:
    c.given(*SETTINGS, 'jpeg_bytes', 'jpeg_decoded')
    asked = pin(c, monkeypatch)
    ratio = c.config['options'].get('random_gen_ratio', 0.1)
    free = c.config['pinned']['random_float'] < ratio
    in_evaluation = not c.config['sequence_length'].get('is_training', True)
    fixed = ('text_inputs', 'meta/original_query') if free and in_evaluation else ()
    compare_outputs(c, run(c), [(name, 'data-11') for name in fixed])
    compare_asked(c, asked)


def inpainting_candidates(c, example):
  """Numbers of the boxes large enough by the original's measure, and by ours."""
  ratio = c.config['options'].get('min_ratio', 0.1)
  height, width = raw_field(c, example['image']).shape[:2]
  boxes = np.asarray(example['bbox'], np.float32)
  box_format = c.config['options'].get('bbox_format', 'y1x1y2x2')
  ordered = np.clip(geometry.reorder_boxes(tf.constant(boxes), box_format).numpy(), 0, 1)
  sides = np.maximum(ordered[:, 2:] - ordered[:, :2], 0)
  longest = max(height, width)
  on_canvas = sides.prod(1) * (height / longest) * (width / longest)
  by_mistake = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
  ours = np.flatnonzero(on_canvas > ratio).tolist()
  return ours if (by_mistake > ratio).any() else [], ours


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'inpaint_*'))
def test_inpainting_is_that_of_the_original_but_for_the_order_of_columns(path, monkeypatch):
  with harness.case(path) as c:
    c.given(*SETTINGS)
    asked = pin(c, monkeypatch)
    made = run(c)
    measures = [inpainting_candidates(c, example) for example in c.config['raw_examples']]
    assert len(made) == sum(bool(ours) for _, ours in measures)
    if all(original == ours for original, ours in measures):
      compare_outputs(c, made)
    else:
      c.fixed('n_outputs', 'data-10')
      c.fixed('outputs', 'data-10')
      for name in c.outputs:
        c.fixed(name, 'data-10')
    compare_asked(c, asked)


@pytest.mark.parametrize(
  'path', harness.cases(FOLDER, 'flatten_*') + harness.cases(FOLDER, 'rekey')
)
def test_fields_are_moved_as_in_the_original(path, monkeypatch):
  with harness.case(path) as c:
    c.given(*SETTINGS)
    asked = pin(c, monkeypatch)
    compare_outputs(c, run(c))
    compare_asked(c, asked)


@pytest.mark.parametrize(
  'path',
  [
    *harness.cases(FOLDER, 'tokenize*'),
    *harness.cases(FOLDER, 'truncate_marker*'),
    *harness.cases(FOLDER, 'flan_preprocess'),
    *harness.cases(FOLDER, 'flan_filter_*', exclude=('flan_filter_niv2*',)),
  ],
)
def test_instructions_become_text_and_ids_as_in_the_original(path, monkeypatch):
  with harness.case(path) as c:
    c.given(*SETTINGS)
    if 'tokenizer' in c.config:
      monkeypatch.setattr(config, 'LLAMA_TOKENIZER_PATH', raw.tokenizer(c))
    asked = pin(c, monkeypatch)
    compare_outputs(c, run(c))
    compare_asked(c, asked)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'flan_filter_niv2'))
def test_other_languages_are_left_out_however_their_number_is_written(path, monkeypatch):
  with harness.case(path) as c:
    c.given(*SETTINGS)
    asked = pin(c, monkeypatch)
    padded = re.compile('task0+[1-9]')
    passed = {got['task_name'].decode(): got for got in run(c)}
    kept = {row['task_name']['text'] for row in c.config['outputs']}
    assert set(passed) <= kept
    assert all(padded.match(name) for name in kept - set(passed))
    c.fixed('n_outputs', 'data-4')
    for i, row in enumerate(c.config['outputs']):
      name = row['task_name']['text']
      if name not in passed:
        c.fixed(f'outputs/{i}', 'data-4')
        continue
      for field, want in row.items():
        compare_field(c, i, field, passed[name][field], want)
    compare_asked(c, asked)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'flan_filter_niv2_numbers'))
def test_numbers_of_tasks_in_other_languages_are_those_of_the_original(path):
  with harness.case(path) as c:
    c.given('function', 'options', 'name_patterns', 'tested')
    patterns = c.config['name_patterns']

    def dropped(pattern):
      names = {pattern.format(n=n).encode() + b'x': n for n in c.config['tested']}
      ds = tf.data.Dataset.from_tensor_slices({'task_name': list(names)})
      kept = nlp.filter_non_english(ds, **c.config['options']).as_numpy_iterator()
      return sorted(set(names.values()) - {names[row['task_name']] for row in kept})

    c.exact('dropped', dropped(patterns['dropped']), c.config['dropped'])
    assert dropped(patterns['dropped_when_padded_differs']) == c.config['dropped']
    c.fixed('dropped_when_padded_differs', 'data-4')


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'instruction_context*'))
def test_instructions_have_their_context_where_there_is_one(path, monkeypatch):
  with harness.case(path) as c:
    c.given(*SETTINGS)
    asked = pin(c, monkeypatch)
    compare_outputs(c, run(c), [('text_inputs', 'data-1')])
    compare_asked(c, asked)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'prompt_selection'))
def test_prompts_are_chosen_as_in_the_original(path):
  with harness.case(path) as c:
    c.given('dictionary', 'function')
    defaults = {name: getattr(prompts_lib.Prompt(), name) for name in c.config['default_flags']}
    c.exact('default_flags', defaults, c.config['default_flags'])
    for i, row in enumerate(c.config['cases']):
      at, result, refused = f'cases/{i}', None, False
      c.given(*(f'{at}/{name}' for name in ('flags', 'task', 'dataset')))
      try:
        result = prompts_lib.Prompt(**row['flags']).get_prompt_list(
          row['task'], row['dataset'], c.config['dictionary']
        )
      except ValueError:
        refused = True
      c.exact(f'{at}/result', result, row['result'])
      c.exact(f'{at}/error', refused, row['error'] is not None)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'postprocess'))
def test_targets_are_the_fields_that_the_original_takes(path):
  with harness.case(path) as c:
    c.given('example', 'function', 'calls')
    example = c.config['example']
    for name, call in c.config['calls'].items():
      function = getattr(postprocessing, name)
      if 'field' in call:
        function = functools.partial(function, field=call['field'])
        with pytest.raises(KeyError):
          postprocessing.return_field(None, call['missing_field'], example=example, is_target=True)
        c.exact(f'{name}/missing', 'KeyError', c.config[name]['missing'])
      target = function(None, example=example, is_target=True)
      c.exact(f'{name}/target', target, c.config[name]['target'])
      output = function(call['output'], example=example, is_target=False)
      c.exact(f'{name}/output', output, c.config[name]['output'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'inputs'))
def test_pictures_are_those_of_the_other_folder(path):
  with harness.case(path) as c:
    c.given('same_as')
    images = raw.arrays_of(c.config['same_as'])
    for name, shape in c.config['images'].items():
      c.exact(f'images/{name}', list(images[name].shape), shape)
