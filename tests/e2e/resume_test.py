"""`kill -9` in the middle of a run costs the steps since the last save, and nothing else."""

import hashlib
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from t5x import checkpoint_config, optimizers, partitioning, train
from tests import tiny_training as tiny

ROOT = pathlib.Path(__file__).parents[2]
KILL_AT = 'KILL_AT_STEP'


class KillHook(train.Hook):
  """Ends the process as `kill -9` does, while the checkpoint of that very step is written."""

  def after_step(self, step, state, metrics):
    if step == int(os.environ.get(KILL_AT, 0)):
      os.kill(os.getpid(), signal.SIGKILL)


def checksum(folder: str) -> str:
  """Trains to step 9; a fingerprint of every bit of the state."""
  state = train.train(
    model=tiny.TinyModel(),
    optimizer=optimizers.adamw(0.1),
    train_dataset_cfg=tiny.MemoryConfig(seed=None),
    checkpoint_cfg=checkpoint_config.CheckpointConfig(
      save=checkpoint_config.SaveCheckpointConfig(period=3, keep=2)
    ),
    partitioner=partitioning.PjitPartitioner(2),
    model_dir=folder,
    total_steps=9,
    random_seed=0,
    open_batches=tiny.MemoryBatches.open,
    hooks=[KillHook()],
  )
  digest = hashlib.sha256()
  for array in tiny.leaves(state):
    digest.update(array.tobytes())
  return digest.hexdigest()


def run_command(folder: pathlib.Path, **environment: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, '-m', 'tests.e2e.resume_test', str(folder)],
    cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
  )  # fmt: skip


@pytest.mark.e2e
def test_the_same_command_after_kill_9_ends_with_the_same_bits(tmp_path):
  killed = run_command(tmp_path / 'killed', **{KILL_AT: '6'})
  assert killed.returncode == -signal.SIGKILL, killed.stderr
  left = sorted(p.name for p in (tmp_path / 'killed').glob('checkpoint_*'))
  assert left[0] == 'checkpoint_3'
  assert not any(name == 'checkpoint_9' for name in left)
  resumed = run_command(tmp_path / 'killed')
  assert resumed.returncode == 0, resumed.stderr
  assert resumed.stdout.split()[-1] == checksum(str(tmp_path / 'unbroken'))
  assert checkpoint_config.steps_in(str(tmp_path / 'killed')) == [6, 9]


if __name__ == '__main__':
  print(checksum(sys.argv[1]))
