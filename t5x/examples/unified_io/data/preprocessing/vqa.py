"""Questions about pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import gin
import tensorflow as tf

from t5x.examples.unified_io.data import data_utils, prompt_slots
from t5x.examples.unified_io.data import prompts as prompts_lib


@data_utils.map_example(num_seeds=3)
def _ask(
  ex: data_utils.Example,
  prompt_seed: tf.Tensor,
  image_seed: tf.Tensor,
  answer_seed: tf.Tensor,
  *,
  prompts: Sequence[str],
  is_training: bool,
  draw_answer: bool,
) -> data_utils.Example:
  """{'image': ..., 'text_inputs': 'How many?', 'text_targets': ['2', 'two'], 'id': 7} ->
  {'text_inputs': '[Text] [S] In short: How many?', 'text_targets': ['2', 'two'], ...}
  """
  image, mask, _ = data_utils.resize_and_pad_default(ex['image'], is_training, image_seed)
  question = prompt_slots.fill_one_of(prompts, prompt_seed, {'': ex['text_inputs']})
  made = {
    'text_inputs': prompts_lib.TEXT_OUTPUT + question,
    'image_inputs': image,
    'image_input_masks': mask,
    'text_targets': ex.get('text_targets', tf.constant('')),
  }
  if 'id' in ex:
    made['meta/example_id'] = ex['id']
  if 'text_targets' in ex:
    several = ex['text_targets'].shape.rank
    made['meta/all_references' if several else 'meta/label'] = ex['text_targets']
    if several and is_training and draw_answer:
      made['text_targets'] = data_utils.random_element(ex['text_targets'], answer_seed)
  return made


@gin.configurable
def vqa_preprocessor(
  ds: tf.data.Dataset,
  sequence_length: Mapping[str, Any] | None = None,
  *,
  flatten_first: bool = True,
  draw_answer: bool = False,
) -> tf.data.Dataset:
  """An example for each question; several answers to it are targets each on its own.

  Args:
    ds: image, text_inputs (questions), text_targets (one answer or a vector of them; a test set
      may have none), id if there is one. With `flatten_first` all but the image have a leading
      axis, the question.
    sequence_length: 'is_training' is read.
    flatten_first: False where an example is one question already.
    draw_answer: train on one answer, drawn anew in each epoch, instead of all of them at once: ten
      answers outweigh the targets of other tasks, since a loss is averaged over tokens.
  """
  is_training = data_utils.is_training(sequence_length)
  if flatten_first:
    fields = ('text_inputs', 'text_targets', 'id')
    ds = data_utils.flatten_parts(ds, [key for key in fields if key in ds.element_spec])
  return _ask(
    ds,
    prompts=prompts_lib.for_task('VQA_short_prompt', is_training=is_training),
    is_training=is_training,
    draw_answer=draw_answer,
  )
