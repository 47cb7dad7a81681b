"""Referring expressions: an expression in, the box of what it means out."""

from collections.abc import Mapping, Sequence
from typing import Any

import gin
import tensorflow as tf

from t5x.examples.unified_io.data import data_utils, geometry, prompt_slots, regions
from t5x.examples.unified_io.data import prompts as prompts_lib


@data_utils.map_example(num_seeds=3)
def _find_box(
  ex: data_utils.Example,
  expression_seed: tf.Tensor,
  prompt_seed: tf.Tensor,
  image_seed: tf.Tensor,
  *,
  prompts: Sequence[str],
  is_training: bool,
  box_format: str,
  label_boxes: bool,
) -> data_utils.Example:
  """One object with one or several expressions for it.

  {'image': ..., 'bbox': [0, 0, 1, 0.5], 'label': ['The Cat', 'Left one'], 'refexp_id': [7, 8]} ->
  {'text_inputs': '[Text] [S] Where is the cat?', 'text_targets': '<extra_id_200> ...', ...}
  """
  expression, example_id = ex['label'], ex['refexp_id']
  if expression.shape.rank:
    drawn = data_utils.draw_index(expression_seed, tf.shape(expression)[0])
    expression, example_id = expression[drawn], example_id[drawn]
  expression = tf.strings.lower(expression)
  image, mask, (info, _, boxes, *_) = data_utils.resize_and_pad_default(
    ex['image'],
    is_training,
    image_seed,
    boxes=geometry.reorder_boxes(ex['bbox'], box_format)[None],
  )
  labels = tf.repeat(expression, tf.shape(boxes)[0]) if label_boxes else None
  question = prompt_slots.fill_one_of(prompts, prompt_seed, {'': expression})
  return {
    'image_inputs': image,
    'image_input_masks': mask,
    'text_inputs': prompts_lib.TEXT_OUTPUT + question,
    'text_targets': regions.regions_to_str(boxes, labels),
    'valid': tf.shape(boxes)[0] > 0,
    'meta/example_id': example_id,
    'meta/image_info': info,
    'meta/boxes': boxes,
    'meta/src_boxes': ex['bbox'],  # PARITY: numbers and order of the dataset
  }


@gin.configurable
def refer_expression_preprocessor(
  ds: tf.data.Dataset,
  sequence_length: Mapping[str, Any] | None = None,
  *,
  dataset_name: str = '',
  box_format: str = 'yxyx',
  label_boxes: bool = False,
) -> tf.data.Dataset:
  """An example for each object; those whose box lies outside of the picture are left out.

  Args:
    ds: image, bbox [n, 4] as parts of the picture, label [n] or [n, m ragged] and refexp_id alike.
    sequence_length: 'is_training' is read.
    dataset_name: family of further prompts.
    box_format: order of the box's columns, 'yxyx' or 'xyxy'.
    label_boxes: repeat the expression behind the box.
  """
  is_training = data_utils.is_training(sequence_length)
  ds = data_utils.flatten_parts(ds, ['bbox', 'label', 'refexp_id'])
  ds = _find_box(
    ds,
    prompts=prompts_lib.for_task('Refexp', dataset_name, is_training=is_training),
    is_training=is_training,
    box_format=box_format,
    label_boxes=label_boxes,
  )
  return data_utils.only_valid(ds)
