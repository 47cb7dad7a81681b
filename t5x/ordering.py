"""Orders that can be sought: permutations of epochs, seeds of examples, mixing of tasks.

Nothing but numbers is shuffled, and every number is found from its position alone.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import fractions
import hashlib
import math
from typing import Any

import numpy as np

_WORD = 2**64


# ---- Random numbers that depend on nothing but their arguments -----------------------------------
def key_of(*parts: Any) -> int:
  """A 64-bit number from anything printable: key_of(17, 'vqa', 'order')."""
  digest = hashlib.sha256('\0'.join(map(str, parts)).encode()).digest()
  return int.from_bytes(digest[:8], 'little')


def scramble(values: np.ndarray, key: int) -> np.ndarray:
  """Random-looking uint64 numbers, one for each value and key (the mixing steps of splitmix64)."""
  x = values.astype(np.uint64) + np.uint64((key + 0x9E3779B97F4A7C15) % _WORD)
  for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
    x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
  return x ^ (x >> np.uint64(31))


def permute(indices: np.ndarray, size: int, key: int) -> np.ndarray:
  """Where a random permutation of range(size) sends `indices`; any of them at the same cost.

  A Feistel network permutes the next power of 4; what falls outside of the range is sent on until
  it falls inside.

  Args:
    indices: int64 in [0, size).
    size: length of the range.
    key: chooses the permutation.
  """
  half = max(1, math.ceil(math.log2(max(size, 2)) / 2))
  low = np.uint64(2**half - 1)
  values = indices.astype(np.uint64)
  outside = np.ones(values.shape, bool)
  while outside.any():
    moved = values[outside]
    left, right = moved >> np.uint64(half), moved & low
    for turn in range(6):
      left, right = right, left ^ (scramble(right, key + turn) & low)
    values[outside] = (left << np.uint64(half)) | right
    outside = values >= size
  return values.astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Order:
  """The order in which a task's records come, epoch after epoch."""

  task: str
  size: int
  seed: int
  shuffle: bool

  def records(self, positions: np.ndarray) -> np.ndarray:
    """The record at each position, int64."""
    epochs, offsets = np.divmod(positions, self.size)
    if not self.shuffle:
      return offsets
    records = np.empty_like(offsets)
    for epoch in np.unique(epochs):
      here = epochs == epoch
      key = key_of(self.seed, self.task, 'order', epoch)
      records[here] = permute(offsets[here], self.size, key)
    return records

  def seeds(self, positions: np.ndarray) -> np.ndarray:
    """The seed of the example made from each position: int32 [n, 2], by record and epoch."""
    epochs = positions // self.size
    numbers = scramble(self.records(positions), key_of(self.seed, self.task, 'seed'))
    return scramble(numbers + epochs.astype(np.uint64), 0).view(np.int32).reshape(-1, 2)


# ---- Mixing --------------------------------------------------------------------------------------
class MixingSchedule:
  """Which task each example of a mixture is taken from; the same for every seed.

  After any number n of examples, every task has been taken within one example of n x its share
  (R. Tijdeman, "The chairman assignment problem", 1980). The counts are the whole state.
  """

  def __init__(self, rates: Sequence[float], counts: Sequence[int] | None = None):
    """Starts at the beginning, or where `counts` examples of each task have been taken."""
    exact = [fractions.Fraction(repr(float(rate))) for rate in rates]
    if not exact or min(exact) <= 0:
      raise ValueError(f'the rates of a mixture must be above 0; they are {list(rates)}')
    scale = math.lcm(*(rate.denominator for rate in exact))
    weights = [int(rate * scale) for rate in exact]
    self._weights = np.array(weights, np.int64) // math.gcd(*weights)
    self._total = int(self._weights.sum())
    self.counts = np.array(counts or [0] * len(rates), np.int64)
    self._behind = int(self.counts.sum()) % self._total * self._weights
    self._behind = self._behind - self._total * (self.counts - self._whole_periods())
    if np.abs(self._behind).max() >= self._total:
      raise ValueError(f'no mixture with rates {list(rates)} has taken {list(counts)} examples')

  def _whole_periods(self):
    return int(self.counts.sum()) // self._total * self._weights

  def __iter__(self) -> Iterator[int]:
    return self

  def __next__(self) -> int:
    self._behind += self._weights
    pairs = 2 * len(self._weights) - 2
    may = self._behind * pairs >= self._total
    urgency = ((pairs - 1) * self._total - pairs * self._behind) / self._weights
    chosen = int(np.where(may, urgency, np.inf).argmin())
    self._behind[chosen] -= self._total
    self.counts[chosen] += 1
    return chosen
