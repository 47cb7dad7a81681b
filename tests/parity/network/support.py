"""What the tests of network cases share: configurations, specs and weights from a case."""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from t5x import legacy_checkpoints
from t5x.examples.unified_io import config as config_lib
from t5x.examples.unified_io import modality_specs, network
from t5x.examples.unified_io.interop import legacy_names
from tests.parity import harness

# (ours, stored) names of fields, where the stored value is taken as it is.
_T5 = (
  ('emb_dim', 'emb_dim'),
  ('num_heads', 'num_heads'),
  ('head_dim', 'head_dim'),
  ('mlp_dim', 'mlp_dim'),
  ('num_encoder_layers', 'num_encoder_layers'),
  ('num_decoder_layers', 'num_decoder_layers'),
  ('vocab_size', 'vocab_size'),
  ('image_vocab_size', 'image_vocab_size'),
  ('audio_vocab_size', 'audio_vocab_size'),
  ('qk_norm', 'qk_norm'),
  ('dropout_rate', 'dropout_rate'),
  ('dtype', 'dtype'),
  ('cross_attention_interval', 'decoder_xattention_internval'),
)
# What the original's code lets no gradient into; here the list of trained paths decides.
_FROZEN = ('image_vit', 'audio_vit', 'image_vqgan', 'audio_vqgan')
_LIMITS = {'image_history': 'max_img_history', 'audio_history': 'max_audio_history'}
_VIT = ('emb_dim', 'num_heads', 'head_dim', 'num_layers', 'mlp_dim', 'dtype')


def vit_config(stored: Mapping[str, Any]) -> config_lib.VitConfig:
  """The feature encoder of a stored configuration."""
  fields = {name: stored[name] for name in _VIT}
  return config_lib.VitConfig(patch=stored['patch_size'], **fields)


def resampler_config(stored: Mapping[str, Any]) -> config_lib.ResamplerConfig:
  """The resampler of a stored configuration."""
  same = ('emb_dim', 'num_heads', 'head_dim', 'num_layers', 'mlp_dim', 'max_frames', 'dtype')
  return config_lib.ResamplerConfig(
    latents=stored['latents_size'],
    cross_attention_layers=tuple(stored['xattention_index']),
    scaled_cosine=stored['xattn_scaled_cosine'],
    self_scaled_cosine=stored['attn_scaled_cosine'],
    qk_norm=stored['xattn_qk_norm'],
    self_qk_norm=stored['attn_qk_norm'],
    **{name: stored[name] for name in same},
  )


def image_vqgan_config(stored: Mapping[str, Any]) -> config_lib.ImageVqganConfig:
  """The image tokenizer of a stored configuration."""
  return config_lib.ImageVqganConfig(
    codebook_size=stored['n_embed'],
    code_dim=stored['z_channels'],
    resolution=stored['resolution'],
    in_channels=stored['in_channels'],
    out_channels=stored['out_ch'],
    channels=stored['ch'],
    channel_multipliers=tuple(stored['ch_mult']),
    num_res_blocks=stored['num_res_blocks'],
    attention_resolutions=tuple(stored['attn_resolutions']),
    dtype=stored['dtype'],
  )


def audio_vqgan_config(stored: Mapping[str, Any]) -> config_lib.AudioVqganConfig:
  """The audio tokenizer of a stored configuration."""
  same = ('use_bias', 'dtype')
  sides = {
    f'{side}_{ours}': stored[f'{side}_{theirs}']
    for side in ('encoder', 'decoder')
    for ours, theirs in (
      ('emb_dim', 'hidden_size'),
      ('layers', 'num_layers'),
      ('mlp_dim', 'mlp_dim'),
      ('heads', 'num_heads'),
      ('head_dim', 'head_dim'),
    )
  }
  height, width = stored['default_input_size']
  return config_lib.AudioVqganConfig(
    codebook_size=stored['vocab_size'],
    code_dim=stored['proj_dim'],
    height=height,
    width=width,
    patch=stored['patch_size'][0],
    out_channels=stored['output_channel'],
    **sides,
    **{name: stored[name] for name in same},
  )


def model_config(stored: Mapping[str, Any], **overrides: Any) -> config_lib.ModelConfig:
  """The network of a stored `config`, unrolled unless told otherwise."""
  fields = {ours: stored['t5'][theirs] for ours, theirs in _T5}
  fields['mlp_activations'] = tuple(stored['t5']['mlp_activations'])
  # PARITY: the original leaves positions out where heads are as wide as the model.
  fields['rotary'] = fields['head_dim'] != fields['emb_dim']
  parts = {
    'image_vit': vit_config(stored['image_vit']),
    'audio_vit': vit_config(stored['audio_vit']),
    'image_resampler': resampler_config(stored['image_history']),
    'audio_resampler': resampler_config(stored['audio_history']),
    'image_vqgan': image_vqgan_config(stored['image_vae']),
    'audio_vqgan': audio_vqgan_config(stored['audio_vae']),
  }
  return config_lib.ModelConfig(**{**fields, **parts, 'scan_layers': False, **overrides})


def _grid(size: list[int], patch: int) -> modality_specs.PatchGrid:
  return modality_specs.PatchGrid(height=size[0], width=size[1], patch=patch)


def input_specs(stored: Mapping[str, Any]) -> dict[str, modality_specs.ModalitySpec]:
  """Specs of the input modalities of a stored `config`."""
  t5, modalities = stored['t5'], stored['modalities']
  stretch = (t5['decoder_max_image_length'] / t5['encoder_max_image_length']) ** 0.5
  specs = {}
  for name in modalities['input']:
    use_vit = modalities.get(f'use_{name}_vit', False)
    if name == 'text':
      spec = modality_specs.TextInputSpec(max_length=t5['encoder_max_text_length'])
    elif name.endswith('_history'):
      spec = modality_specs.HistoryInputSpec(
        name=name,
        channels=3 if name == 'image_history' else 1,
        grid=_grid(t5[f'default_{name}_vit_size'], t5[f'{name.split("_")[0]}_patch_size']),
        use_vit=use_vit,
        max_per_example=modalities.get(_LIMITS[name]),
      )
    else:
      patch = t5[f'{name}_patch_size']
      bare = _grid(t5[f'default_{name}_size'], patch)
      spec = modality_specs.PatchInputSpec(
        name=name,
        channels=3 if name == 'image' else 1,
        grid=_grid(t5[f'default_{name}_vit_size'], patch),
        use_vit=use_vit,
        position_grid=None if use_vit else (bare.rows, bare.cols),
        position_scale=stretch,
      )
    specs[name] = spec
  return specs


def target_specs(stored: Mapping[str, Any]) -> dict[str, modality_specs.ModalitySpec]:
  """Specs of the target modalities of a stored `config`."""
  specs = {}
  for name in stored['modalities']['target']:
    if name == 'text':
      specs[name] = modality_specs.TextTargetSpec(
        max_length=stored['t5']['decoder_max_text_length']
      )
    else:
      tokenizer = stored[f'{name}_vae']
      size = tokenizer['default_input_size']
      specs[name] = modality_specs.DenseTargetSpec(
        name=name,
        channels=3 if name == 'image' else 1,
        # The audio tokenizer has the frequency first, batches have the time first.
        grid=_grid(size if name == 'image' else size[::-1], tokenizer['patch_size'][0]),
      )
  return specs


def transformer(stored: Mapping[str, Any], **overrides: Any) -> network.Transformer:
  """The network of a stored `config`."""
  config = model_config(stored, **overrides)
  return network.Transformer(config, input_specs(stored), target_specs(stored))


def weights(case: harness.Case, name: str, config: config_lib.ModelConfig) -> dict[str, Any]:
  """Our parameters from a checkpoint folder of a case."""
  flat = legacy_checkpoints.load(case.path / name).read('target')
  return legacy_names.tree_from_legacy(flat, config)


def stop_frozen(params: Mapping[str, Any]) -> dict[str, Any]:
  """The parameters, without gradients into those that the original never trains."""
  return {k: jax.lax.stop_gradient(v) if k in _FROZEN else v for k, v in params.items()}


def batch(case: harness.Case) -> dict[str, jax.Array]:
  """The inputs of a case as the network takes them."""
  return {name: jnp.asarray(array) for name, array in case.inputs.items()}


def floats(case: harness.Case) -> dict[str, float]:
  """Tolerance of float32 arrays."""
  tolerance = case.config['tolerance']
  return {'atol': tolerance['float32_atol'], 'rtol': tolerance['float32_rtol']}


def norms(flat: Mapping[str, Any]) -> dict[str, float]:
  """Euclidean norm of each array."""
  return {path: float(np.sqrt(np.sum(np.square(np.float64(x))))) for path, x in flat.items()}


def flat(tree: Any) -> dict[str, Any]:
  """Nested dict -> {path: array}."""
  return traverse_util.flatten_dict(tree, sep='/')


def dummy_batch(module: network.Transformer) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of a batch of one for any network; only few of the patches are there."""
  shapes: dict[str, tuple[int, ...]] = {}
  for name, spec in module.inputs.items():
    prefix = f'inputs/{name}'
    if isinstance(spec, modality_specs.TextInputSpec):
      shapes[f'{prefix}/tokens'] = (1, 3)
      continue
    places = (1, 1, 2) if isinstance(spec, modality_specs.HistoryInputSpec) else (1, 2)
    shapes |= {f'{prefix}/mask': places, f'{prefix}/pos_ids': places}
    shapes[f'{prefix}/input'] = (*places, spec.patch_dim)
  for name, spec in module.targets.items():
    if isinstance(spec, modality_specs.DenseTargetSpec):
      shapes[f'targets/{name}/{name}'] = (1, spec.grid.height, spec.grid.width, spec.channels)
    else:
      shapes |= {f'targets/{name}/{field}': (1, 3) for field in ('inputs', 'targets')}
  floats = ('/input', '/image', '/audio')
  return {
    key: jax.ShapeDtypeStruct(shape, jnp.float32 if key.endswith(floats) else jnp.int32)
    for key, shape in shapes.items()
  }
