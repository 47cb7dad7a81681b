"""Builds Databricks' Dolly instructions: `dolly:1.0.0`.

  python create_data/tfdatasets/dolly/build.py TFDS_DIR [SOURCE]

Official source: `databricks-dolly-15k.jsonl`, or databricks/databricks-dolly-15k on Hugging Face's
hub, which is asked where SOURCE is not given.
"""

from collections.abc import Sequence

from create_data.tfdatasets import command, text_dataset

DATASET = text_dataset.TextDataset(
  name='dolly',
  hub_name='databricks/databricks-dolly-15k',
  fields=('instruction', 'context', 'response'),
  description='Instructions written by people, with answers, some with a context: Dolly 15k.',
)


def main(arguments: Sequence[str] | None = None) -> None:
  command.run_text(DATASET, command.text_parser(__doc__).parse_args(arguments))


if __name__ == '__main__':
  main()
