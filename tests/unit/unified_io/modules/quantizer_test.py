"""The codebook: nearest entries, their gradients and losses, and codes outside of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io.modules import quantizer

ENTRIES = jnp.asarray([[0.0, 2.0], [3.0, 0.0], [0.0, -1.0]])


def _quantizer(kind, entry_weight=1.0, latent_weight=1.0):
  return quantizer.Quantizer(3, 2, kind, entry_weight=entry_weight, latent_weight=latent_weight)


def _apply(module, x, method=None, entries=ENTRIES):
  return module.apply({'params': {'embedding': entries}}, jnp.asarray(x), method=method)


@pytest.mark.parametrize('chunk', [1, 2, 5, 7, 100])
def test_the_nearest_entry_does_not_depend_on_the_chunk(chunk):
  rng = np.random.RandomState(0)
  latents, entries = jnp.asarray(rng.randn(11, 4)), jnp.asarray(rng.randn(7, 4))
  distances = np.square(np.asarray(latents)[:, None] - np.asarray(entries)[None]).sum(-1)
  np.testing.assert_array_equal(
    quantizer.nearest(latents, entries, chunk=chunk), distances.argmin(-1)
  )


@pytest.mark.parametrize('chunk', [1, 2, 4])
def test_the_first_of_equal_entries_is_taken(chunk):
  entries = jnp.asarray([[5.0], [1.0], [1.0], [1.0]])
  assert quantizer.nearest(jnp.asarray([[1.5]]), entries, chunk=chunk).tolist() == [1]


def test_no_more_than_one_chunk_of_distances_exists_at_a_time():
  latents, entries = jnp.zeros((6, 2)), jnp.zeros((12, 2))
  jaxpr = jax.make_jaxpr(lambda x, e: quantizer.nearest(x, e, chunk=3))(latents, entries)
  shapes = [var.aval.shape for eqn in jaxpr.eqns for var in eqn.outvars]
  assert (6, 3) in shapes
  assert (6, 12) not in shapes


def test_euclid_compares_points_and_cosine_directions():
  x = [[2.0, 1.0], [0.1, 3.0], [0.4, 0.0]]
  assert _apply(_quantizer('euclid'), x, 'codes').tolist() == [1, 0, 2]
  assert _apply(_quantizer('cosine'), x, 'codes').tolist() == [1, 0, 1]


def test_cosine_entries_have_length_one():
  entries = _apply(_quantizer('cosine'), [0, 1, 2], 'lookup')
  np.testing.assert_allclose(entries, [[0, 1], [1, 0], [0, -1]], atol=1e-6)


def test_codes_outside_the_codebook_give_zero_for_euclid():
  entries = _apply(_quantizer('euclid'), [-1, 3, 1], 'lookup')
  np.testing.assert_array_equal(entries, [[0, 0], [0, 0], [3, 0]])


def test_codes_outside_the_codebook_wrap_once_or_give_nan_for_cosine():
  entries = _apply(_quantizer('cosine'), [-1, -3, -4, 3], 'lookup')
  nan = np.nan
  np.testing.assert_allclose(entries, [[0, -1], [0, 1], [nan, nan], [nan, nan]], atol=1e-6)


@pytest.mark.parametrize('kind', ['euclid', 'cosine'])
def test_the_gradient_passes_straight_through_to_the_latents(kind):
  module, weight = _quantizer(kind), jnp.asarray([[0.25, -4.0]])

  def value(x, entries):
    return (_apply(module, x, entries=entries).latents * weight).sum()

  to_latents, to_entries = jax.grad(value, argnums=(0, 1))(jnp.asarray([[2.0, 1.0]]), ENTRIES)
  np.testing.assert_array_equal(to_latents, weight)
  np.testing.assert_array_equal(to_entries, np.zeros((3, 2)))


def test_the_loss_weighs_the_pull_on_entries_and_on_latents():
  module = _quantizer('euclid', entry_weight=0.25, latent_weight=1.0)

  def loss(x, entries):
    return _apply(module, x, entries=entries).loss

  x = jnp.asarray([[2.0, 1.0]])  # nearest is (3, 0): the mean of squares is 1
  assert loss(x, ENTRIES) == 1.25
  to_latents, to_entries = jax.grad(loss, argnums=(0, 1))(x, ENTRIES)
  np.testing.assert_array_equal(to_latents, [[-1.0, 1.0]])
  np.testing.assert_array_equal(to_entries, [[0, 0], [0.25, -0.25], [0, 0]])


def test_the_cosine_loss_compares_directions():
  result = _apply(_quantizer('cosine', 1.0, 0.25), [[0.0, -5.0], [4.0, 3.0]])
  assert result.codes.tolist() == [2, 1]
  distance = ((1 - 0.8) ** 2 + 0.6**2) / 4
  np.testing.assert_allclose(result.loss, 1.25 * distance, rtol=1e-6)


def test_zero_has_a_direction_without_nan():
  np.testing.assert_array_equal(quantizer.unit(jnp.zeros((1, 2))), np.zeros((1, 2)))
