"""Trajectories of training: Adafactor, its schedule, its stored state, summed microbatches."""

from collections.abc import Mapping
import functools
from typing import Any

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import optax
import pytest

from t5x import (
  adafactor,
  legacy_checkpoints,
  optimizers,
  schedules,
  state_transforms,
  trainer,
)
from t5x.examples.unified_io import models
from t5x.examples.unified_io.interop import legacy_names
from t5x.train_state import TrainState
from tests.parity import harness
from tests.parity.network import support

_SETTINGS = ('batch_size', 'checkpoints', 'init', 'loss', 'seed', 'sequence_lengths')
_PROSE = ('microbatch_note', 'freezing')


class Run:
  """A case's model, optimizer and batch."""

  def __init__(self, case: harness.Case):
    stored = case.config
    self.case, self.batch = case, support.batch(case)
    self.module = support.transformer(stored['config'])
    self.model = models.EncoderDecoderModel(self.module, **stored['loss'])
    chosen = {**stored['optimizer']['defaults'], **stored['optimizer']}
    assert (chosen.pop('name'), chosen.pop('factored')) == ('Adafactor', True)
    del chosen['defaults']
    rate = schedules.create_learning_rate_scheduler(**stored['schedule'])
    self.definition = optimizers.adafactor(rate, **chosen)
    self.axes = self.model.param_axes(self.batch)
    self.optimizer = self.definition.build(self.axes)

  def loss(self, params: Any, batch: Any, key: Any = None) -> Any:
    """The loss, with gradients where the original has them."""
    return self.model.loss_fn(support.stop_frozen(params), batch, key)

  def legacy(self, tree: Any) -> dict[str, Any]:
    """Our parameters by their stored names."""
    return legacy_names.tree_to_legacy(tree, self.module.config)

  def legacy_axes(self) -> dict[str, tuple[str, ...]]:
    """Axis names of the parameters by their stored names."""
    axes = state_transforms.flatten(self.axes)
    return {legacy_names.to_legacy(path): names for path, names in axes.items()}

  def legacy_slots(self, state: adafactor.AdafactorState) -> dict[str, adafactor.Slot]:
    """The optimizer's slots by the stored names of their parameters."""
    slots = adafactor.slots_by_path(state)
    return {legacy_names.to_legacy(path): slot for path, slot in slots.items()}

  def start(self, settings: Mapping[str, Any]) -> TrainState:
    """The state before the first update of a trajectory."""
    name, step = settings['checkpoint'], settings['first_step']
    params = jax.tree.map(jnp.asarray, support.weights(self.case, name, self.module.config))
    state = optimizers.at_step(self.optimizer.init(params), step)
    if settings['optimizer_state'] == 'stored':
      flat = legacy_checkpoints.load(self.case.path / name).read('state/param_states')
      slots = {
        path: adafactor.Slot(
          *(flat[f'{legacy_names.to_legacy(path)}/{kind}'] for kind in adafactor.Slot._fields)
        )
        for path in adafactor.slots_by_path(state)
      }
      state = state._replace(slots=state_transforms.unflatten(slots))
    return TrainState(jnp.int32(step), params, state)

  @functools.cache  # noqa: B019 (a run lives as long as its test)
  def step(self, num_microbatches: int) -> Any:
    """The compiled update."""
    return jax.jit(
      functools.partial(
        trainer.train_step,
        loss_fn=self.loss,
        optimizer=self.optimizer,
        learning_rate_fn=self.definition.learning_rate_fn,
        num_microbatches=num_microbatches,
        sum_microbatches=True,
      )
    )

  @functools.cached_property
  def whole_batch(self) -> Any:
    """Loss and gradient norm of the whole batch, before any clipping."""

    def measure(params):
      (loss, _), grads = jax.value_and_grad(self.loss, has_aux=True)(params, self.batch)
      return loss, optax.tree.norm(grads)

    return jax.jit(measure)


def check_trajectory(run: Run, name: str) -> TrainState:
  """Every row, the parameters and the optimizer's state at the end."""
  case, tolerance = run.case, run.case.config['tolerance']
  stored, settings = case.config['trajectories'][name], case.config['starts'][name]
  count = settings['num_microbatches']
  case.given(f'starts/{name}', f'trajectories/{name}/num_microbatches')
  state = run.start(settings)
  for i in range(settings['steps']):
    row, field = stored['rows'][i], f'trajectories/{name}/rows/{i}'
    loss, norm = run.whole_batch(state.params)
    case.exact(f'{field}/step', state.step, row['step'])
    state, metrics = run.step(count)(state, run.batch, jax.random.key(0))
    got = {
      'loss': (loss, tolerance['loss_rtol']),
      'grad_norm_before_clipping': (norm, tolerance['grad_norm_rtol']),
      # The stored rows hold sums over the microbatches, ours are means.
      'metric_loss': (metrics['loss'].value() * count, tolerance['loss_rtol']),
      'z_loss': (metrics['text/z_loss'].value() * count, tolerance['loss_rtol']),
      'learning_rate': (metrics['learning_rate_current'].value(), tolerance['learning_rate_rtol']),
      'param_norm_after': (_norm(run.legacy(state.params)), tolerance['param_norm_rtol']),
    }
    for key, (value, rtol) in got.items():
      case.equal(f'{field}/{key}', value, row[key], rtol=rtol)
  _check_end(run, name, state)
  return state


def _check_end(run: Run, name: str, state: TrainState) -> None:
  case, tolerance = run.case, run.case.config['tolerance']
  params, slots = run.legacy(state.params), run.legacy_slots(state.opt_state)
  norms = case.config['trajectories'][name]['param_norms_after']
  field = f'trajectories/{name}/param_norms_after'
  case.equal(field, support.norms(params), norms, rtol=tolerance['param_norm_rtol'])
  atol = tolerance.get(f'params_atol_{name}', tolerance['params_atol'])
  for array in case.outputs:
    if array.startswith(f'{name}/state/'):
      path, kind = array.removeprefix(f'{name}/state/').rsplit('/', 1)
      want = case.outputs[array]
      limit = tolerance['state_atol_of_max'] * np.abs(want).max()
      got = getattr(slots[path], kind)
      case.equal(array, got, want, atol=limit, rtol=tolerance['state_rtol'])
    elif array.startswith(f'{name}/'):
      case.equal(array, params[array.removeprefix(f'{name}/')], case.outputs[array], atol=atol)


def check_factoring(run: Run) -> None:
  """Which axes of which parameters are averaged."""
  axes, stored = run.legacy_axes(), run.case.config['factoring']
  kinds = {'rows': adafactor.ROW_AXES, 'columns': adafactor.COLUMN_AXES}
  for path, want in stored.items():
    field, names = f'factoring/{path}', axes[path]
    rule = [
      'ROW' if name in kinds['rows'] else 'COLUMN' if name in kinds['columns'] else 'NONE'
      for name in names
    ]
    if not {'ROW', 'COLUMN'} <= set(rule):
      rule = ['NONE'] * len(rule)
    got = adafactor.factoring(tuple(want['shape']), names)
    factors = [list(got.rows), list(got.columns)] if got.factored else None
    case = run.case
    case.given(f'{field}/shape')
    case.exact(f'{field}/rule', [f'FactorDim.{name}' for name in rule], want['rule'])
    case.exact(f'{field}/factored_axes', factors, want['factored_axes'])
    case.exact(f'{field}/rank_le_2', len(names) <= 2, want['rank_le_2'])


def _norm(flat: Mapping[str, Any]) -> float:
  return float(np.sqrt(sum(norm**2 for norm in support.norms(flat).values())))


def check_storage(run: Run, state: TrainState, folder: Any) -> None:
  """Which parts of the optimizer's state our writer puts beside the tree, and which into it."""
  slots = {
    f'{path}/{kind}': np.asarray(array)
    for path, slot in run.legacy_slots(state.opt_state).items()
    for kind, array in slot._asdict().items()
  }
  target = {path: np.asarray(x) for path, x in run.legacy(state.params).items()}
  written = legacy_checkpoints.save_t5x_checkpoint(folder / 'checkpoint_1', target, 1, slots)
  read = legacy_checkpoints.load(written)
  again = {**read.read(), **read.read('state/param_states')}
  for path, array in {**target, **slots}.items():
    np.testing.assert_array_equal(again[path], array)
  tree = msgpack.unpackb((written / 'checkpoint').read_bytes(), ext_hook=_describe)
  for path, kinds in run.case.config['state_storage'].items():
    node = tree['optimizer']['state']['param_states']
    for part in path.split('/'):
      node = node[part]
    for kind, want in kinds.items():
      leaf = node[kind]
      got = f'zarr {leaf["kvstore"]["path"]}' if isinstance(leaf, dict) else leaf
      run.case.exact(f'state_storage/{path}/{kind}', got, want)


def _describe(code: int, data: bytes) -> str:
  del code
  shape, dtype, _ = msgpack.unpackb(data)
  return f'inline {dtype}{shape}'


@pytest.mark.parametrize('path', harness.cases('network', 'i_*'))
def test_training_goes_as_stored(path, tmp_path):
  with harness.case(path) as case:
    case.given('config', 'optimizer', 'schedule', *_SETTINGS, *_PROSE)
    run = Run(case)
    check_factoring(run)
    for name in case.config['trajectories']:
      state = check_trajectory(run, name)
    check_storage(run, state, tmp_path)
