"""Convolutions on arrays of pixels, and patches of pixels.

Shapes: B batch, Y height, X width, C channels in, D channels out, K width of a kernel, R rows and
S columns of patches, P width of a patch.
"""

import flax.linen as nn
import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float

from t5x.examples.unified_io.modules.dense import with_axes

_LAYOUT = ('NHWC', 'HWIO', 'NHWC')
_AXES = ('axis_0', 'axis_1', 'axis_2', 'axis_3')


def convolve(
  x: Float[Array, 'B Y X C'], kernel: Float[Array, 'K K C D'], *, stride: int = 1
) -> Float[Array, 'B Y2 X2 D']:
  """'SAME' convolution. With stride 2 an even size is padded by nothing before and one after."""
  strides = (stride, stride)
  return jax.lax.conv_general_dilated(x, kernel, strides, 'SAME', dimension_numbers=_LAYOUT)


def convolve_doubled(
  x: Float[Array, 'B Y X C'], kernel: Float[Array, '3 3 C D']
) -> Float[Array, 'B 2*Y 2*X D']:
  """`convolve` of the picture in double size (nearest neighbour), at about half of its work.

  A 3x3 window of the doubled picture sees at most 2x2 pixels, so the kernel's rows that meet the
  same pixel are added first, and its columns alike. What is left is one 4x4 kernel on the picture
  spread out with zeros between its pixels.
  """
  for axis in (0, 1):
    first, middle, last = jnp.moveaxis(kernel, axis, 0)
    kernel = jnp.stack([first, first + middle, middle + last, last], axis)
  return jax.lax.conv_general_dilated(
    x, kernel, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=_LAYOUT
  )


class Conv(nn.Module):
  """A square convolution with 'SAME' padding and a bias.

  Attributes:
    features: channels out.
    dtype: of the computation; parameters are float32.
    kernel_size: width of the kernel.
    stride: pixels from one window to the next.
    doubled: convolves the picture in double size (kernel size 3 only).
  """

  features: int
  dtype: str
  kernel_size: int = 3
  stride: int = 1
  doubled: bool = False

  @nn.compact
  def __call__(self, x: Float[Array, 'B Y X C']) -> Float[Array, 'B Y2 X2 D']:
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    kernel_init = with_axes(initializers.lecun_normal(), _AXES)
    kernel = self.param('kernel', kernel_init, shape, jnp.float32)
    bias = self.param('bias', with_axes(initializers.zeros, _AXES[3:]), shape[3:], jnp.float32)
    x = x.astype(self.dtype)
    if self.doubled:
      y = convolve_doubled(x, kernel.astype(self.dtype))
    else:
      y = convolve(x, kernel.astype(self.dtype), stride=self.stride)
    return y + bias.astype(self.dtype)[None, None, None]


def cut_patches(x: Float[Array, 'B Y X C'], width: int) -> Float[Array, 'B R S {width}*{width}*C']:
  """Cuts into square patches, each flattened in the order (row, column, channel).

  Raises:
    ValueError: if the height or the width is no whole number of patches.
  """
  batch, height, breadth, channels = x.shape
  if height % width or breadth % width:
    raise ValueError(
      f'{height}x{breadth} is no whole number of {width}-wide patches; pad or crop it'
    )
  x = x.reshape(batch, height // width, width, breadth // width, width, channels)
  return x.swapaxes(2, 3).reshape(batch, height // width, breadth // width, -1)


def emit_patches(
  x: Float[Array, 'B R S C'], kernel: Float[Array, 'P P C D']
) -> Float[Array, 'B R*P S*P D']:
  """Each cell becomes a patch of pixels: a transposed convolution whose stride is its width.

  PARITY: the released kernels are stored flipped along both sides; the first pixel of a patch
  comes from the last entry.
  """
  patches = jnp.einsum('BRSC,IJCD->BRISJD', x, jnp.flip(kernel, (0, 1)))
  batch, rows, height, columns, width, channels = patches.shape
  return patches.reshape(batch, rows * height, columns * width, channels)
