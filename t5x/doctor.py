"""Says whether this machine can run: `python -m t5x.doctor`.

Devices, versions, the tokenizer, folders. Which tokenizer and which folders, gin says: without a
`--gin_file` that of configs/runs/doctor.gin.
"""

from collections.abc import Callable, Iterator, Mapping
import importlib.metadata
import os
import shutil
import sys

import jax
import jax.numpy as jnp

from t5x import gin_utils
from t5x.checkpoint_config import Tokenizer

_PACKAGES = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'tensorflow', 'tensorflow-text', 'seqio')
_DEFAULT_FILE = 't5x/configs/runs/doctor.gin'


def diagnose(
  *, tokenizer: Tokenizer | None = None, folders: Mapping[str, str | None] | None = None
) -> None:
  """Prints a line for each thing looked at; ends with status 1 if one of them does not work.

  Args:
    tokenizer: to be loaded.
    folders: name -> folder that should exist; None where none is set.
  """
  checks: list[tuple[str, Callable[[], str]]] = [
    ('Python', lambda: sys.version.split()[0]),
    ('packages', _versions),
    ('devices', _devices),
    ('disk', _free_space),
  ]
  if tokenizer is not None:
    checks.append(('tokenizer', lambda: f'{tokenizer} ({tokenizer.num_base_pieces} pieces)'))
  for name, folder in (folders or {}).items():
    checks.append((name, lambda folder=folder: _folder(folder)))
  broken = [line for line in _results(checks) if line.startswith('BROKEN')]
  if broken:
    sys.exit(1)


def _results(checks) -> Iterator[str]:
  for name, check in checks:
    try:
      line = f'ok      {name}: {check()}'
    except Exception as e:
      line = f'BROKEN  {name}: {e}'
    print(line)
    yield line


def _versions() -> str:
  return ', '.join(f'{name} {importlib.metadata.version(name)}' for name in _PACKAGES)


def _devices() -> str:
  """Every device adds two numbers."""
  for device in jax.devices():
    total = int(jax.device_put(jnp.arange(3), device).sum())
    if total != 3:
      raise ValueError(f'{device} says 0 + 1 + 2 is {total}')
  kinds = {device.device_kind for device in jax.devices()}
  return f'{jax.device_count()} of kind {", ".join(sorted(kinds))} ({jax.default_backend()})'


def _free_space() -> str:
  return f'{shutil.disk_usage(os.getcwd()).free / 1e9:.0f} GB free in {os.getcwd()}'


def _folder(folder: str | None) -> str:
  if folder is None:
    return 'not set'
  if not os.path.isdir(os.path.expanduser(folder)):
    raise FileNotFoundError(f'{folder} does not exist')
  return folder


if __name__ == '__main__':
  if not any(arg.startswith('--gin_file') for arg in sys.argv):
    sys.argv.append(f'--gin_file={_DEFAULT_FILE}')
  gin_utils.run(diagnose)
