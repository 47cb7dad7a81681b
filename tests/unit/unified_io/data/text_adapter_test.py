"""Text tasks registered as the t5 package registers its own, as tasks of this model."""

import functools
import json
import types

import gin
import numpy as np
import pytest
import seqio
import tensorflow as tf

from t5x import evaluation, input_pipeline, task_examples
from t5x.examples.unified_io.data import text_adapter, vocabulary
from t5x.examples.unified_io.data.own import files

BYTES = seqio.ByteVocabulary()
FEATURES = {name: seqio.Feature(BYTES, add_eos=True) for name in ('inputs', 'targets')}
LABELS = ['unacceptable', 'acceptable']
LENGTHS = {'text_inputs': 48, 'text_targets': 16}
READ = []  # splits that the source was asked for


def sentences(split, shuffle_files, seed=None):
  del shuffle_files, seed
  READ.append(split)
  count = {'train': 20, 'validation': 4}[split]
  fields = {
    'sentence': [f'Sentence {i} ist gut.' for i in range(count)],
    'label': [i % 2 for i in range(count)],
    'idx': np.arange(count, dtype=np.int32),
  }
  return tf.data.Dataset.from_tensor_slices(fields)


def to_text(dataset):
  """As t5's GLUE preprocessor: classes become words, other fields stay."""
  return dataset.map(
    lambda ex: {
      'inputs': tf.strings.join(['cola sentence: ', ex['sentence']]),
      'targets': tf.constant(LABELS)[ex['label']],
      'idx': ex['idx'],
    }
  )


def to_class(output, example, is_target, classes):
  assert isinstance(example['idx'], np.integer)
  assert example['inputs'].startswith('cola sentence: ')
  return classes.index(output) if output in classes else -1


def accuracy(targets, predictions):
  return {'accuracy': 100 * seqio.metrics.Scalar(np.mean(np.equal(targets, predictions))).value}


@seqio.map_over_dataset(num_seeds=1)
def drop_at_random(ex, seed):
  """As a denoising objective works on ids: a prefix and what follows it."""
  cut = tf.random.stateless_uniform([], seed, 1, 8, tf.int32)
  return {'inputs': ex['targets'][:cut], 'targets': ex['targets'][cut:]}


def add(name, *preprocessors, source=sentences, **options):
  if name in seqio.TaskRegistry.names():
    seqio.TaskRegistry.remove(name)
  return seqio.TaskRegistry.add(
    name,
    source=seqio.FunctionDataSource(source, splits=['train', 'validation']),
    preprocessors=list(preprocessors),
    output_features=FEATURES,
    **options,
  )


TOKENIZED = (
  seqio.preprocessors.tokenize, seqio.CacheDatasetPlaceholder(),
  seqio.preprocessors.append_eos_after_trim,
)  # fmt: skip


@pytest.fixture(autouse=True)
def text_alone_and_own_cache(monkeypatch, tmp_path):
  monkeypatch.setenv(files.ENVIRONMENT_VARIABLE, str(tmp_path))
  gin.clear_config()
  gin.bind_parameter('get_input_modalities.input_modality', ['text'])
  gin.bind_parameter('get_target_modalities.target_modality', ['text'])
  READ.clear()
  yield
  gin.clear_config()


def cola():
  return add(
    'cola', to_text, *TOKENIZED, metric_fns=[accuracy],
    postprocess_fn=functools.partial(to_class, classes=LABELS),
  )  # fmt: skip


def config(name, split):
  return input_pipeline.DatasetConfig(name, LENGTHS, split, 2, seed=0)


def rows(name, split='validation'):
  task = task_examples.get_mixture_or_task(name)
  batches = input_pipeline.open_eval(config(task.name, split))
  return [row for _, some in batches for row in some]


def trained_on(name, batches):
  decode = vocabulary.get_default_vocabulary().decode
  opened = input_pipeline.open_train(config(name, 'train'))
  made = [next(opened) for _ in range(batches)]
  opened.close()
  return [
    tuple(decode(b[f][i].tolist()) for f in ('inputs/text/tokens', 'targets/text/targets'))
    for b in made
    for i in range(2)
  ]


@pytest.mark.parametrize('cache', [True, False])
def test_inputs_and_targets_are_asked_in_our_tokenizer(cache):
  cola()
  name = text_adapter.adapt_text_task('cola', cache=cache)
  assert name == 'uio_cola'
  asked = '[Text] [S] cola sentence: Sentence {} ist gut.'
  expected = {(asked.format(i), LABELS[i % 2]) for i in range(20)}
  assert {(row['text_inputs'], row['text_targets']) for row in rows(name, 'train')} == expected
  assert set(trained_on(name, 64)) == expected  # a window of examples that are shuffled together


def test_its_metrics_get_what_its_postprocessor_makes():
  cola()
  score = evaluation.TaskScore(seqio.TaskRegistry.get(text_adapter.adapt_text_task('cola')))
  answers = ['unacceptable', 'acceptable', 'acceptable', 'x']
  for row, said in zip(rows('uio_cola'), answers, strict=True):
    score.add(types.SimpleNamespace(output=types.SimpleNamespace(text=said), example=row, aux={}))
  assert score.targets == [0, 1, 0, 1]
  assert score.compute() == {'accuracy': 50.0}


def test_a_task_is_adapted_on_the_way_where_it_is_named():
  cola()
  assert len(rows('text:cola')) == 4


def test_it_enters_a_mixture_and_a_run_goes_on_where_it_stood():
  cola()
  text_adapter.adapt_text_task('cola')
  add('plain', to_text)
  text_adapter.adapt_text_task('plain')
  if 'both' not in seqio.MixtureRegistry.names():
    seqio.MixtureRegistry.add('both', [('uio_cola', 1.0), ('uio_plain', 3.0)])
  batches = input_pipeline.open_train(config('both', 'train'))
  for _ in range(7):
    next(batches)
  state = json.loads(json.dumps(batches.state()))
  wanted = [next(batches)['inputs/text/tokens'].tolist() for _ in range(3)]
  batches.close()
  again = input_pipeline.open_train(config('both', 'train'))
  again.restore(state)
  assert [next(again)['inputs/text/tokens'].tolist() for _ in range(3)] == wanted
  again.close()


def test_a_source_is_read_once_and_again_when_the_code_changes():
  cola()
  for _ in range(2):
    rows(text_adapter.adapt_text_task('cola'))
    assert READ.count('validation') == 1

  def shouted(dataset):
    return to_text(dataset).map(lambda ex: {**ex, 'inputs': tf.strings.upper(ex['inputs'])})

  add('cola', shouted, *TOKENIZED)
  made = rows(text_adapter.adapt_text_task('cola'))
  assert made[0]['text_inputs'] == '[Text] [S] COLA SENTENCE: SENTENCE 0 IST GUT.'


def test_objectives_on_ids_are_decoded_by_their_own_vocabulary():
  add('denoise', to_text, seqio.preprocessors.tokenize, drop_at_random)
  made = rows(text_adapter.adapt_text_task('denoise'))
  assert [row['text_inputs'].removeprefix('[Text] [S] ') + row['text_targets'] for row in made] == [
    LABELS[i % 2] for i in range(4)
  ]


def test_what_was_text_before_tokenizing_is_taken_as_it_was():
  def both(dataset):
    return seqio.preprocessors.tokenize(to_text(dataset), FEATURES, copy_pretokenized=True)

  add('tokenized', both)
  made = rows(text_adapter.adapt_text_task('tokenized'))
  assert made[1]['text_inputs'] == '[Text] [S] cola sentence: Sentence 1 ist gut.'


def test_a_task_without_texts_is_refused_with_what_it_has():
  add('numbers')
  with pytest.raises(
    ValueError, match=r"task 'numbers' has no text 'inputs'; .*'sentence': 'string"
  ):
    rows(text_adapter.adapt_text_task('numbers'))


def test_a_mixture_and_an_unknown_name_are_refused():
  cola()
  if 'of_cola' not in seqio.MixtureRegistry.names():
    seqio.MixtureRegistry.add('of_cola', [('cola', 1.0)])
  with pytest.raises(ValueError, match="'of_cola' is a mixture; adapt its tasks"):
    text_adapter.adapt_text_task('of_cola')
  with pytest.raises(ValueError, match=r"did you mean one of .*'cola'"):
    text_adapter.adapt_text_task('colla')
