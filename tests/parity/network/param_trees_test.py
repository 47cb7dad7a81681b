"""Names, shapes, logical axes and stored chunks of every parameter of the released sizes."""

from collections.abc import Mapping
import json
import re
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

from t5x import legacy_checkpoints
from t5x.examples.unified_io.interop import legacy_names
from tests.parity import harness
from tests.parity.network import support

_CONFIGS = {
  'T5Config': 't5',
  'ImageVitFeatureConfig': 'image_vit',
  'AudioVitFeatureConfig': 'audio_vit',
  'ImageResamplerConfig': 'image_history',
  'AudioResamplerConfig': 'audio_history',
  'VAEConfig': 'image_vae',
  'AudioViTVQGANConfig': 'audio_vae',
}
_PROSE = ('restore', 'config_defaults', 'config_defaults_note', 'path_note', 'trees', 'backbones')
_STACK = re.compile(r'^(\w+)/layers_\d+/')


def _stored_config(c: harness.Case, name: str, tree: Mapping[str, Any]) -> dict[str, Any]:
  """Configuration of a tree in the form of the other cases: defaults, overridden by bindings."""
  defaults, bound = c.config['config_defaults'], tree['config_bindings']
  config = {ours: {**defaults[k], **bound.get(k, {})} for k, ours in _CONFIGS.items()}
  modalities = {side: c.config['trees'][name][side] for side in ('input', 'target')}
  vits = {k: v for k, v in c.config['backbones'].items() if isinstance(v, bool)}
  return {**config, 'modalities': {**modalities, **vits}}


def _our_rows(
  stored: Mapping[str, Any], inputs: list[str], *, scan_layers: bool
) -> dict[str, dict[str, Any]]:
  """What the tree's file says of each parameter, from our network; nothing is computed."""
  module = support.transformer(stored, scan_layers=scan_layers)
  shapes = jax.eval_shape(module.init, jax.random.key(0), support.dummy_batch(module))
  boxed = support.flat(shapes['params'])
  axes = {path: box.names for path, box in boxed.items()}
  unstacked = legacy_names.unstack_layers(
    {path: nn.unbox(box) for path, box in boxed.items()}, module.config
  )
  rows = {}
  for path, leaf in unstacked.items():
    stacked = _STACK.sub(r'\1/layers/', path)
    names = axes[path] if path in axes else axes[stacked][1:]
    legacy = legacy_names.to_legacy(path, inputs)
    assert legacy_names.from_legacy(legacy) == path
    rows[f'target/{legacy}'] = {
      'array_dir': f'target/{legacy}'.replace('/', '.'),
      'shape': list(leaf.shape),
      'dtype': str(leaf.dtype),
      'logical_axes': list(names),
      'chunks': list(legacy_checkpoints.chunk_shape(leaf.shape, leaf.dtype.itemsize)),
    }
  return rows


def _summary(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """Totals, as the files give them."""
  groups: dict[str, int] = {}
  for path, row in rows.items():
    first, second = path.split('/')[1:3]
    group = f'{first}/{second}' if first.startswith(('input_', 'target_')) else first
    groups[group] = groups.get(group, 0) + int(np.prod(row['shape']))
  chunked = sum(row['chunks'] != row['shape'] for row in rows.values())
  return {
    'total': sum(groups.values()), 'arrays': len(rows), 'groups': groups, 'multi_chunk': chunked,
  }  # fmt: skip


@pytest.mark.parametrize('path', harness.cases('network', 'j_*'))
def test_parameter_trees(path):
  with harness.case(path) as c:
    c.given(*_PROSE)
    for name, entry in c.config['trees'].items():
      tree = json.loads((path / entry['file']).read_text())
      config = _stored_config(c, name, tree)
      rows, unrolled = (
        _our_rows(config, entry['input'], scan_layers=scan) for scan in (True, False)
      )
      assert rows == unrolled
      summary = _summary(rows)
      stored = {row.pop('path'): row for row in tree['params']}
      c.exact(f'{entry["file"]}/params', rows, stored)
      c.exact(f'{entry["file"]}/total_parameters', summary['total'], tree['total_parameters'])
      c.exact(f'{entry["file"]}/arrays', summary['arrays'], tree['arrays'])
      groups = tree['parameters_by_group']
      c.exact(f'{entry["file"]}/parameters_by_group', summary['groups'], groups)
      if name in c.config['summary']:
        c.exact(f'summary/{name}', summary, c.config['summary'][name])
