"""What packing saves: rows, filled places and arithmetic, on lengths like those of training.

No model is run. Lengths are drawn from two mixes whose rates follow the paper (mix A: instruction
tuning, Tables 10 and 11; mix B: pre-training); the paper prints no text lengths, so their medians
are assumptions. Arithmetic is that of the forward pass of `large`, attention and MLP of both sides,
every place of a row counted.
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import measure
import numpy as np

EXAMPLES = 100_000
PADDED = (1408, 2048)  # tokens of an example that is padded to all limits
TEXT_LIMITS = 4, 512


# ---- Lengths -------------------------------------------------------------------------------------
class Family(NamedTuple):
  """Examples of one kind: their share, and tokens; texts are (median, sigma) of a log-normal."""

  rate: float
  text: tuple[float, float]
  images: int  # and all other inputs that are no text
  target: int | tuple[float, float]


MIXES = {
  'A, instruction tuning': (
    Family(10.60, (24, 0.5), 0, 1024),  # text -> image
    Family(11.06, (20, 0.5), 504, 1024),  # image (and text) -> image
    Family(5.62, (24, 0.5), 0, 512),  # text -> audio
    Family(1.88, (12, 0.3), 504 + 128, 512),  # video -> audio
    Family(17.20, (24, 0.6), 504, (6, 0.6)),  # questions, tags, regions
    Family(7.85, (14, 0.5), 504, (24, 0.8)),  # captions, instructions
    Family(14.02, (24, 0.6), 504 + 128, (16, 0.8)),  # video
    Family(2.50, (12, 0.3), 112 + 56, (12, 0.6)),  # audio
    Family(25.00, (160, 1.0), 0, (40, 1.1)),  # text
    Family(4.27, (40, 0.5), 504 + 128, (14, 0.5)),  # embodied
  ),
  'B, pre-training': (
    Family(33.00, (400, 0.6), 0, (110, 0.6)),  # text denoising
    Family(20.00, (10, 0.4), 288, (20, 0.7)),  # image and text, text target
    Family(20.00, (20, 0.7), 144, 1024),  # image and text, image target
    Family(9.00, (20, 0.6), 288 + 128 + 64 + 32, (30, 0.8)),  # video, text target
    Family(9.00, (30, 0.8), 144 + 128 + 64 + 32, 1024),  # video, image target
    Family(9.00, (30, 0.8), 288 + 128 + 32 + 32, 512),  # video, audio target
  ),
}


def draw(mix: Sequence[Family], count: int) -> Iterator[tuple[int, int]]:
  """Lengths of examples, (inputs, targets): the family by rate, then its texts in this order."""
  rng = np.random.default_rng(0)
  rates = np.array([family.rate for family in mix])
  rates /= rates.sum()

  def length(text: tuple[float, float]) -> int:
    median, sigma = text
    return int(np.clip(round(np.exp(rng.normal(np.log(median), sigma))), *TEXT_LIMITS))

  for _ in range(count):
    family = mix[rng.choice(len(mix), p=rates)]
    inputs = length(family.text) + family.images
    yield inputs, family.target if isinstance(family.target, int) else length(family.target)


# ---- Arithmetic ----------------------------------------------------------------------------------
def flops(inputs: int, targets: int) -> float:
  """Of the forward pass of `large` over one row: attention and MLP, encoder and decoder."""
  from t5x.examples.unified_io import config

  large = config.SIZES['large']
  width, inner = large.emb_dim, large.num_heads * large.head_dim
  mlp = 2 * 3 * width * large.mlp_dim  # a gated MLP has three matrices
  project = 2 * width * inner
  encoder = inputs * (4 * project + mlp) + 4 * inner * inputs**2
  decoder = targets * (6 * project + mlp) + inputs * 2 * project
  decoder += 4 * inner * targets * (targets + inputs)
  return large.num_encoder_layers * encoder + large.num_decoder_layers * decoder


# ---- Strategies ----------------------------------------------------------------------------------
class Strategy(NamedTuple):
  """A name, the lengths of a row, and settings of PackingStrategy; None pads every example."""

  name: str
  row: tuple[int, int]
  settings: dict[str, Any] | None


STRATEGIES = (
  Strategy('padded to all limits', PADDED, None),
  Strategy('pairs, pool of 10 (the default)', (864, 1280), {}),
  *(
    Strategy(
      f'any number, {examples} in 4 rows, pool of 40', row,
      {'max_to_pack': examples, 'rows_together': 4, 'pack_pool_size': 40},
    )
    for examples, row in (
      (7, (864, 1280)), (9, (864, 1280)), (11, (1152, 1280)), (13, (1280, 1280)),
    )
  ),
)  # fmt: skip


def packed(strategy: Strategy, lengths: Sequence[tuple[int, int]]) -> dict[str, Any]:
  """What a strategy makes of all examples, in batches of 16 groups."""
  from t5x.examples.unified_io import packing, packing_pools

  made = packing.PackingStrategy(pack_max_len=strategy.row, **(strategy.settings or {}))
  pool = made.pool(16 * made.max_to_pack, ())
  taken = 0

  def items() -> Iterator[Any]:
    nonlocal taken
    for number, (inputs, targets) in enumerate(lengths):
      taken += 1
      yield packing_pools.Item(number, inputs, targets, entered=taken)

  stream, rows, ages = items(), [], []
  while batch := pool.batch(stream):
    rows += batch
    ages += [taken - item.entered for row in batch for item in row]
  while rows and not rows[-1]:
    rows.pop()  # empty ones of the very last batch
  held = [[(item.inputs, item.targets) for item in row] for row in rows]
  places = len(rows) * made.max_to_pack / made.rows_together
  return {**told(strategy, held, len(lengths)), 'empty places': 1 - len(ages) / places,
          'mean age': float(np.mean(ages)), 'oldest': max(ages)}  # fmt: skip


def told(
  strategy: Strategy, rows: Sequence[Sequence[tuple[int, int]]], count: int
) -> dict[str, Any]:
  """Rows, filled places and arithmetic."""
  sums = np.array([np.sum(row, axis=0) if row else (0, 0) for row in rows])
  kept = sum(len(row) for row in rows)
  cut = int(sum(len(row) for row, total in zip(rows, sums, strict=True)
                if (total > strategy.row).any()))  # fmt: skip
  each = len(rows) * flops(*strategy.row) / count
  return {
    'strategy': strategy.name,
    'row': f'{strategy.row[0]}/{strategy.row[1]}',
    'rows per 100,000': round(len(rows) * 100_000 / count),
    'inputs filled': float(sums[:, 0].sum() / (len(rows) * strategy.row[0])),
    'targets filled': float(sums[:, 1].sum() / (len(rows) * strategy.row[1])),
    'examples a row': kept / len(rows),
    'TFLOP an example': each / 1e12,
    'speed': flops(*PADDED) / each,
    'dropped': count - kept,
    'cut': cut,
  }


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('--examples', type=int, default=EXAMPLES, help='of each mix')
  args = measure.arguments(__doc__, parser)
  count = 500 if args.quick else args.examples
  for name, mix in MIXES.items():
    lengths = list(draw(mix, count))
    rows = []
    for strategy in STRATEGIES:
      if strategy.settings is None:
        row = told(strategy, [[length] for length in lengths], count)
        rows.append({**row, 'empty places': 0.0, 'mean age': 0.0, 'oldest': 0})
      else:
        rows.append(packed(strategy, lengths))
    longest = sum(inputs > 864 or targets > 1280 for inputs, targets in lengths)
    measure.report(
      f'Packing, mix {name}', rows, examples=count, longer_than_864_1280=longest,
      mean_inputs=float(np.mean(lengths, axis=0)[0]),
      mean_targets=float(np.mean(lengths, axis=0)[1]),
    )  # fmt: skip


if __name__ == '__main__':
  main()
