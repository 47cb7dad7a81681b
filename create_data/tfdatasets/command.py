"""The command line that the builds share."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
import os
import pathlib
import shlex
import sys

from create_data.tfdatasets import execution, manifest, records, shards, text_dataset


def parser(
  description: str, sources: Mapping[str, str], kinds: Sequence[str] = ()
) -> argparse.ArgumentParser:
  """KIND (where there are kinds), TFDS_DIR, the sources, --num_workers, --beam and --verify.

  Args:
    description: the script's own words.
    sources: name of what is read -> what it is. May be left out; see `require`.
    kinds: of the dataset.
  """
  made = argparse.ArgumentParser(
    description=description, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  if kinds:
    made.add_argument('kind', choices=kinds)
  made.add_argument('tfds_dir', type=pathlib.Path, help='the TFDS root that is written to')
  for name, what in sources.items():
    made.add_argument(name, type=pathlib.Path, nargs='?', help=what)
  made.add_argument(
    '--num_workers', type=int, default=os.cpu_count(), help='processes (%(default)s)'
  )
  made.add_argument(
    '--beam', metavar='OPTIONS',
    help="let Apache Beam write the shards: --beam='--runner=DirectRunner --direct_num_workers=4'",
  )  # fmt: skip
  made.add_argument(
    '--verify', action='store_true', help='build nothing, compare what is there with its checksums'
  )
  return made


def require(
  made: argparse.ArgumentParser, parsed: argparse.Namespace, sources: Iterable[str]
) -> None:
  """Ends the program where a source is missing, unless there is nothing to build."""
  missing = [name for name in sources if getattr(parsed, name) is None]
  if missing and not parsed.verify:
    made.error(f'the following arguments are required: {", ".join(missing)}')


def run(
  dataset: records.Dataset,
  parsed: argparse.Namespace,
  build: Callable[[execution.Execution], shards.Built],
) -> None:
  """Builds or verifies a dataset; what is wrong ends in one sentence and a non-zero exit."""
  try:
    if parsed.verify:
      folder = dataset.folder(parsed.tfds_dir)
      count = manifest.verify(folder, parsed.num_workers)
      print(f'{dataset.name}: {folder} has its {count} files as they were built.')
      return
    if parsed.beam is None:
      built = build(execution.Processes(parsed.num_workers))
    else:
      built = build(execution.Beam(tuple(shlex.split(parsed.beam))))
  except (ImportError, OSError, ValueError) as error:
    what = 'is not as it was built' if parsed.verify else 'was not built'
    sys.exit(f'{dataset.name} {what}: {error}')
  print(f'{dataset.name}: {built}')


def text_parser(description: str, kinds: Sequence[str] = ()) -> argparse.ArgumentParser:
  """The command line of a dataset of texts."""
  what = (
    'JSON, JSONL or Parquet file, or a folder of them, or one that Hugging Face datasets saved; '
    'without it the hub is asked'
  )
  return parser(description, {'source': what}, kinds)


def run_text(dataset: text_dataset.TextDataset, parsed: argparse.Namespace) -> None:
  """Builds or verifies a dataset of texts."""
  run(dataset.dataset, parsed, lambda run: dataset.build(parsed.tfds_dir, parsed.source, run=run))
