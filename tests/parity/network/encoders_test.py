"""Feature encoders and resamplers as separate modules."""

import re
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import pytest

from t5x import legacy_checkpoints
from t5x.examples.unified_io.interop import legacy_names
from t5x.examples.unified_io.modules import resampler, vit
from tests.parity import harness
from tests.parity.network import support

_GIVEN = ('config', 'seed', 'init', 'checkpoint', 'outputs', 'inputs_of', 'grids', 'params')
_SECOND = re.compile(r'_layer2$')


def _weights(c: harness.Case, folder: str, ours: str) -> Any:
  """Parameters of one module; its folder stands in the place of the released path `ours` has."""
  flat = legacy_checkpoints.load(c.path / c.config['checkpoint']).read('target')
  released = legacy_names.to_legacy(f'{ours}/')
  tail = released.split('/')[-2]  # the part of the released path that the module itself has
  prefix = f'{folder}/{tail}/'
  found = {
    legacy_names.from_legacy(released + path.removeprefix(prefix)).removeprefix(f'{ours}/'): array
    for path, array in flat.items()
    if path.startswith(prefix)
  }
  assert found, f'{prefix} has no weights'
  return traverse_util.unflatten_dict({k: jnp.asarray(v) for k, v in found.items()}, sep='/')


def _features(c: harness.Case, name: str, source: dict[str, Any]) -> jax.Array:
  patches, pos_ids, mask = (jnp.asarray(c.inputs[array]) for array in source['arrays'])
  kind = 'audio' if source['config'].startswith('audio') else 'image'
  flavour = {'image': vit.IMAGE, 'audio': vit.AUDIO}[kind]
  module = vit.VisionTransformer(
    support.vit_config(c.config['config'][source['config']]), flavour, scan_layers=False
  )
  params = _weights(c, source['weights'], f'{kind}_vit')
  grid = tuple(c.config['grids'][_SECOND.sub('', name)])
  found = jax.jit(module.apply, static_argnums=4)({'params': params}, patches, mask, pos_ids, grid)
  return found.second if _SECOND.search(name) else found.last


def _latents(c: harness.Case, source: dict[str, Any]) -> jax.Array:
  patches, mask = (jnp.asarray(c.inputs[array]) for array in source['arrays'])
  config = support.resampler_config(c.config['config'][source['config']])
  params = _weights(c, source['weights'], 'input_image_history/resampler')
  return jax.jit(resampler.Resampler(config).apply)({'params': params}, patches, mask)


@pytest.mark.parametrize('path', harness.cases('network', 'g_*'))
def test_feature_encoders_and_resamplers(path):
  with harness.case(path) as c:
    c.given(*_GIVEN)
    for name, source in c.config['inputs_of'].items():
      if len(source['arrays']) == 3:
        mask = c.inputs[source['arrays'][2]]
        got = _features(c, name, source)
        c.equal(name, got, c.outputs[name], mask=mask, **support.floats(c))
      else:
        c.equal(name, _latents(c, source), c.outputs[name], **support.floats(c))
