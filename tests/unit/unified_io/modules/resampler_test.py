"""The perceiver resampler at a tiny size."""

import dataclasses
import functools
import re

from flax import traverse_util
from flax.core import meta
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io.config import ResamplerConfig
from t5x.examples.unified_io.modules import resampler

CONFIG = ResamplerConfig(
  latents=2, emb_dim=8, num_heads=2, head_dim=4, num_layers=2, cross_attention_layers=(0,),
  mlp_dim=12, dtype='float32',
)  # fmt: skip
COSINE = dataclasses.replace(
  CONFIG, scaled_cosine=True, self_scaled_cosine=True, qk_norm=False, self_qk_norm=False
)
MASK = jnp.asarray([[1, 1, 1], [1, 1, 0], [0, 0, 0]])


def _shapes(config):
  variables = jax.eval_shape(
    resampler.Resampler(config).init, jax.random.key(0), jnp.zeros((3, 3, 8)), MASK
  )
  shapes = traverse_util.flatten_dict(meta.unbox(variables)['params'], sep='/')
  return {path: leaf.shape for path, leaf in shapes.items()}


@functools.cache
def _compiled(config):
  return jax.jit(resampler.Resampler(config).apply)


def _resample(config, patches, mask):
  rng = np.random.RandomState(0)
  flat = {path: jnp.float32(rng.randn(*shape)) for path, shape in _shapes(config).items()}
  params = traverse_util.unflatten_dict(flat, sep='/')
  return _compiled(config)({'params': params}, patches, mask)


def _patches():
  return jnp.float32(np.random.RandomState(1).randn(3, 3, 8))


def test_parameters_follow_the_kind_of_each_layer():
  shapes = _shapes(CONFIG)
  assert shapes['latents'] == (2, 8)
  cross = {path for path in shapes if path.startswith('layers_0/cross_attention/')}
  own = {path for path in shapes if path.startswith('layers_1/attention/')}
  assert {path.split('/')[2] for path in cross} == {
    'query', 'key', 'value', 'out', 'query_norm', 'key_norm'
  }  # fmt: skip
  assert len(own) == 6
  assert 'layers_0/pre_cross_attention_layer_norm/scale' in shapes
  assert 'layers_1/pre_attention_layer_norm/scale' in shapes


def test_scaled_cosine_learns_a_temperature_a_head_instead_of_norms():
  shapes = _shapes(COSINE)
  assert shapes['layers_0/cross_attention/logit_scale'] == (2,)
  assert shapes['layers_1/attention/logit_scale'] == (2,)
  assert not any('query_norm' in path for path in shapes)


def test_cross_and_self_attention_are_set_apart():
  mixed = dataclasses.replace(CONFIG, scaled_cosine=True, qk_norm=False)
  shapes = _shapes(mixed)
  assert 'layers_0/cross_attention/logit_scale' in shapes
  assert 'layers_0/cross_attention/query_norm/scale' not in shapes
  assert 'layers_1/attention/logit_scale' not in shapes
  assert 'layers_1/attention/query_norm/scale' in shapes


def test_released_names():
  def released(path):
    for ours, there in resampler.RELEASED_NAMES:
      if found := re.match(ours, path):
        number = found.group(1) if found.groups() else ''
        return there.replace(r'(\d+)', number) + path[found.end() :]
    return path

  assert released('latents') == 'resampler_latents'
  assert released('output_norm/scale') == 'perceiver_norm/scale'
  assert released('layers_1/cross_attention/key/kernel') == 'layers_1/xattention/key/kernel'
  assert released('layers_1/attention/key/kernel') == 'layers_1/attention/key/kernel'
  assert len({released(path) for path in _shapes(CONFIG)}) == len(_shapes(CONFIG))


@pytest.mark.parametrize('config', [CONFIG, COSINE])
def test_masked_patches_change_nothing(config):
  patches = _patches()
  latents = _resample(config, patches, MASK)
  assert latents.shape == (3, 2, 8)
  changed = _resample(config, patches.at[1, 2].set(99.0), MASK)
  np.testing.assert_array_equal(changed[:2], latents[:2])
  seen = _resample(config, patches.at[1, 1].set(99.0), MASK)
  assert np.abs(seen[1] - latents[1]).max() > 1e-3


@pytest.mark.parametrize('config', [CONFIG, COSINE])
def test_frames_do_not_see_each_other(config):
  patches = _patches()
  together = _resample(config, patches, MASK)
  for frame in range(3):
    alone = _resample(config, patches[frame : frame + 1], MASK[frame : frame + 1])
    np.testing.assert_allclose(alone[0], together[frame], atol=1e-5)


def test_the_order_of_patches_does_not_matter():
  patches = _patches()[:1]
  turned = _resample(CONFIG, patches[:, ::-1], MASK[:1])
  np.testing.assert_allclose(turned, _resample(CONFIG, patches, MASK[:1]), atol=1e-5)


def test_a_frame_without_patches_attends_to_all_of_them_evenly():
  latents = _resample(CONFIG, _patches(), MASK)
  assert np.isfinite(latents[2]).all()
  same = jnp.broadcast_to(_patches()[2, :1], (1, 3, 8))  # equal patches: any weights are even
  equal = _resample(CONFIG, same, MASK[:1])
  np.testing.assert_allclose(_resample(CONFIG, same, MASK[2:]), equal, atol=1e-5)
