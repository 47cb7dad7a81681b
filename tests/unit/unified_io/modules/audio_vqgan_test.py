"""The audio tokenizer at a tiny size: its parameters, layouts and what it refuses."""

import re

from flax import traverse_util
from flax.core import meta
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io.config import AudioVqganConfig
from t5x.examples.unified_io.modules import audio_vqgan

CONFIG = AudioVqganConfig(
  codebook_size=5, code_dim=3, height=4, width=6, patch=2, dtype='float32',
  encoder_emb_dim=8, encoder_layers=1, encoder_mlp_dim=12, encoder_heads=2, encoder_head_dim=4,
  decoder_emb_dim=8, decoder_layers=2, decoder_mlp_dim=12, decoder_heads=2, decoder_head_dim=4,
)  # fmt: skip


def _shapes(config):
  abstract = jax.ShapeDtypeStruct((1, config.height, config.width, 1), 'float32')
  variables = jax.eval_shape(audio_vqgan.AudioVqgan(config).init, jax.random.key(0), abstract)
  shapes = traverse_util.flatten_dict(meta.unbox(variables)['params'], sep='/')
  return {path: leaf.shape for path, leaf in shapes.items()}


@pytest.fixture(scope='module')
def tokenizer():
  """(apply, parameters, spectrograms with the mel bands first) with random weights."""
  rng = np.random.RandomState(0)
  flat = {path: jnp.float32(rng.randn(*shape)) for path, shape in _shapes(CONFIG).items()}
  params = traverse_util.unflatten_dict(flat, sep='/')
  module = audio_vqgan.AudioVqgan(CONFIG)
  apply = lambda params, x, method=None: module.apply({'params': params}, x, method=method)
  return jax.jit(apply, static_argnames='method'), params, jnp.float32(rng.randn(2, 4, 6, 1))


def _translate(path, table):
  for pattern, wanted in table:
    if found := re.match(pattern, path):
      number = found.group(1) if found.groups() else ''
      return wanted.replace(r'(\d+)', number) + path[found.end() :]
  return path


def test_the_released_size_has_the_released_parameters():
  shapes = _shapes(AudioVqganConfig())
  assert sum(int(np.prod(shape)) for shape in shapes.values()) == 50_768_416
  assert shapes['encoder/latent_norm/bias'] == (32,)
  assert 'encoder/latent_norm/scale' not in shapes
  assert shapes['decoder/patch_emission/kernel'] == (8, 8, 512, 1)


def test_released_names_are_a_bijection():
  there = {path: _translate(path, audio_vqgan.RELEASED_NAMES) for path in _shapes(CONFIG)}
  block = 'decoder/Transformer_0/encoderblock_1'
  assert there['decoder/transformer/layers_1/attention/out/kernel'] == (
    f'{block}/MultiHeadDotProductAttention_0/out/kernel'
  )
  assert (
    there['decoder/transformer/layers_1/mlp/wo/bias'] == f'{block}/MlpBlock_0/DenseGeneral_1/bias'
  )
  assert there['encoder/latent_norm/bias'] == 'encoder/encoder_norm/bias'
  back = [(released, ours) for ours, released in audio_vqgan.RELEASED_NAMES]
  assert {ours: _translate(released, back) for ours, released in there.items()} == {
    ours: ours for ours in there
  }


def test_use_bias_adds_a_bias_to_both_projections_and_the_emission():
  plain, biased = _shapes(CONFIG), _shapes(AudioVqganConfig(use_bias=True))
  assert {path for path in biased if path.endswith('bias') and 'transformer' not in path} == {
    'encoder/patch_embedding/bias', 'encoder/latent_norm/bias', 'encoder/projection/bias',
    'decoder/projection/bias', 'decoder/patch_emission/bias',
  }  # fmt: skip
  assert 'decoder/projection/bias' not in plain


def test_the_network_writes_codes_time_step_by_time_step():
  grid = jnp.asarray([[[0, 1, 2], [3, 4, 5]]])  # 2 mel rows, 3 time steps
  tokens = audio_vqgan.to_time_major(grid)
  assert tokens.tolist() == [[0, 3, 1, 4, 2, 5]]
  np.testing.assert_array_equal(audio_vqgan.from_time_major(tokens, rows=2), grid)


def test_codes_that_fill_no_whole_time_step_are_refused():
  with pytest.raises(ValueError, match='5 codes fill no whole number of time steps of 2 codes'):
    audio_vqgan.from_time_major(jnp.zeros((1, 5), jnp.int32), rows=2)


def test_encode_and_decode_have_the_time_first(tokenizer):
  apply, params, spectrograms = tokenizer
  whole = apply(params, spectrograms)
  assert whole.latents.shape == (2, 2, 3, 3)
  codes = apply(params, spectrograms.swapaxes(1, 2), 'encode')
  np.testing.assert_array_equal(codes, audio_vqgan.to_time_major(whole.quantized.codes))
  decoded = apply(params, codes, 'decode')
  np.testing.assert_allclose(decoded, whole.output.swapaxes(1, 2), atol=1e-5)


def test_each_direction_needs_its_own_parameters_only(tokenizer):
  apply, params, spectrograms = tokenizer
  encoder = {name: params[name] for name in ('encoder', 'quantize')}
  decoder = {name: params[name] for name in ('decoder', 'quantize')}
  codes = apply(encoder, spectrograms, 'codes')
  np.testing.assert_array_equal(codes, apply(params, spectrograms, 'codes'))
  np.testing.assert_array_equal(
    apply(decoder, codes, 'decode_codes'), apply(params, codes, 'decode_codes')
  )


def test_a_part_of_a_patch_is_refused(tokenizer):
  apply, params, _ = tokenizer
  with pytest.raises(ValueError, match='4x7 is no whole number of 2-wide patches'):
    apply(params, jnp.zeros((1, 4, 7, 1)), 'codes')


def test_where_a_patch_stands_changes_its_latent(tokenizer):
  apply, params, _ = tokenizer
  latents = apply(params, jnp.ones((1, 4, 6, 1)), 'latents').reshape(6, 3)
  distances = np.abs(latents[:, None] - latents[None]).max(-1)
  assert (distances + np.eye(6)).min() > 1e-3


def test_bfloat16_computes_latents_in_bfloat16_and_codes_in_float32(tokenizer):
  _, params, spectrograms = tokenizer
  module = audio_vqgan.AudioVqgan(AudioVqganConfig(**{**vars(CONFIG), 'dtype': 'bfloat16'}))
  result = jax.jit(module.apply)({'params': params}, spectrograms)
  assert result.latents.dtype == result.output.dtype == jnp.bfloat16
  assert result.quantized.latents.dtype == jnp.float32
