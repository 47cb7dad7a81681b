"""Captions: a picture in, a sentence about it out."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from t5x.examples.unified_io.data import data_utils, prompt_slots
from t5x.examples.unified_io.data import prompts as prompts_lib


def plain_text(text: tf.Tensor) -> tf.Tensor:
  """Backslashes become spaces."""
  return tf.strings.regex_replace(text, r'\\', ' ')


@data_utils.map_example(num_seeds=3)
def _describe(
  ex: data_utils.Example,
  caption_seed: tf.Tensor,
  prompt_seed: tf.Tensor,
  image_seed: tf.Tensor,
  *,
  prompts: Sequence[str],
  is_training: bool,
  multiple_targets: bool,
) -> data_utils.Example:
  """{'image': ..., 'captions': ['A <person>', 'Two dogs']} ->
  {'text_inputs': '[Text] [S] What do you see?', 'text_targets': 'A person', ...}
  """
  captions = target = ex['captions']
  if captions.shape.rank and not multiple_targets:
    # PARITY: the released weights know a drawn caption in its own case, all others in lower case.
    target = captions[data_utils.draw_index(caption_seed, tf.shape(captions)[0])]
  else:
    target = tf.strings.lower(captions)
  target = tf.strings.regex_replace(plain_text(target), '<person>', 'person')
  image, mask, _ = data_utils.resize_and_pad_default(ex['image'], is_training, image_seed)
  made = {
    'image_inputs': image,
    'image_input_masks': mask,
    'text_inputs': prompts_lib.TEXT_OUTPUT + prompt_slots.fill_one_of(prompts, prompt_seed),
    'text_targets': target,
    'meta/all_references': captions,
  }
  if 'image/filename' in ex:
    made['meta/example_id'] = ex['image/filename']
  return made


def image_caption_preprocessor(
  ds: tf.data.Dataset,
  sequence_length: Mapping[str, Any] | None = None,
  *,
  dataset_name: str = '',
  multiple_targets: bool = False,
  localized_narrative: bool = False,
) -> tf.data.Dataset:
  """One caption of each picture, drawn by the example's seed, or all of them.

  Args:
    ds: image (pixels or bytes), captions [] or [n], image/filename if there is one.
    sequence_length: 'is_training' is read.
    dataset_name: family of further prompts.
    multiple_targets: all captions as targets, each on its own.
    localized_narrative: ask for a long account of all places instead of a caption.
  """
  is_training = data_utils.is_training(sequence_length)
  family = 'Image_Localized_Narrative' if localized_narrative else 'Image_Captioning'
  return _describe(
    ds,
    prompts=prompts_lib.for_task(family, dataset_name, is_training=is_training),
    is_training=is_training,
    multiple_targets=multiple_targets,
  )
