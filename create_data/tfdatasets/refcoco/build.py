"""Builds RefCOCO in the layout of TFDS's ref_coco: `ref_coco/refcoco_unc:1.0.0`.

  python create_data/tfdatasets/refcoco/build.py TFDS_DIR REFER_DIR IMAGES_DIR

REFER_DIR holds `instances.json` and `refs(unc).p` as the refer project publishes them (or the same
list as `refs(unc).json`); IMAGES_DIR holds the pictures under their `file_name`. The pickle is read
by an unpickler that knows plain data only, so that it cannot run code.
"""

from collections.abc import Sequence
import pathlib

from create_data import common
from create_data.tfdatasets import command, execution, official, shards
from create_data.tfdatasets import parts as parts_lib
from create_data.tfdatasets.refcoco import examples, refer

DATASETS = ('refcoco', 'refcocoplus', 'refcocog')
PARTITIONS = ('unc', 'google', 'umd')
_SOURCES = {
  'refer_dir': 'the folder of refs(PARTITION).p and instances.json',
  'images_dir': 'the folder of the pictures, COCO train2014',
}


def build(
  tfds_dir: pathlib.Path,
  refer_dir: pathlib.Path,
  images_dir: pathlib.Path,
  *,
  splits: Sequence[str] | None = None,
  dataset: str = 'refcoco',
  partition: str = 'unc',
  run: execution.Execution = execution.ONE_PROCESS,
) -> shards.Built:
  """Builds `ref_coco/DATASET_PARTITION`.

  Without `splits` all are built that the references name (official: train, val, testA, testB).

  Raises:
    OSError, ValueError: A file is missing or of another kind, or a split has no usable picture.
  """
  reader = official.Reader(common.Problems())
  refs = refer.read_refs(refer_dir, partition, reader)
  instances = refer.Instances(refer_dir, reader)
  present = sorted({ref['split'] for ref in refs})
  if unknown := sorted(set(splits or ()) - set(present)):
    raise ValueError(f'no reference belongs to {unknown}; the file has {present}')
  parts: list[parts_lib.Part] = []
  for split in splits or present:
    parts += parts_lib.picture_parts(split, refer.join(refs, instances, split, reader), images_dir)
  return shards.build(
    examples.dataset(dataset, partition),
    tfds_dir,
    parts,
    make=examples.make,
    run=run,
    problems=reader.problems,
    source=reader.checksums,
    extra_files={'class_names.json': {str(key): name for key, name in instances.classes.items()}},
  )


def main(arguments: Sequence[str] | None = None) -> None:
  parser = command.parser(__doc__, _SOURCES)
  parser.add_argument('--splits', help='comma-separated; all that the references name by default')
  parser.add_argument('--dataset', default='refcoco', choices=DATASETS)
  parser.add_argument('--partition', default='unc', choices=PARTITIONS)
  parsed = parser.parse_args(arguments)
  command.require(parser, parsed, _SOURCES)

  def start(run: execution.Execution) -> shards.Built:
    splits = parsed.splits.split(',') if parsed.splits else None
    return build(
      parsed.tfds_dir, parsed.refer_dir, parsed.images_dir, splits=splits, dataset=parsed.dataset,
      partition=parsed.partition, run=run,
    )  # fmt: skip

  command.run(examples.dataset(parsed.dataset, parsed.partition), parsed, start)


if __name__ == '__main__':
  main()
