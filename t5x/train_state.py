"""What a training run carries from step to step, and how it lies on the mesh."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from t5x import optimizers, state_transforms
from t5x.array_types import Array, PyTree
from t5x.models import BaseModel
from t5x.partitioning import PjitPartitioner, spec_for


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Everything an update changes."""

  step: Array  # int32 scalar, updates made so far
  params: PyTree  # nested dict of float32 arrays
  opt_state: PyTree  # of the optax transformation


@dataclasses.dataclass(frozen=True, kw_only=True)
class StatePlan:
  """How the state of a run looks before any of it exists.

  Attributes:
    abstract: the state with a `ShapeDtypeStruct`, sharding included, in place of every array.
    init: makes the state from scratch, each array on its devices.
    param_axes: logical axis names of every parameter.
  """

  abstract: TrainState
  init: Callable[[], TrainState]
  param_axes: PyTree

  @property
  def shardings(self) -> TrainState:
    """The sharding of every leaf."""
    return jax.tree.map(lambda leaf: leaf.sharding, self.abstract)


def plan_state(
  model: BaseModel,
  optimizer: optax.GradientTransformation,
  partitioner: PjitPartitioner,
  input_spec: Mapping[str, jax.ShapeDtypeStruct],
  param_axes: PyTree,
  key: Array,
) -> StatePlan:
  """Plans the state of a run without computing anything.

  Args:
    model: what is trained.
    optimizer: already built for this model's parameters.
    partitioner: holds the mesh.
    input_spec: name -> shape and dtype of a global batch.
    param_axes: `model.param_axes(input_spec)`.
    key: makes the initial parameters.
  """

  def init(key: Array) -> TrainState:
    params = model.init(key, input_spec)
    return TrainState(jnp.zeros([], jnp.int32), params, optimizer.init(params))

  with partitioner.scope():
    shapes = jax.eval_shape(init, key)
    opt_axes = optimizers.state_axes(shapes.opt_state, shapes.params, param_axes)
    shardings = TrainState(
      step=partitioner.replicated,
      params=partitioner.shardings(param_axes, shapes.params),
      opt_state=partitioner.shardings(opt_axes, shapes.opt_state, unnamed_whole=True),
    )

  compiled_init = jax.jit(init, out_shardings=shardings)

  def init_on_mesh() -> TrainState:
    with partitioner.scope():
      return compiled_init(key)

  abstract = jax.tree.map(
    lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes, shardings
  )
  return StatePlan(abstract=abstract, init=init_on_mesh, param_axes=param_axes)


def batch_spec(batch: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
  """Name -> shape and dtype of what the step receives: bookkeeping ('stream/...') stays behind."""
  return {
    name: jax.ShapeDtypeStruct(tuple(value.shape), value.dtype)
    for name, value in batch.items()
    if not name.startswith('stream/')
  }


def parameter_table(plan: StatePlan, partitioner: PjitPartitioner) -> str:
  """One line a parameter (path, size, shape with axis names, cut), then the totals."""
  axes = state_transforms.flatten(plan.param_axes)
  lines, total = [], 0
  for path, leaf in sorted(state_transforms.flatten(plan.abstract.params).items()):
    shape = ', '.join(f'{axis}={size}' for axis, size in zip(axes[path], leaf.shape, strict=True))
    cut = tuple(spec_for(axes[path], partitioner.rules))
    lines.append(f'{path:<80} {leaf.size:>12,} ({shape}) {cut}')
    total += leaf.size
  moments = sum(leaf.size for leaf in jax.tree.leaves(plan.abstract.opt_state))
  return '\n'.join(
    [*lines, f'Total number of parameters: {total:,}', f'Numbers in the optimizer: {moments:,}']
  )
