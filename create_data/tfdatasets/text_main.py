"""The command line that the builds of text datasets share."""

import argparse
from collections.abc import Sequence
import os
import pathlib
import sys

from create_data.tfdatasets import text_dataset, text_shards


def parser(description: str, kinds: Sequence[str] = ()) -> argparse.ArgumentParser:
  """KIND (where there are kinds), TFDS_DIR, SOURCE and --num_workers."""
  made = argparse.ArgumentParser(
    description=description, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  if kinds:
    made.add_argument('kind', choices=kinds)
  made.add_argument('tfds_dir', type=pathlib.Path, help='the TFDS root that is written to')
  made.add_argument(
    'source', type=pathlib.Path, nargs='?',
    help='JSON, JSONL or Parquet file, or a folder of them, or one that Hugging Face datasets '
    'saved; without it the hub is asked',
  )  # fmt: skip
  made.add_argument('--num_workers', type=int, default=os.cpu_count())
  return made


def run(dataset: text_dataset.TextDataset, arguments: argparse.Namespace) -> None:
  """Builds a dataset; what is wrong ends in one sentence and a non-zero exit."""
  try:
    path, skipped = text_shards.build(
      dataset, arguments.tfds_dir, arguments.source, workers=arguments.num_workers
    )
  except (ImportError, OSError, ValueError) as error:
    sys.exit(f'{dataset.name} was not built: {error}')
  print(f'{dataset.name}: {path} is complete, {skipped} rows were skipped.')
