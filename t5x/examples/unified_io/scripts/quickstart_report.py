"""What the quickstart measured: metrics.json with its controls, the loss curve and the page."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import json
import pathlib
import re
import shutil
from typing import Any

import gin
import numpy as np
import seqio

from t5x import evaluation
from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import tasks  # noqa: F401  registers them
from t5x.examples.unified_io.inference.evaluator import UnifiedIOOutput
from t5x.examples.unified_io.scripts import quickstart_controls as controls
from t5x.examples.unified_io.scripts import quickstart_page as pages

REFEXP, VQA = 'refcoco_unc', 'vqa_coco_2017'
CAPTION, CLASSES = 'image_caption_coco_2017', 'box_classification_coco_2017'
NUM_SCENES = 20
BINS = config.NUM_DETECTION_BINS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
  """One picture: its file, height and width in pixels, and the boxes of all objects."""

  file: pathlib.Path
  size: tuple[int, int]
  boxes: np.ndarray  # [k, 4], top, left, bottom, right, as fractions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
  """The rows of one task: what was asked, what is true, what was said."""

  task: str
  rows: Sequence[Mapping[str, Any]]

  @functools.cached_property
  def targets(self) -> list[Any]:
    """What the metric compares with."""
    return [row['target'] for row in self.rows]

  @functools.cached_property
  def predictions(self) -> list[str]:
    """Decoded texts."""
    return [row['prediction'] for row in self.rows]

  @functools.cached_property
  def truths(self) -> list[str]:
    """The true texts, the first where there are several."""
    return [first(row['input']['text_targets']) for row in self.rows]

  @functools.cached_property
  def questions(self) -> list[str]:
    """Input texts, prompt included, without the prefix that names the output."""
    return [row['input']['text_inputs'].removeprefix('[Text] [S] ') for row in self.rows]

  @functools.cached_property
  def images(self) -> list[int]:
    """Id of the picture of each row."""
    return [image_id(self.task, self.split, row['input']['record']) for row in self.rows]

  split: str = 'test'

  def score(self, texts: Sequence[str], of: Sequence[int] | None = None) -> dict[str, float]:
    """The task's own metrics for other answers, of some rows or all."""
    chosen = range(len(self.rows)) if of is None else of
    score = evaluation.TaskScore(seqio.TaskRegistry.get(self.task))
    score.targets = [self.targets[i] for i in chosen]
    score.outputs = [UnifiedIOOutput({'text': texts[i]}) for i in chosen]
    return {name: value for name, value in score.compute().items() if np.isscalar(value)}


def first(value: str | Sequence[str]) -> str:
  """A text, or the first of several."""
  return value if isinstance(value, str) else value[0]


@functools.cache
def image_id(task: str, split: str, record: int) -> int:
  """Id of the picture in a record of the task's dataset."""
  example = seqio.TaskRegistry.get(task).source.record(split, record)
  if 'image/filename' in example:
    name = example['image/filename']
    return int(pathlib.PurePath(name.decode() if isinstance(name, bytes) else name).stem)
  return int(example['image/id'])


def read_results(out: pathlib.Path, name: str, split: str = 'test') -> dict[str, Result]:
  """Task -> rows of one evaluation."""
  results = {}
  for task in (REFEXP, VQA, CAPTION, CLASSES):
    files = sorted((out / 'eval' / name / 'inference_eval').glob(f'{task}-[0-9]*.jsonl'))
    if files:
      rows = [json.loads(line) for line in files[-1].read_text(encoding='utf-8').splitlines()]
      results[task] = Result(task=task, rows=rows, split=split)
  return results


def read_scenes(out: pathlib.Path, split: str) -> dict[int, Scene]:
  """Image id -> scene, from the COCO files that the datasets were built from."""
  data = json.loads((out / f'world/coco/instances_{split}2017.json').read_text(encoding='utf-8'))
  boxes: dict[int, list] = {image['id']: [] for image in data['images']}
  sizes = {image['id']: (image['width'], image['height']) for image in data['images']}
  for item in data['annotations']:
    width, height = sizes[item['image_id']]
    x, y, w, h = item['bbox']
    boxes[item['image_id']].append([y / height, x / width, (y + h) / height, (x + w) / width])
  folder = out / f'world/coco/{split}2017'
  return {
    image['id']: Scene(
      file=folder / image['file_name'],
      size=(image['height'], image['width']),
      boxes=np.array(boxes[image['id']]).reshape(-1, 4),
    )
    for image in data['images']
  }


def true_boxes(result: Result) -> np.ndarray:
  """[n, 4]: the box asked for in each row."""
  return np.array([UnifiedIOOutput({'text': text}).boxes[0] for text in result.truths])


def question_forms(out: pathlib.Path, result: Result) -> list[str]:
  """The form of each question of the drawn world."""
  forms = json.loads((out / 'world/extra_test.json').read_text(encoding='utf-8'))['forms']
  return [forms[str(row['input']['meta/example_id'])] for row in result.rows]


def guesses(out: pathlib.Path, result: Result) -> list[list[str]]:
  """Answers in hindsight without the picture; each is one text a row."""
  if result.task == REFEXP:
    boxes = true_boxes(result)
    return [controls.constant_boxes(boxes), controls.text_only_boxes(boxes, result.questions)]
  if result.task == VQA:
    return [controls.majority_answers(result.truths, question_forms(out, result))]
  if result.task == CAPTION:
    number = len(result.rows)
    score = functools.cache(lambda text: result.score([text] * number))
    best = [
      controls.best_constant(result.truths, lambda text, name=name: score(text)[name])
      for name in score(result.truths[0])
    ]
    return [[text] * number for text in dict.fromkeys(best)]
  return [controls.majority_answers(result.truths, [''] * len(result.truths))]


def measure(
  result: Result, swapped: Result, without_picture: Sequence[Sequence[str]]
) -> dict[str, dict[str, float]]:
  """{metric: value, baseline, swapped, best, n} of one task."""
  value, exchanged = result.score(result.predictions), swapped.score(swapped.predictions)
  best, baselines = result.score(result.truths), [result.score(texts) for texts in without_picture]
  return {
    name: {
      'value': value[name],
      'baseline': max(line[name] for line in baselines),
      'swapped': exchanged[name],
      'best': best[name],
      'n': len(result.rows),
    }
    for name in value
  }


def measure_many(result: Result, swapped: Result, scenes: Mapping[int, Scene]) -> dict[str, float]:
  """Accuracy of boxes in scenes of two and more objects; its baseline names any object."""
  rows = [i for i, image in enumerate(result.images) if len(scenes[image].boxes) > 1]
  around = [scenes[result.images[i]].boxes for i in rows]
  return {
    'value': result.score(result.predictions, rows)['acc'],
    'baseline': controls.random_object_accuracy(true_boxes(result)[rows], around),
    'swapped': swapped.score(swapped.predictions, rows)['acc'],
    'best': result.score(result.truths, rows)['acc'],
    'n': len(rows),
  }


def write(out: pathlib.Path) -> None:
  """Writes metrics.json, loss.png, manifest.json and index.html into `out`."""
  config.MULTITASK_TFDS_DATA_DIR = str(out / 'tfds')
  gin.parse_config_file(str(out / 'model/config.gin'))  # metrics ask for the size of pictures
  results, swapped = read_results(out, 'test'), read_results(out, 'swapped')
  scenes = read_scenes(out, 'test')
  metrics = {
    task: measure(result, swapped[task], guesses(out, result)) for task, result in results.items()
  }
  metrics[REFEXP]['acc_many'] = measure_many(results[REFEXP], swapped[REFEXP], scenes)
  (out / 'metrics.json').write_text(json.dumps(metrics, indent=2) + '\n', encoding='utf-8')
  curve = draw_losses(out / 'model' / 'metrics.jsonl', out / 'loss.png')
  page = pages.page(
    lead='A small model, trained from scratch on drawn scenes, asked about scenes it has not seen. '
    'Baseline: the best answer in hindsight without the picture; swapped: the same model, each '
    'question with the picture of another.',
    summary=pages.table(
      ('task', 'metric', 'value', 'baseline', 'swapped', 'best', 'n', 'of what is possible'),
      [
        (task, name, *row.values(), share(row))
        for task, of_task in metrics.items()
        for name, row in of_task.items()
      ],
    ),
    groups=grouped_tables(out, results, scenes),
    curve_png=curve,
    scenes=cards(results, scenes, sorted(scenes)[:NUM_SCENES], drawn=True),
    photographs=photograph_cards(out),
  )  # fmt: skip
  (out / 'index.html').write_text(page, encoding='utf-8')
  write_manifest(out)


def write_manifest(out: pathlib.Path) -> None:
  """What the run was made with: commit, versions, configuration, checksums of the data."""
  sources = {'training': out / 'model/manifest.json', 'data': out / 'world/manifest.json'}
  parts = {name: json.loads(path.read_text(encoding='utf-8')) for name, path in sources.items()}
  (out / 'manifest.json').write_text(json.dumps(parts, indent=2) + '\n', encoding='utf-8')
  shutil.copy(out / 'model/config.gin', out / 'config.gin')


def share(row: Mapping[str, float]) -> float | None:
  """(value - baseline) / (best - baseline)."""
  possible = row['best'] - row['baseline']
  return (row['value'] - row['baseline']) / possible if possible else None


def grouped_tables(
  out: pathlib.Path, results: Mapping[str, Result], scenes: Mapping[int, Scene]
) -> dict[str, str]:
  """Boxes and questions by number of objects, questions by form."""
  refexp, vqa = results[REFEXP], results[VQA]
  count = lambda result: [len(scenes[image].boxes) for image in result.images]
  forms = question_forms(out, vqa)
  majority = controls.majority_answers(vqa.truths, forms)

  def rows(keys: Sequence[Any], *scores: Callable[[list[int]], float]) -> list[tuple]:
    table = []
    for key in sorted(set(keys)):
      chosen = [i for i, k in enumerate(keys) if k == key]
      table.append((key, *(score(chosen) for score in scores), len(chosen)))
    return table

  accuracy = lambda chosen: refexp.score(refexp.predictions, chosen)['acc']
  right = lambda chosen: vqa.score(vqa.predictions, chosen)['score']
  blind = lambda chosen: vqa.score(majority, chosen)['score']
  return {
    'Boxes by number of objects': pages.table(
      ('objects', 'accuracy', 'n'), rows(count(refexp), accuracy)
    ),
    'Questions by form': pages.table(
      ('form', 'score', 'majority answer', 'n'), rows(forms, right, blind)
    ),
    'Questions by number of objects': pages.table(
      ('objects', 'score', 'n'), rows(count(vqa), right)
    ),
  }


def cards(
  results: Mapping[str, Result], scenes: Mapping[int, Scene], chosen: Sequence[int], *, drawn: bool
) -> list[pages.Card]:
  """One card a picture, with the first question of each task about it."""
  return [
    pages.Card(
      title=scenes[image].file.name,
      picture=scenes[image].file.read_bytes(),
      mime='image/png' if scenes[image].file.suffix == '.png' else 'image/jpeg',
      answers=[
        answer(result, result.images.index(image), scenes[image].size, scored=drawn)
        for result in results.values()
        if image in result.images
      ],
      drawn=drawn,
    )
    for image in chosen
  ]


def answer(result: Result, row: int, size: tuple[int, int], *, scored: bool) -> pages.Answer:
  """What was asked and said in one row, about a picture of `size`."""
  boxes = {}
  truth, said = result.truths[row], result.predictions[row]
  right = None
  if result.task == REFEXP:
    guess = UnifiedIOOutput({'text': said}).boxes
    boxes = {
      'true_box': unpadded(true_boxes(result)[row], size),
      'predicted_box': unpadded(guess[0], size) if guess else None,
    }
  if scored and result.task != CAPTION:
    right = max(result.score(result.predictions, [row]).values()) > 0.5
  return pages.Answer(
    task=result.task, question=box_words(result.questions[row]), truth=box_words(truth),
    prediction=box_words(said), right=right, **boxes,
  )  # fmt: skip


def unpadded(box: Sequence[float], size: tuple[int, int]) -> list[float]:
  """A box in fractions of the padded square, in fractions of the picture."""
  longest = max(size)
  pads = [(longest - side) / 2 for side in size]
  return [(v * longest - pads[i % 2]) / size[i % 2] for i, v in enumerate(box)]


def box_words(text: str) -> str:
  """Location pieces as per cent of the picture, for people; other words stay."""
  per_cent = lambda piece: f'{(int(piece[1]) - config.VOCAB_START) * 100 / BINS:.0f}'
  return re.sub(r'<extra_id_(\d+)>', per_cent, text)


def photograph_cards(out: pathlib.Path) -> list[pages.Card]:
  """The photographs, with what the model says of them."""
  photographs = read_scenes(out, 'photos')
  return cards(read_results(out, 'photos', 'photos'), photographs, sorted(photographs), drawn=False)


def draw_losses(log: pathlib.Path, target: pathlib.Path) -> bytes:
  """Draws the losses of training and of held-out scenes into a PNG file; returns its bytes."""
  from matplotlib import figure

  curves: dict[str, list[tuple[int, float]]] = {}
  for line in log.read_text(encoding='utf-8').splitlines():
    row = json.loads(line)
    if 'loss' in row['values']:
      curves.setdefault(row['collection'], []).append((row['step'], row['values']['loss']))
  drawing = figure.Figure(figsize=(9, 3.2), layout='constrained')
  axes = drawing.subplots()
  for name, points in curves.items():
    axes.plot(*zip(*points, strict=True), label=name, marker='' if len(points) > 20 else 'o')
  axes.set(xlabel='step', ylabel='loss', yscale='log')
  axes.grid(alpha=0.3)
  axes.legend(frameon=False)
  drawing.savefig(target, dpi=120)
  return target.read_bytes()
