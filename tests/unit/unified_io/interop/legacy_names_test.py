"""Released names and ours are a bijection, in all layouts."""

from flax import traverse_util
import numpy as np
import pytest

from t5x.examples.unified_io.interop import legacy_names
from tests import tiny

_TOWER = 'input_image_encoder/image_encoder/vision_transformer'
_VIT = 'vision_transformer/Transformer_0/ResidualAttentionBlock_3'


@pytest.mark.parametrize(
  ('ours', 'released'),
  [
    ('text_token_embedder/embedding', 'text_token_embedder/embedding'),
    ('encoder/layers_2/mlp/wi_0/kernel', 'encoder/layers_2/mlp/wi_0/kernel'),
    ('input_text/modality_embedding', 'input_text_encoder/modality_embedding'),
    ('target_text/modality_embedding', 'target_encoders_text/modality_embedding'),
    ('image_vit/class_embedding', f'{_TOWER}/class_embedding'),
    ('image_vit/layers_3/mlp/wi/bias', f'input_image_encoder/image_encoder/{_VIT}/MLP_0/c_fc/bias'),
    (
      'image_vit/layers_3/pre_mlp_layer_norm/scale',
      f'input_image_encoder/image_encoder/{_VIT}/ln_2/scale',
    ),
    ('audio_vit/class_embedding', 'input_audio_encoder/image_encoder/vision_transformer/cls_token'),
    ('audio_vit/layers_3/mlp/wo/bias', f'input_audio_encoder/image_encoder/{_VIT}/MLP_0/fc2/bias'),
    (
      'input_image_history/resampler/layers_1/cross_attention/query/kernel',
      'input_encoders_image_history/resampler/PerceiverResampler_0/layers_1/xattention/query/kernel',
    ),
    (
      'input_audio_history/pre_projection/kernel',
      'input_encoders_audio_history/pre_projection/kernel',
    ),
    ('image_vqgan/quantize/embedding', 'target_encoders_image/discrete_vae/quantize/embedding'),
  ],
)
def test_names_translate_both_ways(ours, released):
  assert legacy_names.to_legacy(ours) == released
  assert legacy_names.from_legacy(released) == ours


def test_without_the_single_modality_the_backbone_lies_with_the_history():
  released = 'input_encoders_audio_history/vit_image_encoder/vision_transformer/dist_token'
  inputs = ('text', 'image', 'image_history', 'audio_history')
  ours = 'audio_vit/distillation_embedding'
  assert legacy_names.to_legacy(ours, inputs) == released
  assert legacy_names.from_legacy(released) == ours
  assert '/image_encoder/' in legacy_names.to_legacy('image_vit/class_embedding', inputs)


def test_released_layers_become_a_stack_and_come_back(tiny_network, tiny_params):
  config = tiny_network.config
  flat = legacy_names.tree_to_legacy(tiny_params, config)
  assert flat['decoder/layers_1/mlp/wo/kernel'].shape == (48, 32)
  again = legacy_names.tree_from_legacy(flat, config)
  want = traverse_util.flatten_dict(tiny_params, sep='/')
  got = traverse_util.flatten_dict(again, sep='/')
  assert set(got) == set(want)
  for path, array in want.items():
    np.testing.assert_array_equal(got[path], array, err_msg=path)


def test_layers_stacked_on_axis_1_are_read(tiny_network, tiny_params):
  config = tiny_network.config
  flat = legacy_names.tree_to_legacy(tiny_params, config)
  stacked = {k: v for k, v in flat.items() if not k.startswith('encoder/layers_')}
  kernels = [flat[f'encoder/layers_{i}/mlp/wo/kernel'] for i in range(2)]
  stacked['encoder/encoder/mlp/wo/kernel'] = np.stack(kernels, axis=1)
  unrolled = legacy_names.tree_from_legacy(stacked, tiny.model_config(scan_layers=False))
  got = unrolled['encoder']['layers_1']['mlp']['wo']['kernel']
  np.testing.assert_array_equal(got, kernels[1])


def test_a_missing_layer_is_told(tiny_network, tiny_params):
  flat = legacy_names.tree_to_legacy(tiny_params, tiny_network.config)
  del flat['encoder/layers_0/mlp/wo/kernel']
  with pytest.raises(ValueError, match='encoder/layers/mlp/wo/kernel has layers'):
    legacy_names.tree_from_legacy(flat, tiny_network.config)
