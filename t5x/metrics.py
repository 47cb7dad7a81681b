"""What a step reports: small pytrees that add up over devices, microbatches, steps and batches.

A step returns `{name: metric}`. Two results are joined by `merge`, inside or outside of a compiled
function; `compute` turns the joined result into numbers on the host.
"""

from collections.abc import Mapping
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from t5x.array_types import Array


def _metric(cls):
  """A frozen dataclass whose fields are all arrays, known to jax as a pytree."""
  cls = dataclasses.dataclass(frozen=True)(cls)
  names = [field.name for field in dataclasses.fields(cls)]
  return jax.tree_util.register_dataclass(cls, data_fields=names, meta_fields=[])


@_metric
class Mean:
  """`total / count`, both scalars; 0/0 is nan, never an error."""

  total: Array
  count: Array

  @classmethod
  def of(cls, values: Array, weights: Array | None = None) -> 'Mean':
    """The mean of `values`, of any shape, weighted by `weights` of the same shape."""
    values = jnp.asarray(values, jnp.float32)
    weights = jnp.ones_like(values) if weights is None else jnp.asarray(weights, jnp.float32)
    return cls(jnp.sum(values * weights), jnp.sum(weights))

  def merge(self, other: 'Mean') -> 'Mean':
    """The mean over both."""
    return Mean(self.total + other.total, self.count + other.count)

  def value(self) -> float:
    """The quotient, on the host."""
    total, count = float(self.total), float(self.count)
    return total / count if count else (np.nan if total == 0 or np.isnan(total) else np.inf * total)


@_metric
class Sum:
  """A scalar that adds up: examples seen, tokens seen."""

  total: Array

  def merge(self, other: 'Sum') -> 'Sum':
    """The sum of both."""
    return Sum(self.total + other.total)

  def value(self) -> float:
    """The sum, on the host."""
    return float(self.total)


@_metric
class Last:
  """A scalar of which the latest counts: the current learning rate."""

  latest: Array

  def merge(self, other: 'Last') -> 'Last':
    """The later one."""
    return other

  def value(self) -> float:
    """The latest, on the host."""
    return float(self.latest)


Metric = Mean | Sum | Last


def merge(a: Mapping[str, Metric], b: Mapping[str, Metric]) -> dict[str, Metric]:
  """Joins the results of two steps, `a` before `b`.

  Raises:
    ValueError: when the two report different names, or one name as different kinds.
  """
  if a.keys() != b.keys():
    odd = sorted(a.keys() ^ b.keys())
    raise ValueError(f'only one of two results has {odd}; every step must report the same names')
  for name in a:
    if type(a[name]) is not type(b[name]):
      raise ValueError(f'{name!r} is {type(a[name]).__name__} and {type(b[name]).__name__}')
  return {name: a[name].merge(b[name]) for name in a}


def merge_all(results: list[Mapping[str, Metric]]) -> dict[str, Metric]:
  """Joins the results of one or more steps, in their order."""
  return functools.reduce(merge, results[1:], dict(results[0]))


def compute(metrics: Mapping[str, Metric]) -> dict[str, float]:
  """Fetches all metrics at once and returns their numbers by name."""
  fetched = jax.device_get(dict(metrics))
  return {name: metric.value() for name, metric in fetched.items()}
