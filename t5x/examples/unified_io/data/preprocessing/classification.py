"""Boxes in pictures: the class of what is inside."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from t5x.examples.unified_io.data import data_utils, geometry, prompt_slots, regions
from t5x.examples.unified_io.data import prompts as prompts_lib
from t5x.examples.unified_io.data.preprocessing import captioning

ClassNames = str | Callable[[], Sequence[str]] | None  # a file, or what is asked when data are made


def load(class_names: ClassNames) -> list[str] | None:
  """The names, None where labels are names already."""
  if class_names is None:
    return None
  if callable(class_names):
    return list(class_names())
  return data_utils.load_class_names(class_names)


@data_utils.map_example(num_seeds=3)
def _name_box(
  ex: data_utils.Example,
  box_seed: tf.Tensor,
  prompt_seed: tf.Tensor,
  image_seed: tf.Tensor,
  *,
  prompts: Sequence[str],
  is_training: bool,
  names: Sequence[str] | None,
  box_format: str,
) -> data_utils.Example:
  """All boxes of one class.

  {'image': ..., 'bbox': [[0, 0, 1, 0.5], ...], 'label': [2, 2]} ->
  {'text_inputs': '[Text] [S] What is at <extra_id_200> ... ?', 'text_targets': 'car', ...}
  """
  image, mask, (_, _, boxes, labels, _) = data_utils.resize_and_pad_default(
    ex['image'],
    is_training,
    image_seed,
    boxes=geometry.reorder_boxes(ex['bbox'], box_format),
    box_labels=ex['label'],
  )
  count = tf.shape(boxes)[0]
  drawn = data_utils.draw_index(box_seed, tf.maximum(count, 1))
  # Slices, for there may be no box left; such an example is not valid and is dropped.
  box, label = boxes[drawn : drawn + 1], labels[drawn : drawn + 1]
  if names is not None:
    label = tf.strings.reduce_join(tf.gather(tf.constant(names), label))
  # PARITY: a label that is a name already keeps its axis of one.
  label = captioning.plain_text(tf.strings.lower(label))
  question = prompt_slots.fill_one_of(prompts, prompt_seed, {'': regions.regions_to_str(box)})
  made = {
    'image_inputs': image,
    'image_input_masks': mask,
    'valid': count > 0,
    'text_inputs': prompts_lib.TEXT_OUTPUT + question,
    'text_targets': label,
    'meta/label': label,
  }
  if names is not None and not is_training:
    made['choices'] = tf.constant(names)
  return made


def box_classification_preprocessor(
  ds: tf.data.Dataset,
  sequence_length: Mapping[str, Any] | None = None,
  *,
  dataset_name: str = '',
  class_names: ClassNames = None,
  bbox_format: str = 'y1x1y2x2',
) -> tf.data.Dataset:
  """An example for each class in a picture, with one of its boxes drawn by the example's seed.

  Args:
    ds: image, bbox [n, 4] as parts of the picture, label [n]: numbers of classes, or names.
    sequence_length: 'is_training' is read. In evaluation the names are the options to choose from.
    dataset_name: family of further prompts.
    class_names: file of the names, or a function that tells them; None where labels are names.
    bbox_format: order of the box's columns.
  """
  is_training = data_utils.is_training(sequence_length)
  ds = data_utils.flatten_by_label(ds, ['bbox', 'label'])
  ds = _name_box(
    ds,
    prompts=prompts_lib.for_task('Box_Classification_Scene', dataset_name, is_training=is_training),
    is_training=is_training,
    names=load(class_names),
    box_format=bbox_format,
  )
  return data_utils.only_valid(ds)
