"""Writes rows of text as a random-access TFDS dataset, a shard at a time, so that it can go on.

Each part of the source becomes one shard, in its own process, and is complete or absent. A build
that was stopped finds its finished shards again if source and code are the same. What is there at
the end: the shards, TFDS's metadata, `source.json` (what it was made from) and `SHA256SUMS`, which
`sha256sum -c` reads.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import fcntl
import functools
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
from create_data.tfdatasets import records, text_dataset, text_rows

ROWS_PER_SHARD = 16_384
TRIED_FIRST = 100  # rows: where none is usable, it is the wrong source
SPLIT = 'train'
SUMS = 'SHA256SUMS'
SOURCE = 'source.json'


def build(
  dataset: text_dataset.TextDataset,
  tfds_dir: pathlib.Path,
  source: pathlib.Path | None,
  *,
  workers: int = 1,
) -> tuple[pathlib.Path, int]:
  """Builds `tfds_dir/NAME/VERSION`; returns it and how many rows were skipped.

  Args:
    dataset: what to build.
    tfds_dir: the TFDS root.
    source: a file or folder, see `text_rows`; None asks the hub.
    workers: processes.

  Raises:
    ImportError, OSError, ValueError: The source cannot be used; the message says why.
  """
  found = text_rows.find(source, dataset.hub_name, ROWS_PER_SHARD)
  _try_first(dataset, found.parts[0])
  final = tfds_dir / dataset.name / dataset.version
  with _alone(final.with_name(f'incomplete.{dataset.version}')) as folder:
    _keep_only_same(folder, {'dataset': dataclasses.asdict(dataset), **found._asdict()})
    results = _write_shards(dataset, folder, found.parts, workers)
    skipped = sum(len(result['complaints']) for result in results)
    kept = [(i, result) for i, result in enumerate(results) if result['rows']]
    if not kept:
      shutil.rmtree(folder)
      raise ValueError(f'no row of {source or dataset.hub_name} is usable; see what was skipped')
    _finish(dataset, folder, kept)
    about = {'files': found.checksums, 'rows': sum(p.count for p in found.parts)}
    common.write_json(folder / SOURCE, {**about, 'skipped': skipped}, indent=1)
    _put_in_place(folder, final)
  return final, skipped


def _try_first(dataset: text_dataset.TextDataset, part: text_rows.Part) -> None:
  fault = None
  for row, _ in zip(text_rows.read(part), range(TRIED_FIRST), strict=False):
    try:
      dataset.example(row)
      return
    except common.BrokenRecordError as error:
      fault = fault or error
  raise ValueError(
    f'none of the first rows is a row of {dataset.name}: {fault}; wanted are {dataset.fields}'
  )


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """The folder of an unfinished build, for one process at a time."""
  folder.mkdir(parents=True, exist_ok=True)
  lock = folder.with_name(f'{folder.name}.lock')
  with lock.open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise ValueError(f'another process is writing to {folder}; wait for its end') from error
    try:
      yield folder
    finally:
      lock.unlink()


def _keep_only_same(folder: pathlib.Path, plan: dict[str, Any]) -> None:
  """Empties the folder of another source's shards."""
  path, plan = folder / 'plan.json', json.loads(json.dumps(plan))
  if path.is_file() and common.read_json(path) == plan:
    return
  shutil.rmtree(folder)
  common.write_json(path, plan)


def _write_shards(dataset, folder, parts, workers):
  """What is known of each shard, after writing those that are not there yet."""
  problems, results = common.Problems(), {}
  for i in range(len(parts)):
    if (folder / _shard(i)).is_file() and (folder / f'{_shard(i)}.json').is_file():
      results[i] = common.read_json(folder / f'{_shard(i)}.json')
  todo = [(i, part) for i, part in enumerate(parts) if i not in results]
  write = functools.partial(_write_shard, dataset=dataset, folder=folder)
  bar = tqdm.tqdm(
    total=sum(part.count for part in parts), initial=sum(parts[i].count for i in results),
    desc=dataset.name, unit=' rows', mininterval=1.0, file=sys.stderr,
  )  # fmt: skip
  with bar, common.Workers(min(workers, max(1, len(todo)))) as run:
    for (i, part), result in zip(todo, run(write, todo), strict=True):
      results[i] = result
      for complaint in result['complaints']:
        problems.report(complaint)
      bar.update(part.count)
  return [results[i] for i in range(len(parts))]


def _shard(i: int) -> str:
  return f'part-{i:05d}'


def _write_shard(
  numbered: tuple[int, text_rows.Part], *, dataset: text_dataset.TextDataset, folder: pathlib.Path
) -> dict[str, Any]:
  i, part = numbered
  serialize, final = dataset.serializer(), folder / _shard(i)
  partial = final.with_suffix(f'.{os.getpid()}')
  writer = array_record_module.ArrayRecordWriter(str(partial), 'group_size:1')
  rows, num_bytes, complaints = 0, 0, []
  for row in text_rows.read(part):
    try:
      encoded = serialize(dataset.example(row))
    except common.BrokenRecordError as error:
      complaints.append(str(error))
      continue
    writer.write(encoded)
    rows += 1
    num_bytes += len(encoded)
  writer.close()
  result = {'rows': rows, 'bytes': num_bytes, 'complaints': complaints}
  result['sha256'] = text_rows.checksum(partial)
  partial.replace(final)
  common.write_json(final.with_suffix('.json'), result)
  return result


def _put_in_place(folder: pathlib.Path, final: pathlib.Path) -> None:
  outdated = final.with_name(f'outdated.{final.name}')
  shutil.rmtree(outdated, ignore_errors=True)
  if final.exists():
    final.rename(outdated)
  folder.rename(final)
  shutil.rmtree(outdated, ignore_errors=True)


def _finish(
  dataset: text_dataset.TextDataset, folder: pathlib.Path, kept: list[tuple[int, dict[str, Any]]]
) -> None:
  """Gives shards their names for good, writes metadata and sums, and removes what was a help."""
  sums = []
  for number, (i, result) in enumerate(kept):
    name = f'{dataset.name}-{SPLIT}.{records.FILE_FORMAT}-{number:05d}-of-{len(kept):05d}'
    (folder / _shard(i)).rename(folder / name)
    sums.append(f'{result["sha256"]}  {name}\n')
  for path in (*folder.glob('part-*'), folder / 'plan.json'):
    path.unlink()
  (folder / SUMS).write_text(''.join(sums), encoding='utf-8')
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder, dataset_name=dataset.name, split=SPLIT, filetype_suffix=records.FILE_FORMAT
  )
  info = tfds.core.SplitInfo(
    name=SPLIT, shard_lengths=[result['rows'] for _, result in kept],
    num_bytes=sum(result['bytes'] for _, result in kept), filename_template=template,
  )  # fmt: skip
  tfds.folder_dataset.write_metadata(
    data_dir=folder, features=dataset.features, split_infos=[info], version=dataset.version,
    check_data=False,  # would import TensorFlow; our tests read the datasets
    description=dataset.description,
  )  # fmt: skip
