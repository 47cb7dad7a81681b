"""Which examples the original pairs, and which batches it makes of them."""

from collections.abc import Mapping, Sequence
import contextlib
import functools
from typing import Any

import numpy as np
import pytest

from t5x import shards
from t5x.examples.unified_io import modality_processing, packing
from t5x.examples.unified_io.packing_pools import Item, LimitedRows, Pairs
from t5x.task_examples import Made
from tests.parity import harness

AREA = 'data/e_packing'
# The defects of limited batches: the original counts another modality or forgets that pairs are two
# examples (28), and it takes one waiting row at most, so that batches go out half empty (29).
WRONG_COUNT, HALF_EMPTY = 'data-28', 'data-29'


def numbered(lengths: Sequence[Sequence[int]]) -> list[Item]:
  """Items of these lengths, whose examples are 1, 2, ..."""
  return [Item(i + 1, inputs, targets) for i, (inputs, targets) in enumerate(lengths)]


def numbers(row: Sequence[Item], places: int) -> list[int]:
  """The examples of a row, 0 for an empty place."""
  return [item.example for item in row] + [0] * (places - len(row))


def endless(items: Sequence[Any]) -> Any:
  """Items that end by an error, as the stream that the original cut off never ends."""
  yield from items
  raise EOFError


def until_end(rows: Any) -> list[Any]:
  """What comes before the items end."""
  made = []
  with contextlib.suppress(EOFError):
    made.extend(iter(rows))
  return made


# ---- Pairs ---------------------------------------------------------------------------------------
def check_pairs(c: harness.Case, row: Mapping[str, Any], items: list[Item], field: str) -> None:
  pairs = Pairs((row['max_input'], row['max_target']), row['pool'])
  c.exact(
    f'{field}pairs', [numbers(pair, 2) for pair in until_end(pairs.rows(endless(items)))],
    row['pairs'],
  )  # fmt: skip
  if 'never_written' in row:  # ours are written when the examples do end
    held = sorted(item.example for item in pairs.slots if item)
    c.exact(f'{field}never_written', held, sorted(row['never_written']))


@pytest.mark.parametrize(
  'path', harness.cases(AREA, 'pairs_hand') + harness.cases(AREA, 'pairs_r*')
)
def test_pairs_of_lengths(path):
  with harness.case(path) as c:
    for i, row in enumerate(c.config['rows']):
      c.given(*(f'rows/{i}/{name}' for name in row if name not in ('pairs', 'never_written')))
      check_pairs(c, row, numbered(row['lens']), f'rows/{i}/')


def fields_of(texts: int, targets: int, **frames: np.ndarray) -> dict[str, np.ndarray]:
  """Masks of an example."""
  masks = {f'inputs/{name}/mask': mask for name, mask in frames.items()}
  return masks | {'inputs/text/mask': np.ones(texts), 'targets/text/mask': np.ones(targets)}


@pytest.mark.parametrize('path', harness.cases(AREA, 'pairs_frames*'))
def test_pairs_of_examples_with_frames(path):
  with harness.case(path) as c:
    c.given('examples', 'max_input', 'max_target', 'pool', 'latents', 'frame_mask')
    (history,) = c.config['latents']
    items = []
    for i, example in enumerate(c.config['examples']):
      mask = c.outputs['frame_mask'][i]
      fields = fields_of(example['text'], example['target'], **{history: mask})
      c.exact(
        f'examples/{i}/valid_frames',
        packing.frame_counts(fields, (history,))[0],
        example['valid_frames'],
      )
      inputs = packing.input_length(fields, c.config['latents'])
      items.append(Item(i + 1, inputs, packing.target_length(fields)))
    check_pairs(c, c.config, items, '')


# ---- Batches -------------------------------------------------------------------------------------
@pytest.mark.parametrize('path', harness.cases(AREA, 'packed_batches*'))
def test_batches_of_pairs(path):
  with harness.case(path) as c:
    case = c.config
    c.given(*(name for name in case if name != 'batches'))
    size = case['batch_size']
    limited = LimitedRows(size, (), 1)
    pool = Pairs((case['max_input'], case['max_target']), case['pool'], limited)
    items = endless(numbered(case['lens']))
    batches = until_end(iter(lambda: pool.batch(items), []))
    made = [[n for row in batch for n in numbers(row, 2)] for batch in batches]
    c.exact('batches', made, case['batches'])


def check_limited(
  c: harness.Case, field: str, made: list[list[int]], want: list[list[int]], defect: str
) -> None:
  """The same batches, or, where a limit plays a part, better ones."""
  if made == want or not defect:
    c.exact(field, made, want)
  else:
    c.fixed(field, defect)


def check_limits(batches, counts, limits) -> None:
  """Every batch keeps to its limits, save one that an example breaks all by itself."""
  for batch in batches:
    sums = np.sum([counts[n - 1] for n in batch if n], axis=0)
    alone = any((np.array(counts[n - 1]) > limits).any() for n in batch if n)
    assert alone or (sums <= limits).all(), (batch, sums, limits)


@pytest.mark.parametrize('path', harness.cases(AREA, 'constraints_*'))
def test_batches_under_limits(path):
  with harness.case(path) as c:
    for i, row in enumerate(c.config['rows']):
      c.given(*(f'rows/{i}/{name}' for name in row if name != 'batches'))
      counts = list(zip(*row['values'], strict=True))
      rows = [(Item(n + 1, 0, 1, counts=each),) for n, each in enumerate(counts)]
      limited = LimitedRows(row['batch_size'], row['limits'], row['pool'])
      stream = endless(rows)
      batches = until_end(iter(lambda limited=limited, stream=stream: limited.batch(stream), []))
      made = [[n for each in batch for n in numbers(each, 1)] for batch in batches]
      check_limits(made, counts, row['limits'])
      check_limited(c, f'rows/{i}/batches', made, row['batches'], HALF_EMPTY)


# ---- The strategy --------------------------------------------------------------------------------
LIMITS = {'image_history': 'max_img_history', 'audio_history': 'max_audio_history'}
CHOOSE = modality_processing.get_input_modalities
LENGTHS = {'image_history': 'image_frames', 'audio_history': 'audio_frames'}
SETTINGS = ('pack_max_len', 'pack_pool_size', 'constraint_pool_size')


def examples_of(row: Mapping[str, Any]) -> list[shards.Example]:
  """The examples of a row of the case, with the modalities that are on."""
  lens, on = row['lens'], [name for name in LENGTHS if name in row['input_modalities']]
  made = []
  for i, (text, target) in enumerate(zip(lens['text'], lens['target'], strict=True)):
    frames = {n: np.arange(8)[:, None] < np.full([1, 2], lens[LENGTHS[n]][i]) for n in on}
    made.append(shards.Example(0, Made(i, 0, fields_of(text, target, **frames))))
  return made


def batches_of(row: Mapping[str, Any], latents: Mapping[str, int]) -> list[list[int]]:
  """Our batches; the original's batch size counts rows, ours the places for examples."""
  strategy = packing.PackingStrategy(latents=latents, **{name: row[name] for name in SETTINGS})
  places = row['batch_size'] * (strategy.max_to_pack if strategy.pack else 1)
  assembly, stream = strategy.open(places, 0, 1), endless(examples_of(row))

  def part():
    rows = assembly.next(stream).rows
    return [0 if example is None else example.made.position + 1 for example in rows]

  # A batch in order holds nothing back, so the last one may be short.
  return [batch for batch in until_end(iter(part, [])) if len(batch) == places]


def defect_of(row: Mapping[str, Any]) -> str | None:
  """What is wrong with the original's batches, None where no limit is set."""
  limited = [name for name, limit in LIMITS.items() if row[limit] is not None]
  if not limited:
    return None
  counted = row['input_modalities'][-1]
  return WRONG_COUNT if row['pack_max_len'] or limited != [counted] else HALF_EMPTY


def check_history_limits(batches: list[list[int]], row: Mapping[str, Any]) -> None:
  """Each limit counts the frames of its own modality, a limit an example for all of a batch."""
  for name, limit in LIMITS.items():
    if row[limit] is not None:
      counts = [(frames,) for frames in row['lens'][LENGTHS[name]]]
      check_limits(batches, counts, [round(row[limit] * len(batches[0]))])


@pytest.mark.parametrize('path', harness.cases(AREA, 'strategy*'))
def test_batches_of_the_strategy(path, monkeypatch):
  with harness.case(path) as c:
    ours = packing.PackingStrategy()
    c.exact('defaults', {n: getattr(ours, n) for n in c.config['defaults']}, c.config['defaults'])
    c.given('latents')
    for i, row in enumerate(c.config['rows']):
      c.given(*(f'rows/{i}/{name}' for name in row if name not in ('batches', 'raises')))
      limits = {limit: row[limit] for limit in LIMITS.values()}
      chosen = functools.partial(CHOOSE, row['input_modalities'], **limits)
      monkeypatch.setattr(modality_processing, 'get_input_modalities', chosen)
      made = batches_of(row, c.config['latents'])
      check_history_limits(made, row)
      c.exact(f'rows/{i}/raises', None, row['raises'])
      check_limited(c, f'rows/{i}/batches', made, row['batches'], defect_of(row))
