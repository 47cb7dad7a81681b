"""Settings and fixtures that all tests share.

JAX is set up by environment variables, so that tests of the TF lane need not import it: eight CPU
devices, an error wherever numpy would promote dtypes or ranks in silence, and compilation without
the costly optimizations, as in JAX's own tests: most of what a test takes is compiling.
"""

import gc
import os

import pytest

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_NUM_CPU_DEVICES', '8')
os.environ.setdefault('JAX_NUMPY_DTYPE_PROMOTION', 'strict')
os.environ.setdefault('JAX_NUMPY_RANK_PROMOTION', 'raise')
os.environ.setdefault('JAX_DEFAULT_MATMUL_PRECISION', 'highest')
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
gc.set_threshold(50_000, 20, 100)  # compiled functions keep millions of objects, looked at in vain

pytest_plugins = ('tests.parity.report',)


@pytest.fixture(scope='session')
def tiny_network():
  """A text-and-image-to-text network; see tests/tiny.py."""
  from tests import tiny

  return tiny.transformer()


@pytest.fixture(scope='session')
def tiny_batch():
  """A batch for `tiny_network`, numpy arrays."""
  from tests import tiny

  return tiny.batch()


@pytest.fixture(scope='session')
def tiny_params(tiny_network, tiny_batch):
  """Parameters of `tiny_network`."""
  from tests import tiny

  return tiny.init(tiny_network, tiny_batch)
