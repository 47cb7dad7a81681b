"""The few type names that the whole framework shares."""

from collections.abc import Mapping
from typing import Any, TypeAlias

PyTree: TypeAlias = Any  # nested dicts, lists, tuples and dataclasses of arrays
Array: TypeAlias = Any  # a numpy or jax array
Batch: TypeAlias = Mapping[str, Array]  # flat, keys joined by '/': 'inputs/text/tokens'
AxisNames: TypeAlias = tuple[str, ...]  # logical axis names of one array: ('embed', 'mlp')
Metrics: TypeAlias = Mapping[str, Any]  # name -> a metric of t5x.metrics
