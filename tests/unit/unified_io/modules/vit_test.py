"""The vision transformer looks at valid patches, in their places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io import config
from t5x.examples.unified_io.modules import vit
from tests import tiny

GRID, PATCHES = (3, 4), 5
CONFIG = config.VitConfig(emb_dim=16, num_heads=2, head_dim=8, num_layers=3, mlp_dim=24, patch=4)


@pytest.fixture(params=[vit.IMAGE, vit.AUDIO], ids=['image', 'audio'])
def features(request):
  """(patches, mask, pos_ids) -> VitFeatures."""
  module = vit.VisionTransformer(CONFIG, request.param)
  given = jnp.zeros((2, PATCHES, 6)), jnp.ones((2, PATCHES), jnp.int32)
  ids = jnp.zeros((2, PATCHES), jnp.int32)
  shapes = jax.eval_shape(
    lambda key: module.init(key, *given, ids, GRID), jax.random.key(0)
  )  # fmt: skip
  params = tiny.draw(shapes['params'])
  return jax.jit(lambda *inputs: module.apply({'params': params}, *inputs, GRID))


@pytest.fixture
def inputs():
  patches = jax.random.normal(jax.random.key(3), (2, PATCHES, 6))
  mask = jnp.asarray([[1, 1, 1, 0, 1], [1, 0, 0, 0, 1]])
  return patches, mask, jnp.asarray([[0, 3, 11, 5, 6], [2, 2, 9, 1, 7]])


def test_masked_patches_change_nothing(features, inputs):
  patches, mask, pos_ids = inputs
  want = features(*inputs)
  hidden = ~mask.astype(bool)[..., None]
  got = features(jnp.where(hidden, 7.0, patches), mask, pos_ids)
  valid = np.asarray(mask) != 0
  for name in ('last', 'second'):
    np.testing.assert_allclose(getattr(got, name)[valid], getattr(want, name)[valid], atol=1e-5)


def test_the_order_of_patches_does_not_matter_but_their_place_does(features, inputs):
  want = features(*inputs).last
  turned = features(*(x[:, ::-1] for x in inputs)).last[:, ::-1]
  valid = np.asarray(inputs[1]) != 0
  np.testing.assert_allclose(turned[valid], want[valid], atol=1e-5)
  patches, mask, pos_ids = inputs
  moved = features(patches, mask, (pos_ids + 1) % 12).last
  assert np.abs(moved - want)[valid].max() > 1e-3


def test_the_second_features_are_those_of_a_network_of_two_blocks(inputs):
  outputs = {}
  for layers in (2, 3):
    config_of = config.VitConfig(**{**vars(CONFIG), 'num_layers': layers})
    module = vit.VisionTransformer(config_of, vit.IMAGE, scan_layers=False)
    shapes = jax.eval_shape(lambda key, m=module: m.init(key, *inputs, GRID), jax.random.key(0))
    if layers == 2:
      params = tiny.draw(shapes['params'])
    else:
      params = {**tiny.draw(shapes['params']), **params}
    outputs[layers] = module.apply({'params': params}, *inputs, GRID)
  np.testing.assert_allclose(outputs[3].second, outputs[2].last, atol=1e-5)
  np.testing.assert_array_equal(outputs[2].second, outputs[2].last)
