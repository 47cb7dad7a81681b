"""The JAX lane runs where TensorFlow, seqio and gin are not installed."""

import subprocess
import sys

import pytest

from tests.contract.layers_test import MODULES, PACKAGES, ROOT, row_of

JAX_LANE = sorted(
  m for m in MODULES if m not in PACKAGES and (row := row_of(m)) and row.lane == 'jax'
)
BLOCK = """
import importlib, sys

TF_LANE = {'tensorflow', 'tensorflow_text', 'tensorflow_datasets', 'seqio', 'gin', 'clu'}

class Blocked:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in TF_LANE:
      raise ModuleNotFoundError(f'{name} is not installed on this machine')

sys.meta_path.insert(0, Blocked())
"""


def run_blocked(code: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, '-c', BLOCK + code], cwd=ROOT, capture_output=True, text=True, timeout=300
  )


def test_the_jax_lane_imports_without_the_tf_lane():
  result = run_blocked(f'for name in {JAX_LANE!r}: importlib.import_module(name)')
  assert result.returncode == 0, result.stderr


def test_importing_the_network_does_not_import_tensorflow():
  code = "import sys, t5x.examples.unified_io.network; sys.exit('tensorflow' in sys.modules)"
  result = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=300
  )
  assert result.returncode == 0, result.stderr


def test_the_block_blocks():
  result = run_blocked('import seqio')
  assert 'not installed' in result.stderr


@pytest.mark.slow
def test_unit_tests_of_the_jax_lane_pass_without_the_tf_lane():
  folders = ['modules', 'network', 'models']
  tests = [str(p) for f in folders for p in ROOT.glob(f'tests/unit/unified_io/{f}*')]
  result = run_blocked(f'import pytest; sys.exit(pytest.main({tests!r}))')
  assert result.returncode == 0, result.stdout
