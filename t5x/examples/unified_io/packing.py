"""Several examples a row: `PackingStrategy`, the batcher of Unified-IO.

Users bind `PackingStrategy.pack_max_len=(864, 1280)`: the lengths of a packed row, inputs and
targets. `DatasetConfig.batch_size` is the number of examples that a batch has room for, packed or
not; it has `rows(batch_size)` packed rows. What the pools do stands in `packing_pools`.
"""

from collections.abc import Iterator, Mapping
import dataclasses
from typing import Any

import gin
import numpy as np

from t5x import shards
from t5x.examples.unified_io import config, modality_processing, modality_specs, packing_pools
from t5x.examples.unified_io.packing_pools import Item

Fields = Mapping[str, np.ndarray]
Ref = tuple[int, int, int]  # see `shards.Example.ref`
LATENTS = {
  'image_history': config.SIZES['large'].image_resampler.latents,
  'audio_history': config.SIZES['large'].audio_resampler.latents,
}


# ---- Lengths of an example -----------------------------------------------------------------------
def input_length(fields: Fields, latents: Mapping[str, int]) -> int:
  """Tokens of an example that the encoder sees: valid ones, and the latents of frames that show.

  Args:
    fields: of one example, as the network reads them.
    latents: name of a history -> tokens that a frame becomes.
  """
  total = 0
  for name, mask in _masks(fields, 'inputs'):
    total += int(np.sum(mask != 0)) if mask.ndim == 1 else latents[name] * _frames(mask)
  return total


def target_length(fields: Fields) -> int:
  """Tokens of an example that the decoder sees.

  Raises:
    ValueError: a target has no mask.
  """
  masks = dict(_masks(fields, 'targets'))
  if bare := {name.split('/')[1] for name in fields if name.startswith('targets/')} - set(masks):
    raise ValueError(f'targets {sorted(bare)} have no mask; packing needs targets/NAME/mask')
  return int(sum(np.sum(mask != 0) for mask in masks.values()))


def frame_counts(fields: Fields, names: tuple[str, ...]) -> tuple[int, ...]:
  """Frames of each history that show something."""
  return tuple(_frames(fields[f'inputs/{name}/mask']) for name in names)


def _masks(fields, side):
  for name, mask in fields.items():
    if name.startswith(f'{side}/') and name.endswith('/mask'):
      yield name.removeprefix(f'{side}/').removesuffix('/mask'), mask


def _frames(mask):
  return int(np.sum((mask != 0).any(-1)))


# ---- The strategy --------------------------------------------------------------------------------
@gin.configurable
@dataclasses.dataclass(frozen=True)
class PackingStrategy:
  """How examples become batches; see `t5x.shards.Batcher`.

  Where a history has a limit (`get_input_modalities.max_img_history`), batches keep to it.

  Attributes:
    pack_max_len: lengths of a packed row, (inputs, targets); None: an example a row.
    pack_pool_size: examples that wait for a partner.
    constraint_pool_size: rows (or examples, where any number share one) that wait due to a limit.
    max_to_pack: examples that `rows_together` rows have room for. 2 in 1 row are the original's
      pairs; with other numbers a row takes as many as fit, `packing_pools.BestFit`.
    rows_together: 13 examples in 4 rows are 3.25 a row on average, of which one may have 6 and
      another 2; the more rows share places, the fewer places stay empty.
    latents: tokens that a frame of each history becomes.
  """

  pack_max_len: tuple[int, int] | None = None
  pack_pool_size: int = 10
  constraint_pool_size: int = 10
  max_to_pack: int = 2
  rows_together: int = 1
  latents: Mapping[str, int] = dataclasses.field(default_factory=lambda: dict(LATENTS))

  def __post_init__(self):
    if not 1 <= self.rows_together <= self.max_to_pack:
      raise ValueError(
        f'{self.rows_together} rows cannot be filled by max_to_pack={self.max_to_pack} examples'
      )
    if min(self.pack_pool_size, self.constraint_pool_size) < 1:
      raise ValueError('pack_pool_size and constraint_pool_size must be at least 1')
    if self.pack and (len(self.pack_max_len) != 2 or min(self.pack_max_len) < 1):
      raise ValueError(f'pack_max_len={self.pack_max_len} is no (input length, target length)')

  @property
  def pack(self) -> bool:
    """Whether several examples share a row."""
    return self.pack_max_len is not None

  def rows(self, batch_size: int) -> int:
    """The rows that the network computes for a batch."""
    return self.groups(batch_size) * self.rows_together if self.pack else batch_size

  def groups(self, batch_size: int) -> int:
    """Pieces of a batch whose examples share places in rows."""
    return batch_size // self.max_to_pack if self.pack else batch_size

  # ---- As a batcher ----
  @property
  def fields(self) -> Mapping[str, type]:
    """`packing/age`: examples that were taken since this one was; `packing/row`: of its group."""
    if not self.pack:
      return {}
    together = {'packing/row': np.int32} if self.rows_together > 1 else {}
    return {'packing/age': np.int32, **together}

  def identity(self) -> dict[str, Any]:
    """All settings; none where nothing is packed or limited."""
    limits = _history_limits()
    if not (self.pack or limits):
      return {}
    settings = dataclasses.asdict(self) | {'limits': limits}
    return settings | {'pack_max_len': self.pack and list(self.pack_max_len)}

  def check(self, batch_size: int, num_shards: int) -> None:
    """Raises ValueError unless every shard gets whole groups of rows."""
    if self.pack and batch_size % (self.max_to_pack * num_shards):
      raise ValueError(
        f'batch_size={batch_size} must be a multiple of virtual_shards={num_shards} x '
        f'PackingStrategy.max_to_pack={self.max_to_pack}; batch_size counts examples, so that '
        f'{self.max_to_pack} of them are {self.rows_together} packed rows'
      )

  def open(self, batch_size: int, shard: int, num_shards: int) -> shards.Assembly:
    """The assembly of one shard's part of a batch; a limit is shared out among the shards."""
    limits = {
      name: round(limit * batch_size * (shard + 1) / num_shards)
      - round(limit * batch_size * shard / num_shards)
      for name, limit in _history_limits().items()
    }
    size = batch_size // num_shards
    if not (self.pack or limits):
      return shards.RowByRow(size)
    return PackedAssembly(self, size, limits)

  def pool(self, size: int, limits: tuple[int, ...]) -> packing_pools.Pool:
    """The pool of a part with room for `size` examples and some limits of their counts."""
    limited = packing_pools.LimitedRows(self.rows(size), limits, self.constraint_pool_size)
    if not self.pack:
      return packing_pools.Unpacked(limited)
    if (self.max_to_pack, self.rows_together) == (2, 1):
      return packing_pools.Pairs(tuple(self.pack_max_len), self.pack_pool_size, limited)
    return packing_pools.BestFit(
      tuple(self.pack_max_len),
      self.pack_pool_size,
      groups=self.groups(size),
      group_rows=self.rows_together,
      group_examples=self.max_to_pack,
      limits=limits,
      extra=self.constraint_pool_size,
    )


def _history_limits() -> dict[str, float]:
  """Frames an example may bring on average, of each history that has a limit."""
  specs = modality_processing.get_input_modalities()
  return {
    name: spec.max_per_example
    for name, spec in specs.items()
    if isinstance(spec, modality_specs.HistoryInputSpec) and spec.max_per_example is not None
  }


# ---- The assembly --------------------------------------------------------------------------------
class PackedAssembly:
  """Arranges the examples of one shard through a pool; see `t5x.shards.Assembly`."""

  def __init__(self, strategy: PackingStrategy, size: int, limits: Mapping[str, int]):
    """Takes the strategy, the places of a part, and what its frames may sum up to."""
    self._strategy, self._size, self._counted = strategy, size, tuple(limits)
    self._pool = strategy.pool(size, tuple(limits.values()))
    self._taken = 0

  def next(self, examples: Iterator[shards.Example]) -> shards.Part:
    """The part of the next batch; no rows after the last example."""
    rows = self._pool.batch(self._items(examples))
    groups, places = self._groups(rows), []
    for group in groups:
      placed = [(row, item) for row, items in enumerate(group) for item in items]
      places += placed + [(0, None)] * (self._size // len(groups) - len(placed))
    made = {
      'packing/age': [0 if item is None else self._taken - item.entered for _, item in places],
      'packing/row': [row for row, _ in places],
    }
    fields = {n: np.array(made[n], dtype) for n, dtype in self._strategy.fields.items()}
    return shards.Part([item and item.example for _, item in places], fields)

  def _groups(self, rows):
    """Rows whose examples share places; in a pair the places follow the rows."""
    count = self._strategy.rows_together
    return [rows[i : i + count] for i in range(0, len(rows), count)]

  def _items(self, examples):
    for example in examples:
      self._taken += 1
      yield self._item(example, self._taken)

  def _item(self, example, entered):
    fields = example.made.fields
    return Item(
      example=example,
      inputs=input_length(fields, self._strategy.latents),
      targets=target_length(fields),
      counts=frame_counts(fields, self._counted),
      entered=entered,
    )

  # ---- Over a restart ----
  def state(self) -> dict[str, Any]:
    """[task, position, index, entered] of each example that is held back, nested as in the pool."""
    return {'taken': self._taken, 'pool': _mapped(self._told, self._pool.held)}

  def _told(self, item: Item) -> dict[str, list[int]]:
    return {'item': [*item.example.ref, item.entered]}

  def refs(self, state: Mapping[str, Any]) -> list[Ref]:
    """The examples that are held back in a state."""
    found: list[Ref] = []
    _mapped(lambda told: found.append(tuple(told['item'][:3])), state['pool'])
    return found

  def restore(self, state: Mapping[str, Any], examples: Mapping[Ref, shards.Example]) -> None:
    """Goes back to a state."""

    def item(told):
      *ref, entered = told['item']
      return self._item(examples[tuple(ref)], entered)

    self._taken = state['taken']
    self._pool.hold(_mapped(item, state['pool']))


def _mapped(function, tree):
  """Nested lists with each leaf but None replaced."""
  if isinstance(tree, (list, tuple)):
    return [_mapped(function, child) for child in tree]
  return None if tree is None else function(tree)
