"""Which examples share a row, and which rows a batch: plain Python over lengths.

A pool takes items one after the other and yields batches of rows, a row being a tuple of items. It
may hold items back; `held` and `hold` are how they are kept over a restart. At the end of finite
items a pool gives what it still holds.
"""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import Any, Protocol

_MOST_EMPTY = 10_000  # rows or examples without any target, one after the other


@dataclasses.dataclass(frozen=True)
class Item:
  """An example as packing sees it.

  Attributes:
    example: anything.
    inputs, targets: its lengths in tokens.
    counts: of what is limited in a batch, such as frames.
    entered: its number among the examples that the pool has taken.
  """

  example: Any
  inputs: int
  targets: int
  counts: tuple[int, ...] = ()
  entered: int = 0

  @property
  def length(self) -> int:
    """Both sides together."""
    return self.inputs + self.targets


Row = tuple[Item, ...]


class Pool(Protocol):
  """See the module."""

  def batch(self, items: Iterator[Item]) -> list[Row]:
    """The rows of the next batch, empty ones included; no row at all after the last item."""

  @property
  def held(self) -> list[Any]:
    """Nested lists of the items (or None) that wait for a later batch."""

  def hold(self, held: list[Any]) -> None:
    """Goes back to what `held` was."""


# ---- Limits of a batch ---------------------------------------------------------------------------
class Budget:
  """What is left of the limits of a batch."""

  def __init__(self, limits: Sequence[int]):
    """Nothing is taken yet."""
    self._left, self.fresh = list(limits), True

  def allows(self, row: Row) -> bool:
    """Whether a row breaks no limit; one that counts nothing never does."""
    counts = [_total(row, i) for i in range(len(self._left))]
    return all(count <= max(left, 0) for count, left in zip(counts, self._left, strict=True))

  def take(self, row: Row) -> None:
    """Puts a row into the batch."""
    self.fresh = False
    self._left = [left - _total(row, i) for i, left in enumerate(self._left)]


def _total(row, i):
  return sum(item.counts[i] for item in row)


class LimitedRows:
  """Rows as they come, in batches that keep to limits.

  A row that does not fit waits, and every batch begins with those that wait, the oldest first. When
  as many wait as may, the batch goes out with empty rows. A row that breaks a limit all by itself
  comes at the head of a batch, since it fits nowhere else.
  """

  def __init__(self, size: int, limits: Sequence[int], pool_size: int):
    """Takes the rows of a batch, the limits of its counts, and how many rows may wait."""
    self._size, self._limits, self._pool_size = size, tuple(limits), pool_size
    self.held: list[Row] = []

  def batch(self, rows: Iterator[Row]) -> list[Row]:
    """The next batch; see `Pool`."""
    chosen: list[Row] = []
    budget, waiting, self.held = Budget(self._limits), self.held, []
    for row in waiting:
      self._place(row, chosen, budget, head=not chosen)
    while len(chosen) < self._size and len(self.held) < self._pool_size:
      row = next(rows, None)
      if row is None:
        break
      self._place(row, chosen, budget, head=False)
    if self.held and not chosen:  # each of them breaks a limit all by itself
      chosen.append(self.held.pop(0))
    return chosen and chosen + [()] * (self._size - len(chosen))

  def hold(self, held: list[Row]) -> None:
    """Goes back to what `held` was."""
    self.held = [tuple(row) for row in held]

  def _place(self, row, chosen, budget, head):
    if len(chosen) < self._size and (head or budget.allows(row)):
      chosen.append(row)
      budget.take(row)
    else:
      self.held.append(row)


class Unpacked:
  """An example a row."""

  def __init__(self, limited: LimitedRows):
    """Takes what makes batches of rows."""
    self._limited = limited

  def batch(self, items: Iterator[Item]) -> list[Row]:
    """See `Pool`."""
    return self._limited.batch((item,) for item in items)

  @property
  def held(self) -> list[Any]:
    """The rows that wait."""
    return [self._limited.held]

  def hold(self, held: list[Any]) -> None:
    """See `Pool`."""
    self._limited.hold(held[0])


# ---- Pairs ---------------------------------------------------------------------------------------
class Pairs:
  """Two examples a row, as the original pairs them.

  PARITY: the longest example of the pool that fits goes with the new one; among equals that of the
  lowest slot. Where none fits, the new one takes the lowest free slot, or, the pool being full, the
  longer of it and the longest of the pool goes alone. Rows without any target are dropped.
  """

  def __init__(self, limit: tuple[int, int], pool_size: int, limited: LimitedRows | None = None):
    """Takes the lengths of a row (inputs, targets), the slots, and what makes batches of rows."""
    self._limit, self._limited = limit, limited
    self.slots: list[Item | None] = [None] * pool_size
    self._ended = False

  def batch(self, items: Iterator[Item]) -> list[Row]:
    """See `Pool`."""
    return self._limited.batch(self.rows(items))

  @property
  def held(self) -> list[Any]:
    """The slots, then the rows that wait."""
    return [self.slots, self._limited.held]

  def hold(self, held: list[Any]) -> None:
    """See `Pool`."""
    self.slots = list(held[0])
    self._limited.hold(held[1])

  def rows(self, items: Iterator[Item]) -> Iterator[Row]:
    """The pairs, (newer, older) or one alone; when there are no more items, the rest of the pool.

    Raises:
      ValueError: none of thousands of rows has a target.
    """
    dropped = 0
    for item in items:
      row = self.add(item)
      if row and any(each.targets for each in row):
        dropped = 0
        yield row
      elif row:
        dropped += 1
        _refuse_endless(dropped)
    while left := [slot for slot, item in enumerate(self.slots) if item]:
      item, self.slots[left[0]] = self.slots[left[0]], None
      if item.targets:
        yield (item,)

  def add(self, item: Item) -> Row | None:
    """The row that an item completes, if any."""
    fitting = [slot for slot, other in enumerate(self.slots) if other and self._fit(item, other)]
    if fitting:
      slot = self._longest(fitting)
      row = (item, self.slots[slot])
      self.slots[slot] = None
      return row
    if None in self.slots:
      self.slots[self.slots.index(None)] = item
      return None
    slot = self._longest(range(len(self.slots)))
    if item.length >= self.slots[slot].length:
      return (item,)
    alone, self.slots[slot] = self.slots[slot], item
    return (alone,)

  def _fit(self, a, b):
    inputs, targets = self._limit
    return a.inputs + b.inputs <= inputs and a.targets + b.targets <= targets

  def _longest(self, slots):
    return max(slots, key=lambda slot: self.slots[slot].length)  # the first of equals


def _refuse_endless(dropped):
  if dropped > _MOST_EMPTY:
    raise ValueError(
      f'{dropped} in a row have no target token: there is nothing to train on; look at the targets '
      'of the tasks and at the target modalities that are on'
    )


# ---- Any number a row ----------------------------------------------------------------------------
class BestFit:
  """Any number of examples a row, chosen from a pool.

  Each row begins with the oldest example of the pool, so that none waits for long, and is filled up
  with those that take the largest share of a row and fit. Rows stand in groups whose examples share
  a fixed number of places, so that a batch has a fixed shape however they are spread over its rows.
  Examples without targets are left out.
  """

  def __init__(
    self,
    limit: tuple[int, int],
    pool_size: int,
    *,
    groups: int,
    group_rows: int,
    group_examples: int,
    limits: Sequence[int] = (),
    extra: int = 0,
  ):
    """Starts empty.

    Args:
      limit: lengths of a row, inputs and targets.
      pool_size: examples to choose from.
      groups: of a batch.
      group_rows, group_examples: rows of a group, and the examples that they may have together.
      limits: of the counts of a batch.
      extra: examples more that the pool may take where its own would break a limit.
    """
    self._limit, self._pool_size, self._extra = limit, pool_size, extra
    self._groups, self._group_rows, self._room = groups, group_rows, group_examples
    self._limits = tuple(limits)
    self._pool: list[Item] = []

  @property
  def held(self) -> list[Any]:
    """The pool, the oldest first."""
    return list(self._pool)

  def hold(self, held: list[Any]) -> None:
    """See `Pool`."""
    self._pool = list(held)

  def batch(self, items: Iterator[Item]) -> list[Row]:
    """See `Pool`. Rows stand group by group.

    Raises:
      ValueError: none of thousands of examples has a target.
    """
    items = self._with_targets(items)
    budget, rows = Budget(self._limits), []
    for _ in range(self._groups):
      room = self._room
      for later in reversed(range(self._group_rows)):
        self._fill(items, self._pool_size)
        rows.append(self._row(items, budget, room - later))
        room -= len(rows[-1])
    return rows if any(rows) else []

  def _with_targets(self, items):
    dropped = 0
    for item in items:
      dropped = 0 if item.targets else dropped + 1
      _refuse_endless(dropped)
      if item.targets:
        yield item

  def _fill(self, items, size):
    while len(self._pool) < size and (item := next(items, None)):
      self._pool.append(item)

  def _row(self, items, budget, room):
    row: Row = ()
    oldest = self._oldest(items, budget)
    while oldest is not None and len(row) < room:
      best = oldest if not row else self._best(row, budget)
      if best is None:
        break
      row = (*row, self._pool.pop(best))
      budget.take(row[-1:])
    return row

  def _oldest(self, items, budget):
    """The place in the pool of the first example that a row may begin with."""
    place = 0
    while True:
      self._fill(items, min(place + 1, self._pool_size + self._extra))
      if place >= len(self._pool):
        return None
      if budget.fresh or budget.allows((self._pool[place],)):
        return place
      place += 1

  def _best(self, row, budget):
    inputs = self._limit[0] - sum(item.inputs for item in row)
    targets = self._limit[1] - sum(item.targets for item in row)
    fitting = [
      place
      for place, item in enumerate(self._pool)
      if item.inputs <= inputs and item.targets <= targets and budget.allows((item,))
    ]
    return max(fitting, key=self._share, default=None)

  def _share(self, place):
    item = self._pool[place]
    return item.inputs / self._limit[0] + item.targets / self._limit[1]
