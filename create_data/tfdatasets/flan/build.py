"""Builds a submixture of the FLAN 2 collection: `flan2_flan2021:1.0.0`, `flan2_t0:1.0.0`, ...

  python create_data/tfdatasets/flan/build.py KIND TFDS_DIR [SOURCE]

KIND is Flan2021, T0, NIv2, CoT or Dialog. Official source: the Parquet files of
conceptofmind/KIND_submix_original on Hugging Face's hub, which is asked where SOURCE is not given.
"""

from collections.abc import Sequence

from create_data.tfdatasets import command, text_dataset

KINDS = ('Flan2021', 'T0', 'NIv2', 'CoT', 'Dialog')


def dataset(kind: str) -> text_dataset.TextDataset:
  """The submixture under the name that the tasks read."""
  return text_dataset.TextDataset(
    name=f'flan2_{kind.lower()}',
    hub_name=f'conceptofmind/{kind.lower()}_submix_original',
    fields=('inputs', 'targets', 'task_source', 'task_name', 'template_type'),
    description=f'The {kind} submixture of the FLAN 2 collection of instructions.',
  )


def main(arguments: Sequence[str] | None = None) -> None:
  parsed = command.text_parser(__doc__, KINDS).parse_args(arguments)
  command.run_text(dataset(parsed.kind), parsed)


if __name__ == '__main__':
  main()
