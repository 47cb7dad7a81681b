"""Builds the cleaned Alpaca instructions: `alpaca:1.0.0`.

  python create_data/tfdatasets/alpaca/build.py TFDS_DIR [SOURCE]

Official source: `alpaca_data_cleaned.json`, or yahma/alpaca-cleaned on Hugging Face's hub, which is
asked where SOURCE is not given.
"""

from collections.abc import Sequence

from create_data.tfdatasets import command, text_dataset

DATASET = text_dataset.TextDataset(
  name='alpaca',
  hub_name='yahma/alpaca-cleaned',
  fields=('instruction', 'input', 'output'),
  description='Instructions with answers, some with an input: Alpaca, cleaned.',
)


def main(arguments: Sequence[str] | None = None) -> None:
  command.run_text(DATASET, command.text_parser(__doc__).parse_args(arguments))


if __name__ == '__main__':
  main()
