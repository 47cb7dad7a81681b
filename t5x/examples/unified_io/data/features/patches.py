"""What images and spectrograms share: cutting into patches, masks of patches, choosing some."""

from collections.abc import Mapping
from typing import Any
import zlib

import numpy as np
import tensorflow as tf

from t5x.examples.unified_io import modality_specs
from t5x.examples.unified_io.data import data_utils

Example = Mapping[str, Any]
Lengths = Mapping[str, Any]
Grid = modality_specs.PatchGrid
_MASKS = ('mask', 'loss_mask', 'task_mask')  # of a dense target


def cut_patches(values: tf.Tensor, grid: Grid) -> tf.Tensor:
  """[..., height, width, channels] -> [..., patches, patch * patch * channels], row by row."""
  channels, p, lead = values.shape[-1], grid.patch, values.shape.rank - 3
  frames = [-1] * lead  # at most one axis of frames
  cut = tf.reshape(values, [*frames, grid.rows, p, grid.cols, p, channels])
  cut = tf.transpose(cut, [*range(lead), *(lead + axis for axis in (0, 2, 1, 3, 4))])
  return tf.reshape(cut, [*frames, grid.count, p * p * channels])


def patch_mask(mask: tf.Tensor, grid: Grid, rank: int = 1) -> tf.Tensor:
  """A mask of patches from a mask of pixels: the pixel at the centre of each patch decides.

  Args:
    mask: [..., patches] (given back as it is) or [..., height, width] of any size.
    grid: the patches.
    rank: rank of a mask that is already one of patches: 2 with a frame axis.

  Returns:
    int32 [..., patches].
  """
  mask = tf.cast(mask, tf.int32)
  if mask.shape.rank == rank:
    return mask
  height, width = (
    size or tf.shape(mask)[axis] for axis, size in ((-2, mask.shape[-2]), (-1, mask.shape[-1]))
  )
  rows = (2 * np.arange(grid.rows, dtype=np.int32) + 1) * height // (2 * grid.rows)
  cols = (2 * np.arange(grid.cols, dtype=np.int32) + 1) * width // (2 * grid.cols)
  picked = tf.gather(tf.gather(mask, rows, axis=-2), cols, axis=-1)
  return tf.reshape(picked, [*([-1] * (rank - 1)), grid.count])


def num_samples(wanted: float | int | None, count: int) -> int:
  """How many patches are kept: all for None, a share for a float, else the number itself."""
  if wanted is None:
    return count
  return int(wanted * count) if isinstance(wanted, float) else int(wanted)


def seed_of(seed: tf.Tensor, name: str) -> tf.Tensor:
  """The seed of one modality, made from that of the example; both int32 [2]."""
  return tf.random.experimental.stateless_fold_in(seed, zlib.crc32(name.encode()) >> 1)


def sample_patches(mask: tf.Tensor, count: int, seed: tf.Tensor) -> tf.Tensor:
  """Chooses `count` patches in random order, those that the mask hides only after all others.

  Args:
    mask: int32 [patches].
    count: at most the number of patches.
    seed: int32 [2].

  Returns:
    int32 [count] patch numbers.
  """
  order = data_utils.draw_order(seed, mask.shape[0])
  is_seen = tf.gather(mask, order) > 0
  order = tf.concat([tf.boolean_mask(order, is_seen), tf.boolean_mask(order, ~is_seen)], 0)
  return tf.ensure_shape(order[:count], [count])


class PatchInput:
  """One picture or spectrogram as input; subclasses say how values are normalised.

  Raw fields: `<name>_inputs` [height, width, channels], `<name>_input_masks` (of pixels or
  patches), or chosen patches with `<name>_encoder_pos_ids`.
  """

  def __init__(self, spec: modality_specs.PatchInputSpec):
    self.spec = spec

  def normalise(self, values: tf.Tensor) -> tf.Tensor:
    """Patches [..., patch_dim] -> what the network was trained on."""
    raise NotImplementedError

  def preprocess(self, example: Example, lengths: Lengths, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Stage 2: `input` [n, values of a patch], `mask` [n], `pos_ids` [n].

    Where there is no picture: [n, 0], [0], [0].
    """
    name, grid = self.spec.name, self.spec.grid
    wanted = num_samples((lengths or {}).get(f'{name}_input_samples'), grid.count)
    values = example.get(f'{name}_inputs')
    if values is None:
      none = tf.zeros([0], tf.int32)
      return {'input': tf.zeros([wanted, 0]), 'mask': none, 'pos_ids': none}
    mask = example[f'{name}_input_masks']
    positions = example.get(f'{name}_encoder_pos_ids')
    if positions is not None:
      shape = [wanted, self.spec.patch_dim]
      return {
        'input': self.normalise(tf.ensure_shape(values, shape)),
        'mask': tf.ensure_shape(tf.cast(mask, tf.int32), [wanted]),
        'pos_ids': tf.ensure_shape(tf.cast(positions, tf.int32), [wanted]),
      }
    values = tf.ensure_shape(values, [grid.height, grid.width, self.spec.channels])
    patches = self.normalise(cut_patches(values, grid))
    mask = tf.ensure_shape(patch_mask(mask, grid), [grid.count])
    positions = tf.range(wanted)
    if wanted < grid.count:
      positions = sample_patches(mask, wanted, seed_of(seed, name))
      patches, mask = tf.gather(patches, positions), tf.gather(mask, positions)
    return {'input': patches, 'mask': mask, 'pos_ids': positions}

  def convert(self, fields: Example, lengths: Lengths) -> dict[str, tf.Tensor]:
    """Stage 3: [n, values], [n], [n]; zeros of full size where there is no picture.

    Raises:
      ValueError: the picture brings another number of patches than the lengths say.
    """
    name, width = self.spec.name, self.spec.patch_dim
    count = (lengths or {}).get(f'inputs/{name}/input')
    if count is None:
      count = num_samples((lengths or {}).get(f'{name}_input_samples'), self.spec.grid.count)
    if fields['input'].shape[-1] == 0:
      none = tf.zeros([count], tf.int32)
      return {'input': tf.zeros([count, width]), 'mask': none, 'pos_ids': none}
    return {
      'input': tf.ensure_shape(fields['input'], [count, width]),
      'mask': tf.ensure_shape(fields['mask'], [count]),
      'pos_ids': tf.ensure_shape(fields['pos_ids'], [count]),
    }


class DenseTarget:
  """A picture or spectrogram to write; subclasses say how values are normalised.

  Raw fields: `<name>_targets` [height, width, channels]; optional `<name>_target_masks` (all real
  without it), `<name>_target_task_masks` (1: to be restored from a mask) and
  `<name>_target_loss_masks` (of patches); with codes instead of values, `<name>_target_tokens`
  [patches].
  """

  def __init__(self, spec: modality_specs.DenseTargetSpec):
    self.spec = spec
    self.content = 'tokens' if spec.use_codes else spec.name
    grid = spec.grid
    self._shape = [grid.count] if spec.use_codes else [grid.height, grid.width, spec.channels]
    self._dtype = tf.int32 if spec.use_codes else tf.float32

  def normalise(self, values: tf.Tensor) -> tf.Tensor:
    """Raw values -> what the network's tokenizer was trained on."""
    raise NotImplementedError

  def preprocess(self, example: Example, lengths: Lengths, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Stage 2: the picture, and `mask`, `loss_mask`, `task_mask` [patches].

    Where there is none: a picture without channels, masks of length 0.

    Raises:
      ValueError: masks without a picture.
    """
    del lengths, seed
    name, grid = self.spec.name, self.spec.grid
    key = f'{name}_target_tokens' if self.spec.use_codes else f'{name}_targets'
    values = example.get(key)
    masks = {
      key: example.get(f'{name}_target_{key}s') for key in ('mask', 'loss_mask', 'task_mask')
    }
    if values is None:
      if given := [key for key, mask in masks.items() if mask is not None]:
        raise ValueError(f'there are {given} of {name} targets, but no {key}')
      empty = tf.zeros([*self._shape[:-1], 0], self._dtype)
      return {self.content: empty, **dict.fromkeys(masks, tf.zeros([0], tf.int32))}
    values = tf.ensure_shape(tf.cast(values, self._dtype), self._shape)
    given = masks['mask']
    mask = tf.ones([grid.count], tf.int32) if given is None else patch_mask(given, grid)
    loss, task = masks['loss_mask'], masks['task_mask']
    fields = {
      'mask': mask,
      'loss_mask': mask if loss is None else tf.cast(loss, tf.int32),
      'task_mask': tf.zeros_like(mask) if task is None else patch_mask(task, grid),
    }
    content = values if self.spec.use_codes else self.normalise(values)
    return {
      self.content: content,
      **{k: tf.ensure_shape(v, [grid.count]) for k, v in fields.items()},
    }

  def convert(self, fields: Example, lengths: Lengths) -> dict[str, tf.Tensor]:
    """Stage 3: full shapes, zeros where there is no picture."""
    del lengths
    masks = {key: fields[key] for key in _MASKS}
    count = self.spec.grid.count
    if fields[self.content].shape[-1] == 0:
      none = tf.zeros([count], tf.int32)
      return {self.content: tf.zeros(self._shape, self._dtype), **dict.fromkeys(masks, none)}
    content = tf.ensure_shape(fields[self.content], self._shape)
    masks = {key: tf.ensure_shape(mask, [count]) for key, mask in masks.items()}
    return {self.content: content, **masks}
