"""Every registered task, on one made-up record of its dataset."""

import functools

import numpy as np
import pytest
import seqio
import tensorflow as tf

from t5x import stream
from t5x.examples.unified_io import config, modality_processing
from t5x.examples.unified_io.data import mixtures, tasks  # noqa: F401  registers them

SEED = np.array([1, 2], np.int32)
LENGTHS = {
  'text_inputs': 64, 'text_targets': 32, 'image_input_samples': None, 'audio_input_samples': 128,
  'num_frames': 1, 'image_history_input_samples': 256, 'audio_history_input_samples': 128,
}  # fmt: skip
IMAGE = np.zeros((20, 30, 3), np.uint8)
BOXES = np.array([[0.1, 0.1, 0.9, 0.9]], np.float32)
RECORDS = {
  'ref_coco': lambda: {
    'image': IMAGE,
    'objects': {
      'bbox': BOXES,
      'refexp': {
        'raw': tf.ragged.constant([['the cat', 'left one']]),
        'refexp_id': tf.ragged.constant([[1, 2]]),
      },
    },
  },
  'coco_all': lambda: {
    'image': IMAGE,
    'image/filename': '7.jpg',
    'captions': {'text': ['A cat', 'Some cat']},
    'objects': {'bbox': BOXES, 'label': [15]},
    'vqa': {'id': [4], 'questions': ['What?'], 'answers': [['cat'] * 10]},
  },
  'flan2': lambda: {
    'inputs': 'Two and two?', 'targets': 'four', 'task_name': 'any', 'example_num': 0,
  },
  'dolly': lambda: {
    'instruction': 'Count.', 'context': 'A cat.', 'response': 'one', 'example_num': 0,
  },
  'alpaca': lambda: {'instruction': 'Count.', 'input': '', 'output': 'one', 'example_num': 0},
  'tokenized': lambda: {
    'inputs/text/tokens': [5] * 8, 'inputs/image/mask': [0] * 576, 'targets/image/mask': [1] * 1024,
    'targets/image/tokens': [7] * 1024,
  },
}  # fmt: skip
TASKS = sorted(seqio.TaskRegistry.names())
# Released task -> its dataset and its metrics.
RELEASED = {
  'refcoco_unc': ('ref_coco/refcoco_unc:1.0.0', ['ref_exp_metric']),
  'refcocog_google': ('ref_coco/refcocog_google:1.0.0', ['ref_exp_metric']),
  'refcoco_plus_unc': ('ref_coco/refcocoplus_unc:1.0.0', ['ref_exp_metric']),
  'image_generation_coco_2017': ('coco_all:1.0.1', []),
  'image_caption_coco_2017': ('coco_all:1.0.1', ['cider_metric', 'bleu_metric']),
  'image_inpainting_coco': ('coco_all:1.0.1', []),
  'vqa_coco_2017': ('coco_all:1.0.1', ['vqa_metric']),
  'box_classification_coco_2017': ('coco_all:1.0.1', ['exact_match']),
  **{
    f'flan2_{kind}': (f'flan2_{kind}:1.0.0', [])
    for kind in ('flan2021', 't0', 'niv2', 'cot', 'dialog')
  },
  'dolly': ('dolly:1.0.0', []),
  'alpaca': ('alpaca:1.0.0', []),
}
HELD_OUT = {'dolly': 1000, 'alpaca': 2000}  # rows of the validation split; 2000 of flan2, too
TEXT_ALONE = ('flan2', 'dolly', 'alpaca')


def dataset_of(task):
  name = task.source.name.split('/')[0].split(':')[0]
  if name.endswith('_tokenized'):
    return 'tokenized'
  return 'flan2' if name.startswith('flan2') else name


def as_tensor(value):
  return value if isinstance(value, tf.RaggedTensor) else tf.convert_to_tensor(value)


@functools.cache
def examples(name, training):
  """The task and a dataset of what it makes of one record."""
  task = seqio.TaskRegistry.get(name)
  record = {**RECORDS[dataset_of(task)](), stream.SEED: SEED}
  ds = tf.data.Dataset.from_tensors(tf.nest.map_structure(as_tensor, record))
  lengths = {**LENGTHS, 'is_training': training}
  ds = task.preprocess_postcache(task.preprocess_precache(ds, 0), lengths, 0)
  return task, task._validate_preprocessing(ds)


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
  monkeypatch.setattr(config, 'MULTITASK_TFDS_DATA_DIR', str(tmp_path))


@pytest.mark.parametrize('name', RELEASED)
def test_released_task_reads_its_dataset_and_has_its_metrics(name):
  task, (dataset, metrics) = seqio.TaskRegistry.get(name), RELEASED[name]
  assert task.source.name == dataset
  assert [metric.__name__ for metric in task.metric_fns] == metrics
  if dataset_of(task) in TEXT_ALONE:
    rows = HELD_OUT.get(name, 2000)
    assert task.source.splits == ('train', 'validation')
    assert task.source._tfds_split('train') == f'train[{rows}:]'
    assert task.source._tfds_split('validation') == f'train[:{rows}]'


def test_released_mixtures_have_their_tasks_and_rates():
  rates = {
    name: {task.name: mixture.get_rate(task) for task in mixture.tasks}
    for name in ('refexp', 'flan2')
    for mixture in [seqio.MixtureRegistry.get(name)]
  }
  assert rates['refexp'] == dict.fromkeys(['refcoco_unc', 'refcocog_google', 'refcoco_plus_unc'], 1)
  assert rates['flan2'] == {
    'flan2_flan2021': 0.4, 'flan2_t0': 0.32, 'flan2_niv2': 0.2, 'flan2_cot': 0.05,
    'flan2_dialog': 0.03,
  }  # fmt: skip


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('name', TASKS)
def test_task_makes_the_features_that_it_declares(name, training):
  task, ds = examples(name, training)
  beside = {field for field in ds.element_spec if field.startswith(('meta/', 'stream/'))}
  assert set(ds.element_spec) - beside - {'choices'} <= set(task.output_features)
  made = list(ds.as_numpy_iterator())
  if not training:
    assert made
  for row in made:
    assert len(row['inputs/text/tokens']) > 1


@pytest.mark.parametrize('name', TASKS)
def test_task_is_a_function_of_the_examples_seed(name):
  _, ds = examples(name, True)
  first, second = ([row['inputs/text/tokens'].tolist() for row in ds] for ds in rows_twice(ds))
  assert first == second


def rows_twice(ds):
  return ds.as_numpy_iterator(), ds.as_numpy_iterator()


@pytest.mark.parametrize('name', TASKS)
def test_task_has_a_picture_unless_it_is_text_alone(name):
  task, ds = examples(name, False)
  (row,) = ds.as_numpy_iterator()
  has_picture = row['inputs/image/mask'].sum() + row['targets/image/mask'].sum() > 0
  assert has_picture == (dataset_of(task) not in TEXT_ALONE)


@pytest.mark.parametrize('name', TASKS)
def test_metrics_take_what_the_postprocessor_gives(name):
  task, ds = examples(name, False)
  if not task.metric_fns:
    return
  row = next(ds.as_numpy_iterator())
  example = {k: v for k, v in row.items() if k.startswith('meta/')}
  target = task.postprocess_fn('said', example=example, is_target=True)
  output = type('Output', (), {'text': 'cat'})()
  for metric in task.metric_fns:
    numbers = metric(targets=[target], predictions=[output], aux_values={})
    assert all(isinstance(v, float) for k, v in numbers.items() if k != 'examples')


@pytest.mark.parametrize('name', TASKS)
def test_a_missing_dataset_is_named_with_the_command_that_builds_it(name):
  source = seqio.TaskRegistry.get(name).source
  with pytest.raises(FileNotFoundError, match=r'\w+/build.py|tokenize_dataset.py \w+ TFDS'):
    source.num_examples('train')


@pytest.mark.parametrize('name', sorted(seqio.MixtureRegistry.names()))
def test_mixture_has_registered_tasks_and_positive_rates(name):
  mixture = seqio.MixtureRegistry.get(name)
  assert mixture.tasks
  assert all(mixture.get_rate(task) > 0 for task in mixture.tasks)


def test_class_names_come_from_beside_the_dataset_else_from_coco(tmp_path):
  assert len(tasks.coco_class_names()) == 80
  folder = tmp_path / 'coco_all' / '1.0.1'
  folder.mkdir(parents=True)
  (folder / 'class_names.json').write_text('["red circle"]')
  assert tasks.coco_class_names() == ['red circle']


def test_features_are_registered_whatever_modalities_are_on():
  for name in TASKS:
    features = seqio.TaskRegistry.get(name).output_features
    assert set(features) == set(modality_processing.OUTPUT_FEATURES())
    assert not any(feature.required for feature in features.values())
