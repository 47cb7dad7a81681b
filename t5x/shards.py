"""Virtual shards: which examples come in which batch, and how a run finds its place again.

The stream is cut into V shards, V fixed by the configuration. Shard v takes the positions p of a
task with p % V == v and fills rows [v * B / V, (v + 1) * B / V) of every batch of B. All shards
follow the same schedule of tasks, so that they go through every task side by side. A host owns some
of the shards, so the batches of all hosts together are the same for every number of hosts that
divides V.

A task's preprocessors may turn a record into any number of examples. So that those of one record do
not stand together, the examples of a task are cut into windows of a fixed size and each window is
handed out in a fixed shuffled order. A resume makes at most one window of a task again, and the
examples that wait in the batcher's pool.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple, Protocol

import numpy as np

from t5x.ordering import MixingSchedule, key_of, permute
from t5x.task_examples import Examples, Made, TaskExamples


class Example(NamedTuple):
  """An example of a shard.

  Attributes:
    task: its number.
    made: what it is, and of which record.
  """

  task: int
  made: Made

  @property
  def ref(self) -> tuple[int, int, int]:
    """(task, position, index): enough to make it again."""
    return self.task, self.made.position, self.made.index


# ---- Batchers ------------------------------------------------------------------------------------
class Part(NamedTuple):
  """A shard's part of a batch.

  Attributes:
    rows: an example each; None for an empty row, in which everything is 0.
    fields: further fields of the batch, a value each row.
  """

  rows: list[Example | None]
  fields: dict[str, np.ndarray]


class Assembly(Protocol):
  """Arranges the examples of one shard; may hold some back."""

  def next(self, examples: Iterator[Example]) -> Part:
    """The part of the next batch. At the end of finite examples, what is left; then no rows."""

  def state(self) -> Any:
    """What is held back, as JSON, with `Example.ref` for examples."""

  def restore(self, state: Any, examples: Mapping[tuple[int, int, int], Example]) -> None:
    """Goes back to a state; `examples` has those that `refs` named."""

  def refs(self, state: Any) -> list[tuple[int, int, int]]:
    """The examples that are held back in a state."""


class Batcher(Protocol):
  """How examples become batches; `PackingStrategy` of Unified-IO is one."""

  @property
  def fields(self) -> Mapping[str, type]:
    """Further fields of a batch: name -> dtype."""

  def identity(self) -> dict[str, Any]:
    """Settings that decide which example comes where, as JSON."""

  def check(self, batch_size: int, num_shards: int) -> None:
    """Raises ValueError where such batches cannot be."""

  def groups(self, batch_size: int) -> int:
    """Pieces of a batch that belong together; devices share out whole ones."""

  def open(self, batch_size: int, shard: int, num_shards: int) -> Assembly:
    """The assembly of a shard's part of batches of `batch_size` rows."""


@dataclasses.dataclass(frozen=True)
class InOrder:
  """The batcher that puts each example into a row of its own, as they come."""

  fields: Mapping[str, type] = dataclasses.field(default_factory=dict)

  def identity(self) -> dict[str, Any]:
    """No setting."""
    return {}

  def check(self, batch_size: int, num_shards: int) -> None:
    """All sizes are well."""

  def groups(self, batch_size: int) -> int:
    """Each row by itself."""
    return batch_size

  def open(self, batch_size: int, shard: int, num_shards: int) -> 'RowByRow':
    """See `Batcher`."""
    return RowByRow(batch_size // num_shards)


@dataclasses.dataclass
class RowByRow:
  """The assembly of `InOrder`; holds nothing back."""

  rows: int

  def next(self, examples: Iterator[Example]) -> Part:
    """The next `rows` examples."""
    return Part([example for _, example in zip(range(self.rows), examples, strict=False)], {})

  def state(self) -> None:
    """Nothing."""

  def restore(self, state: None, examples: Mapping[tuple[int, int, int], Example]) -> None:
    """Nothing to restore."""

  def refs(self, state: None) -> list[tuple[int, int, int]]:
    """None are held back."""
    return []


# ---- A task in a shard ---------------------------------------------------------------------------
class Place(NamedTuple):
  """Where a task stands in a shard.

  Attributes:
    position: of the record that gave the first example of the window.
    taken: examples of that record before the window.
    done: examples of the window that have been handed out, in the window's own order.
    bad: records before the window that could not be used.
  """

  position: int
  taken: int = 0
  done: int = 0
  bad: int = 0


class TaskReader:
  """The examples of a task in one shard, window by window, without end."""

  def __init__(self, source: TaskExamples, place: Place, num_shards: int, window: int):
    """Starts at a place; reads nothing yet."""
    self._source, self.place, self._num_shards = source, place, num_shards
    order = source.order
    self._order = permute(np.arange(window), window, key_of(order.seed, order.task, 'window'))
    self._examples: Examples | None = None
    self._window: list[Made | None] = []
    self._next = place  # where the window after this one begins

  def __iter__(self) -> 'TaskReader':
    return self

  def __next__(self) -> Made:
    if not self._window:
      self._fill()
    number, done = int(self._order[self.place.done]), self.place.done + 1
    made, self._window[number] = self._window[number], None
    self.place = self.place._replace(done=done)
    if done == len(self._order):
      self.place, self._window = self._next, []
    return made

  def close(self) -> None:
    """Stops reading ahead."""
    if self._examples is not None:
      self._examples.close()

  def _fill(self):
    position, taken, _, bad = self.place
    if self._examples is None:
      self._examples = self._source.start(position, self._num_shards, bad)
    while len(self._window) < len(self._order):
      made = next(self._examples)
      if made.position > position or made.index >= taken:
        self._window.append(made)
    self._next = Place(made.position, made.index + 1, 0, self._examples.bad)


# ---- A shard -------------------------------------------------------------------------------------
class Shard:
  """One virtual shard: its tasks, mixed by their rates, arranged by a batcher."""

  def __init__(
    self,
    sources: Sequence[TaskExamples],
    rates: Sequence[float],
    windows: Sequence[int],
    assembly: Assembly,
    state: Mapping[str, Any],
    num_shards: int,
  ):
    """Goes to a place; makes the examples that the batcher had held back there.

    Args:
      sources, rates, windows: of each task: its examples, its share, its window.
      assembly: arranges the examples.
      state: see `state` and `start`.
      num_shards: how many shards there are.
    """
    self._assembly = assembly
    self._schedule = MixingSchedule(rates, state['mixed'])
    self._readers = [
      TaskReader(source, Place(*place), num_shards, window)
      for source, place, window in zip(sources, state['places'], windows, strict=True)
    ]
    held = assembly.refs(state['held'])
    made = {
      example.ref: example
      for task in {task for task, _, _ in held}
      for example in _made_again(task, sources[task], held)
    }
    assembly.restore(state['held'], made)

  @staticmethod
  def start(num_tasks: int, number: int, assembly: Assembly) -> dict[str, Any]:
    """The state before the first example."""
    places = [list(Place(number)) for _ in range(num_tasks)]
    return {'mixed': [0] * num_tasks, 'places': places, 'held': assembly.state()}

  def state(self) -> dict[str, Any]:
    """The place after the parts so far, as JSON.

    `mixed` counts the examples that were taken of each task; `places` is a `Place` a task; `held`
    is the batcher's.
    """
    places = [list(reader.place) for reader in self._readers]
    mixed = self._schedule.counts.tolist()
    return {'mixed': mixed, 'places': places, 'held': self._assembly.state()}

  def __iter__(self) -> 'Shard':
    return self

  def __next__(self) -> Example:
    task = next(self._schedule)
    return Example(task, next(self._readers[task]))

  def part(self) -> Part:
    """This shard's rows of the next batch."""
    return self._assembly.next(self)

  def close(self) -> None:
    """Stops reading ahead."""
    for reader in self._readers:
      reader.close()


def _made_again(task: int, source: TaskExamples, held: Sequence[tuple[int, int, int]]):
  positions = [position for number, position, _ in held if number == task]
  return (Example(task, made) for made in source.at(positions))
