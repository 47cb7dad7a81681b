"""Every benchmark runs, prints its table, and says the same in JSON; no time is asserted."""

import json
import math
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / 'benchmarks').glob('*.py'))


@pytest.mark.slow
@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_runs_and_prints_json(script):
  environment = {n: value for n, value in os.environ.items() if not n.startswith('JAX_NUM')}
  done = subprocess.run(
    [sys.executable, str(script), '--quick'],
    capture_output=True, text=True, env={**environment, 'PYTHONPATH': str(ROOT)},
  )  # fmt: skip
  assert not done.returncode, done.stderr[-2000:]
  said = json.loads(done.stdout.strip().splitlines()[-1])
  assert said['rows']
  numbers = [value for row in said['rows'] for value in row.values() if isinstance(value, float)]
  assert all(math.isfinite(number) and number >= 0 for number in numbers)


def test_the_page_of_benchmarks_names_every_script():
  page = (ROOT / 'benchmarks' / 'README.md').read_text(encoding='utf-8')
  assert [path.name for path in SCRIPTS if f'`{path.name}`' not in page] == []
