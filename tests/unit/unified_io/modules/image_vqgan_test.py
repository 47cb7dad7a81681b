"""The image tokenizer at a tiny size: its parameters, its methods and what it refuses."""

from flax import traverse_util
from flax.core import meta
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io.config import ImageVqganConfig
from t5x.examples.unified_io.modules.image_vqgan import ImageVqgan

CONFIG = ImageVqganConfig(
  codebook_size=5, code_dim=3, resolution=8, channels=32, channel_multipliers=(1, 2),
  num_res_blocks=1, attention_resolutions=(4,),
)  # fmt: skip


def _shapes(config):
  abstract = jax.ShapeDtypeStruct((1, config.resolution, config.resolution, 3), 'float32')
  variables = jax.eval_shape(ImageVqgan(config).init, jax.random.key(0), abstract)
  shapes = traverse_util.flatten_dict(meta.unbox(variables)['params'], sep='/')
  return {path: leaf.shape for path, leaf in shapes.items()}


@pytest.fixture(scope='module')
def tokenizer():
  """(apply, parameters, pixels) with random weights."""
  rng = np.random.RandomState(0)
  flat = {path: jnp.float32(rng.randn(*shape) * 0.2) for path, shape in _shapes(CONFIG).items()}
  params = traverse_util.unflatten_dict(flat, sep='/')
  module = ImageVqgan(CONFIG)
  apply = lambda params, x, method=None: module.apply({'params': params}, x, method=method)
  return jax.jit(apply, static_argnames='method'), params, jnp.float32(rng.randn(2, 8, 8, 3))


def test_the_released_size_has_the_released_number_of_parameters():
  shapes = _shapes(ImageVqganConfig())
  assert sum(int(np.prod(shape)) for shape in shapes.values()) == 67_717_295
  assert shapes['encoder/down_3_block_0/nin_shortcut/kernel'] == (1, 1, 256, 512)
  assert shapes['decoder/up_3_block_0/nin_shortcut/kernel'] == (1, 1, 256, 128)
  assert shapes['quantize/embedding'] == (16_384, 4)


def test_attention_stands_at_its_resolution_and_in_the_middle():
  found = {path.rsplit('/', 2)[0] for path in _shapes(CONFIG) if path.endswith('/q/kernel')}
  assert found == {
    'encoder/down_1_attn_0', 'encoder/mid_attn_1',
    'decoder/up_0_attn_0', 'decoder/up_0_attn_1', 'decoder/mid_attn_1',
  }  # fmt: skip


def test_encoding_then_decoding_is_reconstruction(tokenizer):
  apply, params, pixels = tokenizer
  whole = apply(params, pixels)
  codes = apply(params, pixels, 'encode')
  np.testing.assert_array_equal(codes, whole.quantized.codes.reshape(2, 16))
  assert whole.latents.shape == (2, 4, 4, 3)
  assert whole.output.shape == pixels.shape
  np.testing.assert_allclose(apply(params, codes, 'decode'), whole.output, atol=1e-5)


def test_codes_are_written_row_by_row(tokenizer):
  apply, params, pixels = tokenizer
  grid = apply(params, pixels, 'codes')
  assert apply(params, pixels, 'encode')[0].tolist() == [c for row in grid[0] for c in row]


def test_each_direction_needs_its_own_parameters_only(tokenizer):
  apply, params, pixels = tokenizer
  encoder = {name: params[name] for name in ('encoder', 'quant_conv', 'quantize')}
  decoder = {name: params[name] for name in ('decoder', 'post_quant_conv', 'quantize')}
  codes = apply(encoder, pixels, 'encode')
  np.testing.assert_array_equal(codes, apply(params, pixels, 'encode'))
  pictures = apply(decoder, codes, 'decode')
  np.testing.assert_array_equal(pictures, apply(params, codes, 'decode'))


def test_a_picture_need_be_neither_square_nor_of_the_configured_size(tokenizer):
  apply, params, _ = tokenizer
  grid = apply(params, jnp.zeros((1, 4, 12, 3)), 'codes')
  assert grid.shape == (1, 2, 6)
  assert apply(params, grid, 'decode_codes').shape == (1, 4, 12, 3)


def test_half_a_code_and_codes_that_fill_no_square_are_refused(tokenizer):
  apply, params, _ = tokenizer
  with pytest.raises(ValueError, match='9x8 has no whole number of codes of 2x2 pixels'):
    apply(params, jnp.zeros((1, 9, 8, 3)), 'encode')
  with pytest.raises(ValueError, match='12 codes fill no square'):
    apply(params, jnp.zeros((1, 12), jnp.int32), 'decode')


def test_gradients_of_a_reconstruction_reach_every_kernel_and_the_codebook(tokenizer):
  apply, params, pixels = tokenizer

  @jax.jit
  @jax.grad
  def gradient(params):
    result = apply(params, pixels)
    return jnp.square(result.output - pixels).mean() + result.quantized.loss

  flat = traverse_util.flatten_dict(gradient(params), sep='/')
  idle = {path for path, g in flat.items() if not np.abs(g).max() > 1e-7}
  assert {path for path in idle if not path.endswith('/bias')} == set()
