"""Where arrays lie: the mesh, the table from logical axis names to mesh axes, host batch to device.

Every parameter names its axes (`('embed', 'mlp')`); `AXIS_RULES` says which axis of the mesh each
name is cut along. The mesh has two axes: `data` cuts the batch, `model` cuts the parameters.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import contextvars
import difflib
from typing import Any

from absl import logging
import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from t5x.array_types import Array, AxisNames, Batch, PyTree

# Logical axis -> mesh axis or None (kept whole). The order matters: where two axes of one array ask
# for the same mesh axis, the one that stands first here gets it and the other is kept whole.
AXIS_RULES: Mapping[str, str | None] = {
  'batch': 'data',
  'vocab': 'model',
  'mlp': 'model',
  'heads': 'model',
  'joined_kv': 'model',
  'image_patch': 'model',
  'embed': None,
  'kv': None,
  'length': None,
  'layers': None,
  'axis_0': None,  # convolution kernels name their axes by number
  'axis_1': None,
  'axis_2': None,
  'axis_3': None,
}

_rules_in_use: contextvars.ContextVar[Mapping[str, str | None]] = contextvars.ContextVar(
  'rules_in_use', default=AXIS_RULES
)


def standard_logical_axis_rules(
  additional_rules: Mapping[str, str | None] | None = None,
) -> Mapping[str, str | None]:
  """`AXIS_RULES`, and after them (so with lower priority) `additional_rules` for further names."""
  return {
    **AXIS_RULES,
    **{k: v for k, v in (additional_rules or {}).items() if k not in AXIS_RULES},
  }


def spec_for(
  axes: Sequence[str | None], rules: Mapping[str, str | None] = AXIS_RULES
) -> PartitionSpec:
  """('embed', 'mlp') -> PartitionSpec(None, 'model').

  Args:
    axes: the logical name of each axis of one array; None for an axis without a name.
    rules: logical axis -> mesh axis or None.

  Raises:
    KeyError: for a name without a rule.
    ValueError: for a name given to two axes of one array.
  """
  named = [axis for axis in axes if axis is not None]
  for axis in named:
    if axis not in rules:
      near = difflib.get_close_matches(axis, rules) or sorted(rules)
      raise KeyError(
        f'no sharding rule for axis {axis!r} of {tuple(axes)}; did you mean one of {near}? '
        'Add new names to partitioning.AXIS_RULES.'
      )
  if len(set(named)) != len(named):
    raise ValueError(
      f'an axis name stands twice in {tuple(axes)}; number them, as axis_0 and axis_1'
    )
  taken: dict[str, str] = {}
  for axis, mesh_axis in rules.items():
    if axis in named and mesh_axis is not None:
      taken.setdefault(mesh_axis, axis)
  by_axis = {axis: mesh_axis for mesh_axis, axis in taken.items()}
  return PartitionSpec(*(by_axis.get(axis) for axis in axes))


def constrain(x: Array, axes: Sequence[str | None]) -> Array:
  """Asks the compiler to lay out an activation by its axis names; nothing happens without a mesh.

  Args:
    x: an array inside a compiled function.
    axes: the logical name of each axis, as `('batch', 'length', 'embed')`.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return x
  if len(axes) != x.ndim:
    raise ValueError(f'{tuple(axes)} names {len(axes)} axes of an array of shape {x.shape}')
  return jax.lax.with_sharding_constraint(x, spec_for(axes, _rules_in_use.get()))


def on_each_device(
  function: Callable[..., Array],
  args: Sequence[Array],
  axes: Sequence[Sequence[str | None]],
  out_axes: Sequence[str | None],
) -> Array:
  """Runs a function that the compiler cannot cut itself, a kernel, on each device's part.

  Nothing is exchanged between devices: what is computed must not mix entries of an axis that is
  cut. Without a mesh it is `function(*args)`.

  Args:
    function: (*args) -> one array; it sees the parts.
    args: arrays inside a compiled function.
    axes: the logical name of each axis of each argument. An axis of size 1, or a name whose size
      the devices cannot share evenly, is whole on every device.
    out_axes: likewise of the result.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return function(*args)
  rules = _rules_in_use.get()
  sizes: dict[str | None, int] = {}
  for x, names in zip(args, axes, strict=True):
    for name, size in zip(names, x.shape, strict=True):
      sizes[name] = max(size, sizes.get(name, 1))
  evenly = {n for n, size in sizes.items() if rules.get(n) and size % mesh.shape[rules[n]] == 0}

  def spec(names: Sequence[str | None], shape: Sequence[int] | None = None) -> PartitionSpec:
    kept = [n if n in evenly else None for n in names]
    if shape is not None:
      kept = [n if size > 1 else None for n, size in zip(kept, shape, strict=True)]
    return spec_for(kept, rules)

  in_specs = tuple(spec(names, x.shape) for x, names in zip(args, axes, strict=True))
  cut = jax.shard_map(
    function, mesh=mesh, in_specs=in_specs, out_specs=spec(out_axes), check_vma=False
  )
  return cut(*args)


def path_names(path: Sequence[Any]) -> tuple[str, ...]:
  """The keys of a jax tree path as plain words: `.mu['encoder'][0]` -> ('mu', 'encoder', '0')."""
  names = []
  for key in path:
    for attribute in ('key', 'name', 'idx'):
      if hasattr(key, attribute):
        names.append(str(getattr(key, attribute)))
        break
  return tuple(names)


def is_axes(leaf: Any) -> bool:
  """Whether `leaf` is the axis names of one array: a plain tuple of words."""
  return type(leaf) is tuple and all(isinstance(name, str | None) for name in leaf)


class PjitPartitioner:
  """The mesh of this run and the shardings of everything that lives on it."""

  def __init__(
    self,
    num_partitions: int = 1,
    *,
    logical_axis_rules: Mapping[str, str | None] | None = None,
    devices: Sequence[jax.Device] | None = None,
  ):
    """Builds the mesh.

    Args:
      num_partitions: devices that share one copy of the parameters, the size of the `model` axis.
        Where it does not divide the number of devices, the largest divisor below it is taken.
      logical_axis_rules: logical axis -> mesh axis; `AXIS_RULES` when None.
      devices: what to build the mesh of; every device when None.
    """
    if num_partitions < 1:
      raise ValueError(
        f'num_partitions={num_partitions}; it is the number of devices that share one copy of the '
        'parameters, so at least 1'
      )
    devices = list(jax.devices() if devices is None else devices)
    count = len(devices)
    fitting = max(n for n in range(1, min(num_partitions, count) + 1) if count % n == 0)
    if fitting != num_partitions:
      logging.warning(
        'num_partitions=%d does not divide the %d device(s) of this run; using %d',
        num_partitions, count, fitting,
      )  # fmt: skip
    self.num_partitions = fitting
    self.rules = AXIS_RULES if logical_axis_rules is None else logical_axis_rules
    shape = (count // fitting, fitting)
    self.mesh = Mesh(
      mesh_utils.create_device_mesh(shape, devices),
      ('data', 'model'),
      axis_types=(AxisType.Auto,) * 2,  # Explicit axes, jax's newer default, break Linen
    )
    logging.info('Mesh: data=%d, model=%d on %s.', *shape, devices[0].device_kind)

  @property
  def data_size(self) -> int:
    """Pieces that a batch is cut into; batch sizes are multiples of it."""
    return self.mesh.shape['data']

  @property
  def replicated(self) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(self.mesh, PartitionSpec())

  @property
  def batch_sharding(self) -> NamedSharding:
    """Rows cut along the `data` axis."""
    return NamedSharding(self.mesh, PartitionSpec('data'))

  @contextlib.contextmanager
  def scope(self) -> Iterator[None]:
    """Inside, functions are traced for this mesh and `constrain` follows these rules."""
    token = _rules_in_use.set(self.rules)
    try:
      with jax.set_mesh(self.mesh):
        yield
    finally:
      _rules_in_use.reset(token)

  def sharding_for(self, axes: AxisNames, shape: Sequence[int], name: str) -> NamedSharding:
    """The sharding of one parameter.

    Args:
      axes: logical axis names, one an axis.
      shape: the parameter's shape.
      name: its path, for the error.

    Raises:
      ValueError: when names and axes differ in number, or an axis cannot be cut evenly.
    """
    if len(axes) != len(shape):
      raise ValueError(f'{name} has shape {tuple(shape)} but axis names {axes}')
    spec = spec_for(axes, self.rules)
    for axis, size, mesh_axis in zip(axes, shape, spec, strict=True):
      pieces = self.mesh.shape[mesh_axis] if mesh_axis else 1
      if size % pieces:
        raise ValueError(
          f'axis {axis!r} of {name} has size {size}, which {pieces} partitions cannot share '
          f'evenly; set PjitPartitioner.num_partitions to a divisor of {size}'
        )
    return NamedSharding(self.mesh, spec)

  def shardings(self, axes: PyTree, shapes: PyTree, *, unnamed_whole: bool = False) -> PyTree:
    """The sharding of every array of a tree.

    Args:
      axes: tree with a tuple of logical axis names for each array.
      shapes: the same tree with anything that has a `shape`.
      unnamed_whole: replicate an array whose names are (), whatever its rank. So are the parts of
        an optimizer's state that do not have their parameter's shape.
    """

    def sharding(path: Sequence[Any], names: AxisNames, x: Any) -> NamedSharding:
      if unnamed_whole and not names:
        return self.replicated
      return self.sharding_for(names, x.shape, '/'.join(path_names(path)))

    return jax.tree_util.tree_map_with_path(sharding, axes, shapes, is_leaf=is_axes)

  def check_batch_size(self, batch_size: int) -> None:
    """Raises ValueError unless every device along `data` gets the same number of rows."""
    if batch_size % self.data_size:
      raise ValueError(
        f'a batch of {batch_size} rows cannot be shared by {self.data_size} devices; choose a '
        f'multiple of {self.data_size}, or a larger PjitPartitioner.num_partitions'
      )

  def host_part(self, batch_size: int) -> tuple[int, int]:
    """Which rows of a global batch this process feeds: (index, count) of equal parts, in order.

    Processes whose devices share the same rows, since they share the model, feed the same part.

    Raises:
      ValueError: the rows of this process do not lie together.
    """
    places = self.batch_sharding.devices_indices_map((batch_size,))
    own = {
      row
      for device, (rows,) in places.items()
      if device.process_index == jax.process_index()
      for row in range(*rows.indices(batch_size))
    }
    first, size = min(own), len(own)
    if max(own) - first + 1 != size or first % size or batch_size % size:
      raise ValueError(
        f'the devices of process {jax.process_index()} hold rows {sorted(own)} of a batch, which '
        'are no equal part of it; choose a num_partitions that divides, or is a multiple of, the '
        'devices of a host'
      )
    return first // size, batch_size // size

  def to_global(self, batch: Batch) -> dict[str, jax.Array]:
    """Puts this host's rows of a batch on its devices, as one array over all hosts.

    Args:
      batch: this host's part, `[rows / hosts, ...]` numpy arrays.
    """
    return {
      name: jax.make_array_from_process_local_data(self.batch_sharding, np.asarray(value))
      for name, value in batch.items()
    }
