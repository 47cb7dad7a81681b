"""A network with every released modality, each of its parts tiny, and batches for it."""

from typing import Any

import numpy as np

from t5x.array_types import Batch
from t5x.examples.unified_io import config, modality_specs, network
from tests import tiny

FRAMES = 3
_Grid = modality_specs.PatchGrid
_GRIDS = {
  'image': _Grid(height=12, width=16, patch=4),
  'image_history': _Grid(height=8, width=8, patch=4),
  'audio': _Grid(height=16, width=8, patch=4),
  'audio_history': _Grid(height=12, width=4, patch=4),
}


def model_config(**overrides: Any) -> config.ModelConfig:
  """As `tiny.model_config`, with resamplers of 3 and 2 latents and tokenizers of 16 codes."""
  resampler = {'emb_dim': 16, 'num_heads': 2, 'head_dim': 8, 'mlp_dim': 24, 'dtype': 'float32'}
  parts = {
    'image_resampler': config.ResamplerConfig(latents=3, max_frames=FRAMES, **resampler),
    'audio_resampler': config.ResamplerConfig(latents=2, max_frames=FRAMES, **resampler),
    'image_vqgan': config.ImageVqganConfig(
      codebook_size=16, resolution=8, channels=32, channel_multipliers=(1, 1), num_res_blocks=1,
      attention_resolutions=(4,),
    ),
    'audio_vqgan': config.AudioVqganConfig(
      codebook_size=16, code_dim=8, height=8, width=12, patch=4, dtype='float32',
      encoder_emb_dim=16, encoder_layers=1, encoder_mlp_dim=24, encoder_heads=2, encoder_head_dim=8,
      decoder_emb_dim=16, decoder_layers=1, decoder_mlp_dim=24, decoder_heads=2, decoder_head_dim=8,
    ),
  }  # fmt: skip
  return tiny.model_config(**{**parts, **overrides})


def input_specs(
  max_image_frames: float | None = None, max_audio_frames: float | None = None
) -> dict[str, modality_specs.ModalitySpec]:
  """All five inputs; the limits are frames an example, of the histories."""
  history = modality_specs.HistoryInputSpec
  patches = modality_specs.PatchInputSpec
  grids = _GRIDS
  return {
    'text': modality_specs.TextInputSpec(max_length=16),
    'image': patches(name='image', channels=3, grid=grids['image']),
    'image_history': history(
      name='image_history', channels=3, grid=grids['image_history'],
      max_per_example=max_image_frames,
    ),
    'audio': patches(name='audio', channels=1, grid=grids['audio']),
    'audio_history': history(
      name='audio_history', channels=1, grid=grids['audio_history'],
      max_per_example=max_audio_frames,
    ),
  }  # fmt: skip


def target_specs(use_codes: bool = False) -> dict[str, modality_specs.ModalitySpec]:
  """Text, a picture of 4 x 4 codes and a spectrogram of 3 x 2 codes (time by frequency)."""
  dense = modality_specs.DenseTargetSpec
  image, audio = _Grid(height=8, width=8, patch=2), _Grid(height=12, width=8, patch=4)
  return {
    'text': modality_specs.TextTargetSpec(max_length=16),
    'image': dense(name='image', channels=3, grid=image, use_codes=use_codes),
    'audio': dense(name='audio', channels=1, grid=audio, use_codes=use_codes),
  }


def transformer(use_codes: bool = False, **overrides: Any) -> network.Transformer:
  """All inputs to all targets."""
  return network.Transformer(model_config(**overrides), input_specs(), target_specs(use_codes))


def batch(size: int = 4, seed: int = 0) -> Batch:
  """Random examples of all modalities: some patches, frames and codes are masked."""
  rng = np.random.default_rng(seed)
  made = tiny.batch(size, seed)
  for name, spec in input_specs().items():
    if name != 'text':
      places = (size, FRAMES, 4) if name.endswith('history') else (size, 5)
      if name == 'audio_history':
        places = (size, FRAMES, spec.grid.count)
      mask = rng.random(places) < 0.7
      if name.endswith('history'):
        mask &= rng.random((size, FRAMES, 1)) < 0.6  # some frames are empty
      made[f'inputs/{name}/input'] = _noise(rng, (*places, spec.patch_dim))
      made[f'inputs/{name}/mask'] = mask.astype(np.int32)
      made[f'inputs/{name}/pos_ids'] = rng.integers(0, spec.grid.count, places, np.int32)
  for name, spec in target_specs().items():
    if name != 'text':
      shape = (size, spec.grid.height, spec.grid.width, spec.channels)
      made[f'targets/{name}/{name}'] = _noise(rng, shape)
      mask, loss, task = (rng.random((3, size, spec.grid.count)) < 0.8).astype(np.int32)
      masks = {'mask': mask, 'loss_mask': mask * loss, 'task_mask': mask * task}
      made |= {f'targets/{name}/{field}': array for field, array in masks.items()}
  return made


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
  return rng.standard_normal(shape, np.float32)
