"""Memory of the host: what a step frees is kept for the next one.

XLA takes and gives back one large block a step on CPUs. glibc hands such blocks back to the system,
which gives them out again page by page, filled with zeros: a third of the time of a small model's
step (`benchmarks/train_step.py`).
"""

import ctypes

# Parameters of mallopt(3), by their numbers in malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1


def keep_freed_blocks() -> bool:
  """Tells glibc to keep freed memory, whatever its size and the thread that took it.

  Call it before threads start. Returns whether the C library knows these settings; nothing but
  speed depends on them.
  """
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER))
  return mallopt is not None and all(mallopt(*setting) == 1 for setting in settings)
