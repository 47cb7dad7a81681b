"""How every dataset is written: shards that are whole or absent, by whomever, with checksums."""

import contextlib
import hashlib
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import types

import pytest
import tensorflow_datasets as tfds

from create_data import common
from create_data.tfdatasets import execution, manifest, shards, text_dataset
from create_data.tfdatasets.alpaca import build as alpaca

# tensorflow_datasets asks protobuf in an outdated way when it reads a dataset's metadata.
pytestmark = pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning')

ROOT = pathlib.Path(__file__).parents[3]
SHARDS = [f'alpaca-train.array_record-0000{i}-of-00003' for i in range(3)]


def rows(count=5, **changed):
  return [
    {field: f'{field} {i} é' for field in alpaca.DATASET.fields} | changed for i in range(count)
  ]


def write(path, content):
  path.write_text(''.join(json.dumps(row) + '\n' for row in content), encoding='utf-8')
  return path


@pytest.fixture(autouse=True)
def _small_shards_without_waiting_for_the_disk(monkeypatch):
  monkeypatch.setattr(text_dataset, 'ROWS_PER_SHARD', 2)
  monkeypatch.setattr(os, 'fsync', lambda _: None)


@pytest.fixture
def source(tmp_path):
  return write(tmp_path / 'rows.jsonl', rows())


def build(root, source, **options):
  return alpaca.DATASET.build(root, source, **options).folder


def content(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def versions(root):
  return sorted(path.name for path in (root / 'alpaca').iterdir())


def outputs(root):
  data = tfds.data_source('alpaca:1.0.0', data_dir=root, split='train')
  return [example['output'].decode() for example in data]


# ---- Who writes ----------------------------------------------------------------------------------
def test_two_processes_write_what_one_writes(tmp_path, source):
  one = build(tmp_path / 'one', source)
  two = build(tmp_path / 'two', source, run=execution.Processes(2))
  assert content(one) == content(two)


def needs_beam():
  if not importlib.util.find_spec('apache_beam'):
    pytest.skip('Apache Beam is not installed (extra data-beam)')


@pytest.mark.slow
@pytest.mark.parametrize(
  'options', ['', '--direct_num_workers=2 --direct_running_mode=multi_processing']
)
def test_beam_writes_what_one_process_writes(tmp_path, source, options):
  needs_beam()
  one = build(tmp_path / 'one', source)
  process = start(tmp_path / 'two', source, f'--beam=--runner=DirectRunner {options}')
  assert process.wait() == 0
  assert content(one) == content(tmp_path / 'two' / 'alpaca' / '1.0.0')


@pytest.mark.slow
@pytest.mark.parametrize('options', [['--num_workers=2'], ['--beam=--runner=DirectRunner']])
def test_picture_builds_are_equal_by_whatever_command(built, tmp_path, options):
  if '--num_workers=2' not in options:
    needs_beam()
  world, root = built
  folders = {
    'coco_all/1.0.1': ('coco_all', [world / 'vqa', world / 'coco', '--splits=train,val,test']),
    'ref_coco/refcoco_unc/1.0.0': (
      'refcoco', [world / 'refcoco', world / 'coco', '--splits=train,val,test']
    ),
  }  # fmt: skip
  for folder, (script, arguments) in folders.items():
    path = ROOT / 'create_data' / 'tfdatasets' / script / 'build.py'
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    subprocess.run(
      [sys.executable, path, tmp_path, *arguments, *options], env=environment, check=True
    )
    assert content(tmp_path / folder) == content(root / folder)


def test_without_beam_one_sentence_names_the_extra(tmp_path, source, monkeypatch):
  monkeypatch.setitem(sys.modules, 'apache_beam', None)
  with pytest.raises(SystemExit, match=r'alpaca was not built: .*extra \[data-beam\]'):
    alpaca.main([str(tmp_path / 'tfds'), str(source), '--beam=--runner=DirectRunner'])


def test_a_beam_that_ends_without_a_shard_is_named(monkeypatch):
  def no_worker(options):
    raise RuntimeError('no worker')

  fake = types.SimpleNamespace(Pipeline=no_worker, PipelineOptions=list)
  monkeypatch.setattr(execution, '_import', lambda _: fake)
  with pytest.raises(ChildProcessError, match=r"Beam did not write \['a', 'b'\]") as caught:
    list(execution.Beam(())(print, ['a', 'b'], lambda _: False))
  assert str(caught.value.__cause__) == 'no worker'


def test_fewer_than_one_worker_is_refused(tmp_path, source):
  with pytest.raises(SystemExit, match='0 worker processes asked for; give 1 or more'):
    alpaca.main([str(tmp_path), str(source), '--num_workers=0'])


def _kill_oneself(_):
  os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_ends_the_build_with_words():
  with pytest.raises(ChildProcessError, match='give the same command again'):  # noqa: SIM117
    with common.workers(2) as run:
      list(run(_kill_oneself, range(2)))


# ---- Stopped and started again -------------------------------------------------------------------
class Killed(BaseException):
  """No part of ours catches it."""


@contextlib.contextmanager
def killed_at(step):
  """Ends what happens inside before the `step`-th change of a file; yields the steps made."""
  made = []

  def changing(real):
    def change(*args, **kwargs):
      if len(made) == step:
        raise Killed
      made.append(real)
      return real(*args, **kwargs)

    return change

  with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
    for name in ('replace', 'rename', 'link', 'unlink', 'mkdir', 'rmdir', 'fsync'):
      patch.setattr(os, name, changing(getattr(os, name)))
    patch.setattr(shutil, 'copyfile', changing(shutil.copyfile))
    yield made


def test_a_build_that_is_killed_at_any_moment_goes_on_to_the_same_bytes(tmp_path, source):
  with killed_at(None) as steps:
    want = content(build(tmp_path / 'unbroken', source))
  assert len(steps) > 30
  for step in range(len(steps)):
    root = tmp_path / str(step)
    with killed_at(step):
      build(root, source)
    assert content(build(root, source)) == want, steps[step]
    assert versions(root) == ['1.0.0']


def test_a_rebuild_that_is_killed_at_any_moment_goes_on_and_never_mixes_old_and_new(
  tmp_path, source
):
  changed = write(tmp_path / 'changed.jsonl', [*rows(4), *rows(1, output='another')])
  before = tmp_path / 'before'
  build(before, source)
  shutil.copytree(before, tmp_path / 'unbroken')
  with killed_at(None) as steps:
    build(tmp_path / 'unbroken', changed)
  for step in range(len(steps)):
    root = shutil.copytree(before, tmp_path / str(step))
    old = root / 'alpaca' / '1.0.0'
    with killed_at(step):
      build(root, changed)
    if old.exists():
      manifest.verify(old)
    assert outputs(build(root, changed).parents[1])[-1] == 'another'
    assert versions(root) == ['1.0.0']


@pytest.fixture
def written(monkeypatch):
  """The names of the shards that are made from now on."""
  names, real = [], shards.write_shard
  monkeypatch.setattr(
    shards, 'write_shard', lambda name, **kwargs: names.append(name) or real(name, **kwargs)
  )
  return names


def test_finished_shards_are_not_made_again(tmp_path, source, written, monkeypatch):
  def stop(*_, **__):
    raise KeyboardInterrupt

  root = tmp_path / 'tfds'
  with monkeypatch.context() as patch:
    patch.setattr(shards, '_finish', stop)
    with pytest.raises(KeyboardInterrupt):
      build(root, source)
  assert written == SHARDS
  spoiled = root / 'alpaca' / 'incomplete.1.0.0' / 'data' / SHARDS[1]
  spoiled.write_bytes(spoiled.read_bytes()[:-1])
  build(root, source)
  assert written == [*SHARDS, SHARDS[1]]


def test_a_complete_dataset_is_not_made_again(tmp_path, source, written):
  before = content(build(tmp_path, source))
  assert content(build(tmp_path, source)) == before
  assert written == SHARDS


def test_shards_of_another_code_are_not_taken_over(tmp_path, source, written, monkeypatch):
  root = tmp_path / 'tfds'
  build(root, source)
  monkeypatch.setattr(shards, '_code_version', lambda: 'another')
  build(root, source)
  assert written == SHARDS * 2


def test_where_there_are_no_links_shards_are_copied(tmp_path, source, written, monkeypatch):
  root = tmp_path / 'tfds'
  before = content(build(root, source))

  def no_link(*_):
    raise OSError('not supported')

  monkeypatch.setattr(os, 'link', no_link)
  assert content(build(root, source)) == before
  assert written == SHARDS


def test_two_builds_of_one_dataset_do_not_run_at_once(tmp_path, source):
  with (
    shards._alone(tmp_path / 'alpaca' / 'incomplete.1.0.0'),
    pytest.raises(ValueError, match='another process is writing'),
  ):
    build(tmp_path, source)


def test_the_lock_of_a_dead_process_is_no_lock(tmp_path, source):
  (tmp_path / 'alpaca').mkdir()
  (tmp_path / 'alpaca' / 'incomplete.1.0.0.lock').touch()
  build(tmp_path, source)
  assert versions(tmp_path) == ['1.0.0']


COMMAND = (
  'import sys; from create_data.tfdatasets import text_dataset\n'
  'from create_data.tfdatasets.alpaca import build\n'
  'text_dataset.ROWS_PER_SHARD = 2\n'
  'build.main(sys.argv[1:])'
)


def start(*arguments):
  """The build as a user starts it, but with small shards."""
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  return subprocess.Popen([sys.executable, '-c', COMMAND, *arguments], env=environment)


@pytest.mark.slow
def test_kill_minus_nine_leaves_no_worker_and_the_same_command_completes(tmp_path):
  source = write(tmp_path / 'rows.jsonl', rows(300))
  work = tmp_path / 'tfds' / 'alpaca' / 'incomplete.1.0.0' / 'work'
  process = start(tmp_path / 'tfds', source, '--num_workers=2')
  children = pathlib.Path(f'/proc/{process.pid}/task/{process.pid}/children')
  while len(list(work.glob('*.done.json'))) < 10:
    assert process.poll() is None
    time.sleep(0.01)
  workers = [int(pid) for pid in children.read_text().split()]
  process.kill()
  process.wait()
  assert len(workers) >= 2
  deadline = time.monotonic() + 20
  while any(pathlib.Path(f'/proc/{pid}').exists() for pid in workers):
    assert time.monotonic() < deadline, 'workers outlive the build'
    time.sleep(0.05)
  done = len(list(work.glob('*.done.json')))
  assert 10 <= done < 150
  folder = build(tmp_path / 'tfds', source)
  assert content(folder) == content(build(tmp_path / 'unbroken', source))


# ---- What is skipped, what lies beside -----------------------------------------------------------
def test_shards_and_sources_have_their_checksums(tmp_path, source):
  folder = build(tmp_path / 'tfds', source)
  sums = dict(line.split()[::-1] for line in (folder / 'SHA256SUMS').read_text().splitlines())
  assert sorted(sums) == [
    *SHARDS, 'dataset_info.json', 'features.json', 'shards.json', 'skipped.txt', 'source.json',
  ]  # fmt: skip
  assert all(hashlib.sha256((folder / n).read_bytes()).hexdigest() == s for n, s in sums.items())
  assert json.loads((folder / 'source.json').read_text()) == {
    'files': {'rows.jsonl': hashlib.sha256(source.read_bytes()).hexdigest()}, 'skipped': 0,
  }  # fmt: skip


def test_verify_names_what_is_missing_changed_or_strange(tmp_path, source, capsys):
  folder = build(tmp_path, source)
  alpaca.main([str(tmp_path), '--verify', '--num_workers=1'])
  assert 'has its 8 files as they were built' in capsys.readouterr().out
  (folder / SHARDS[0]).unlink()
  (folder / SHARDS[1]).write_bytes(b'x')
  (folder / 'note').touch()
  with pytest.raises(
    SystemExit,
    match=rf'{SHARDS[0]} is missing, note does not belong to it, {SHARDS[1]} has changed',
  ):
    alpaca.main([str(tmp_path), '--verify', '--num_workers=1'])


def test_verify_of_nothing_says_so(tmp_path):
  with pytest.raises(SystemExit, match=r'SHA256SUMS does not exist; build the dataset first'):
    alpaca.main([str(tmp_path), '--verify'])


def test_a_repaired_dataset_is_whole_again(tmp_path, source, written):
  folder = build(tmp_path, source)
  (folder / SHARDS[1]).write_bytes(b'x')
  (folder / SHARDS[2]).unlink()
  build(tmp_path, source)
  manifest.verify(folder)
  assert written == [*SHARDS, SHARDS[1], SHARDS[2]]


def test_all_that_was_skipped_is_listed_and_the_screen_shows_the_first(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(common, 'SHOWN', 2)
  source = write(tmp_path / 'rows.jsonl', [*rows(2), *[{'input': 'x'}] * 5, *rows(1)])
  built = alpaca.DATASET.build(tmp_path / 'tfds', source)
  listed = (built.folder / 'skipped.txt').read_text().splitlines()
  assert built.skipped == len(listed) == 5
  assert listed[0].startswith('row 2 (rows.jsonl, line 3): ')
  assert str(built).endswith(
    '5 records or parts of records were skipped (all of them in skipped.txt).'
  )
  said = capsys.readouterr().err
  assert said.count('skipped: row') == 2
  assert said.count('skipped: more') == 1


def test_a_shard_without_a_usable_row_does_no_harm(tmp_path):
  source = write(tmp_path / 'rows.jsonl', [*rows(2), {}, {}, *rows(1, output='last')])
  built = alpaca.DATASET.build(tmp_path, source)
  assert built.counts == {'train': 3}
  assert outputs(tmp_path) == ['output 0 é', 'output 1 é', 'last']
