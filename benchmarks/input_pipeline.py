"""How many examples a CPU second brings from stored records to batches, on one thread.

Builds a small dataset in the format of coco_all (photograph-like JPEGs of 480 x 640 pixels and
about 106 kB, a question each) and reads it as training and evaluation do.
"""

from collections.abc import Callable, Iterator
import functools
import io
import itertools
import pathlib
import tempfile
from typing import Any

import measure
import numpy as np

HEIGHT, WIDTH, BYTES = 480, 640, 106_000  # of a picture
DISTINCT = 4  # pictures that differ
BATCH = 8
LENGTHS = {'text_inputs': 256, 'text_targets': 64, 'image_input_samples': None}
# Pictures per CPU second of the original Unified-IO 2 on the machine of the reference.
ORIGINAL = {'decode': 627.0, 'decode, resize and pad': 160.0, 'evaluation': 124.0, 'training': 92.0}


# ---- Data ----------------------------------------------------------------------------------------
def photograph(seed: int) -> np.ndarray:
  """uint8 [480, 640, 3]: noise whose octaves fall off as those of photographs do."""
  from PIL import Image

  rng = np.random.default_rng(seed)
  total = np.zeros((HEIGHT, WIDTH, 3))
  for octave in range(1, 9):
    rows, cols = (side * 2**octave // 256 + 2 for side in (HEIGHT, WIDTH))
    for channel, noise in enumerate(rng.standard_normal((3, rows, cols)).astype(np.float32)):
      layer = Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
      total[..., channel] += 0.8**octave * np.asarray(layer)
  total = (total - total.mean()) / total.std()
  return np.clip(120 + 50 * total, 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray) -> bytes:
  """The JPEG file of these pixels whose size is nearest to `BYTES`."""
  from PIL import Image

  files = []
  for quality in range(80, 96):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'JPEG', quality=quality)
    files.append(file.getvalue())
  return min(files, key=lambda file: abs(len(file) - BYTES))


def build_dataset(root: pathlib.Path, files: list[bytes], records: int) -> None:
  """Writes coco_all: `records` pictures, one question each, as training and validation split."""
  from create_data import common
  from create_data.tfdatasets import records as writer
  from create_data.tfdatasets.coco_all import annotations, build

  for number, file in enumerate(files):
    (root / f'{number}.jpg').write_bytes(file)
  answers = ['yes'] * annotations.ANSWERS_PER_QUESTION
  rows = [
    {
      'id': number, 'file_name': f'{number % len(files)}.jpg',
      'captions': [(number, 'A cat on a mat.')], 'objects': [],
      'questions': [(number, 'Is there a cat in the picture?', answers)],
    }
    for number in range(records)
  ]  # fmt: skip
  make = functools.partial(build.make_example, folder=root)
  encoded = list(
    writer.encoded_records(
      rows, make=make, features=build.FEATURES, workers=1, label='pictures',
      problems=common.Problems(),
    )
  )  # fmt: skip
  writer.write_dataset(
    root=root, name=build.NAME, version=build.VERSION, features=build.FEATURES,
    splits={'train': encoded, 'validation': encoded}, extra_files={}, description='benchmark',
  )  # fmt: skip


# ---- What is measured ----------------------------------------------------------------------------
def rate(elements: Iterator[Any], *, per_element: int, count: int, repeats: int) -> float:
  """Examples per CPU second, the best of `repeats` times `count` elements.

  Reading ahead has filled its buffers before the first of them and fills them after the last.
  """
  take = lambda: [None for _ in itertools.islice(elements, count)]
  return count * per_element / measure.best(take, repeats=repeats)


def config(split: str) -> Any:
  from t5x import input_pipeline

  return input_pipeline.DatasetConfig('vqa_coco_2017', LENGTHS, split, BATCH, seed=0)


def training(**sizes: int) -> float:
  """The stream of training: augmented pictures, one of eight kernels each."""
  from t5x import input_pipeline

  batches = input_pipeline.open_train(config('train'))
  try:
    return rate(batches, per_element=BATCH, **sizes)
  finally:
    batches.close()


def evaluation(**sizes: int) -> float:
  """The stream of evaluation, with the raw fields that metrics need."""
  from t5x import input_pipeline

  return rate(iter(input_pipeline.open_eval(config('validation'))), per_element=BATCH, **sizes)


def of_bytes(function: Callable[[Any], Any], files: list[bytes], **sizes: int) -> float:
  """A TensorFlow function of the bytes of a picture, alone."""
  import tensorflow as tf

  from t5x import task_examples

  pictures = tf.data.Dataset.from_tensor_slices(files).cache().repeat().map(function)
  elements = iter(task_examples.with_options(pictures))
  return rate(elements, per_element=1, **sizes)


def pictures(folder: pathlib.Path, quick: bool) -> dict[str, float]:
  """Rates of the parts of the path from JPEG to batch, and of all of it."""
  from t5x.examples.unified_io import config as constants
  from t5x.examples.unified_io.data import data_utils

  files = [jpeg(photograph(seed)) for seed in range(DISTINCT)]
  print('bytes of the pictures:', *map(len, files))
  constants.MULTITASK_TFDS_DATA_DIR = str(folder)
  build_dataset(folder, files, records=64 if quick else 512)
  batches = {'count': 1, 'repeats': 1} if quick else {'count': 6, 'repeats': 8}
  singles = {**batches, 'count': batches['count'] * 8}
  fit = lambda file: data_utils.resize_and_pad_default(file, is_training=False)[:2]
  return {
    'decode': of_bytes(data_utils.decode_image, files, **singles),
    'decode, resize and pad': of_bytes(fit, files, **singles),
    'evaluation': evaluation(**batches),
    'training': training(**batches),
  }


def main() -> None:
  args = measure.arguments(__doc__)
  measure.one_thread()
  import gin

  from t5x.examples.unified_io.data import tasks  # noqa: F401 (registers)

  gin.bind_parameter('get_input_modalities.input_modality', ('text', 'image'))
  gin.bind_parameter('get_target_modalities.target_modality', ('text',))
  with tempfile.TemporaryDirectory() as folder:
    rates = pictures(pathlib.Path(folder), args.quick)
  calibration = measure.calibrate(args.quick)
  slower = calibration / measure.REFERENCE
  rows = [
    {
      'what': name, 'examples/CPU s': rate, 'ms': 1000 / rate,
      'original, scaled': ORIGINAL[name] / slower, 'times': rate * slower / ORIGINAL[name],
    }
    for name, rate in rates.items()
  ]  # fmt: skip
  measure.report('JPEG to batch, one thread', rows, calibration=calibration)


if __name__ == '__main__':
  main()
