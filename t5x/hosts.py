"""What the hosts of a run tell each other outside of the compiled step."""

from collections.abc import Mapping
import json
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np


def join(coordinator: str | None, count: int | None, index: int | None) -> None:
  """Joins the processes of a run; before any use of a device.

  Args: all None where the launcher (SLURM, Open MPI, ...) tells JAX.
    coordinator: HOST:PORT of process 0.
    count: how many processes there are.
    index: number of this one.
  """
  jax.distributed.initialize(coordinator, count, index)


def gathered(tree: Any) -> list[Any]:
  """A JSON tree of every host, in their order; all hosts must call it at the same time."""
  if jax.process_count() == 1:
    return [tree]
  told = np.frombuffer(json.dumps(tree).encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array(len(told), np.int32))
  padded = np.zeros(int(sizes.max()), np.uint8)
  padded[: len(told)] = told
  rows = multihost_utils.process_allgather(padded)
  return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def joined(trees: list[Any]) -> Any:
  """Nested dicts as one; where several have a value, the first counts.

  [{'step': 3, 'shards': {'0': 'a'}}, {'step': 3, 'shards': {'1': 'b'}}] ->
  {'step': 3, 'shards': {'0': 'a', '1': 'b'}}
  """
  first = trees[0]
  if not isinstance(first, Mapping):
    return first
  names = dict.fromkeys(name for tree in trees for name in tree)
  return {name: joined([tree[name] for tree in trees if name in tree]) for name in names}
