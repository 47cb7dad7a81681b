"""The audio tokenizer: a ViT-VQGAN that makes a code of 8x8 cells of a spectrogram.

Inside, mel bands are rows and time steps are columns. The network and its batches have the time
first: `encode` and `decode` go over from one to the other.

Shapes: B batch, M mel bands, T time steps, C channels, R rows and S columns of codes, L all codes,
W model width, D width of a code.
"""

import flax.linen as nn
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from t5x.examples.unified_io.config import AudioVqganConfig
from t5x.examples.unified_io.modules import attention, dense, norms, positions
from t5x.examples.unified_io.modules.conv import cut_patches, emit_patches
from t5x.examples.unified_io.modules.image_vqgan import Reconstruction
from t5x.examples.unified_io.modules.quantizer import Quantizer

_EPSILON = 1e-6  # of all norms

_BLOCK = 'Transformer_0/encoderblock_'
_LAYERS = (
  ('pre_attention_layer_norm/', 'LayerNormWithBias_0/'),
  ('attention/', 'MultiHeadDotProductAttention_0/'),
  ('pre_mlp_layer_norm/', 'LayerNormWithBias_1/'),
  ('mlp/wi/', 'MlpBlock_0/DenseGeneral_0/'),
  ('mlp/wo/', 'MlpBlock_0/DenseGeneral_1/'),
)
# Beginnings of paths below the tokenizer, ours and those of the released checkpoints.
RELEASED_NAMES = [
  ('encoder/patch_embedding/', 'encoder/embedding/'),
  ('encoder/projection/', 'encoder/encoder_proj/'),
  ('encoder/latent_norm/', 'encoder/encoder_norm/'),
  ('decoder/projection/', 'decoder/decoder_proj/'),
  ('decoder/patch_emission/', 'decoder/ConvTranspose_0/'),
  *(
    (rf'{side}/transformer/layers_(\d+)/{ours}', rf'{side}/{_BLOCK}(\d+)/{released}')
    for side in ('encoder', 'decoder')
    for ours, released in _LAYERS
  ),
  *(
    (f'{side}/transformer/output_norm/', f'{side}/Transformer_0/encoder_norm/')
    for side in ('encoder', 'decoder')
  ),
]


def to_time_major(codes: Int[Array, 'B R S']) -> Int[Array, 'B L']:
  """A grid of codes in the order in which the network writes them: time step by time step."""
  return codes.swapaxes(1, 2).reshape(codes.shape[0], -1)


def from_time_major(codes: Int[Array, 'B L'], rows: int) -> Int[Array, 'B R S']:
  """The inverse of `to_time_major` for a grid with so many rows.

  Raises:
    ValueError: if the codes do not fill whole time steps.
  """
  if codes.shape[1] % rows:
    raise ValueError(
      f'{codes.shape[1]} codes fill no whole number of time steps of {rows} codes each'
    )
  return codes.reshape(codes.shape[0], -1, rows).swapaxes(1, 2)


class Block(nn.Module):
  """x += attention(norm(x)); x += mlp(norm(x))."""

  num_heads: int
  head_dim: int
  mlp_dim: int
  dtype: str
  backend: str

  @nn.compact
  def __call__(self, x: Float[Array, 'B L W']) -> Float[Array, 'B L W']:
    attend = attention.Attention(
      self.num_heads, self.head_dim, x.shape[-1], self.dtype, backend=self.backend, name='attention'
    )
    mlp = dense.Mlp(
      self.mlp_dim, ('relu',), self.dtype, use_bias=True,
      kernel_init=initializers.xavier_uniform(), name='mlp',
    )  # fmt: skip
    norm = lambda name: norms.LayerNorm(self.dtype, _EPSILON, name=name)
    x += attend.to_self(norm('pre_attention_layer_norm')(x), attention.Pattern())
    return x + mlp(norm('pre_mlp_layer_norm')(x))


class Transformer(nn.Module):
  """Sine-cosine positions, blocks, and a norm."""

  num_layers: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  dtype: str
  backend: str

  @nn.compact
  def __call__(self, x: Float[Array, 'B R S W']) -> Float[Array, 'B R S W']:
    table = positions.sincos_2d(x.shape[1], x.shape[2], x.shape[3])
    h = x.reshape(x.shape[0], -1, x.shape[3]) + jnp.asarray(table, self.dtype)[None]
    sizes = (self.num_heads, self.head_dim, self.mlp_dim)
    for i in range(self.num_layers):
      h = Block(*sizes, self.dtype, self.backend, name=f'layers_{i}')(h)
    return norms.LayerNorm(self.dtype, _EPSILON, name='output_norm')(h).reshape(x.shape)


class Encoder(nn.Module):
  """Spectrograms to latents."""

  config: AudioVqganConfig
  backend: str

  def setup(self):
    config = self.config
    self.patch_embedding = dense.Dense(
      config.encoder_emb_dim, ('image_patch', 'embed'), config.dtype, use_bias=True
    )
    self.transformer = Transformer(
      config.encoder_layers, config.encoder_heads, config.encoder_head_dim, config.encoder_mlp_dim,
      config.dtype, self.backend,
    )  # fmt: skip
    self.projection = dense.Dense(
      config.code_dim, ('embed', 'mlp'), config.dtype, use_bias=config.use_bias
    )
    self.latent_norm = norms.LayerNorm(config.dtype, _EPSILON, use_scale=False)

  def __call__(self, x: Float[Array, 'B M T C']) -> Float[Array, 'B R S D']:
    h = self.transformer(self.patch_embedding(cut_patches(x, self.config.patch)))
    return self.latent_norm(self.projection(nn.relu(h)))


class Decoder(nn.Module):
  """Latents to spectrograms."""

  config: AudioVqganConfig
  backend: str

  def setup(self):
    config = self.config
    self.projection = dense.Dense(
      config.decoder_emb_dim, ('image_patch', 'embed'), config.dtype, use_bias=config.use_bias
    )
    self.transformer = Transformer(
      config.decoder_layers, config.decoder_heads, config.decoder_head_dim, config.decoder_mlp_dim,
      config.dtype, self.backend,
    )  # fmt: skip
    self.patch_emission = PatchEmission(
      config.out_channels, config.patch, config.dtype, config.use_bias
    )

  def __call__(self, x: Float[Array, 'B R S D']) -> Float[Array, 'B M T C']:
    return self.patch_emission(self.transformer(self.projection(x)))


class PatchEmission(nn.Module):
  """A patch of cells from each vector."""

  features: int
  width: int
  dtype: str
  use_bias: bool

  @nn.compact
  def __call__(self, x: Float[Array, 'B R S W']) -> Float[Array, 'B M T C']:
    axes = ('axis_0', 'axis_1', 'embed', 'axis_3')
    shape = (self.width, self.width, x.shape[-1], self.features)
    init = dense.with_axes(initializers.lecun_normal(), axes)
    kernel = self.param('kernel', init, shape, jnp.float32)
    y = emit_patches(x.astype(self.dtype), kernel.astype(self.dtype))
    if self.use_bias:
      init = dense.with_axes(initializers.zeros, axes[3:])
      bias = self.param('bias', init, shape[3:], jnp.float32)
      y += bias.astype(self.dtype)[None, None, None]
    return y


class AudioVqgan(nn.Module):
  """Normalised log-mel spectrograms to codes and back.

  Each method touches only the parameters that it needs.

  Attributes:
    config: widths and depths.
    backend: of attention.
  """

  config: AudioVqganConfig
  backend: str = 'auto'

  def setup(self):
    config = self.config
    self.encoder = Encoder(config, self.backend)
    self.decoder = Decoder(config, self.backend)
    self.quantize = Quantizer(
      config.codebook_size, config.code_dim, 'cosine', entry_weight=1.0, latent_weight=0.25
    )

  def __call__(self, x: Float[Array, 'B M T C']) -> Reconstruction:
    """Spectrograms to codes to spectrograms, with all that training needs."""
    latents = self.latents(x)
    quantized = self.quantize(latents)
    return Reconstruction(self.decode_latents(quantized.latents), latents, quantized)

  def latents(self, x: Float[Array, 'B M T C']) -> Float[Array, 'B R S D']:
    """Latents before they are put on codes.

    Raises:
      ValueError: if mel bands or time steps are no whole number of patches.
    """
    return self.encoder(x)

  def codes(self, x: Float[Array, 'B M T C']) -> Int[Array, 'B R S']:
    """The grid of codes."""
    return self.quantize.codes(self.latents(x))

  def decode_latents(self, latents: Float[Array, 'B R S D']) -> Float[Array, 'B M T C']:
    """Spectrograms of latents that stand on codes."""
    return self.decoder(latents)

  def decode_codes(self, codes: Int[Array, 'B R S']) -> Float[Array, 'B M T C']:
    """Spectrograms of a grid of codes."""
    return self.decode_latents(self.quantize.lookup(codes))

  def encode(self, spectrogram: Float[Array, 'B T M C']) -> Int[Array, 'B L']:
    """Codes as the network writes them, of a spectrogram as batches bring it: time first."""
    return to_time_major(self.codes(spectrogram.swapaxes(1, 2)))

  def decode(self, codes: Int[Array, 'B L']) -> Float[Array, 'B T M C']:
    """The inverse of `encode`, save for what codes cannot hold.

    Raises:
      ValueError: if the codes do not fill whole time steps.
    """
    grid = from_time_major(codes, self.config.height // self.config.patch)
    return self.decode_codes(grid).swapaxes(1, 2)
