"""Two processes train as one does, on the same examples; each goes on where the other stopped."""

import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

WORKER = pathlib.Path(__file__).parents[1] / 'host_worker.py'


def free_port() -> int:
  with socket.socket() as s:
    s.bind(('localhost', 0))
    return s.getsockname()[1]


def run(folder: pathlib.Path, count: int, steps: int) -> list[dict[str, np.ndarray]]:
  """What each of `count` processes saw and ended with, after training to `steps`."""
  port, root = free_port(), str(WORKER.parents[1])
  environment = {**os.environ, 'PYTHONPATH': root}
  environment.pop('JAX_NUM_CPU_DEVICES', None)
  processes = [
    subprocess.Popen(
      [sys.executable, str(WORKER), str(i), str(count), str(port), str(folder), str(steps)],
      env=environment, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    for i in range(count)
  ]  # fmt: skip
  told = [process.communicate()[0] for process in processes]
  for process, text in zip(processes, told, strict=True):
    assert process.returncode == 0, text[-3000:]
  files = [folder / f'{steps}_{i}_of_{count}.npz' for i in range(count)]
  return [dict(np.load(file)) for file in files]


def batches(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
  """The global batches, from those of all processes."""
  names = [name for name in parts[0] if not name.startswith('params/')]
  return {name: np.concatenate([part[name] for part in parts]) for name in names}


def assert_same(got, want):
  assert set(got) == set(want)
  for name, array in got.items():
    np.testing.assert_array_equal(array, want[name], err_msg=name)


@pytest.mark.slow
def test_two_processes_train_on_the_batches_of_one_and_resume_it(tmp_path):
  folders = {name: tmp_path / name for name in ('whole', 'parted')}
  for folder in folders.values():
    folder.mkdir()
  (whole,) = run(folders['whole'], 1, 6)
  two = run(folders['parted'], 2, 3)
  (rest,) = run(folders['parted'], 1, 6)
  first = {name: x for name, x in batches([whole]).items() if int(name.split('/')[0]) < 3}
  assert_same(batches(two), first)
  later = {f'{int(i) + 3}/{field}': x for name, x in batches([rest]).items()
           for i, field in [name.split('/', 1)]}  # fmt: skip
  assert_same(later, {name: x for name, x in batches([whole]).items() if name not in first})
  for name in (name for name in whole if name.startswith('params/')):
    np.testing.assert_allclose(rest[name], whole[name], rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(two[0][name], two[1][name], err_msg=name)
