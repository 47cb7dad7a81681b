"""Memory that is freed is kept, so that the next step does not ask the system for it."""

import subprocess
import sys

import pytest

from t5x import host_memory

# Faults of filling 64 MiB (16,384 pages) a second time, in another thread than the main one.
_PROGRAM = """
import resource, sys, threading
from t5x import host_memory
if sys.argv[1] == 'kept':
  assert host_memory.keep_freed_blocks()
faults = []
size = 2**26
def fill():
  for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b'x' * size
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=fill)
thread.start()
thread.join()
print(faults[1])
"""


@pytest.mark.skipif(not host_memory.keep_freed_blocks(), reason='the C library is not glibc')
@pytest.mark.parametrize(('setting', 'asks_again'), [('kept', False), ('as it comes', True)])
def test_freed_blocks_are_used_again_without_a_fault(setting, asks_again):
  command = [sys.executable, '-c', _PROGRAM, setting]
  faults = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
  assert (faults > 1000) == asks_again
