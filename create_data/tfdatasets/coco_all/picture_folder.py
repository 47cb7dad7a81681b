"""Where the pictures of a COCO split are: in the annotations' folder, in another, or in TFDS."""

import pathlib
import sys

import tensorflow_datasets as tfds
import tqdm

from create_data.tfdatasets import records


def find(
  split: str,
  annotations_dir: pathlib.Path,
  images_dir: pathlib.Path | None,
  tfds_dir: pathlib.Path,
) -> pathlib.Path:
  """The folder with the picture files of a split.

  Tried in this order: SPLIT2017 in and beside the annotations' folder, `images_dir` (SPLIT2017 in
  it, then itself), and TFDS's coco/2017 below `tfds_dir`, whose pictures are then put into files.

  Raises:
    FileNotFoundError: None of them is there; the message lists the folders tried.
  """
  name = f'{split}2017'
  tried = [annotations_dir / name, annotations_dir.resolve().parent / name]
  if images_dir:
    tried.extend((images_dir / name, images_dir))
  for folder in tried:
    if folder.is_dir():
      return folder
  if prepared := sorted((tfds_dir / 'coco' / '2017').glob('*/dataset_info.json')):
    return _from_tfds(split, prepared[-1].parent, tfds_dir / 'coco' / 'pictures' / name)
  raise FileNotFoundError(
    f'no pictures of split {split!r}: tried {", ".join(map(str, tried))} and coco/2017 in '
    f'{tfds_dir}; put them there or pass --images_dir'
  )


def _from_tfds(split: str, dataset: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """Writes the pictures of a prepared coco/2017 (its folder is `dataset`) into files, once."""
  if folder.is_dir():
    return folder
  partial = folder.with_name(f'{folder.name}.partial')
  partial.mkdir(parents=True, exist_ok=True)
  examples = tfds.builder_from_directory(dataset).as_dataset(  # the one place that loads TensorFlow
    split=records.TFDS_SPLITS.get(split, split), decoders={'image': tfds.decode.SkipDecoding()}
  )
  bar = tqdm.tqdm(
    tfds.as_numpy(examples), total=len(examples), desc=f'{folder.name} from TFDS',
    unit=' pictures', mininterval=1.0, file=sys.stderr,
  )  # fmt: skip
  for example in bar:
    (partial / example['image/filename'].decode()).write_bytes(example['image'])
  return partial.rename(folder)
