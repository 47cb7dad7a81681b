"""The same weights stored layer by layer and stacked, run unrolled and looped over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x import legacy_checkpoints
from t5x import metrics as metrics_lib
from t5x.examples.unified_io import models
from t5x.examples.unified_io.interop import legacy_names
from tests.parity import harness
from tests.parity.network import support

_GIVEN = (
  'config', 'config_scanned', 'seed', 'init', 'checkpoints', 'checkpoint_bfloat16/path',
  'checkpoint_bfloat16/note', 'scanned_paths', 'genuine_upstream_with_scan', 'batch_size',
  'max_abs_difference_*', 'sequence_lengths', 'use_image_vit_note', 'min_code_margin',
  'metrics/*/class', 'optimizer_state', 'enable_dropout',
)  # fmt: skip


def _check_run(c: harness.Case, checkpoint: str, scan: bool) -> None:
  """Everything that is stored, from one checkpoint in one layout."""
  floats, rtol = support.floats(c), c.config['tolerance']['loss_rtol']
  module = support.transformer(c.config['config'], scan_layers=scan)
  params = jax.tree.map(jnp.asarray, support.weights(c, checkpoint, module.config))
  features, out = support.batch(c), c.outputs
  apply = lambda method: jax.jit(
    lambda batch: module.apply({'params': params}, batch, method=method)
  )(features)
  for side in ('input', 'target'):
    for name, part in apply(f'{side}_parts').items():
      for field in ('embed', 'mask'):
        key = f'{side}_parts/{name}/{field}'
        if key in out:
          tolerance = floats if field == 'embed' else {}
          c.equal(key, getattr(part, field), out[key], mask=part.mask, **tolerance)
  encoded = apply('encode')
  c.exact('encoder/mask', encoded.mask, out['encoder/mask'])
  c.equal('encoder/rotary', encoded.rotary[:1], out['encoder/rotary'], **floats)
  c.equal('encoder/output', encoded.hidden, out['encoder/output'], mask=encoded.mask, **floats)
  for name, target in apply('__call__').targets.items():
    mask = out[f'mask/{name}']
    c.exact(f'mask/{name}', target.loss_mask, mask)
    c.exact(f'targets/{name}', target.tokens, out[f'targets/{name}'])
    c.equal(f'logits/{name}', target.logits, out[f'logits/{name}'], mask=mask, **floats)
  model = models.EncoderDecoderModel(module, **c.config['loss'])
  loss, metrics = jax.jit(lambda batch: model.loss_fn(params, batch, None))(features)
  c.equal('loss', loss, out['loss'], rtol=rtol)
  for name, want in c.config['metrics'].items():
    parts = {'total': metrics[name].total, 'count': metrics[name].count}
    parts |= {'steps': parts['count'], 'value': metrics_lib.compute({name: metrics[name]})[name]}
    for field in want.keys() & parts.keys():
      c.equal(f'metrics/{name}/{field}', parts[field], want[field], rtol=rtol)
  _check_greedy(c, model, params, features)


def _check_greedy(c: harness.Case, model, params, features) -> None:
  """Greedy tokens are those of both layouts; log-probabilities are stored once."""
  settings = c.config['greedy']
  predict = lambda batch: model.predict_batch_with_aux(
    params, batch, length=settings['length'], modality=settings['modality'],
    return_all_decodes=True,
  )[1]  # fmt: skip
  aux = jax.jit(predict)(features)
  modality = settings['modality']
  for field in (name for name in c.outputs if name.startswith('greedy/')):
    kind = field.removeprefix(f'greedy/{modality}-').split('_')[0]
    got, want = np.asarray(aux[f'{modality}-{kind}']), c.outputs[field]
    if kind == 'tokens':
      c.exact(field, got.reshape(want.shape), want)
    else:
      c.equal(field, got, want, **support.floats(c))


def _check_bfloat16(c: harness.Case) -> None:
  """A checkpoint stored in bfloat16 holds the float32 one's weights, rounded."""
  read = lambda name: legacy_checkpoints.load(c.path / name).read('target')
  rounded, whole = read(c.config['checkpoint_bfloat16']['path']), read(c.config['checkpoints'][0])
  same = {path: jnp.asarray(x).astype(jnp.bfloat16) for path, x in whole.items()}
  got = {path: np.asarray(x, np.float32) for path, x in rounded.items()}
  c.exact('checkpoint_bfloat16', got, {path: np.asarray(x, np.float32) for path, x in same.items()})


def _check_tree(c: harness.Case) -> None:
  """Stacking our layers on axis 1 below 'encoder/encoder' gives the stacked tree's shapes."""
  flat = legacy_checkpoints.load(c.path / c.config['checkpoints'][-1]).read('target')
  config = support.model_config(c.config['config'])
  loaded = legacy_names.tree_to_legacy(legacy_names.tree_from_legacy(flat, config), config)
  apart = legacy_checkpoints.load(c.path / c.config['checkpoints'][0]).read('target')
  assert {k: v.shape for k, v in loaded.items()} == {k: v.shape for k, v in apart.items()}
  rows = [{'path': path, 'shape': list(x.shape), 'dtype': str(x.dtype)} for path, x in flat.items()]
  by_path = lambda rows: sorted(rows, key=lambda row: row['path'])
  c.exact('scanned_tree', by_path(rows), by_path(c.config['scanned_tree']))


@pytest.mark.parametrize('path', harness.cases('network', 'd_*'))
def test_layer_layouts(path):
  with harness.case(path) as c:
    c.given(*_GIVEN, *(f'greedy/{name}' for name in c.config['greedy']))
    for checkpoint, scan in zip(c.config['checkpoints'], (False, True), strict=False):
      _check_run(c, checkpoint, scan)
    _check_bfloat16(c)
    _check_tree(c)
