"""Stage 1 of the tasks on pictures: what an example asks, and which are left out."""

import numpy as np
import pytest
import tensorflow as tf

from t5x.examples.unified_io.data import data_utils
from t5x.examples.unified_io.data import prompts as prompts_lib
from t5x.examples.unified_io.data.preprocessing import (
  captioning,
  classification,
  generation,
  grounding,
  vqa,
)

IMAGE = np.full((8, 16, 3), 50, np.uint8)
HALF, NONE = [0.0, 0.0, 1.0, 0.5], [0.5, 0.2, 0.5, 0.9]
EVALUATION = {'is_training': False}


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
  """One prompt a task, pictures of 8 x 8 pixels."""
  sizes = data_utils.ImageSizes(input=(8, 8), target=(8, 8), history=(8, 8))
  monkeypatch.setattr(data_utils, 'image_sizes', lambda: sizes)
  monkeypatch.setattr(
    prompts_lib.Prompt, 'get_prompt_list',
    lambda self, task, dataset='': ['Say' if task.startswith('Image_C') else 'Q {} A'],
  )  # fmt: skip


def made(preprocessor, example, lengths=None, **options):
  example = {'image': IMAGE, **example}
  ds = tf.data.Dataset.from_tensors({k: tf.convert_to_tensor(v) for k, v in example.items()})
  lengths = EVALUATION if lengths is None else lengths
  return list(preprocessor(ds, lengths, **options).as_numpy_iterator())


OBJECTS = {'bbox': [HALF, NONE], 'label': ['The LEFT', 'nothing'], 'refexp_id': [7, 8]}


def test_an_expression_asks_for_its_box():
  (row,) = made(grounding.refer_expression_preprocessor, OBJECTS)
  assert row['text_inputs'] == b'[Text] [S] Q the left A'
  wanted = '<extra_id_449> <extra_id_200> <extra_id_949> <extra_id_699>'
  assert row['text_targets'].decode() == wanted
  assert row['meta/example_id'] == 7
  assert row['meta/boxes'].tolist() == [[2, 0, 6, 4]]


def test_the_expression_may_stand_behind_its_box():
  (row,) = made(grounding.refer_expression_preprocessor, OBJECTS, label_boxes=True)
  assert row['text_targets'].endswith(b'<extra_id_699> the left')


def test_every_expression_of_an_object_is_drawn():
  labels = {'image': IMAGE, 'bbox': [HALF], 'label': [['one', 'two']], 'refexp_id': [[1, 2]]}
  labels = {name: tf.convert_to_tensor(value) for name, value in labels.items()}
  seeds = tf.data.Dataset.from_tensor_slices([[seed, 0] for seed in range(12)])
  ds = seeds.map(lambda seed: {**labels, data_utils.SEED_KEY: seed})
  rows = grounding.refer_expression_preprocessor(ds, EVALUATION).as_numpy_iterator()
  seen = {(row['text_inputs'].split()[-2], int(row['meta/example_id'])) for row in rows}
  assert seen == {(b'one', 1), (b'two', 2)}


@pytest.mark.parametrize(
  ('captions', 'options', 'wanted'),
  [
    ('A <person>', {}, b'a person'),
    (['A <person>'], {}, b'A person'),
    (['A Cat', r'B\D'], {'multiple_targets': True}, [b'a cat', b'b d']),
  ],
)
def test_a_drawn_caption_keeps_its_case_all_others_do_not(captions, options, wanted):
  (row,) = made(captioning.image_caption_preprocessor, {'captions': captions}, **options)
  assert np.all(row['text_targets'] == wanted)
  assert row['text_inputs'] == b'[Text] [S] Say'


QUESTIONS = {'text_inputs': ['Who?', 'Why?'], 'text_targets': [['a', 'b'], ['c', 'd']]}


def test_each_question_is_an_example_with_all_its_answers():
  first, second = made(vqa.vqa_preprocessor, QUESTIONS)
  assert first['text_inputs'] == b'[Text] [S] Q Who? A'
  assert second['text_targets'].tolist() == second['meta/all_references'].tolist() == [b'c', b'd']


@pytest.mark.parametrize(
  ('is_training', 'draw_answer', 'targets'),
  [(True, False, [b'c', b'd']), (False, True, [b'c', b'd']), (True, True, b'd')],
)
def test_one_answer_is_drawn_in_training_if_told_so(monkeypatch, is_training, draw_answer, targets):
  monkeypatch.setattr(data_utils, 'random_element', lambda values, seed: values[-1])
  example = {**QUESTIONS, data_utils.SEED_KEY: [1, 2]}
  lengths = {'is_training': is_training}
  row = made(vqa.vqa_preprocessor, example, lengths, draw_answer=draw_answer)[1]
  assert np.asarray(row['text_targets']).tolist() == targets
  assert row['meta/all_references'].tolist() == [b'c', b'd']


def test_a_question_without_answers_has_an_empty_target():
  rows = made(vqa.vqa_preprocessor, {'text_inputs': ['Who?'], 'id': [5]})
  assert [(row['text_targets'], row['meta/example_id']) for row in rows] == [(b'', 5)]


BOXES = {'bbox': [HALF, NONE, HALF], 'label': [1, 2, 1]}


def test_each_class_with_a_box_is_an_example_and_evaluation_has_options():
  names = ['x', r'Big\One', 'z']
  (row,) = made(classification.box_classification_preprocessor, BOXES, class_names=lambda: names)
  assert row['text_targets'] == row['meta/label'] == b'big one'
  assert row['choices'].tolist() == [name.encode() for name in names]
  wanted = 'Q <extra_id_449> <extra_id_200> <extra_id_949> <extra_id_699> A'
  assert row['text_inputs'].decode().endswith(wanted)


def test_training_has_no_options():
  example = {'image': IMAGE, **BOXES, data_utils.SEED_KEY: [1, 2]}
  ds = tf.data.Dataset.from_tensors({k: tf.convert_to_tensor(v) for k, v in example.items()})
  ds = classification.box_classification_preprocessor(ds, {}, class_names=lambda: ['x', 'y', 'z'])
  assert 'text_targets' in ds.element_spec
  assert 'choices' not in ds.element_spec


def test_pictures_of_nothing_are_asked_for_in_training_only(monkeypatch):
  monkeypatch.setattr(data_utils, 'draw_float', lambda seed, low, high: tf.constant(low))
  example = {'captions': 'A Cat', data_utils.SEED_KEY: [1, 2]}
  (row,) = made(generation.image_generation_preprocessor, example)
  assert row['text_inputs'] == b'[Image] [S] Q a cat A'
  (row,) = made(generation.image_generation_preprocessor, example, {})
  free = generation.unconditional_prompts()
  assert row['text_inputs'].decode() == f'[Image] [S] {free[0]}'
  assert row['meta/original_query'] == b''


LARGE = {'bbox': [HALF], 'label': ['Big\\Cat']}


def test_the_hole_is_hidden_from_the_input_and_alone_in_the_target():
  (row,) = made(generation.image_inpainting_preprocessor, LARGE)
  hole = np.zeros((8, 8), int)
  hole[2:6, :4] = 1
  np.testing.assert_array_equal(row['image_target_masks'], hole)
  picture = np.zeros((8, 8), int)
  picture[2:6] = 1
  np.testing.assert_array_equal(row['image_input_masks'], picture - hole)
  assert row['text_inputs'].endswith(b'<extra_id_699> big cat A')


@pytest.mark.parametrize(('min_ratio', 'count'), [(0.2, 1), (0.25, 0)])
def test_a_hole_is_measured_by_its_canvas(min_ratio, count):
  rows = made(generation.image_inpainting_preprocessor, LARGE, min_ratio=min_ratio)
  assert len(rows) == count


def test_a_hole_is_measured_in_the_order_of_its_columns():
  box = {'bbox': [[0.1, 0.8, 0.2, 0.9]], 'label': ['x']}  # left, right, top, bottom
  options = {'bbox_format': 'x1x2y1y2', 'min_ratio': 0.2}
  assert len(made(generation.image_inpainting_preprocessor, box, **options)) == 1


def test_targets_of_inpainting_are_neither_smoothed_nor_clipped(monkeypatch):
  sizes = data_utils.ImageSizes(input=(12, 12), target=(8, 8), history=(8, 8))
  monkeypatch.setattr(data_utils, 'image_sizes', lambda: sizes)
  edges = (np.indices((12, 12)).sum(0) // 3 % 2 * 255).astype('u1')[..., None].repeat(3, 2)
  (row,) = made(generation.image_inpainting_preprocessor, {**LARGE, 'image': edges})
  want = tf.image.resize(edges / np.float32(255), (8, 8), 'bicubic')
  assert want.numpy().min() < 0
  np.testing.assert_allclose(row['image_targets'], want, atol=1e-6)
