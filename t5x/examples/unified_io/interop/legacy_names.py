"""Names of the released checkpoints' parameters, and ours: a bijection, and the two layer layouts.

The released T5X checkpoints keep every layer apart ('encoder/layers_3/...'). A variant stacks them
on axis 1 below 'encoder/encoder'. Our scanned layout stacks them on axis 0 below 'encoder/layers';
unrolled, our layers are 'encoder/layers_3'. Paths are without the checkpoint's leading 'target/'.
"""

from collections.abc import Mapping, Sequence
import re
from typing import Any

import jax
import numpy as np

from t5x import state_transforms
from t5x.array_types import Array, PyTree
from t5x.examples.unified_io.config import ModelConfig
from t5x.examples.unified_io.modality_specs import INPUT_ORDER
from t5x.examples.unified_io.modules import audio_vqgan, resampler

_BLOCK = 'Transformer_0/ResidualAttentionBlock_'
_VIT = [
  ('patch_embedding/', 'embedding/'),
  ('pre_norm/', 'pre_ln/'),
  (r'layers_(\d+)/pre_attention_layer_norm/', rf'{_BLOCK}(\d+)/ln_1/'),
  (r'layers_(\d+)/pre_mlp_layer_norm/', rf'{_BLOCK}(\d+)/ln_2/'),
  (r'layers_(\d+)/attention/', rf'{_BLOCK}(\d+)/MultiHeadDotProductAttention_0/'),
  (r'layers_(\d+)/mlp/wi/', rf'{_BLOCK}(\d+)/MLP_0/c_fc/'),
  (r'layers_(\d+)/mlp/wo/', rf'{_BLOCK}(\d+)/MLP_0/c_proj/'),
]
_AST = [
  ('class_embedding', 'cls_token'),
  ('distillation_embedding', 'dist_token'),
  ('positional_embedding', 'pos_embed'),
  ('patch_embedding/', 'embedding/'),
  (r'layers_(\d+)/pre_attention_layer_norm/', rf'{_BLOCK}(\d+)/norm1/'),
  (r'layers_(\d+)/pre_mlp_layer_norm/', rf'{_BLOCK}(\d+)/norm2/'),
  (r'layers_(\d+)/attention/', rf'{_BLOCK}(\d+)/MultiHeadDotProductAttention_0/'),
  (r'layers_(\d+)/mlp/wi/', rf'{_BLOCK}(\d+)/MLP_0/fc1/'),
  (r'layers_(\d+)/mlp/wo/', rf'{_BLOCK}(\d+)/MLP_0/fc2/'),
]
# (ours, released) beginnings of paths; the first that fits is replaced, what follows is kept or
# translated by the table of that module.
_PREFIXES: list[tuple[str, str, list[tuple[str, str]]]] = [
  ('image_vit/', 'input_image_encoder/image_encoder/vision_transformer/', _VIT),
  # PARITY: 'image_encoder' and 'vision_transformer' there, too.
  ('audio_vit/', 'input_audio_encoder/image_encoder/vision_transformer/', _AST),
  ('image_vqgan/', 'target_encoders_image/discrete_vae/', []),
  ('audio_vqgan/', 'target_encoders_audio/discrete_vae/', audio_vqgan.RELEASED_NAMES),
  *(
    (
      f'input_{name}/resampler/',
      f'input_encoders_{name}/resampler/PerceiverResampler_0/',
      resampler.RELEASED_NAMES,
    )
    for name in ('image_history', 'audio_history')
  ),
  ('input_image_history/', 'input_encoders_image_history/', []),
  ('input_audio_history/', 'input_encoders_audio_history/', []),
  ('input_text/', 'input_text_encoder/', []),
  ('input_image/', 'input_image_encoder/', []),
  ('input_audio/', 'input_audio_encoder/', []),
  ('target_text/', 'target_encoders_text/', []),
  ('target_image/', 'target_encoders_image/', []),
  ('target_audio/', 'target_encoders_audio/', []),
]
# A shared backbone lies with the first encoder that uses it: with the history, where there is one
# without its single counterpart.
_WITH_HISTORY = {
  name: (
    f'input_{name}_encoder/image_encoder/vision_transformer/',
    f'input_encoders_{name}_history/vit_image_encoder/vision_transformer/',
  )
  for name in ('image', 'audio')
}
_STACKED = {'encoder/encoder/': 'encoder/', 'decoder/decoder/': 'decoder/'}


def _translate(path: str, table: Sequence[tuple[str, str]]) -> str:
  """Replaces the beginning of a path by the first row (pattern, wanted) that fits."""
  for pattern, wanted in table:
    if found := re.match(pattern, path):
      number = found.group(1) if found.groups() else ''
      return wanted.replace(r'(\d+)', number) + path[found.end() :]
  return path


def _swap(table: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
  return [(legacy, ours) for ours, legacy in table]


def to_legacy(path: str, inputs: Sequence[str] = INPUT_ORDER) -> str:
  """Released name of one of our (unrolled) parameters.

  Args:
    path: 'encoder/layers_0/attention/query/kernel'.
    inputs: names of the input modalities of the released model that it is to fit.
  """
  for ours, legacy, inner in _PREFIXES:
    if path.startswith(ours):
      path = legacy + _translate(path[len(ours) :], inner)
      break
  for name, (usual, with_history) in _WITH_HISTORY.items():
    if name not in inputs and f'{name}_history' in inputs and path.startswith(usual):
      return with_history + path[len(usual) :]
  return path


def from_legacy(path: str) -> str:
  """Our (unrolled) name of a released parameter, the inverse of `to_legacy`."""
  for usual, with_history in _WITH_HISTORY.values():
    if path.startswith(with_history):
      path = usual + path[len(with_history) :]
  for ours, legacy, inner in _PREFIXES:
    if path.startswith(legacy):
      return ours + _translate(path[len(legacy) :], _swap(inner))
  return path


def tree_from_legacy(flat: Mapping[str, Array], config: ModelConfig) -> PyTree:
  """The released parameters as our nested tree, in the layer layout that `config` asks for.

  Args:
    flat: arrays by released path, layers apart or stacked; other modules' arrays are kept, too.
    config: whose `scan_layers` decides on the layout.

  Raises:
    ValueError: if the layers of a stack are not complete.
  """
  apart: dict[str, Any] = {}
  for path, array in flat.items():
    stacked = next((prefix for prefix in _STACKED if path.startswith(prefix)), None)
    if stacked is None:
      apart[from_legacy(path)] = array
      continue
    for i, layer in enumerate(np.moveaxis(np.asarray(array), 1, 0)):
      apart[f'{_STACKED[stacked]}layers_{i}/{path[len(stacked) :]}'] = layer
  found = stack_layers(apart, config) if config.scan_layers else apart
  return state_transforms.unflatten(found)


def tree_to_legacy(
  params: PyTree, config: ModelConfig, inputs: Sequence[str] = INPUT_ORDER
) -> dict[str, Array]:
  """Our nested tree as released parameters by path, with layers apart.

  Args:
    params: nested dict of arrays.
    config: of the network that the parameters belong to.
    inputs: see `to_legacy`.
  """
  flat = state_transforms.flatten(params)
  return {to_legacy(path, inputs): array for path, array in unstack_layers(flat, config).items()}


def _is_stack(prefix: str, config: ModelConfig) -> bool:
  """Whether our network scans over the layers below this path."""
  if prefix == 'decoder':
    return config.cross_attention_interval == 1
  return prefix in ('encoder', 'image_vit', 'audio_vit')


def stack_layers(flat: Mapping[str, Array], config: ModelConfig) -> dict[str, Array]:
  """'encoder/layers_<i>/x' for all i -> 'encoder/layers/x' with a leading axis."""
  result: dict[str, Any] = {}
  groups: dict[str, dict[int, Any]] = {}
  for path, array in flat.items():
    found = re.fullmatch(r'(\w+)/layers_(\d+)/(.+)', path)
    if found and _is_stack(found[1], config):
      groups.setdefault(f'{found[1]}/layers/{found[3]}', {})[int(found[2])] = array
    else:
      result[path] = array
  for path, layers in groups.items():
    if sorted(layers) != list(range(len(layers))):
      raise ValueError(f'{path} has layers {sorted(layers)}; some below the last are missing')
    result[path] = np.stack([np.asarray(layers[i]) for i in range(len(layers))])
  return result


def unstack_layers(flat: Mapping[str, Array], config: ModelConfig) -> dict[str, Array]:
  """The inverse of `stack_layers`; works on abstract arrays (ShapeDtypeStruct) as well."""
  result: dict[str, Any] = {}
  for path, array in flat.items():
    found = re.fullmatch(r'(\w+)/layers/(.+)', path)
    if not found or not _is_stack(found[1], config):
      result[path] = array
      continue
    for i in range(array.shape[0]):
      layer = f'{found[1]}/layers_{i}/{found[2]}'
      abstract = isinstance(array, jax.ShapeDtypeStruct)
      result[layer] = jax.ShapeDtypeStruct(array.shape[1:], array.dtype) if abstract else array[i]
  return result
