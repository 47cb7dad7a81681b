"""The generator of HiFi-GAN (Kong et al. 2020, section 2.2): a log-mel spectrogram to a waveform.

Transposed convolutions stretch the frames to samples; behind each of them several stacks of dilated
convolutions, which see different lengths, are averaged.

Shapes: B batch, T time, M mel bands, C channels in, D channels out, K width of a kernel, U rate.
"""

import flax.linen as nn
import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float

from t5x.examples.unified_io.config import VocoderConfig
from t5x.examples.unified_io.modules.dense import with_axes

SLOPE = 0.1  # of the leaky ReLUs, but
LAST_SLOPE = 0.01  # of the last
OUTER_KERNEL = 7  # width of the first and the last convolution
_LAYOUT = ('NTC', 'TIO', 'NTC')
_AXES = ('axis_0', 'axis_1', 'axis_2')


def stretch(
  x: Float[Array, 'B T C'], kernel: Float[Array, 'K C D'], rate: int
) -> Float[Array, 'B U*T D']:
  """Transposed convolution: frame t adds x[t] . kernel[k] to sample rate * t + k - padding.

  The padding is (K - rate) / 2, so that there are `rate` samples a frame.

  Raises:
    ValueError: K - rate is odd, or less than 0.
  """
  width = kernel.shape[0]
  if width < rate or (width - rate) % 2:
    raise ValueError(f'a kernel of {width} does not lie evenly around {rate} samples a frame')
  margin = width - 1 - (width - rate) // 2
  return jax.lax.conv_general_dilated(
    x, jnp.flip(kernel, 0), (1,), ((margin, margin),), lhs_dilation=(rate,),
    dimension_numbers=_LAYOUT,
  )  # fmt: skip


class Conv1d(nn.Module):
  """A convolution over time that keeps the length, or `stretch` with a rate above 1; and a bias."""

  features: int
  kernel_size: int
  dilation: int = 1
  rate: int = 1

  @nn.compact
  def __call__(self, x: Float[Array, 'B T C']) -> Float[Array, 'B T2 D']:
    shape = (self.kernel_size, x.shape[-1], self.features)
    init = with_axes(initializers.normal(0.01), _AXES)
    kernel = self.param('kernel', init, shape, jnp.float32)
    bias = self.param('bias', with_axes(initializers.zeros, _AXES[2:]), shape[2:], jnp.float32)
    if self.rate > 1:
      y = stretch(x, kernel, self.rate)
    else:
      y = jax.lax.conv_general_dilated(
        x, kernel, (1,), 'SAME', rhs_dilation=(self.dilation,), dimension_numbers=_LAYOUT
      )
    return y + bias[None, None]


class ResidualStack(nn.Module):
  """x + conv(leaky(x)), once for each dilation."""

  kernel_size: int
  dilations: tuple[int, ...]

  @nn.compact
  def __call__(self, x: Float[Array, 'B T C']) -> Float[Array, 'B T C']:
    for i, dilation in enumerate(self.dilations):
      conv = Conv1d(x.shape[-1], self.kernel_size, dilation, name=f'convs_{i}')
      x = x + conv(nn.leaky_relu(x, SLOPE))
    return x


class Vocoder(nn.Module):
  """Log-mel spectrograms to waveforms of `hop_size` samples a frame, in [-1, 1]."""

  config: VocoderConfig

  @nn.compact
  def __call__(self, log_mel: Float[Array, 'B T M']) -> Float[Array, 'B S']:
    c = self.config
    stacks = list(zip(c.resblock_kernel_sizes, c.resblock_dilation_sizes, strict=True))
    ups = zip(c.upsample_rates, c.upsample_kernel_sizes, strict=True)
    channels = c.upsample_initial_channel
    x = Conv1d(channels, OUTER_KERNEL, name='conv_pre')(log_mel)
    for i, (rate, kernel_size) in enumerate(ups):
      channels //= 2
      x = nn.leaky_relu(x, SLOPE)
      x = Conv1d(channels, kernel_size, rate=rate, name=f'ups_{i}')(x)
      seen = [
        ResidualStack(width, dilations, name=f'resblocks_{i * len(stacks) + j}')(x)
        for j, (width, dilations) in enumerate(stacks)
      ]
      x = sum(seen) / len(seen)
    x = Conv1d(1, OUTER_KERNEL, name='conv_post')(nn.leaky_relu(x, LAST_SLOPE))
    return jnp.tanh(x[..., 0])
