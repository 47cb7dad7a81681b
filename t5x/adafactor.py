"""Adafactor with relative step sizes, factored second moments and momentum.

Differs from optax's: learning rate and parameter scale lie inside the momentum, the means leave out
looped-over layers, and the step may start anywhere. After Shazeer & Stern, arXiv 1804.04235; the
variant is that of the released Unified-IO 2 models (T5X), whose states it reads and writes.
"""

from collections.abc import Callable, Mapping
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from t5x import state_transforms
from t5x.array_types import Array, AxisNames, PyTree
from t5x.schedules import Schedule

LAYERS_AXIS = 'layers'  # each slice along it is a parameter of its own
ROW_AXES = ('embed',)
COLUMN_AXES = ('vocab', 'mlp', 'heads', 'kv', 'joined_kv', 'mlp_activations')


class Slot(NamedTuple):
  """State of one parameter, float32. What its kind does not use is zeros of shape (1,)."""

  m: Array  # momentum, shape of the parameter
  v: Array  # second moment, where not factored
  v_row: Array  # its mean over the columns, where factored
  v_col: Array  # its mean over the rows


class AdafactorState(NamedTuple):
  """`step` counts updates from 0; `slots` is the parameters' tree with a Slot for each leaf."""

  step: Array
  slots: PyTree


class Factoring(NamedTuple):
  """Axes of one array: the layers it is looped over, and what is averaged for each factor."""

  layers: tuple[int, ...]
  rows: tuple[int, ...] = ()
  columns: tuple[int, ...] = ()

  @property
  def factored(self) -> bool:
    return bool(self.rows)


def factoring(shape: tuple[int, ...], axes: AxisNames, min_size: int = 128) -> Factoring:
  """How the second moment of a parameter is stored.

  A matrix (looped-over layers not counted, so that looping changes no number) is factored where
  both sides have `min_size`; arrays of higher rank by the names of their axes.

  Raises:
    ValueError: when the names have rows and columns but also an axis that is neither.
  """
  layers = tuple(i for i, name in enumerate(axes) if name == LAYERS_AXIS)
  rest = tuple(i for i in range(len(shape)) if i not in layers)
  if len(rest) < 2:
    return Factoring(layers)
  if len(rest) == 2:
    first, second = rest
    if min(shape[first], shape[second]) < min_size:
      return Factoring(layers)
    # The longer side is averaged for v_row; ties go to the last axis.
    longer, shorter = (first, second) if shape[first] > shape[second] else (second, first)
    return Factoring(layers, rows=(shorter,), columns=(longer,))
  rows = tuple(i for i in rest if axes[i] in ROW_AXES)
  columns = tuple(i for i in rest if axes[i] in COLUMN_AXES)
  if not rows or not columns:
    return Factoring(layers)
  if len(rows) + len(columns) != len(rest):
    raise ValueError(
      f'axes {axes} of a parameter {shape} have rows and columns, but also axes that are neither; '
      f'rows are {ROW_AXES}, columns {COLUMN_AXES}'
    )
  return Factoring(layers, rows, columns)


def adafactor(
  learning_rate: Schedule,
  *,
  param_axes: PyTree,
  decay_rate: float = 0.8,
  beta1: float | None = None,
  step_offset: int = 0,
  multiply_by_parameter_scale: bool = True,
  max_parameter_scale: float | None = None,
  clipping_threshold: float | None = 1.0,
  global_norm_clip_threshold: float | None = None,
  min_dim_size_to_factor: int = 128,
  epsilon1: float = 1e-30,
  epsilon2: float = 1e-3,
  beta2_cap: float | None = None,
  weight_decay_rate: float | None = None,
  weight_decay_rate_lr_exponent: float | None = None,
  decays: Callable[[str, AxisNames], bool] = lambda path, axes: True,
  skip_nan_updates: bool = False,
) -> optax.GradientTransformation:
  """The transformation: `init(params)`, `update(grads, state, params)`.

  Args:
    learning_rate: of the step, relative to the scale of each parameter.
    param_axes: tree of the parameters' axis names.
    decay_rate: second moments forget with 1 - (n + 1) ** -decay_rate at step n.
    beta1: momentum; None keeps none.
    step_offset: step at which the forgetting starts anew.
    multiply_by_parameter_scale: multiply by the root mean square of the parameter.
    max_parameter_scale: upper limit of that scale.
    clipping_threshold: largest root mean square of an update before the learning rate.
    global_norm_clip_threshold: largest norm of all gradients together.
    min_dim_size_to_factor: smallest side of a factored matrix.
    epsilon1, epsilon2: added to squared gradients; smallest parameter scale.
    beta2_cap: largest forgetting factor.
    weight_decay_rate: share of a parameter taken off each step, not scaled by the learning rate.
    weight_decay_rate_lr_exponent: if set, it is scaled by learning rate ** this.
    decays: whether a path with these axes is decayed at all.
    skip_nan_updates: keep the old value of every element that would become nan.
  """
  axes_of = state_transforms.flatten(param_axes)
  kind_of = functools.cache(
    lambda path, shape: factoring(shape, axes_of[path], min_dim_size_to_factor)
  )

  def init(params: PyTree) -> AdafactorState:
    slots = {
      path: _new_slot(param.shape, kind_of(path, param.shape), beta1 is not None)
      for path, param in state_transforms.flatten(params).items()
    }
    return AdafactorState(jnp.zeros([], jnp.int32), state_transforms.unflatten(slots))

  def update(grads: PyTree, state: AdafactorState, params: PyTree | None = None):
    if params is None:
      raise ValueError('Adafactor scales by the parameters: call update(grads, state, params)')
    grads = _clip_by_global_norm(grads, global_norm_clip_threshold)
    rate = jnp.asarray(learning_rate(state.step), jnp.float32)
    rho = _second_moment_decay(state.step, step_offset, decay_rate, beta2_cap)
    decay = (weight_decay_rate or 0.0) * rate ** (weight_decay_rate_lr_exponent or 0.0)
    gradients, slots = state_transforms.flatten(grads), state_transforms.flatten(state.slots)
    updates, new_slots = {}, {}
    for path, param in state_transforms.flatten(params).items():
      kind, slot = kind_of(path, param.shape), slots[path]
      step, moments = _precondition(gradients[path], slot, kind, rho, epsilon1)
      step = _clip_rms(step, kind, clipping_threshold) * rate
      if multiply_by_parameter_scale:
        step = step * _parameter_scale(param, kind, epsilon2, max_parameter_scale)
      if beta1 is not None:
        step = beta1 * slot.m + (1.0 - beta1) * step
        moments = moments._replace(m=step)
      change = -step
      if weight_decay_rate is not None and decays(path, axes_of[path]):
        change = change - decay * param.astype(jnp.float32)
      if skip_nan_updates:
        moments, change = _without_nan(moments, slot, change, param)
      updates[path], new_slots[path] = change.astype(param.dtype), moments
    new_state = AdafactorState(state.step + 1, state_transforms.unflatten(new_slots))
    return state_transforms.unflatten(updates), new_state

  return optax.GradientTransformation(init, update)


def _new_slot(shape, kind, momentum):
  none = jnp.zeros((1,), jnp.float32)
  m = jnp.zeros(shape, jnp.float32) if momentum else none
  if not kind.factored:
    return Slot(m, jnp.zeros(shape, jnp.float32), none, none)
  without = lambda gone: tuple(n for i, n in enumerate(shape) if i not in gone)
  v_row, v_col = (jnp.zeros(without(gone), jnp.float32) for gone in (kind.columns, kind.rows))
  return Slot(m, none, v_row, v_col)


def _second_moment_decay(step, offset, decay_rate, cap):
  # PARITY: a float32 scalar; 1 - rho is formed from the rounded rho.
  n = (step - offset + 1).astype(jnp.float32)
  rho = 1.0 - n ** jnp.float32(-decay_rate)
  return rho if cap is None else jnp.minimum(rho, cap)


def _precondition(grad, slot, kind, rho, epsilon):
  """The gradient over the root of its second moment, and the slot with new moments."""
  grad = grad.astype(jnp.float32)
  squared = jnp.square(grad) + epsilon
  if not kind.factored:
    v = rho * slot.v + (1.0 - rho) * squared
    return grad * jax.lax.rsqrt(v), slot._replace(v=v)
  row = jnp.expand_dims(slot.v_row, kind.columns)
  col = jnp.expand_dims(slot.v_col, kind.rows)
  row = rho * row + (1.0 - rho) * jnp.mean(squared, kind.columns, keepdims=True)
  col = rho * col + (1.0 - rho) * jnp.mean(squared, kind.rows, keepdims=True)
  relative = row / jnp.mean(row, kind.rows, keepdims=True)
  step = grad * jax.lax.rsqrt(relative) * jax.lax.rsqrt(col)
  v_row, v_col = jnp.squeeze(row, kind.columns), jnp.squeeze(col, kind.rows)
  return step, slot._replace(v_row=v_row, v_col=v_col)


def _rms(x, kind):
  """Root mean square of each layer's part, ready to broadcast."""
  axes = tuple(i for i in range(x.ndim) if i not in kind.layers)
  return jnp.sqrt(jnp.mean(jnp.square(x), axes, keepdims=True))


def _clip_rms(step, kind, threshold):
  return step if threshold is None else step / jnp.maximum(1.0, _rms(step, kind) / threshold)


def _parameter_scale(param, kind, smallest, largest):
  scale = jnp.maximum(_rms(param.astype(jnp.float32), kind), smallest)
  return scale if largest is None else jnp.minimum(scale, largest)


def _clip_by_global_norm(grads, threshold):
  if threshold is None:
    return grads
  scale = jnp.minimum(1.0, threshold / optax.tree.norm(grads))
  return jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)


def _without_nan(moments, slot, change, param):
  """The old moments, and no change, where the new ones or the parameter would be nan."""
  kept = [jnp.where(jnp.isnan(new), old, new) for new, old in zip(moments, slot, strict=True)]
  return Slot(*kept), jnp.where(jnp.isnan(param.astype(jnp.float32) + change), 0.0, change)


def slots_by_path(state: AdafactorState) -> Mapping[str, Slot]:
  """{parameter path: Slot}, for those who store or show the state."""
  return state_transforms.flatten(state.slots)
