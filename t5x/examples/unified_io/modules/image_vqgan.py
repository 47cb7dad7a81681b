"""The image tokenizer: a convolutional VQGAN that makes a code of 8x8 pixels.

Its parameters bear the names that VQGANs are published with, as do the released checkpoints.
Encoder levels are counted from the finest resolution, decoder levels from the coarsest.

Shapes: B batch, Y height, X width, C channels, R rows and S columns of codes, D width of a code.
"""

import math

from flax import struct
import flax.linen as nn
from jaxtyping import Array, Float, Int

from t5x.examples.unified_io.config import ImageVqganConfig
from t5x.examples.unified_io.modules import attention
from t5x.examples.unified_io.modules.conv import Conv
from t5x.examples.unified_io.modules.norms import GroupNorm
from t5x.examples.unified_io.modules.quantizer import Quantized, Quantizer


class Reconstruction(struct.PyTreeNode):
  """What a tokenizer makes of pictures or spectrograms."""

  output: Float[Array, 'B Y X C']
  latents: Float[Array, 'B R S D']  # before they are put on codes
  quantized: Quantized


class ResidualBlock(nn.Module):
  """x + conv(swish(norm(conv(swish(norm(x)))))); x is projected where the channels change."""

  features: int
  dtype: str

  @nn.compact
  def __call__(self, x: Float[Array, 'B Y X C']) -> Float[Array, 'B Y X D']:
    h = nn.silu(GroupNorm(self.dtype, name='norm1')(x))
    h = Conv(self.features, self.dtype, name='conv1')(h)
    h = nn.silu(GroupNorm(self.dtype, name='norm2')(h))
    h = Conv(self.features, self.dtype, name='conv2')(h)
    if x.shape[-1] != self.features:
      x = Conv(self.features, self.dtype, kernel_size=1, name='nin_shortcut')(x)
    return x + h


class AttentionBlock(nn.Module):
  """x + attention among all pixels, with a single head."""

  dtype: str
  backend: str

  @nn.compact
  def __call__(self, x: Float[Array, 'B Y X C']) -> Float[Array, 'B Y X C']:
    channels = x.shape[-1]
    h = GroupNorm(self.dtype, name='norm')(x)
    project = lambda name: Conv(channels, self.dtype, kernel_size=1, name=name)
    q, k, v = (project(name)(h).reshape(x.shape[0], -1, 1, channels) for name in ('q', 'k', 'v'))
    h = attention.attend(
      q, k, v, attention.Pattern(), divisor=channels**0.5, backend=self.backend
    ).reshape(x.shape)
    return x + project('proj_out')(h)


class _Stack(nn.Module):
  """What encoder and decoder have in common.

  Attributes:
    config: of the tokenizer.
    backend: of attention.
  """

  config: ImageVqganConfig
  backend: str

  def level(
    self, prefix: str, level: int, blocks: int, x: Float[Array, 'B Y X C']
  ) -> Float[Array, 'B Y X D']:
    """Residual blocks at one resolution, 0 the finest; each with attention where config says so."""
    config = self.config
    features = config.channels * config.channel_multipliers[level]
    for block in range(blocks):
      x = ResidualBlock(features, config.dtype, name=f'{prefix}_block_{block}')(x)
      if config.resolution >> level in config.attention_resolutions:
        x = AttentionBlock(config.dtype, self.backend, name=f'{prefix}_attn_{block}')(x)
    return x

  def middle(self, x: Float[Array, 'B R S C']) -> Float[Array, 'B R S C']:
    """The blocks next to the codes."""
    dtype = self.config.dtype
    x = ResidualBlock(x.shape[-1], dtype, name='mid_block_1')(x)
    x = AttentionBlock(dtype, self.backend, name='mid_attn_1')(x)
    return ResidualBlock(x.shape[-1], dtype, name='mid_block_2')(x)

  def finish(self, features: int, x: Float[Array, 'B Y X C']) -> Float[Array, 'B Y X D']:
    """The last norm and convolution; nothing bounds the result."""
    x = nn.silu(GroupNorm(self.config.dtype, name='norm_out')(x))
    return Conv(features, self.config.dtype, name='conv_out')(x)


class _Sampler(nn.Module):
  """The convolution between two resolutions, at the path `<name>/conv`."""

  features: int
  dtype: str
  down: bool

  @nn.compact
  def __call__(self, x: Float[Array, 'B Y X C']) -> Float[Array, 'B Y2 X2 C']:
    options = {'stride': 2} if self.down else {'doubled': True}
    return Conv(self.features, self.dtype, name='conv', **options)(x)


class Encoder(_Stack):
  """Pixels to latents."""

  @nn.compact
  def __call__(self, x: Float[Array, 'B Y X C']) -> Float[Array, 'B R S D']:
    config = self.config
    last = len(config.channel_multipliers) - 1
    x = Conv(config.channels, config.dtype, name='conv_in')(x)
    for level in range(last + 1):
      x = self.level(f'down_{level}', level, config.num_res_blocks, x)
      if level < last:
        x = _Sampler(x.shape[-1], config.dtype, down=True, name=f'down_{level}_downsample')(x)
    return self.finish(config.code_dim, self.middle(x))


class Decoder(_Stack):
  """Latents to pixels; it has one residual block more a level than the encoder."""

  @nn.compact
  def __call__(self, x: Float[Array, 'B R S D']) -> Float[Array, 'B Y X C']:
    config = self.config
    last = len(config.channel_multipliers) - 1
    x = Conv(config.channels * config.channel_multipliers[last], config.dtype, name='conv_in')(x)
    x = self.middle(x)
    for up in range(last + 1):
      x = self.level(f'up_{up}', last - up, config.num_res_blocks + 1, x)
      if up < last:
        x = _Sampler(x.shape[-1], config.dtype, down=False, name=f'up_{up}_upsample')(x)
    return self.finish(config.out_channels, x)


class ImageVqgan(nn.Module):
  """Pictures in [-1, 1] to codes and back; what comes back may leave [-1, 1].

  Sides may be any multiple of the pixels that make a code, which need not be `config.resolution`:
  that only says at which levels the attention stands. Each method touches only the parameters that
  it needs.

  Attributes:
    config: widths and depths.
    backend: of attention.
  """

  config: ImageVqganConfig
  backend: str = 'auto'

  def setup(self):
    config = self.config
    self.encoder = Encoder(config, self.backend)
    self.decoder = Decoder(config, self.backend)
    self.quant_conv = Conv(config.code_dim, config.dtype, kernel_size=1)
    self.post_quant_conv = Conv(config.code_dim, config.dtype, kernel_size=1)
    self.quantize = Quantizer(
      config.codebook_size, config.code_dim, 'euclid', entry_weight=0.25, latent_weight=1.0
    )

  def __call__(self, pixels: Float[Array, 'B Y X C']) -> Reconstruction:
    """Pixels to codes to pixels, with all that training needs."""
    latents = self.latents(pixels)
    quantized = self.quantize(latents)
    return Reconstruction(self.decode_latents(quantized.latents), latents, quantized)

  def latents(self, pixels: Float[Array, 'B Y X C']) -> Float[Array, 'B R S D']:
    """Latents before they are put on codes.

    Raises:
      ValueError: if a side is no whole number of codes.
    """
    pitch = 2 ** (len(self.config.channel_multipliers) - 1)
    if pixels.shape[1] % pitch or pixels.shape[2] % pitch:
      raise ValueError(
        f'a picture of {pixels.shape[1]}x{pixels.shape[2]} has no whole number of codes of '
        f'{pitch}x{pitch} pixels; resize or pad it'
      )
    return self.quant_conv(self.encoder(pixels))

  def codes(self, pixels: Float[Array, 'B Y X C']) -> Int[Array, 'B R S']:
    """The grid of codes."""
    return self.quantize.codes(self.latents(pixels))

  def decode_latents(self, latents: Float[Array, 'B R S D']) -> Float[Array, 'B Y X C']:
    """Pixels of latents that stand on codes."""
    return self.decoder(self.post_quant_conv(latents))

  def decode_codes(self, codes: Int[Array, 'B R S']) -> Float[Array, 'B Y X C']:
    """Pixels of a grid of codes."""
    return self.decode_latents(self.quantize.lookup(codes))

  def encode(self, pixels: Float[Array, 'B Y X C']) -> Int[Array, 'B L']:
    """Codes in the order in which the network writes them: row by row."""
    return self.codes(pixels).reshape(pixels.shape[0], -1)

  def decode(self, codes: Int[Array, 'B L']) -> Float[Array, 'B Y X C']:
    """Pixels of a square picture's codes in the order in which the network writes them.

    Raises:
      ValueError: if they do not fill a square.
    """
    side = math.isqrt(codes.shape[1])
    if side * side != codes.shape[1]:
      raise ValueError(
        f'{codes.shape[1]} codes fill no square; give decode_codes a grid of rows and columns'
      )
    return self.decode_codes(codes.reshape(-1, side, side))
