"""Settings and fixtures that all tests share.

JAX is set up by environment variables, so that tests of the TF lane need not import it: eight CPU
devices, and an error wherever numpy would promote dtypes or ranks in silence.
"""

import os

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_NUM_CPU_DEVICES', '8')
os.environ.setdefault('JAX_NUMPY_DTYPE_PROMOTION', 'strict')
os.environ.setdefault('JAX_NUMPY_RANK_PROMOTION', 'raise')
os.environ.setdefault('JAX_DEFAULT_MATMUL_PRECISION', 'highest')

pytest_plugins = ('tests.parity.report',)
