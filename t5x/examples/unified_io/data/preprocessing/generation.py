"""Pictures as targets: from a sentence, or the missing part of a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import gin
import tensorflow as tf

from t5x.examples.unified_io.data import data_utils, geometry, prompt_slots, regions
from t5x.examples.unified_io.data import prompts as prompts_lib
from t5x.examples.unified_io.data.preprocessing import captioning, classification


def unconditional_prompts() -> list[str]:
  """Prompts for any picture at all, which also guide generation by their absence of content."""
  kinds = prompts_lib.Prompt().active_set().families[prompts_lib.UNCONDITIONAL_IMAGE]
  return [prompt for prompts in kinds.values() for prompt in prompts]


@data_utils.map_example(num_seeds=4)
def _generate(
  ex: data_utils.Example,
  caption_seed: tf.Tensor,
  prompt_seed: tf.Tensor,
  free_seed: tf.Tensor,
  image_seed: tf.Tensor,
  *,
  prompts: Sequence[str],
  is_training: bool,
  free_ratio: float,
) -> data_utils.Example:
  """{'image': ..., 'captions': ['A Cat', 'Two dogs']} ->
  {'text_inputs': '[Image] [S] Paint this: a cat', 'image_targets': ..., ...}
  """
  image, mask, (info, *_) = data_utils.resize_and_pad_default(
    ex['image'], is_training, image_seed, is_input=False
  )
  caption = ex['captions']
  if caption.shape.rank:
    caption = caption[data_utils.draw_index(caption_seed, tf.shape(caption)[0])]
  caption = captioning.plain_text(tf.strings.lower(caption))
  prompt = prompt_slots.fill_one_of(prompts, prompt_seed, {'': caption})
  if free_ratio:
    is_free = data_utils.draw_float(free_seed, 0.0, 1.0) < free_ratio
    free = prompt_slots.fill_one_of(unconditional_prompts(), prompt_seed)
    prompt, caption = tf.where(is_free, free, prompt), tf.where(is_free, '', caption)
  made = {
    'image_targets': image,
    'image_target_masks': mask,
    'text_inputs': prompts_lib.IMAGE_OUTPUT + prompt,
    'meta/image_info': info,
    'meta/original_query': caption,
  }
  if 'image/filename' in ex:
    made['meta/image/filename'] = ex['image/filename']
  return made


@gin.configurable
def image_generation_preprocessor(
  ds: tf.data.Dataset,
  sequence_length: Mapping[str, Any] | None = None,
  *,
  dataset_name: str = '',
  random_gen_ratio: float = 0.1,
) -> tf.data.Dataset:
  """The picture as target, one of its captions in the prompt.

  Args:
    ds: image (pixels or bytes), captions [] or [n], image/filename if there is one.
    sequence_length: 'is_training' is read.
    dataset_name: family of further prompts.
    random_gen_ratio: share of training examples that are asked for any picture at all.
  """
  is_training = data_utils.is_training(sequence_length)
  return _generate(
    ds,
    prompts=prompts_lib.for_task('Image_Generation', dataset_name, is_training=is_training),
    is_training=is_training,
    free_ratio=random_gen_ratio if is_training else 0.0,
  )


def _areas(boxes: tf.Tensor) -> tf.Tensor:
  """Areas [n] of boxes [n, 4]; 0 for those that are turned inside out."""
  return tf.reduce_prod(tf.maximum(boxes[:, 2:] - boxes[:, :2], 0), 1)


@data_utils.map_example(num_seeds=3)
def _inpaint(
  ex: data_utils.Example,
  box_seed: tf.Tensor,
  prompt_seed: tf.Tensor,
  image_seed: tf.Tensor,
  *,
  prompts: Sequence[str],
  is_training: bool,
  min_ratio: float,
  names: Sequence[str] | None,
) -> data_utils.Example:
  """{'image': ..., 'bbox': [[0, 0, 1, 0.5]], 'label': [3]} ->
  {'text_inputs': '[Image] [S] Paint the gap: <extra_id_200> ... motorcycle', ...}

  The input's mask hides the box, the target's mask shows nothing else.
  """
  image, mask, (_, _, boxes, labels, _) = data_utils.resize_and_pad_default(
    ex['image'], is_training, image_seed, boxes=ex['bbox'], box_labels=ex['label']
  )
  # PARITY: part of the canvas, so that wide pictures need larger boxes than square ones.
  large = tf.where(_areas(boxes) > min_ratio * mask.shape.num_elements())[:, 0]
  count = tf.shape(large)[0]
  drawn = data_utils.draw_index(box_seed, tf.maximum(count, 1))
  large = large[drawn : drawn + 1]  # a slice, for there may be none; then the example is dropped
  box, label = tf.gather(boxes, large), tf.gather(labels, large)
  if names is not None:
    label = tf.gather(tf.constant(names), label)
  hole = tf.cast(tf.concat([box, tf.zeros([1, 4])], 0)[0], tf.int32)
  hole = geometry.box_mask(hole, tuple(mask.shape))
  # PARITY: the released weights saw aliased targets, whose values leave [0, 1] at sharp edges.
  target = tf.image.resize(image, data_utils.image_sizes().target, 'bicubic')
  text = tf.strings.lower(captioning.plain_text(regions.regions_to_str(box, label)))
  return {
    'image_inputs': image,
    'image_input_masks': mask * (1 - hole),
    'image_targets': target,
    'image_target_masks': hole,
    'text_inputs': prompts_lib.IMAGE_OUTPUT
    + prompt_slots.fill_one_of(prompts, prompt_seed, {'': text}),
    'valid': count > 0,
  }


@gin.configurable
def image_inpainting_preprocessor(
  ds: tf.data.Dataset,
  sequence_length: Mapping[str, Any] | None = None,
  *,
  dataset_name: str = '',
  min_ratio: float = 0.1,
  bbox_format: str = 'y1x1y2x2',
  class_names: classification.ClassNames = None,
) -> tf.data.Dataset:
  """One large box of each picture is hidden and is the target; pictures without any are left out.

  Args:
    ds: image, bbox [n, 4] as parts of the picture, label [n]: numbers of classes, or names.
    sequence_length: 'is_training' is read.
    dataset_name: family of further prompts.
    min_ratio: part that a box must exceed, of the picture and, as it lies there, of the canvas.
    bbox_format: order of the box's columns.
    class_names: file of the names, or a function that tells them; None where labels are names.
  """
  is_training = data_utils.is_training(sequence_length)
  ds = _reorder(ds, box_format=bbox_format)
  # Before any picture is resized: a box that is too small in the source stays so in most crops.
  ds = ds.filter(lambda ex: tf.reduce_any(_areas(ex['bbox']) > min_ratio))
  ds = _inpaint(
    ds,
    prompts=prompts_lib.for_task('Image_Inpainting', dataset_name, is_training=is_training),
    is_training=is_training,
    min_ratio=min_ratio,
    names=classification.load(class_names),
  )
  return data_utils.only_valid(ds)


@data_utils.map_example()
def _reorder(ex: data_utils.Example, *, box_format: str) -> data_utils.Example:
  return {**ex, 'bbox': geometry.reorder_boxes(ex['bbox'], box_format)}
