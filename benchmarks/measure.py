"""How the benchmarks measure: CPU seconds of one thread, beside those of a matrix product.

Run alone, it prints the calibration: how fast one core of this machine multiplies matrices. Times
of another machine are comparable after scaling by the ratio of the two calibrations.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
import json
import os
import time
from typing import Any

from t5x import host_memory

SIZE = 2048  # side of the matrices of the calibration
REFERENCE = 0.179  # CPU seconds of the calibration on the machine where others were measured


def arguments(description: str, parser: argparse.ArgumentParser | None = None) -> Any:
  """The command line that all benchmarks share; `parser` may hold more options."""
  parser = parser or argparse.ArgumentParser()
  parser.description = description.partition('\n')[0]
  parser.add_argument('--quick', action='store_true', help='tiny sizes: only whether it runs')
  return parser.parse_args()


def one_thread() -> None:
  """Keeps this process on one CPU and one thread; to be called before JAX or TensorFlow is used.

  Freed memory is kept, as the entry points do.
  """
  host_memory.keep_freed_blocks()
  os.environ['JAX_PLATFORMS'] = 'cpu'
  os.environ['XLA_FLAGS'] = (
    f'{os.environ.get("XLA_FLAGS", "")} --xla_cpu_multi_thread_eigen=false '
    'intra_op_parallelism_threads=1'
  ).strip()
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  if hasattr(os, 'sched_setaffinity'):  # not on macOS
    cpu = max(os.sched_getaffinity(0))
    for thread in os.listdir('/proc/self/task'):  # imports have started some already
      os.sched_setaffinity(int(thread), {cpu})


def best(run: Callable[[], Any], *, repeats: int, warmup: int = 1) -> float:
  """The least CPU seconds of `repeats` calls: what is above it was somebody else's noise."""
  for _ in range(warmup):
    run()
  times = []
  for _ in range(repeats):
    start = time.process_time()
    run()
    times.append(time.process_time() - start)
  return min(times)


def calibrate(quick: bool = False) -> float:
  """CPU seconds of one product of two 2048 x 2048 float32 matrices."""
  import jax
  import jax.numpy as jnp

  matrix = jnp.ones((SIZE, SIZE), jnp.float32)
  product = jax.jit(lambda a, b: a @ b)
  return best(lambda: product(matrix, matrix).block_until_ready(), repeats=2 if quick else 12)


def report(title: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
  """Prints a table of rows with the same keys, and all of it again as one line of JSON."""
  heads = list(rows[0])
  cells = [heads, *([_text(row[head]) for head in heads] for row in rows)]
  widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
  print(f'\n{title}')
  print('  '.join(f'{name} {_text(value)}' for name, value in facts.items()))
  for row in cells:
    print('  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
  print(json.dumps({'benchmark': title, **facts, 'rows': list(rows)}), flush=True)


def _text(value: Any) -> str:
  if value is None:
    return '-'
  return f'{value:.4g}' if isinstance(value, float) else str(value)


def main() -> None:
  args = arguments(__doc__)
  one_thread()
  seconds = calibrate(args.quick)
  row = {'CPU seconds': seconds, 'GFLOP/s': 2 * SIZE**3 / seconds / 1e9}
  report(f'One thread, {SIZE} x {SIZE} float32 matrix product', [row], reference=REFERENCE)


if __name__ == '__main__':
  main()
