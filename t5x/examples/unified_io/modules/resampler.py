"""The perceiver resampler: the patches of a frame become a few latents.

Shapes: F frames, P patches, N latents, D width.
"""

import flax.linen as nn
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from t5x.examples.unified_io.config import ResamplerConfig
from t5x.examples.unified_io.modules import attention, dense, norms

_LAYER = r'layers_(\d+)/'
# Beginnings of paths below the resampler, ours and those of the released checkpoints.
RELEASED_NAMES = [
  ('latents', 'resampler_latents'),
  ('output_norm/', 'perceiver_norm/'),
  (f'{_LAYER}pre_cross_attention_layer_norm/', f'{_LAYER}pre_xattention_layer_norm/'),
  (f'{_LAYER}cross_attention/', f'{_LAYER}xattention/'),
]


class Layer(nn.Module):
  """Latents look at the patches, or at each other, and then through a feed-forward block.

  Attributes:
    config: of the resampler.
    cross: whether at the patches.
    backend: of attention.
  """

  config: ResamplerConfig
  cross: bool
  backend: str

  @nn.compact
  def __call__(
    self,
    latents: Float[Array, 'F N D'],
    context: Float[Array, 'F P D'],
    pattern: attention.Pattern,
  ) -> Float[Array, 'F N D']:
    config = self.config
    name = 'cross_attention' if self.cross else 'attention'
    attend = attention.Attention(
      config.num_heads, config.head_dim, config.emb_dim, config.dtype, backend=self.backend,
      qk_norm=config.qk_norm if self.cross else config.self_qk_norm,
      scaled_cosine=config.scaled_cosine if self.cross else config.self_scaled_cosine,
      name=name,
    )  # fmt: skip
    h = norms.RmsNorm(config.dtype, name=f'pre_{name}_layer_norm')(latents)
    if self.cross:
      latents += attend(h, attend.keys_values(context), pattern)
    else:
      latents += attend.to_self(h, attention.Pattern())
    h = norms.RmsNorm(config.dtype, name='pre_mlp_layer_norm')(latents)
    return latents + dense.Mlp(config.mlp_dim, ('gelu',), config.dtype, name='mlp')(h)


class Resampler(nn.Module):
  """A fixed number of latents for each frame.

  Attributes:
    config: widths and depths.
    backend: of attention.
  """

  config: ResamplerConfig
  backend: str = 'auto'

  @nn.compact
  def __call__(
    self, patches: Float[Array, 'F P D'], mask: Int[Array, 'F P']
  ) -> Float[Array, 'F N D']:
    """Latents of each frame.

    Args:
      patches: features of the patches.
      mask: not 0 where a patch is real. A frame without any gives finite, meaningless latents.
    """
    config = self.config
    init = dense.with_axes(initializers.normal(config.emb_dim**-0.5), ('image_patch', 'embed'))
    latents = self.param('latents', init, (config.latents, config.emb_dim), jnp.float32)
    shape = (patches.shape[0], *latents.shape)
    latents = jnp.broadcast_to(latents.astype(config.dtype)[None], shape)
    context = norms.RmsNorm(config.dtype, name='context_norm')(patches)
    pattern = attention.Pattern.between(jnp.ones(shape[:2], bool), mask)
    for i in range(config.num_layers):
      cross = i in config.cross_attention_layers
      layer = Layer(config, cross, self.backend, name=f'layers_{i}')
      latents = layer(latents, context, pattern)
    return norms.RmsNorm(config.dtype, name='output_norm')(latents)
