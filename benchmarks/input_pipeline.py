"""How many examples a CPU second brings from stored records to batches, on one thread.

Pictures: a small dataset in the format of coco_all (photograph-like JPEGs of 480 x 640 pixels and
about 106 kB, a question each), read as training and evaluation do. Sounds and videos: JSON lines
that name a WAV file of 4 seconds, or a silent MP4 file of 8 seconds and 240 x 320 pixels.
"""

from collections.abc import Callable, Iterator
import io
import itertools
import json
import pathlib
import tempfile
from typing import Any

import measure
import numpy as np

HEIGHT, WIDTH, BYTES = 480, 640, 106_000  # of a picture
DISTINCT = 4  # pictures that differ
BATCH = 8
LENGTHS = {
  'text_inputs': 256, 'text_targets': 64, 'image_input_samples': None, 'num_frames': 4,
  'image_history_input_samples': 256, 'audio_input_samples': 128,
  'audio_history_input_samples': 128,
}  # fmt: skip
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
  """Builds coco_all from the official files of `records` pictures with a question each."""
  from create_data.tfdatasets.coco_all import build

  folder = root / 'photos2017'
  folder.mkdir()
  for number in range(records):
    (folder / f'{number}.jpg').write_bytes(files[number % len(files)])
  images = [
    {'id': n, 'file_name': f'{n}.jpg', 'height': HEIGHT, 'width': WIDTH} for n in range(records)
  ]
  caption = {'caption': 'A cat on a mat.'}
  question = {'question': 'Is there a cat in the picture?'}
  answers = {'answers': [{'answer': 'yes'}] * 10}
  contents = {
    'instances_photos2017': {
      'images': images, 'annotations': [], 'categories': [{'id': 1, 'name': 'cat'}],
    },
    'captions_photos2017': {
      'annotations': [{'id': n, 'image_id': n, **caption} for n in range(records)]
    },
    'v2_OpenEnded_mscoco_photos2014_questions': {
      'questions': [{'question_id': n, 'image_id': n, **question} for n in range(records)]
    },
    'v2_mscoco_photos2014_annotations': {
      'annotations': [{'question_id': n, 'image_id': n, **answers} for n in range(records)]
    },
  }  # fmt: skip
  for name, content in contents.items():
    (root / f'{name}.json').write_text(json.dumps(content))
  build.build(root, root, root, splits=['photos'])


def write_sound(path: pathlib.Path) -> None:
  """4 seconds of noise, 16 kHz, mono."""
  import soundfile

  noise = np.random.default_rng(0).standard_normal(4 * 16_000)
  soundfile.write(path, 0.1 * noise, 16_000)


def write_video(path: pathlib.Path) -> None:
  """8 seconds, 10 frames each: a window that wanders over a photograph."""
  import av

  picture = photograph(0)
  with av.open(path, 'w') as container:
    stream = container.add_stream('mpeg4', rate=10)
    stream.height, stream.width, stream.pix_fmt = HEIGHT // 2, WIDTH // 2, 'yuv420p'
    for place in range(80):
      window = picture[place : place + HEIGHT // 2, 2 * place : 2 * place + WIDTH // 2]
      container.mux(stream.encode(av.VideoFrame.from_ndarray(window, format='rgb24')))
    container.mux(stream.encode(None))


# ---- What is measured ----------------------------------------------------------------------------
def rate(elements: Iterator[Any], *, per_element: int, count: int, repeats: int) -> float:
  """Examples per CPU second, the best of `repeats` times `count` elements.

  Reading ahead has filled its buffers before the first of them and fills them after the last.
  """
  take = lambda: [None for _ in itertools.islice(elements, count)]
  return count * per_element / measure.best(take, repeats=repeats)


def config(task: str, split: str) -> Any:
  from t5x import input_pipeline

  return input_pipeline.DatasetConfig(task, LENGTHS, split, BATCH, seed=0)


def training(task: str, split: str, **sizes: int) -> float:
  """The stream of training: augmented pictures, one of eight kernels each."""
  from t5x import input_pipeline

  batches = input_pipeline.open_train(config(task, split))
  try:
    return rate(batches, per_element=BATCH, **sizes)
  finally:
    batches.close()


def evaluation(task: str, split: str, **sizes: int) -> float:
  """The stream of evaluation, with the raw fields that metrics need."""
  from t5x import input_pipeline

  return rate(iter(input_pipeline.open_eval(config(task, split))), per_element=BATCH, **sizes)


def of_bytes(function: Callable[[Any], Any], files: list[bytes], **sizes: int) -> float:
  """A TensorFlow function of the bytes of a picture, alone."""
  import tensorflow as tf

  from t5x import task_examples

  pictures = tf.data.Dataset.from_tensor_slices(files).cache().repeat().map(function)
  elements = iter(task_examples.with_options(pictures))
  return rate(elements, per_element=1, **sizes)


def with_inputs(*names: str) -> None:
  """Chooses the input modalities."""
  import gin

  with gin.unlock_config():
    gin.bind_parameter('get_input_modalities.input_modality', names)


def pictures(folder: pathlib.Path, records: int, sizes: dict[str, int]) -> dict[str, float]:
  """Rates of the parts of the path from JPEG to batch, and of all of it."""
  from t5x.examples.unified_io import config as constants
  from t5x.examples.unified_io.data import data_utils, tasks  # noqa: F401 (registers)

  files = [jpeg(photograph(seed)) for seed in range(DISTINCT)]
  print('bytes of the pictures:', *map(len, files))
  constants.MULTITASK_TFDS_DATA_DIR = str(folder)
  build_dataset(folder, files, records)
  with_inputs('text', 'image')
  fit = lambda file: data_utils.resize_and_pad_default(file, is_training=False)[:2]
  singles = {**sizes, 'count': sizes['count'] * BATCH}
  return {
    'decode': of_bytes(data_utils.decode_image, files, **singles),
    'decode, resize and pad': of_bytes(fit, files, **singles),
    'evaluation': evaluation('vqa_coco_2017', 'photos', **sizes),
    'training': training('vqa_coco_2017', 'photos', **sizes),
  }


def media(folder: pathlib.Path, records: int, sizes: dict[str, int]) -> dict[str, float]:
  """Rates of examples with a sound, and with a video."""
  from t5x.examples.unified_io.data import jsonl_task  # noqa: F401 (resolves 'jsonl:')

  write_sound(folder / 'sound.wav')
  write_video(folder / 'video.mp4')
  rates = {}
  for kind, file, inputs in (
    ('audio', 'sound.wav', ('text', 'audio')), ('video', 'video.mp4', ('text', 'image_history')),
  ):  # fmt: skip
    rows = folder / f'{kind}.jsonl'
    row = {kind: file, 'text': 'What is it?', 'target': 'noise'}
    rows.write_text(''.join(f'{json.dumps({**row, "id": str(n)})}\n' for n in range(records)))
    with_inputs(*inputs)
    rates[kind] = evaluation(f'jsonl:{rows}', 'validation', **sizes)
  return rates


def main() -> None:
  args = measure.arguments(__doc__)
  measure.one_thread()
  import gin

  from t5x.examples.unified_io import modality_processing  # noqa: F401 (for gin)

  gin.bind_parameter('get_target_modalities.target_modality', ('text',))
  records, sizes = 512, {'count': 6, 'repeats': 8}
  if args.quick:
    records, sizes = 24, {'count': 1, 'repeats': 1}
  with tempfile.TemporaryDirectory() as folder:
    rates = pictures(pathlib.Path(folder), records, sizes)
    rates |= media(pathlib.Path(folder), records, sizes)
  calibration = measure.calibrate(args.quick)
  rows = []
  for name, found in rates.items():
    original = ORIGINAL[name] * measure.REFERENCE / calibration if name in ORIGINAL else None
    rows.append(
      {
        'what': name, 'examples/CPU s': found, 'ms': 1000 / found, 'original, scaled': original,
        'times': None if original is None else found / original,
      }
    )  # fmt: skip
  measure.report('Records to batches, one thread', rows, calibration=calibration)


if __name__ == '__main__':
  main()
