"""The encoder and the decoder: what a layer is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io import config
from t5x.examples.unified_io.modules import positions, sequences, transformer
from tests import tiny

LENGTH = 5


@pytest.mark.parametrize('rotary', [True, False])
@pytest.mark.parametrize('head_dim', [8, 32])  # 32 is as wide as the model
def test_tokens_know_their_places_whatever_the_width_of_a_head_unless_told_not_to(rotary, head_dim):
  module = transformer.Encoder(tiny.model_config(head_dim=head_dim, rotary=rotary))
  table = positions.rotary_1d(20, head_dim)

  def inputs(*places):
    return sequences.InputSequence(
      embed=jax.random.normal(jax.random.key(0), (1, LENGTH, 32)),
      mask=jnp.ones((1, LENGTH), jnp.int32),
      rotary=positions.lookup(table, jnp.asarray([places]), 'float32'),
    )

  shapes = jax.eval_shape(module.init, jax.random.key(0), inputs(0, 1, 2, 3, 4))
  params = tiny.draw(shapes['params'])
  apply = jax.jit(lambda sequence: module.apply({'params': params}, sequence).hidden)
  moved = np.abs(apply(inputs(0, 1, 2, 3, 4)) - apply(inputs(0, 9, 2, 3, 4))).max()
  assert (moved > 1e-3) == rotary


def test_every_size_knows_places():
  assert all(size.rotary for size in config.SIZES.values())
