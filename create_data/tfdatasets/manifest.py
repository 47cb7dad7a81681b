"""What lies beside the shards of a dataset: where it comes from, what was skipped, its checksums.

source.json  the files that were read, with their SHA-256, and how much was skipped
skipped.txt  every message about what was skipped, a line each
shards.json  what each shard was made of, for a build that goes on
SHA256SUMS   of all files; `sha256sum -c SHA256SUMS` reads it, so does `verify`
"""

from collections.abc import Mapping, Sequence
import hashlib
import pathlib
import sys
from typing import Any

import tqdm

from create_data import common

SOURCE, SKIPPED, SHARDS, SUMS = 'source.json', 'skipped.txt', 'shards.json', 'SHA256SUMS'


def checksum(path: pathlib.Path) -> str:
  """SHA-256 of a file, in hex."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def write(
  folder: pathlib.Path,
  *,
  source: Mapping[str, str],
  skipped: Sequence[str],
  shards: Mapping[str, Mapping[str, Any]],
) -> None:
  """Writes the four files; `folder` holds all others of the dataset.

  Args:
    folder: of the dataset.
    source: name of each file that was read -> SHA-256.
    skipped: the messages.
    shards: name -> what is known of it, 'sha256' above all.
  """
  common.write_json(folder / SOURCE, {'files': source, 'skipped': len(skipped)}, indent=1)
  lines = ''.join(f'{" ".join(message.splitlines())}\n' for message in skipped)
  common.write_whole(folder / SKIPPED, lines.encode())
  common.write_json(folder / SHARDS, shards, indent=1)
  known = {name: shard['sha256'] for name, shard in shards.items()}
  sums = {
    path.name: known.get(path.name) or checksum(path)
    for path in sorted(folder.iterdir())
    if path.name != SUMS
  }
  text = ''.join(f'{value}  {name}\n' for name, value in sums.items())
  common.write_whole(folder / SUMS, text.encode())


def verify(folder: pathlib.Path, workers: int = 1) -> int:
  """Compares a dataset with its checksums; returns how many files it has.

  Raises:
    OSError: There is no dataset.
    ValueError: Files are missing, too many or changed; the message names them.
  """
  path = folder / SUMS
  if not path.is_file():
    raise FileNotFoundError(f'{path} does not exist; build the dataset first')
  wanted = dict(line.split('  ', 1)[::-1] for line in path.read_text('utf-8').splitlines())
  there = {found.name for found in folder.iterdir()} - {SUMS}
  faults = [f'{name} is missing' for name in sorted(set(wanted) - there)]
  faults += [f'{name} does not belong to it' for name in sorted(there - set(wanted))]
  names = sorted(there & set(wanted))
  with common.workers(min(workers, max(1, len(names)))) as run:
    sums = run(checksum, [folder / name for name in names])
    bar = tqdm.tqdm(sums, total=len(names), desc=folder.parent.name, unit=' files', file=sys.stderr)
    for name, found in zip(names, bar, strict=True):
      if found != wanted[name]:
        faults.append(f'{name} has changed')
  if faults:
    raise ValueError(f'{folder}: {", ".join(faults)}; give the build command again')
  return len(wanted)
