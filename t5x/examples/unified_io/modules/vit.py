"""The vision transformer, for pictures and for spectrograms: they differ by a `Flavour`.

Shapes: B batch, P patches, D width, C values of a patch.
"""

import dataclasses

from flax import struct
import flax.linen as nn
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from t5x.examples.unified_io.config import VitConfig
from t5x.examples.unified_io.modules import attention, dense, norms, positions, stack

SECOND_BLOCK = 1  # index of the block whose features are handed on beside the last one's


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flavour:
  """In what the image ViT and the audio spectrogram transformer differ.

  Attributes:
    leading_tokens: names of the learned tokens before the patches.
    position_grid: rows and columns of the learned position table.
    resize: resize the table to the grid of the patches; else take its first rows.
    column_major: PARITY: number the cells column by column.
    patch_bias: whether the patch embedding has a bias.
    patch_axes: logical axes of the patch embedding.
    pre_norm: whether a norm stands before the first block.
    epsilon: of the norms.
    activation: of the feed-forward block.
    zero_init: whether tokens and positions start at zero, else normal with width^-0.5.
  """

  leading_tokens: tuple[str, ...]
  position_grid: tuple[int, int]
  resize: bool
  column_major: bool
  patch_bias: bool
  patch_axes: tuple[str, str]
  pre_norm: bool
  epsilon: float
  activation: str
  zero_init: bool


IMAGE = Flavour(
  leading_tokens=('class_embedding',),
  position_grid=(14, 14),
  resize=True,
  column_major=False,
  patch_bias=False,
  patch_axes=('axis_0', 'embed'),
  pre_norm=True,
  epsilon=1e-5,
  activation='gelu_exact',
  zero_init=False,
)
AUDIO = Flavour(
  leading_tokens=('class_embedding', 'distillation_embedding'),
  position_grid=(8, 64),
  resize=False,
  column_major=True,
  patch_bias=True,
  patch_axes=('image_patch', 'embed'),
  pre_norm=False,
  epsilon=1e-6,
  activation='gelu',
  zero_init=True,
)


class VitFeatures(struct.PyTreeNode):
  """Features of the patches after the last block, and after the second one."""

  last: Float[Array, 'B P D']
  second: Float[Array, 'B P D']


class VitBlock(nn.Module):
  """x += attention(norm(x)); x += mlp(norm(x))."""

  config: VitConfig
  flavour: Flavour
  backend: str = 'auto'

  @nn.compact
  def __call__(self, x: Float[Array, 'B P D'], pattern: attention.Pattern):
    config, flavour = self.config, self.flavour
    glorot = initializers.glorot_uniform()
    attend = attention.Attention(
      num_heads=config.num_heads, head_dim=config.head_dim, out_features=config.emb_dim,
      dtype=config.dtype, use_bias=True, kernel_init=glorot, backend=self.backend,
      name='attention',
    )  # fmt: skip
    mlp = dense.Mlp(
      config.mlp_dim, (flavour.activation,), config.dtype, use_bias=True, kernel_init=glorot,
      name='mlp',
    )  # fmt: skip
    norm = lambda name: norms.LayerNorm(config.dtype, flavour.epsilon, name=name)
    x += attend.to_self(norm('pre_attention_layer_norm')(x), pattern)
    return x + mlp(norm('pre_mlp_layer_norm')(x))


class VisionTransformer(nn.Module):
  """Patches to features. There is no norm after the last block."""

  config: VitConfig
  flavour: Flavour
  scan_layers: bool = True
  backend: str = 'auto'

  def setup(self):
    config, flavour = self.config, self.flavour
    width = config.emb_dim
    init = initializers.zeros if flavour.zero_init else initializers.normal(width**-0.5)
    cells = flavour.position_grid[0] * flavour.position_grid[1]
    leading = len(flavour.leading_tokens)
    self.leading = [
      self.param(name, dense.with_axes(init, ('embed',)), (width,), jnp.float32)
      for name in flavour.leading_tokens
    ]
    self.positional_embedding = self.param(
      'positional_embedding',
      dense.with_axes(init, ('axis_0', 'embed')),
      (leading + cells, width),
      jnp.float32,
    )
    self.patch_embedding = dense.Dense(
      width, flavour.patch_axes, config.dtype, use_bias=flavour.patch_bias,
      kernel_init=initializers.glorot_uniform(),
    )  # fmt: skip
    if flavour.pre_norm:
      self.pre_norm = norms.LayerNorm(config.dtype, flavour.epsilon)
    block = lambda index: VitBlock(config, flavour, self.backend)
    self.layers = stack.build(block, config.num_layers, self.scan_layers)

  def __call__(
    self,
    patches: Float[Array, 'B P C'],
    mask: Int[Array, 'B P'],
    pos_ids: Int[Array, 'B P'],
    grid: tuple[int, int],
  ) -> VitFeatures:
    """Features of patches.

    Args:
      patches: pixel values, any subset of a grid's patches.
      mask: not 0 where a patch is real.
      pos_ids: cell of each patch in the grid, row by row.
      grid: rows and columns of the grid.
    """
    batch, count = patches.shape[0], len(self.leading)
    leading = jnp.stack(self.leading) + self.positional_embedding[:count]
    leading = jnp.broadcast_to(leading[None], (batch, *leading.shape)).astype(self.config.dtype)
    x = self.patch_embedding(patches) + self._positions(pos_ids, grid).astype(self.config.dtype)
    x = jnp.concatenate([leading, x], axis=1)
    if self.flavour.pre_norm:
      x = self.pre_norm(x)
    valid = jnp.concatenate([jnp.ones((batch, count), bool), mask.astype(bool)], axis=1)
    pattern = attention.Pattern.between(valid, valid)
    second_block = min(SECOND_BLOCK, self.config.num_layers - 1)

    def body(layer, carry, index, pattern):
      x, second = carry
      x = layer(x, pattern)
      return (x, jnp.where(index == second_block, x, second)), None

    indices = jnp.arange(self.config.num_layers)
    (last, second), _ = stack.loop(
      body, self.layers, (x, x), indices, pattern, count=self.config.num_layers
    )
    return VitFeatures(last=last[:, count:], second=second[:, count:])

  def _positions(self, pos_ids: Int[Array, 'B P'], grid: tuple[int, int]) -> Float[Array, 'B P D']:
    """Learned position of each patch; ids outside the table take its first or last row."""
    rows, cols = self.flavour.position_grid
    table = self.positional_embedding[len(self.leading) :]
    if self.flavour.column_major:
      # PARITY: the table was made for 64 columns a row, yet cells are counted by the input's grid.
      pos_ids = positions.transpose_ids(pos_ids, *grid)
    if self.flavour.resize and (rows, cols) != grid:
      table = positions.resize_table(table.reshape(rows, cols, -1), *grid).reshape(
        grid[0] * grid[1], -1
      )
    return jnp.take(table, pos_ids, axis=0, mode='clip')
