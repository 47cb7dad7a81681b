"""Image, audio and text targets under every setting of task masks; the patterns of their grids."""

from collections.abc import Mapping
import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x import metrics as metrics_lib
from t5x.examples.unified_io import modality_specs, models
from t5x.examples.unified_io.modules import masks, target_embedders
from tests.parity import harness
from tests.parity.network import support

_GIVEN = (
  'config', 'loss', 'seed', 'init', 'checkpoint', 'optimizer_state', 'batch_size', 'answers',
  'sequence_lengths', 'finding', 'attn_pattern_mask', 'attn_pattern_mask_layout', 'min_code_margin',
  'array_steps', 'max_abs_*', 'variants/*/max_abs_*', 'variants/*/task_mask', 'code_margin/*',
)  # fmt: skip
# `dynamic_unk_mask` and `dalle_attn_mask` never take effect in the original, so runs have them off.
_EVERY = re.compile(r'(.*)/logits/(\w+?)(?:_every_\w+)?')


class Targets:
  """A case, its weights, and the codes to go on with."""

  def __init__(self, case: harness.Case):
    self.case = case
    whole = support.transformer(case.config['config'])
    weights = support.weights(case, case.config['checkpoint'], whole.config)
    self.params = jax.tree.map(jnp.asarray, weights)
    self.batch = support.batch(case)
    self.dense = {
      name: dataclasses.replace(spec, use_codes=True)
      for name, spec in whole.targets.items()
      if isinstance(spec, modality_specs.DenseTargetSpec)
    }
    tokenize = functools.partial(whole.apply, method='target_parts')
    parts = jax.jit(tokenize)({'params': self.params}, self.batch)
    for name in self.dense:
      want = case.outputs[f'default/targets/{name}']
      sure = case.outputs[f'code_margin/{name}'] > case.config['tolerance']['indices_margin']
      sure &= case.inputs[f'targets/{name}/mask'] != 0
      case.equal(f'default/targets/{name}', parts[name].tokens, want, mask=sure)
      del self.batch[f'targets/{name}/{name}']
      self.batch[f'targets/{name}/tokens'] = jnp.asarray(want) - 2
    self.module = whole.clone(targets={**whole.targets, **self.dense})

  @functools.cache  # noqa: B019 (lives as long as its test)
  def run(self, **options: bool) -> Any:
    """The compiled network and its loss: (params, batch) -> (output, (loss, metrics))."""
    module = self.module.clone(config=dataclasses.replace(self.module.config, **options))
    model = models.EncoderDecoderModel(module, **self.case.config['loss'])
    both = lambda params, batch: (
      module.apply({'params': params}, batch), model.loss_fn(params, batch, None)
    )  # fmt: skip
    return jax.jit(both)

  def flags(self, variant: Mapping[str, Any], *names: str) -> dict[str, bool]:
    """Some flags of a variant."""
    flags = {**self.case.config['config']['t5'], **variant['flags']}
    return {name: flags[name] for name in names}

  def task_mask(self, name: str, variant: Mapping[str, Any]) -> jax.Array:
    mask = self.batch[f'targets/{name}/task_mask']
    return mask if variant['task_mask'] else jnp.zeros_like(mask)


def _check_inputs(t: Targets, run: str, variant: Mapping[str, Any], options) -> None:
  config = dataclasses.replace(t.module.config, **options)
  for name in t.dense:
    tokens = t.batch[f'targets/{name}/tokens'] + 2
    got, _ = target_embedders.decoder_inputs(tokens, t.task_mask(name, variant), config)
    field = f'{run}/input_tokens/{name}'
    t.case.exact(field, got, t.case.outputs[field])


def _check_patterns(t: Targets, run: str, variant: Mapping[str, Any]) -> None:
  """The patterns that a layer would have, were they on."""
  case = t.case
  for name, spec in t.dense.items():
    field = f'{run}/attn_pattern_mask_bits/{name}'
    if field not in case.outputs:
      continue
    settings = case.config['attn_pattern_mask']
    rows, cols = settings['grids'][name]
    assert (spec.grid.rows, spec.grid.cols) == (rows, cols)
    row = slice(settings['batch_row'], settings['batch_row'] + 1)
    tokens, task_mask = t.batch[f'targets/{name}/tokens'][row], t.task_mask(name, variant)[row]
    _, masked = target_embedders.decoder_inputs(tokens, task_mask, t.module.config)
    ids = masks.alone(masked) if t.flags(variant, 'dynamic_unk_mask')['dynamic_unk_mask'] else None
    cells = jnp.asarray(masks.grid_cells(rows, cols))[None]
    extras = {**masks.grid_patterns(cells, cells, settings['conv_kernel']), 'full': None}
    ours = {'column': 'col'}
    planes = [
      masks.Pattern(ids, ids, causal=True, extra=extras[ours.get(kind, kind)]).dense(
        rows * cols, rows * cols
      )
      for kind in settings['order']
    ]
    bits = np.packbits(np.concatenate(planes, axis=1), axis=-1)
    case.exact(field, bits, case.outputs[field])


def _check_run(t: Targets, run: str, variant: Mapping[str, Any], options) -> None:
  """Loss, metrics and logits of one setting."""
  case = t.case
  rtol = case.config['tolerance']['loss_rtol']
  batch = dict(t.batch)
  for name in t.dense:
    batch[f'targets/{name}/task_mask'] = t.task_mask(name, variant)
  output, (loss, metrics) = t.run(**options)(t.params, batch)
  case.equal(f'variants/{run}/loss', loss, variant['loss'], rtol=rtol)
  if f'{run}/loss' in case.outputs:
    case.equal(f'{run}/loss', loss, case.outputs[f'{run}/loss'], rtol=rtol)
  values = metrics_lib.compute(metrics)
  for name, want in variant['metrics'].items():
    case.equal(f'variants/{run}/metrics/{name}', values[name], want, rtol=rtol)
  for field in (f for f in case.outputs if f.startswith(f'{run}/logits/')):
    name = _EVERY.fullmatch(field)[2]
    step = case.config['array_steps'].get(field, 1)
    target = output.targets[name]
    case.equal(
      field, target.logits[:, ::step], case.outputs[field], mask=target.loss_mask[:, ::step],
      **support.floats(case),
    )  # fmt: skip
  for name, target in output.targets.items():
    for kind, got in {'mask': target.loss_mask, 'targets': target.tokens}.items():
      field = f'{run}/{kind}/{name}'
      if field in case.outputs and field not in case._covered:
        case.exact(field, got, case.outputs[field])


@pytest.mark.parametrize('path', harness.cases('network', 'e_*'))
def test_target_options(path):
  with harness.case(path) as case:
    case.given(*_GIVEN)
    targets = Targets(case)
    for run, variant in case.config['variants'].items():
      case.given(*(f'variants/{run}/flags/{flag}' for flag in variant['flags']))
      case.given(f'variants/{run}/flags')
      options = targets.flags(variant, 'unk_mask_token', 'shift_back_input_token')
      _check_inputs(targets, run, variant, options)
      _check_patterns(targets, run, variant)
      _check_run(targets, run, variant, options)


@pytest.mark.parametrize('path', harness.cases('data/d_features', 'pattern_masks'))
def test_patterns_of_grids(path):
  with harness.case(path) as case:
    case.given('conv_radius')
    for field in (*case.outputs, *(f'sums/{name}' for name in case.config['sums'])):
      kind, size = field.removeprefix('sums/').split('_')
      cells = jnp.asarray(masks.grid_cells(*(int(side) for side in size.split('x'))))[None]
      length, side = cells.shape[1], 2 * case.config['conv_radius'] + 1
      extra = {**masks.grid_patterns(cells, cells, side), 'full': None}[kind]
      got = np.asarray(masks.Pattern(causal=True, extra=extra).dense(length, length)[0, 0])
      if field in case.outputs:
        case.exact(field, got, case.outputs[field])
      else:
        case.exact(field, got.sum(), case.config['sums'][f'{kind}_{size}'])
