"""Joins COCO 2017 and VQA v2 into one TFDS dataset, a picture a record: `coco_all:1.0.1`.

  python create_data/tfdatasets/coco_all/build.py TFDS_DIR VQA_DIR ANNOTATIONS_DIR

ANNOTATIONS_DIR holds {instances,captions}_SPLIT2017.json, VQA_DIR holds
v2_OpenEnded_mscoco_SPLIT2014_questions.json and v2_mscoco_SPLIT2014_annotations.json. The pictures
lie in SPLIT2017/ in or beside ANNOTATIONS_DIR, else in --images_dir, else they are taken from the
public coco/2017 in TFDS_DIR. Further splits (`--splits train,val,test`) are named the same way.

COCO 2017 shuffled the pictures of 2014, so the VQA files of train and val are read together.
"""

from collections.abc import Sequence
import pathlib

from create_data import common
from create_data.tfdatasets import command, execution, official, shards
from create_data.tfdatasets import parts as parts_lib
from create_data.tfdatasets.coco_all import annotations, examples, picture_folder

_SOURCES = {
  'vqa_dir': 'the folder of VQA v2',
  'annotations_dir': 'the folder of COCO, its pictures in or beside it',
}


def build(
  tfds_dir: pathlib.Path,
  vqa_dir: pathlib.Path,
  annotations_dir: pathlib.Path,
  *,
  splits: Sequence[str] = ('train', 'val'),
  images_dir: pathlib.Path | None = None,
  run: execution.Execution = execution.ONE_PROCESS,
) -> shards.Built:
  """Builds the dataset; see the module's docstring for the folders.

  Raises:
    OSError, ValueError: A file is missing or of another kind, or a split has no usable picture.
  """
  reader, classes = official.Reader(common.Problems()), {}
  vqa = annotations.read_vqa(vqa_dir, splits, reader)
  parts: list[parts_lib.Part] = []
  known: set[int] = set()
  for split in splits:
    folder = picture_folder.find(split, annotations_dir, images_dir, tfds_dir)
    pictures = annotations.read_split(annotations_dir, split, vqa, classes, reader)
    known.update(picture['id'] for picture in pictures)
    parts += parts_lib.picture_parts(split, pictures, folder)
  if set(annotations.vqa_splits(splits)) <= set(splits):
    _report_strays(vqa, known, reader.problems)
  return shards.build(
    examples.DATASET,
    tfds_dir,
    parts,
    make=examples.make,
    run=run,
    problems=reader.problems,
    source=reader.checksums,
    extra_files={'class_names.json': list(classes.values())},
  )


def _report_strays(vqa, known, problems):
  for image, questions in vqa.items():
    if image not in known:
      for key, *_ in questions:
        problems.report(f'question {key}: there is no image {image}')


def main(arguments: Sequence[str] | None = None) -> None:
  parser = command.parser(__doc__, _SOURCES)
  parser.add_argument('--splits', default='train,val', help='comma-separated (%(default)s)')
  parser.add_argument('--images_dir', type=pathlib.Path)
  parsed = parser.parse_args(arguments)
  command.require(parser, parsed, _SOURCES)

  def start(run: execution.Execution) -> shards.Built:
    splits = parsed.splits.split(',')
    return build(
      parsed.tfds_dir, parsed.vqa_dir, parsed.annotations_dir, splits=splits,
      images_dir=parsed.images_dir, run=run,
    )  # fmt: skip

  command.run(examples.DATASET, parsed, start)


if __name__ == '__main__':
  main()
