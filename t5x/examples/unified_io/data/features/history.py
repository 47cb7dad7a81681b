"""Frames of a video and earlier audio segments: each is cut into patches on its own."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from t5x.examples.unified_io.data.features import audio, image, patches

Example = Mapping[str, Any]
Lengths = Mapping[str, Any]


class HistoryInput(patches.PatchInput):
  """Several pictures or spectrograms; subclasses say how values are normalised.

  Raw fields: `<name>_inputs` [frames, height, width, channels], `<name>_input_masks` ([frames,
  height, width] or [frames, patches]), or chosen patches with `<name>_encoder_pos_ids`.
  """

  def preprocess(self, example: Example, lengths: Lengths, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Stage 2: `input` [frames, n, values of a patch], `mask` and `pos_ids` [frames, n].

    Where there is none: [0, n, values], [0, 0], [0, 0].
    """
    name, grid, width = self.spec.name, self.spec.grid, self.spec.patch_dim
    lengths = lengths or {}
    wanted = patches.num_samples(lengths.get(f'{name}_input_samples'), grid.count)
    values = example.get(f'{name}_inputs')
    if values is None:
      none = tf.zeros([0, 0], tf.int32)
      return {'input': tf.zeros([0, wanted, width]), 'mask': none, 'pos_ids': none}
    mask = example[f'{name}_input_masks']
    positions = example.get(f'{name}_encoder_pos_ids')
    if positions is not None:
      shape = [lengths['num_frames'], wanted]
      return {
        'input': self.normalise(tf.ensure_shape(values, [*shape, width])),
        'mask': tf.ensure_shape(tf.cast(mask, tf.int32), shape),
        'pos_ids': tf.ensure_shape(tf.cast(positions, tf.int32), shape),
      }
    values = tf.ensure_shape(values, [None, grid.height, grid.width, self.spec.channels])
    cut = self.normalise(patches.cut_patches(values, grid))
    mask = tf.ensure_shape(patches.patch_mask(mask, grid, rank=2), [None, grid.count])
    if wanted < grid.count:
      positions = _sample_frames(mask, wanted, patches.seed_of(seed, name))
      cut = tf.gather(cut, positions, batch_dims=1)
      mask = tf.gather(mask, positions, batch_dims=1)
    else:
      # PARITY: made for `num_frames` frames, so filled frames have positions, too.
      frames = lengths.get('num_frames', tf.shape(values)[0])
      positions = tf.tile(tf.range(wanted)[None], [frames, 1])
    return {'input': cut, 'mask': mask, 'pos_ids': positions}

  def convert(self, fields: Example, lengths: Lengths) -> dict[str, tf.Tensor]:
    """Stage 3: [T, n, values], [T, n], [T, n]; frames are cut or filled with zeros to T.

    T is `num_frames`, or at least 1 frame of those an evaluator counted.
    """
    name, width = self.spec.name, self.spec.patch_dim
    frames = (lengths or {}).get('num_frames')
    if frames is None:
      frames = max((lengths or {}).get(f'inputs/{name}/input') or 0, 1)
    count = fields['input'].shape[1]
    if fields['mask'].shape[-1] == 0:
      none = tf.zeros([frames, count], tf.int32)
      return {'input': tf.zeros([frames, count, width]), 'mask': none, 'pos_ids': none}
    return {
      'input': _pad_frames(fields['input'], [frames, count, width]),
      'mask': _pad_frames(fields['mask'], [frames, count]),
      'pos_ids': tf.where(
        tf.shape(fields['input'])[0] > 0, _pad_frames(fields['pos_ids'], [frames, count]), 0
      ),
    }


class ImageHistory(HistoryInput):
  """`image_history_inputs`: [frames, height, width, 3] in [0, 1]."""

  def normalise(self, values: tf.Tensor) -> tf.Tensor:
    return image.normalise_pixels(values)


class AudioHistory(HistoryInput):
  """`audio_history_inputs`: [segments, 256 time, 128 mel, 1]."""

  def normalise(self, values: tf.Tensor) -> tf.Tensor:
    return audio.normalise_input(values)


def _sample_frames(mask: tf.Tensor, count: int, seed: tf.Tensor) -> tf.Tensor:
  """Chooses patches of each frame independently: int32 [frames, count]."""

  def sample(i_and_mask):
    i, frame_mask = i_and_mask
    frame_seed = tf.random.experimental.stateless_fold_in(seed, i)
    return patches.sample_patches(frame_mask, count, frame_seed)

  numbers = tf.range(tf.shape(mask)[0])
  return tf.map_fn(sample, (numbers, mask), fn_output_signature=tf.TensorSpec([count], tf.int32))


def _pad_frames(values: tf.Tensor, shape: list[int]) -> tf.Tensor:
  values = values[: shape[0]]
  missing = shape[0] - tf.shape(values)[0]
  values = tf.pad(values, [[0, missing], *[[0, 0]] * (len(shape) - 1)])
  return tf.ensure_shape(values, shape)
