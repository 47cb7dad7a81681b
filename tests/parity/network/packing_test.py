"""Examples that the original paired: which they are, their logits, losses and statistics."""

from collections.abc import Iterator, Mapping
import dataclasses
import functools
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x import losses, shards
from t5x import metrics as metrics_lib
from t5x.array_types import Batch, PyTree
from t5x.examples.unified_io import config as constants
from t5x.examples.unified_io import modality_specs, models, network, packing
from t5x.examples.unified_io.modules import quantizer
from t5x.task_examples import Made
from tests.parity import harness
from tests.parity.network import support

_GIVEN = (
  'config', 'loss', 'seed', 'init', 'checkpoint', 'optimizer_state', 'packing', 'module_args',
  'sequence_lengths', 'layout', 'compare', 'single_example_runs', 'report/*/batch',
  'report/*/metrics/*/class', 'report/*/difference*', 'report/*/max_abs_*',
  'report/*/min_code_margin',
)  # fmt: skip
# The original compares a number with itself; ours counts the rows that were cut off.
_OVERFLOW, _CUT_ROWS = 'packing/target_overflow', 'network-7'
_LIMITED = 'data-28'  # its batches under limits, which count another modality
_SUMMED = {'loss_normalizing_by_weight_sum': False, 'loss_normalizing_factor': None}


class Packed:
  """A case, its network on codes, and its examples in the stream's order."""

  def __init__(self, case: harness.Case):
    self.case, stored = case, case.config
    whole = support.transformer(stored['config'])
    self.params: PyTree = jax.tree.map(
      jnp.asarray, support.weights(case, stored['checkpoint'], whole.config)
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(self.params))
    case.exact('param_count', count, stored['param_count'])
    self.examples = {
      name.removeprefix('examples/'): array
      for name, array in case.inputs.items()
      if name.startswith('examples/')
    }
    self.dense = [
      name
      for name, spec in whole.targets.items()
      if isinstance(spec, modality_specs.DenseTargetSpec)
    ]
    self.codes, self.margins = self._tokenized(whole)
    targets = {
      name: dataclasses.replace(spec, use_codes=True) if name in self.dense else spec
      for name, spec in whole.targets.items()
    }
    self.module = whole.clone(targets=targets)
    self.strategy = packing.PackingStrategy(
      latents={
        name: stored['config'][name]['latents_size']
        for name, spec in whole.inputs.items()
        if isinstance(spec, modality_specs.HistoryInputSpec)
      },
      **{name: value for name, value in stored['packing'].items() if name != 'batch_size'},
    )
    ours = {'pack_inputs': 'horizontally_pack_inputs', 'pack_targets': 'horizontally_pack_targets'}
    asked = {name: stored['module_args'][ours.get(name, name)] for name in (*ours, 'fold')}
    assert asked.items() <= self.model().rows.items()

  def _tokenized(self, whole: network.Transformer) -> Any:
    """Codes of all examples by modality, and by how much the nearest is nearer than the next."""
    tokenizers = network.Tokenizers(whole.config, whole.targets)

    def margins(next_fun, args, kwargs, context):
      own = context.module
      if not (isinstance(own, quantizer.Quantizer) and context.method_name == 'codes'):
        return next_fun(*args, **kwargs)
      flat = own._comparable(args[0]).reshape(-1, own.width)
      distances = quantizer.squared_distances(flat, own._comparable(own.embedding))
      nearest, _ = jax.lax.top_k(-distances, 2)
      return (nearest[:, 0] - nearest[:, 1]).reshape(args[0].shape[:-1])

    @jax.jit
    def run(params, batch):
      codes = tokenizers.apply({'params': params}, batch)
      with nn.intercept_methods(margins):
        return codes, tokenizers.apply({'params': params}, batch)

    pixels = {k: v for k, v in self.examples.items() if k.split('/')[-1] in self.dense}
    return jax.tree.map(np.asarray, run(self.params, pixels))

  # ---- Batches ----
  def numbers(self) -> list[list[int]]:
    """Our batches of pairs: numbers of examples, 0 for an empty place."""
    places = self.case.config['packing']['batch_size'] * self.strategy.max_to_pack
    assembly, stream = self.strategy.open(places, 0, 1), self._stream()
    made = []
    try:
      while True:
        rows = assembly.next(stream).rows
        made.append([0 if row is None else row.made.position + 1 for row in rows])
    except EOFError:  # the original drops a batch that stays incomplete
      return made

  def _stream(self) -> Iterator[shards.Example]:
    for i in range(len(next(iter(self.examples.values())))):
      yield shards.Example(0, Made(i, 0, {name: x[i] for name, x in self.examples.items()}))
    raise EOFError

  def rows(self, numbers: list[int], b: int | None = None) -> Batch:
    """The batch of some examples; codes that are no certain ones as those stored for batch b."""
    at = lambda x: np.stack([x[n - 1] if n else np.zeros_like(x[0]) for n in numbers])
    batch = {name: at(x) for name, x in self.examples.items()}
    for name in self.dense:
      del batch[f'targets/{name}/{name}']
      codes = at(self.codes[name])
      if b is not None:
        sure = at(self.margins[name]) > self.case.config['tolerance']['indices_margin']
        stored = self.case.outputs[f'batch{b}/targets/{name}'] - constants.FIRST_CODE_ID
        codes = np.where(sure, codes, np.clip(stored, 0, None))
      batch[f'targets/{name}/tokens'] = codes
    return jax.tree.map(jnp.asarray, batch)

  # ---- What is computed of them ----
  def model(self, **settings: Any) -> models.EncoderDecoderModel:
    return models.EncoderDecoderModel(
      self.module, packing=self.strategy, **{**self.case.config['loss'], **settings}
    )

  @functools.cached_property
  def forward(self) -> Any:
    """(batch) -> outputs of its examples in packed rows."""
    apply = functools.partial(self.module.apply, **self.model().rows)
    jitted = jax.jit(apply)
    return lambda batch: jitted({'params': self.params}, batch).targets

  @functools.cached_property
  def loss(self) -> Any:
    """(batch) -> ((loss, metrics) over valid tokens, (loss, metrics) as sums)."""
    mean, summed = self.model(), self.model(**_SUMMED)
    jitted = jax.jit(
      lambda params, batch: (mean.loss_fn(params, batch), summed.loss_fn(params, batch))
    )
    return lambda batch: jitted(self.params, batch)

  @functools.cached_property
  def alone(self) -> Any:
    """(batch of one) -> {modality: (sum of token losses, tokens that count)} without packing."""
    settings = self.case.config['loss']
    smooth = {name: settings[name] for name in ('z_loss', 'label_smoothing')}

    def run(params, batch):
      output = self.module.apply({'params': params}, batch)
      parts = {
        name: losses.weighted_cross_entropy(
          target.logits, target.tokens, target.loss_mask, by_weight_sum=False, **smooth
        )
        for name, target in output.targets.items()
      }
      return {name: (part.loss, part.weight_sum) for name, part in parts.items()}

    jitted = jax.jit(run)
    return lambda batch: jax.device_get(jitted(self.params, batch))


# ---- Checks --------------------------------------------------------------------------------------
def check_batches(p: Packed) -> list[list[int]]:
  """The original's batches, which ours are where they follow from the pairing alone."""
  c, batches = p.case, p.case.config['all_batches']
  if c.config['compare']['all_batches']:
    c.exact('all_batches', p.numbers(), batches)
  else:
    c.fixed('all_batches', _LIMITED)
  for b, numbers in enumerate(batches):
    c.exact(f'batch{b}/ixs', numbers, c.outputs[f'batch{b}/ixs'])
  for name, frames in c.config['frames_per_example'].items():
    got = p.examples[f'inputs/{name}/mask'].astype(bool).any(-1).sum(-1)
    c.exact(f'frames_per_example/{name}', got, frames)
  return batches


def check_outputs(p: Packed, b: int, batch: Batch) -> None:
  """Targets and logits where they count."""
  c = p.case
  stored = functools.partial('batch{}/{}/{}'.format, b)
  for name, target in p.forward(batch).items():
    mask = c.outputs[stored('mask', name)]
    c.exact(stored('mask', name), target.loss_mask, mask)
    ids, logits = stored('targets', name), stored('logits', f'{name}_valid')
    c.equal(ids, target.tokens, c.outputs[ids], mask=mask)
    got = np.asarray(target.logits)[mask != 0]
    c.equal(logits, got, c.outputs[logits], **support.floats(c))


def check_metric(c: harness.Case, field: str, got: Any, want: Any, rtol: float) -> None:
  if _OVERFLOW in field and not np.array_equal(got, want):
    c.fixed(field, _CUT_ROWS)
  else:
    c.equal(field, None if np.isnan(got) else got, want, rtol=rtol)  # 0 / 0 is stored as null


def check_losses(p: Packed, b: int, batch: Batch, report: Mapping[str, Any]) -> None:
  """The losses of packed rows, with every metric."""
  c, field, rtol = p.case, f'report/{b}', p.case.config['tolerance']['loss_rtol']
  (loss, metrics), (total, summed) = p.loss(batch)
  c.equal(f'batch{b}/loss', loss, c.outputs[f'batch{b}/loss'], rtol=rtol)
  c.equal(f'{field}/packed_loss_mean', loss, report['packed_loss_mean'], rtol=rtol)
  c.equal(f'{field}/packed_loss_sum', total, report['packed_loss_sum'], rtol=rtol)
  values, sums = metrics_lib.compute(metrics), metrics_lib.compute(summed)
  for name, want in report['metrics'].items():
    mean = metrics[name]
    parts = {'total': mean.total, 'count': mean.count, 'steps': mean.count, 'value': values[name]}
    for part in (part for part in parts if part in want):
      check_metric(c, f'{field}/metrics/{name}/{part}', parts[part], want[part], rtol)
  for name, want in report['metrics_sum'].items():
    check_metric(c, f'{field}/metrics_sum/{name}', sums[name], want, rtol)


def check_alone(p: Packed, b: int, numbers: list[int], report: Mapping[str, Any]) -> None:
  """The losses of single examples, and what they add up to."""
  c, field, rtol = p.case, f'report/{b}', p.case.config['tolerance']['loss_rtol']
  c.exact(f'{field}/examples', numbers, report['examples'])
  given = [n for n in numbers if n]
  runs = {n: p.alone(p.rows([n])) for n in given}
  for i, (n, want) in enumerate(zip(given, report['per_example'], strict=True)):
    c.exact(f'{field}/per_example/{i}/example', n, want['example'])
    got = sum(loss for loss, _ in runs[n].values())
    c.equal(f'{field}/per_example/{i}/loss_sum', got, want['loss_sum'], rtol=rtol)
  totals = {name: np.sum([run[name] for run in runs.values()], axis=0) for name in p.module.targets}
  total = sum(loss for loss, _ in totals.values())
  mean = sum(loss / max(count, 1) for loss, count in totals.values())
  c.equal(f'{field}/unpacked_loss_sum', total, report['unpacked_loss_sum'], rtol=rtol)
  want = report['mean_recomputed_from_unpacked']
  c.equal(f'{field}/mean_recomputed_from_unpacked', mean, want, rtol=rtol)


@pytest.mark.slow
@pytest.mark.parametrize('path', harness.cases('network', 'c_*'))
def test_packed_pairs_are_the_originals(path: pathlib.Path):
  with harness.case(path) as c:
    c.given(*_GIVEN)
    p = Packed(c)
    for b, numbers in enumerate(check_batches(p)):
      batch, report = p.rows(numbers, b), c.config['report'][b]
      check_outputs(p, b, batch)
      check_losses(p, b, batch, report)
      check_alone(p, b, numbers, report)
