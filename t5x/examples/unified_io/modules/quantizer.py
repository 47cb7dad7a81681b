"""Putting latents on the nearest entries of a codebook: what makes an autoencoder a tokenizer.

Shapes: N latents, D their width, V entries of the codebook.
"""

from typing import Literal

from flax import struct
import flax.linen as nn
import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from t5x.examples.unified_io.modules.dense import with_axes

_CHUNK = 4096  # entries compared at once; all at once would take 8 GB for 128 pictures


class Quantized(struct.PyTreeNode):
  """Latents put on their nearest entries."""

  codes: Int[Array, '*B']
  latents: Float[Array, '*B D']  # the entries; their gradient goes to the given latents unchanged
  loss: Float[Array, '']  # draws entries and latents together


def squared_distances(
  latents: Float[Array, 'N D'], entries: Float[Array, 'V D']
) -> Float[Array, 'N V']:
  """Squared Euclidean distances, in full float32 on every device: codes hang on small gaps."""
  products = jnp.einsum('ND,VD->NV', latents, entries, precision=jax.lax.Precision.HIGHEST)
  squares = jnp.square(latents).sum(-1)[:, None] + jnp.square(entries).sum(-1)[None]
  return squares - 2.0 * products


def nearest(
  latents: Float[Array, 'N D'], entries: Float[Array, 'V D'], *, chunk: int = _CHUNK
) -> Int[Array, 'N']:
  """Number of the nearest entry, the first among equals; [N, chunk] distances exist at a time."""
  size = entries.shape[0]
  codes = jnp.zeros(latents.shape[0], jnp.int32)
  smallest = jnp.full(latents.shape[0], jnp.inf, jnp.float32)
  for start in range(0, size, chunk):
    distances = squared_distances(latents, entries[start : start + chunk])
    here = distances.min(-1)
    numbers = start + jnp.arange(distances.shape[1], dtype=jnp.int32)[None]
    # A minimum of numbers is vectorised on CPUs, argmin is not: half the time.
    first = jnp.where(distances == here[:, None], numbers, size).min(-1)
    codes = jnp.where(here < smallest, first, codes)
    smallest = jnp.minimum(smallest, here)
  return codes


def unit(x: Float[Array, '*B D']) -> Float[Array, '*B D']:
  """x divided by its length; zero stays zero."""
  return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)


class Quantizer(nn.Module):
  """A codebook.

  Attributes:
    size: number of entries.
    width: of an entry.
    kind: 'euclid' compares points; 'cosine' compares directions, and gives entries of length 1.
    entry_weight: in the loss, of drawing the entries to the latents.
    latent_weight: in the loss, of drawing the latents to the entries.
  """

  size: int
  width: int
  kind: Literal['euclid', 'cosine']
  entry_weight: float
  latent_weight: float

  def setup(self):
    init = {'euclid': initializers.normal(self.width**-0.5), 'cosine': initializers.uniform(2.0)}
    shape = (self.size, self.width)
    axes = ('vocab', 'embed')
    self.embedding = self.param('embedding', with_axes(init[self.kind], axes), shape, jnp.float32)

  def _comparable(self, x: Float[Array, '*B D']) -> Float[Array, '*B D']:
    x = x.astype(jnp.float32)
    return unit(x) if self.kind == 'cosine' else x

  def codes(self, latents: Float[Array, '*B D']) -> Int[Array, '*B']:
    """The nearest entries' numbers."""
    stop = jax.lax.stop_gradient
    flat = stop(self._comparable(latents)).reshape(-1, self.width)
    entries = stop(self._comparable(self.embedding))
    return nearest(flat, entries).reshape(latents.shape[:-1])

  def lookup(self, codes: Int[Array, '*B']) -> Float[Array, '*B D']:
    """The entries of codes.

    PARITY: of codes outside the codebook, Euclid's give zero; a cosine codebook counts negative
    ones from its end, and the rest give NaN.
    """
    entries = self._comparable(self.embedding)
    if self.kind == 'cosine':
      wrapped = jnp.where(codes < 0, codes + self.size, codes)
      outside = jnp.nan
    else:
      wrapped, outside = codes, 0.0
    wrapped = jnp.where(wrapped < 0, self.size, wrapped)  # `take` itself would count from the end
    return jnp.take(entries, wrapped, axis=0, mode='fill', fill_value=outside)

  def __call__(self, latents: Float[Array, '*B D']) -> Quantized:
    """Codes, entries with a straight-through gradient, and the loss."""
    codes = self.codes(latents)
    entries = self.lookup(codes)
    compared = self._comparable(latents)
    stop = jax.lax.stop_gradient
    entry_loss = jnp.square(entries - stop(compared)).mean()
    latent_loss = jnp.square(stop(entries) - compared).mean()
    loss = self.entry_weight * entry_loss + self.latent_weight * latent_loss
    latents = latents.astype(jnp.float32)
    return Quantized(codes=codes, latents=latents + stop(entries - latents), loss=loss)
