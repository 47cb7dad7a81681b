"""Writes a random-access TFDS dataset shard by shard, so that a stopped build can go on.

A plan cuts the source into parts; each part becomes one ArrayRecord shard, made wherever
`execution` has it made, whole or absent. Beside the place of a dataset VERSION lies, until it is
complete, `incomplete.VERSION`:

  data/  the shards under their names for good, at the end TFDS's metadata; it becomes VERSION
  work/  SHARD.job.json: what a shard is made of; SHARD.done.json: what is known of it since

A shard is taken over, from here or from the dataset that is already there, if it was made of the
same inputs by the same code and its bytes still have their checksum. All else is made again.
"""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import importlib.metadata
import itertools
import json
import os
import pathlib
import shutil
import sys
from typing import Any

from array_record.python import array_record_module
import tensorflow_datasets as tfds
import tqdm

from create_data import common
from create_data.tfdatasets import execution, manifest, records
from create_data.tfdatasets import parts as parts_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
  """A dataset that is complete.

  Attributes:
    folder: where it is.
    counts: split -> examples.
    skipped: records and parts of records that were left out.
  """

  folder: pathlib.Path
  counts: dict[str, int]
  skipped: int

  def __str__(self) -> str:
    counts = ', '.join(f'{split} {count:,}' for split, count in self.counts.items())
    listed = f' (all of them in {manifest.SKIPPED})' if self.skipped else ''
    return (
      f'{self.folder} is complete: {counts} examples; '
      f'{self.skipped} records or parts of records were skipped{listed}.'
    )


def build(
  dataset: records.Dataset,
  tfds_dir: pathlib.Path,
  parts: Sequence[parts_lib.Part],
  *,
  make: parts_lib.Make,
  run: execution.Execution,
  problems: common.Problems,
  source: Mapping[str, str],
  extra_files: Mapping[str, Any] | None = None,
) -> Built:
  """Builds `tfds_dir/NAME[/CONFIG]/VERSION`, or what of it is missing.

  Args:
    dataset: what to build.
    tfds_dir: the TFDS root.
    parts: of all splits, in order.
    make: a function that other processes can import.
    run: who writes the shards.
    problems: what was skipped in planning; told of what is skipped in writing.
    source: name of each file that was read for the plan -> SHA-256.
    extra_files: file name -> content, written as JSON beside the shards.

  Raises:
    OSError, ValueError: A split came out empty, or another process builds the same.
  """
  final = dataset.folder(tfds_dir.absolute())
  with _alone(final.with_name(f'incomplete.{dataset.version}')) as folder:
    names = _names(dataset, parts)
    todo = _prepare(folder, final, dict(zip(names, parts, strict=True)), dataset.features)
    write = functools.partial(write_shard, folder=folder, make=make)
    counts = dict(zip(names, (part.count for part in parts), strict=True))
    results = _write_all(folder / 'work', counts, todo, write, run, problems, dataset.name)
    splits = _splits(parts, [results[name] for name in names])
    _finish(folder / 'data', dataset, splits, problems, source, extra_files or {}, results)
    _put_in_place(folder / 'data', final)
    shutil.rmtree(folder)
  counts = {split: sum(lengths) for split, (lengths, _) in splits.items()}
  return Built(folder=final, counts=counts, skipped=len(problems.messages))


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """The folder of an unfinished build, for one process at a time."""
  folder.parent.mkdir(parents=True, exist_ok=True)
  lock = folder.with_name(f'{folder.name}.lock')
  with lock.open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      if not os.path.samestat(os.fstat(file.fileno()), lock.stat()):
        raise BlockingIOError  # the one who held it has removed it, another has made it anew
    except (BlockingIOError, FileNotFoundError) as error:
      raise ValueError(f'another process is writing to {folder}; wait for its end') from error
    try:
      for part in ('data', 'work'):
        (folder / part).mkdir(parents=True, exist_ok=True)
      yield folder
    finally:
      lock.unlink()


# ---- What is there, what is to be done -----------------------------------------------------------
def _names(dataset, parts):
  totals = collections.Counter(part.split for part in parts)
  numbers = collections.defaultdict(itertools.count)
  return [dataset.shard(p.split, next(numbers[p.split]), totals[p.split]) for p in parts]


def _prepare(
  folder: pathlib.Path, final: pathlib.Path, parts: Mapping[str, parts_lib.Part], features: Any
) -> list[str]:
  """Takes over finished shards, writes the jobs of the others and returns their names."""
  data, work = folder / 'data', folder / 'work'
  common.write_json(work / 'features.json', features.to_json())
  older, code = _read(final / manifest.SHARDS) or {}, _code_version()
  todo, kept = [], {'features.json'}
  for name, part in parts.items():
    identity = json.dumps([code, features.to_json(), part.identity], sort_keys=True)
    inputs = hashlib.sha256(identity.encode()).hexdigest()
    if _is_made(data / name, _read(_done(work, name)), inputs):
      kept |= {name, _done(work, name).name}
    elif _is_made(final / name, older.get(name), inputs):
      _link(final / name, data / name)
      common.write_json(_done(work, name), older[name])
      kept |= {name, _done(work, name).name}
    else:
      common.write_json(_job(work, name), {'inputs': inputs, 'of': part.inputs})
      kept.add(_job(work, name).name)
      todo.append(name)
  for path in (*data.iterdir(), *work.iterdir()):
    if path.name not in kept:
      path.unlink()
  return todo


def _read(path):
  return common.read_json(path) if path.is_file() else None


def _is_made(path: pathlib.Path, result: Mapping[str, Any] | None, inputs: str) -> bool:
  return (
    result is not None
    and result['inputs'] == inputs
    and path.is_file()
    and manifest.checksum(path) == result['sha256']
  )


def _link(source, target):
  partial = common.partial_name(target)
  try:
    os.link(source, partial)
  except OSError:  # not every file system has links
    shutil.copyfile(source, partial)
  common.put_in_place(partial, target)


def _job(work, name):
  return work / f'{name}.job.json'


def _done(work, name):
  return work / f'{name}.done.json'


@functools.cache
def _code_version() -> str:
  """Changes with the code that makes examples and the libraries that encode them."""
  root = pathlib.Path(common.__file__).parent
  digest = hashlib.sha256()
  for path in sorted([*root.glob('*.py'), *root.glob('tfdatasets/**/*.py')]):
    digest.update(path.read_bytes())
  for package in ('Pillow', 'tensorflow-datasets'):
    digest.update(importlib.metadata.version(package).encode())
  return digest.hexdigest()


# ---- Writing -------------------------------------------------------------------------------------
def _write_all(
  work: pathlib.Path,
  counts: Mapping[str, int],
  todo: Sequence[str],
  write: Callable[[str], None],
  run: execution.Execution,
  problems: common.Problems,
  label: str,
) -> dict[str, dict[str, Any]]:
  """Has the shards of `todo` written; name -> what is known, for all of them."""
  there = [name for name in counts if name not in set(todo)]
  results = {name: common.read_json(_done(work, name)) for name in there}
  bar = tqdm.tqdm(
    total=sum(counts.values()), initial=sum(counts[name] for name in there),
    desc=label, unit=' examples', mininterval=1.0, file=sys.stderr,
  )  # fmt: skip
  with bar:
    for name in run(write, todo, lambda name: _done(work, name).is_file()) if todo else ():
      results[name] = common.read_json(_done(work, name))
      for complaint in results[name]['complaints']:
        problems.show(complaint)
      bar.update(counts[name])
  problems.messages += [message for name in counts for message in results[name]['complaints']]
  return {name: results[name] for name in counts}


def write_shard(name: str, *, folder: pathlib.Path, make: parts_lib.Make) -> None:
  """Makes one shard and writes it, then what is known of it; doing so twice does no harm."""
  work = folder / 'work'
  job = common.read_json(_job(work, name))
  serialize = records.serializer((work / 'features.json').read_text(encoding='utf-8'))
  partial = common.partial_name(work / name)
  writer = array_record_module.ArrayRecordWriter(str(partial), 'group_size:1')
  complaints: list[str] = []
  examples = num_bytes = 0
  for example in make(job['of'], complaints.append):
    encoded = serialize(example)
    writer.write(encoded)
    examples += 1
    num_bytes += len(encoded)
  writer.close()
  result = {'inputs': job['inputs'], 'sha256': manifest.checksum(partial), 'examples': examples}
  common.put_in_place(partial, folder / 'data' / name)
  common.write_json(_done(work, name), {**result, 'bytes': num_bytes, 'complaints': complaints})


# ---- Completing ----------------------------------------------------------------------------------
def _splits(parts, results):
  """split -> (examples of each shard, bytes)."""
  splits: dict[str, tuple[list[int], int]] = {}
  for part, result in zip(parts, results, strict=True):
    lengths, num_bytes = splits.get(part.split, ([], 0))
    splits[part.split] = ([*lengths, result['examples']], num_bytes + result['bytes'])
  for split, (lengths, _) in splits.items():
    if not sum(lengths):
      raise ValueError(f'split {split!r} has no usable example; see what was skipped')
  return splits


def _finish(data, dataset, splits, problems, source, extra_files, results):
  """Writes everything that lies beside the shards."""
  infos = [
    tfds.core.SplitInfo(
      name=split, shard_lengths=lengths, num_bytes=num_bytes,
      filename_template=tfds.core.ShardedFileTemplate(
        data_dir=data, dataset_name=dataset.name, split=split, filetype_suffix=records.FILE_FORMAT
      ),
    )
    for split, (lengths, num_bytes) in splits.items()
  ]  # fmt: skip
  tfds.folder_dataset.write_metadata(
    data_dir=data, features=dataset.features, split_infos=infos, version=dataset.version,
    check_data=False,  # would import TensorFlow; our tests read the datasets
    description=dataset.description,
  )  # fmt: skip
  for file_name, content in extra_files.items():
    common.write_json(data / file_name, content, indent=1)
  manifest.write(data, source=source, skipped=problems.messages, shards=results)


def _put_in_place(folder: pathlib.Path, final: pathlib.Path) -> None:
  outdated = final.with_name(f'outdated.{final.name}')
  shutil.rmtree(outdated, ignore_errors=True)
  if final.exists():
    final.rename(outdated)
  folder.rename(final)
  shutil.rmtree(outdated, ignore_errors=True)
