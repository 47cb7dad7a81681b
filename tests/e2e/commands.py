"""Runs the project's commands, in this process (fast) or as a user would (true)."""

from collections.abc import Mapping, Sequence
import os
import pathlib
import re
import shlex
import subprocess
import sys

from absl.testing import flagsaver
import gin
import pytest
import seqio

from t5x import eval, gin_utils, infer, train

ROOT = pathlib.Path(__file__).parents[2]
UIO = 't5x/examples/unified_io/t5_1_1'
ENTRY_POINTS = {'train': train.train, 'eval': eval.evaluate, 'infer': infer.infer}


def lines_of_readme() -> list[list[str]]:
  """The words of each command of the README."""
  text = (ROOT / 'README.md').read_text(encoding='utf-8')
  blocks = re.findall(r'```sh\n(.*?)```', text, re.DOTALL)
  return [shlex.split(block.replace('\\\n', ' ')) for block in blocks]


def of_readme() -> dict[str, list[str]]:
  """'train', 'eval', 'infer' -> arguments of that command in the README, on registered tasks."""
  return {
    name: line[2:]
    for name in ENTRY_POINTS
    for line in lines_of_readme()
    if line[:2] == ['python3', f't5x/{name}.py'] and not on_own_data(line)
  }


def on_own_data(line: Sequence[str]) -> bool:
  """Whether a command is about a file of the user's own."""
  return any(word.startswith('--gin.DATA=') for word in line)


def call(monkeypatch: pytest.MonkeyPatch, name: str, *args: str) -> int:
  """Runs an entry point in this process; returns its exit status."""
  monkeypatch.setattr(sys, 'argv', [f't5x/{name}.py', *args])
  monkeypatch.setattr(seqio.utils, '_TFDS_DATA_DIR_OVERRIDE', None)  # put back after the test
  gin.clear_config()
  gin_utils._define_flags()
  with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
    gin_utils.run(ENTRY_POINTS[name])
  gin.clear_config()
  return ended.value.code or 0


def run(
  command: Sequence[str], cwd: pathlib.Path = ROOT, **environment: str
) -> subprocess.CompletedProcess:
  """Runs `python ...` as a process of its own, in `cwd`, on CPU devices."""
  settings: Mapping[str, str] = {'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': '1', **environment}
  inherited = {k: v for k, v in os.environ.items() if not k.startswith('JAX_')}
  return subprocess.run(
    [sys.executable, *command],
    cwd=cwd,
    env={**inherited, **settings},
    capture_output=True,
    text=True,
    check=False,
  )
