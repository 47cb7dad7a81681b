"""Tasks of the real t5 package, where it can be had, as tasks of this model."""

import subprocess
import sys
import types

import gin
import pytest
import seqio
import tensorflow as tf

from t5x import evaluation, input_pipeline
from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import text_adapter
from t5x.examples.unified_io.data.own import files

pytestmark = [
  pytest.mark.slow,
  pytest.mark.e2e,
  pytest.mark.filterwarnings('ignore'),  # of a package of 2022
]
PACKAGES = ('t5==0.9.4', 'babel')  # without what t5 asks for, which would replace seqio
COLA = {
  'sentence': ['They drank the pub.', 'They drank the pub dry.'],
  'label': [0, 1],
  'idx': [0, 1],
}
SQUAD = {
  'id': ['a'], 'question': ['Who drank?'], 'context': ['Mary and Ann drank.'],
  'answers': {'text': [['Mary', 'Mary and Ann']]},
}  # fmt: skip


@pytest.fixture(scope='module')
def t5(tmp_path_factory):
  """The package, installed beside everything else."""
  folder = tmp_path_factory.mktemp('t5')
  command = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', str(folder)]
  done = subprocess.run([*command, *PACKAGES], capture_output=True, text=True, check=False)
  if done.returncode:
    pytest.skip(f'the t5 package cannot be had: {done.stderr.strip().splitlines()[-1]}')
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(folder))
    with gin.unlock_config():
      import t5
      import t5.data.tasks  # registers them

    yield t5


@pytest.fixture(autouse=True)
def text_alone_and_own_cache(monkeypatch, tmp_path):
  monkeypatch.setenv(files.ENVIRONMENT_VARIABLE, str(tmp_path))
  gin.clear_config()
  gin.bind_parameter('get_input_modalities.input_modality', ['text'])
  gin.bind_parameter('get_target_modalities.target_modality', ['text'])
  yield
  gin.clear_config()


def adapted(name, records, **changes):
  """The adapted task `name` of t5, over records that need no download."""

  def source(split, shuffle_files, seed=None):
    del split, shuffle_files, seed
    return tf.data.Dataset.from_tensor_slices(records)

  local = seqio.FunctionDataSource(source, splits=['train', 'validation'])
  task = seqio.TaskRegistry.get(name).replace(source=local, **changes)
  seqio.TaskRegistry.remove(name)
  seqio.TaskRegistry.add_provider(name, task)
  return text_adapter.adapt_text_task(name)


def rows(name):
  lengths = {'text_inputs': 256, 'text_targets': 64}
  cfg = input_pipeline.DatasetConfig(name, lengths, 'validation', 2, seed=0)
  return [row for _, some in input_pipeline.open_eval(cfg) for row in some]


def score(name, answers):
  made = evaluation.TaskScore(seqio.TaskRegistry.get(name))
  for row, said in zip(rows(name), answers, strict=True):
    made.add(types.SimpleNamespace(output=types.SimpleNamespace(text=said), example=row, aux={}))
  return made.compute()


def test_a_glue_task_keeps_its_classes_and_its_metric(t5):
  name = adapted('glue_cola_v002', COLA)
  asked = [(row['text_inputs'], row['text_targets']) for row in rows(name)]
  assert asked == [
    ('[Text] [S] cola sentence: They drank the pub.', 'unacceptable'),
    ('[Text] [S] cola sentence: They drank the pub dry.', 'acceptable'),
  ]
  assert score(name, ['unacceptable', 'acceptable'])['matthews_corrcoef'] == 100
  assert score(name, ['acceptable', 'unacceptable'])['matthews_corrcoef'] == -100


def test_squad_is_scored_against_all_answers(t5):
  name = adapted('squad_v010_allanswers', SQUAD)
  (row,) = rows(name)
  assert row['text_inputs'].startswith('[Text] [S] question: Who drank ? context: Mary and Ann')
  assert score(name, ['mary and ann']) == {'em': 100.0, 'f1': 100.0}


def test_span_corruption_gives_sentinels_of_ours(t5):
  own = seqio.SentencePieceVocabulary(config.EMBEDDED_TOKENIZER_PATH, extra_ids=100)  # as t5's
  features = {name: seqio.Feature(own, add_eos=True) for name in ('inputs', 'targets')}
  texts = {'text': [' '.join(f'word{i}' for i in range(60))] * 2}
  name = adapted(
    'c4_v220_span_corruption',
    texts,
    output_features=features,
    preprocessors=[
      lambda ds: ds.map(lambda ex: {'inputs': tf.constant(''), 'targets': ex['text']}),
      seqio.preprocessors.tokenize,
      t5.data.preprocessors.span_corruption,
      seqio.preprocessors.append_eos_after_trim,
    ],
  )
  (row,) = rows(name)  # the texts are joined and cut anew
  for sentinel in ('<extra_id_0>', '<extra_id_1>'):
    assert sentinel in row['text_inputs']
    assert sentinel in row['text_targets']
  assert row['text_inputs'].count('word') + row['text_targets'].count('word') == 2 * 60
