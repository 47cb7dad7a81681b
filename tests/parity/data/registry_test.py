"""What is registered, and registered tasks from record to batch and from prediction to score."""

import functools

import numpy as np
import pytest
import seqio
import tensorflow as tf

from t5x import eval_batches, evaluation, prediction, task_examples
from t5x.examples.unified_io import config, modality_processing
from t5x.examples.unified_io.data import (
  data_utils,
  mixtures,  # noqa: F401  registers all tasks
  prompt_dict,
  prompt_slots,
  vocabulary,
)
from t5x.examples.unified_io.data import prompts as prompts_lib
from t5x.examples.unified_io.inference import evaluator
from tests.contract import tasks_test
from tests.parity import harness
from tests.parity.data import compare, raw, stored_records
from tests.parity.data.preprocessing_test import decoded

FOLDER = 'data/j_registry'


# ---- Running a task ------------------------------------------------------------------------------
@pytest.fixture
def run(monkeypatch, tmp_path):
  """A function (opened case, name, case) -> (task, stage 2, what prompts were asked for)."""

  def run_case(c, name, case):
    monkeypatch.setattr(config, 'LLAMA_TOKENIZER_PATH', raw.tokenizer(c))
    monkeypatch.setattr(config, 'MULTITASK_TFDS_DATA_DIR', str(tmp_path))  # COCO's class names
    pinned = case['pinned']
    templates = pinned['prompt_templates']
    monkeypatch.setattr(
      prompts_lib.Prompt, 'get_prompt_list', lambda self, task, dataset='': [templates[task]]
    )
    monkeypatch.setattr(
      data_utils, 'draw_index', lambda seed, n: tf.cast(pinned['random_index'], tf.int32) % n
    )
    monkeypatch.setattr(
      data_utils, 'draw_float',
      lambda seed, low, high: tf.constant(low + (high - low) * pinned['random_float'], tf.float32),
    )  # fmt: skip
    task = stored_records.task_of(name, case)
    records = stored_records.records_of(c, case, task)
    return task, task_examples.preprocess(task, records, case['sequence_length'], seed=0, trim=True)

  return run_case


def meta_of(example):
  return {name: value for name, value in example.items() if name.startswith('meta/')}


def plain(value):
  """Bytes as text; everything else as it is."""
  is_text = np.asarray(value).dtype.kind in 'OS'
  return decoded(value) if is_text else value


def text_of(tokens):
  """The text up to the first EOS."""
  return evaluator.decode_text(tokens, vocabulary.get_default_vocabulary())


def with_context(row, templates, length):
  """What an instruction asks with its context where it has one, as the ids decode."""
  family = 'NLP Instruction Context' if row['input'] else 'NLP Instruction'
  text = templates[family].replace('{instruction}', row['instruction'])
  text = prompts_lib.TEXT_OUTPUT + text.replace('{context}', row['input'])
  vocab = vocabulary.get_default_vocabulary()
  *before, last = map(vocab.encode, text.split(prompts_lib.TRUNCATE_MARKER))
  room = length - 1 - len(last)
  return vocab.decode([*(before[0][:room] if before else []), *last][: length - 1])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'pipeline_*'))
def test_registered_tasks_make_the_batches_of_the_original(path, run, monkeypatch, tmp_path):
  with harness.case(path) as c:
    c.given('task', 'split', 'sequence_length', 'pinned', 'source', 'raw_examples', 'tokenizer')
    if 'raises' in c.config:  # of TFDS, where there are no data; ours names what builds them
      monkeypatch.setattr(config, 'MULTITASK_TFDS_DATA_DIR', str(tmp_path))
      with pytest.raises(FileNotFoundError, match='create_data/tfdatasets/'):
        seqio.TaskRegistry.get(c.config['task']).source.num_examples(c.config['split'])
      c.given('raises')
      return
    stage2 = run(c, c.config['task'], c.config)[1]
    converter = modality_processing.UnifiedIOFeatureConverter()
    examples = list(stage2.as_numpy_iterator())
    batches = list(converter(stage2, c.config['sequence_length']).as_numpy_iterator())
    c.exact('n_examples', len(batches), c.config['n_examples'])
    rows = zip(examples, batches, c.config['examples'], strict=True)
    for i, (example, batch, want) in enumerate(rows):
      compare_example(c, i, example, batch, want, mended_texts(c))


def mended_texts(c):
  """Text of each example where the original mixes up instructions with and without context."""
  if 'source' not in c.config:
    return None
  rows = stored_records.rows_of(c.config['source'])
  if 'instruction' not in rows[0]:
    return None
  templates, lengths = c.config['pinned']['prompt_templates'], c.config['sequence_length']
  return [with_context(row, templates, lengths['text_inputs']) for row in rows]


def compare_example(c, i, example, batch, want, texts):
  at, fixed = f'examples/{i}', ()
  got = {
    'input': text_of(batch['inputs/text/tokens']),
    'target': text_of(batch['targets/text/targets']),
  }
  if texts is None:
    c.exact(f'{at}/input_text', got['input'], want['input_text'])
  else:
    assert got['input'] == texts[i]
    c.fixed(f'{at}/input_text', 'data-1')
    fixed = ('inputs/text/tokens', 'inputs/text/mask')
  c.exact(f'{at}/target_text', got['target'], want['target_text'])
  meta = meta_of(example)
  assert set(meta) - set(want['meta']) <= {'meta/example_id'}  # ours also tells the question's
  for name, value in want['meta'].items():
    c.exact(f'{at}/meta/{name}', plain(meta[name]), value)
  fields = {name: value for name, value in batch.items() if not name.startswith('stream/')}
  assert set(fields) == set(want['tensors'])
  for name, stored in want['tensors'].items():
    if name in fixed:
      c.fixed(f'{at}/tensors/{name}', 'data-1')
      for array in c.outputs:
        if array.startswith(f'{i}/{name}'):
          c.fixed(array, 'data-1')
      continue
    prefix = f'{i}/{name}'
    compare.summary(
      c, f'{at}/tensors/{name}', prefix, fields[name], stored, compare.tolerance(c, prefix)
    )


# ---- Evaluation ----------------------------------------------------------------------------------
def evaluator_lengths(task, examples, lengths):
  """The lengths that seqio's evaluator finds: of features, the most of any example."""
  found = {
    name: max(len(example[name]) for example in examples)
    for name in task.output_features
    if name in examples[0]
  }
  return found | {
    'inputs/text/tokens': lengths['text_inputs'],
    'targets/text/tokens': lengths['text_targets'],
  }


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'evaluator'))
def test_canned_predictions_score_as_in_the_original(path, run):
  with harness.case(path) as c:
    c.given('tokenizer', 'sequence_length')

    @functools.cache
    def made(name, examples_of):
      """(task, examples after stage 2, shapes of the batch) of one task on the data of a case."""
      lengths = c.config['sequence_length']
      task, stage2 = run(
        c, name, {**stored_records.case_file(examples_of), 'sequence_length': lengths}
      )
      examples = list(stage2.as_numpy_iterator())
      lengths = evaluator_lengths(task, examples, lengths)
      spec = modality_processing.UnifiedIOFeatureConverter()(stage2, lengths).element_spec
      shapes = {k: list(v.shape) for k, v in spec.items() if not k.startswith('stream/')}
      return task, examples, shapes

    for i, row in enumerate(c.config['rows']):
      at = f'rows/{i}'
      c.given(*(f'{at}/{name}' for name in ('task', 'predictions', 'prediction_texts')))
      c.given(f'{at}/examples_of_case', f'{at}/result/metrics/examples')
      c.exact(f'{at}/raises', None, row['raises'])
      compare_evaluation(c, at, row, *made(row['task'], row['examples_of_case']))


def compare_evaluation(c, at, row, task, examples, shapes):
  want = row['result']
  c.exact(f'{at}/result/model_feature_shapes', shapes, want['model_feature_shapes'])
  score = evaluation.TaskScore(task)
  for example, text in zip(examples, row['prediction_texts'], strict=True):
    example = {name: eval_batches._plain(value) for name, value in meta_of(example).items()}
    output = evaluator.UnifiedIOOutput({'text': text})
    score.add(prediction.Row(example=example, output=output, aux={}))
  c.exact(f'{at}/result/n_targets', len(score.targets), want['n_targets'])
  metrics = score.compute()
  c.exact(f'{at}/result/eval_tasks', [row['task']] if metrics else [], want['eval_tasks'])
  assert set(metrics) == set(want['metrics'])
  for name, value in want['metrics'].items():
    if name != 'examples':
      compare.number(c, f'{at}/result/metrics/{name}', metrics[name], value)


# ---- What is registered --------------------------------------------------------------------------
SOURCES = {'TfdsSource': 'TfdsDataSource'}  # ours reads the same folders, by number
# Targets may also be given as codes, which the original cannot.
OURS_ALONE = {'targets/image/tokens', 'targets/audio/tokens'}


def function_and_arguments(function):
  """A plain or partial function as the cases tell it."""
  if isinstance(function, functools.partial):
    return {'name': function.func.__name__, 'args': dict(function.keywords)}
  return function and {'name': function.__name__, 'args': {}}


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'tasks_mixtures'))
def test_all_tasks_and_mixtures_of_the_original_are_registered(path):
  with harness.case(path) as c:
    unchecked = {text.split(':')[0] for text in c.config['not_for_a_test']}
    for name, want in c.config['tasks'].items():
      at, task = f'tasks/{name}', seqio.TaskRegistry.get(name)
      c.given(f'{at}/build', f'{at}/stages')
      c.exact(f'{at}/source', SOURCES[type(task.source).__name__], want['source'])
      c.exact(f'{at}/tfds_name', task.source.name, want['tfds_name'])
      splits = task.source._given_splits
      if isinstance(want['splits'], str):  # a description: those of the dataset
        assert splits is None
        c.given(f'{at}/splits')
      else:
        c.exact(f'{at}/splits', splits, want['splits'])
      features = sorted(set(task.output_features) - OURS_ALONE)
      c.exact(f'{at}/output_features', features, sorted(want['output_features']))
      metrics = [metric.__name__ for metric in task.metric_fns]
      postprocess = function_and_arguments(task._postprocess_fn)
      if f'tasks.{name}.metrics and .postprocess' in unchecked:
        c.given(f'{at}/metrics', f'{at}/postprocess')
        assert metrics
        assert postprocess
      else:
        c.exact(f'{at}/metrics', metrics, want['metrics'])
        c.exact(f'{at}/postprocess', postprocess, want['postprocess'])
    for name, want in c.config['mixtures'].items():
      mixture = seqio.MixtureRegistry.get(name)
      rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
      c.exact(f'mixtures/{name}', rates, {row['task']: row['rate'] for row in want})
    features = modality_processing.OUTPUT_FEATURES()
    for name, want in c.config['output_features'].items():
      feature = features[name]
      got = {
        'dtype': str(feature.dtype), 'rank': feature.rank, 'add_eos': feature.add_eos,
        'tokens': not isinstance(feature, seqio.ContinuousFeature),
      }  # fmt: skip
      c.exact(f'output_features/{name}', got, want)
    every = [set(seqio.TaskRegistry.get(name).output_features) for name in c.config['tasks']]
    same = all(features == every[0] for features in every)
    c.exact('same_features_for_all', same, c.config['same_features_for_all'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'constants'))
def test_constants_are_those_of_the_original(path):
  with harness.case(path) as c:
    ours = {
      'AUDIO_HISTORY_INPUT_D': config.AUDIO_INPUT_PATCH,
      'AUDIO_INPUT_D': config.AUDIO_INPUT_PATCH,
      'AUDIO_SAMPLING_RATE': config.AUDIO_SAMPLE_RATE,
      'AUDIO_SEGMENT_LENGTH': config.AUDIO_SEGMENT_SECONDS,
      'AUDIO_TARGET_D': config.AUDIO_TARGET_PATCH,
      'IMAGE_HISTORY_INPUT_D': config.IMAGE_INPUT_PATCH,
      'IMAGE_INPUT_D': config.IMAGE_INPUT_PATCH,
      'IMAGE_INPUT_PATCHES': patches_of_the_input_image(),
      'IMAGE_TARGET_D': config.IMAGE_TARGET_PATCH,
      'NUM_DETECTION_BIN': config.NUM_DETECTION_BINS,
    }
    for name, want in c.config['values'].items():
      got = ours[name] if name in ours else getattr(config, name)
      compare.number(c, f'values/{name}', got, want)
    extra = {
      'default_extra_ids': vocabulary.get_default_vocabulary().extra_ids,
      'history_frames': vocabulary.NUM_HISTORY_FRAMES,
    }
    c.exact('extra', extra, c.config['extra'])


def patches_of_the_input_image():
  grid = modality_processing.get_input_modalities()['image'].grid
  return [grid.rows, grid.cols]


@pytest.fixture
def families_asked(monkeypatch):
  """A function task name -> the (family, dataset family) pairs that it asks prompts for."""
  pairs, choose = [], prompts_lib.for_task

  def remember(task_family, dataset_family='', **options):
    pairs.append([task_family, dataset_family])
    return choose(task_family, dataset_family, **options)

  monkeypatch.setattr(prompts_lib, 'for_task', remember)

  @functools.cache
  def asked(name):
    del pairs[:]
    tasks_test.examples.__wrapped__(name, training=False)
    return list(pairs)

  return asked


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'prompts'))
def test_our_prompts_have_the_slots_of_the_families_that_tasks_use(path, families_asked):
  with harness.case(path) as c:
    # How many sentences the original has, and families that no task here uses.
    c.given('families', 'number_of_families', 'families_with_inconsistent_slots')
    families = prompt_dict.load().families
    for name, want in c.config['live_tasks'].items():
      at = f'live_tasks/{name}'
      c.given(f'{at}/prompts', f'{at}/distinct')
      family = [want['family'], want['dataset_key']]
      asked = families_asked(name.split(' (')[0])  # 'dolly (with context)'
      found = family if family in asked else asked
      c.exact(f'{at}/family', found[0], family[0])
      c.exact(f'{at}/dataset_key', found[1], family[1])
      prompts = prompts_lib.Prompt().get_prompt_list(want['family'], want['dataset_key'])
      slot_sets = sorted({tuple(sorted(prompt_slots.slots(prompt))) for prompt in prompts})
      c.exact(f'{at}/slot_sets', [list(slots) for slots in slot_sets], want['slot_sets'])
      wanted = set(want['slot_sets'][0])
      bad = [p for p in prompts if sorted(prompt_slots.slots(p)) != sorted(wanted)]
      c.exact(f'{at}/bad_for_filling', len(bad), want['bad_for_filling'])
      if want['family_exists']:
        c.exact(f'{at}/family_exists', want['family'] in families, True)
      else:
        assert want['family'] in families
        c.fixed(f'{at}/family_exists', 'data-12')
      c.exact(f'{at}/dataset_exists', want['dataset_key'] in families, want['dataset_exists'])
    assert {kind for kinds in families.values() for kind in kinds} <= set(prompt_dict.KINDS)
    c.fixed('unread_kind_gpt', 'data-12')
    free = len(families[prompts_lib.UNCONDITIONAL_IMAGE]['original'])
    c.exact('free_text_image_prompts', free, c.config['free_text_image_prompts'])
    c.exact('truncate_marker', prompts_lib.TRUNCATE_MARKER, c.config['truncate_marker'])
