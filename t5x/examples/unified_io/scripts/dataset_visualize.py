"""Shows what the model receives of a task or mixture: an HTML page a task, and an index.

  python t5x/examples/unified_io/scripts/dataset_visualize.py TASK OUTPUT_DIR \\
    [--eval] [--split validation] [--num_examples 100] [--nomasks] [--override] \\
    [--gin_file=RUN.gin] [--gin.NAME=VALUE]

The examples take the way of a training run: the task's preprocessors, stage 2, stage 3. Modalities,
sizes and prompts are those that gin chooses, sequence lengths those of the run's gin file if one is
given; `--gin.visualize.lengths="{'image_input_samples': 200}"` changes some.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
import copy
import itertools
import pathlib
import sys
from typing import Any

from absl import logging
import gin
import numpy as np
import seqio

from t5x import bindings, gin_utils, preflight, stream, task_examples, text_table
from t5x.bindings import UserError
from t5x.examples.unified_io import modality_processing
from t5x.examples.unified_io.data import (
  mixtures,  # noqa: F401  registers all tasks
  prompts,
  vocabulary,
)
from t5x.examples.unified_io.scripts import dataset_cells, dataset_page

LENGTHS = {
  'text_inputs': 512, 'text_targets': 512, 'image_input_samples': 576,
  'image_history_input_samples': 256, 'audio_input_samples': 128,
  'audio_history_input_samples': 128, 'num_frames': 4,
}  # fmt: skip
SEED = 42
LEAD = (
  'Each row is one example after all preprocessing: patches in their places, masks, decoded '
  'tokens. Plots of sound: time to the right, pitch upwards, bright is loud.'
)


def main(argv: Sequence[str] | None = None) -> None:
  """The command line; ends with one sentence and status 2 where something impossible is asked."""
  preflight.hide_accelerators_from_tf()
  logging.set_verbosity(logging.INFO)
  try:
    args = _parser().parse_args(gin_utils.rewrite_gin_args(sys.argv[1:] if argv is None else argv))
    gin_utils.parse(args.gin_file, args.gin_bindings, whole_run=False)
    if args.tfds_data_dir:
      preflight.set_tfds_data_dir(gin_utils.absolute_path(args.tfds_data_dir))
    visualize(**_arguments(args))
  except (UserError, ValueError, FileNotFoundError) as error:
    print(f'dataset_visualize.py: {bindings.explain(error)}', file=sys.stderr)
    sys.exit(2)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__.splitlines()[0], epilog='--gin.NAME=VALUE is a gin binding.'
  )
  add = parser.add_argument
  add('task_or_mixture')
  add('output_dir', type=pathlib.Path, help='is made; one page a task, and index.html')
  add('--eval', action='store_true', help='as in evaluation: no augmentation')
  add('--noshuffle', action='store_true', help='records in the order of their files')
  add('--nomasks', action='store_true', help='no columns of masks')
  add('--override', action='store_true', help='write pages anew that are there already')
  add('--split', default='train')
  add('--num_examples', type=int, default=100, help='of each task')
  add('--postfix', default='', help='of the names of pages')
  add('--gin_file', action='append', default=[], help='repeatable')
  add('--gin_bindings', action='append', default=[], help="'NAME = VALUE', repeatable")
  add('--tfds_data_dir', help='TFDS folder of every task')
  return parser


def _arguments(args: argparse.Namespace) -> dict[str, Any]:
  names = ('task_or_mixture', 'output_dir', 'split', 'num_examples', 'postfix', 'override')
  return {
    **{name: getattr(args, name) for name in names},
    'is_training': not args.eval,
    'shuffle': not args.noshuffle,
    'masks': not args.nomasks,
  }


def sequence_lengths(is_training: bool) -> dict[str, Any]:
  """The lengths of the run whose gin file was read, else those of the released models' data."""
  kind = 'TRAIN' if is_training else 'EVAL'
  macros = bindings.macros()
  for name in (f'TASK_FEATURE_LENGTHS_{kind}', 'TASK_FEATURE_LENGTHS'):
    lengths = copy.deepcopy(macros.get(name))  # gin resolves what it copies
    if isinstance(lengths, Mapping):
      return {**lengths, 'is_training': is_training}
  return {**LENGTHS, 'is_training': is_training}


@gin.configurable
def visualize(
  *,
  task_or_mixture: str,
  output_dir: pathlib.Path,
  split: str = 'train',
  num_examples: int = 100,
  is_training: bool = True,
  shuffle: bool = True,
  masks: bool = True,
  override: bool = False,
  postfix: str = '',
  lengths: Mapping[str, Any] | None = None,
  seed: int = SEED,
) -> list[pathlib.Path]:
  """Writes a page for each task of a mixture, and the index of the folder.

  Args:
    task_or_mixture: a registered name.
    output_dir: is made where it does not exist.
    split: of each task.
    num_examples: of each task.
    is_training: augment as in training.
    shuffle: in the order of a training run.
    masks: show masks, too.
    override: write pages anew that are there already.
    postfix: of the names of pages.
    lengths: sequence lengths that differ from `sequence_lengths`.
    seed: of order, augmentation and prompts; a run with this seed reads the same examples.

  Returns:
    The pages, those that were there already included.

  Raises:
    ValueError: unknown task or split.
    FileNotFoundError: the data are missing; the message says what builds them.
  """
  tasks, rates = task_examples.tasks_and_rates(task_or_mixture)
  lengths = sequence_lengths(is_training) | (lengths or {})
  output_dir.mkdir(parents=True, exist_ok=True)
  pages, summary = [], []
  for task, rate in zip(tasks, rates, strict=True):
    path = output_dir / f'{task.name}{postfix}.html'.replace('/', '_')
    pages.append(path)
    if path.exists() and not override:
      print(f'{path} is there already; --override writes it anew.')
      continue
    examples = read(task, split, lengths, seed=seed, shuffle=shuffle, num_examples=num_examples)
    rows = [row_of(i, example, masks) for i, example in enumerate(examples)]
    facts = facts_of(split, lengths, seed)
    if len(tasks) > 1:
      facts['rate'] = f'{rate / sum(rates):.3g} of {task_or_mixture}'
    path.write_text(dataset_page.page(task.name, LEAD, facts, rows), encoding='utf-8')
    bad = sum(row.error is not None for row in rows)
    summary.append({'page': str(path), 'examples': str(len(rows) - bad), 'bad': str(bad)})
  if summary:
    print(text_table.table(summary))
  print(f'Look at {dataset_page.write_index(output_dir)}')
  return pages


def facts_of(split: str, lengths: Mapping[str, Any], seed: int) -> dict[str, str]:
  """What a reader has to know to see the same again."""
  return {
    'split': split,
    'mode': 'training' if lengths['is_training'] else 'evaluation',
    'lengths': ', '.join(f'{k} {v}' for k, v in lengths.items() if k != 'is_training'),
    'inputs': ', '.join(modality_processing.get_input_modalities()),
    'targets': ', '.join(modality_processing.get_target_modalities()),
    'prompts': prompts.Prompt().active_set().origin,
    'tokenizer': vocabulary.tokenizer_path(),
    'seed': str(seed),
  }


# ---- Examples ------------------------------------------------------------------------------------
class BadRecordError(Exception):
  """A record that gives no example."""


Example = tuple[dict[str, np.ndarray], dict[str, Any]] | Exception


def read(
  task: seqio.Task,
  split: str,
  lengths: Mapping[str, Any],
  *,
  seed: int = SEED,
  shuffle: bool = True,
  num_examples: int = 100,
) -> Iterator[Example]:
  """(fields after stage 3, metadata) of each example, or the error that stands in its place.

  Args:
    task: registered.
    split: of the task.
    lengths: sequence lengths.
    seed: of order, augmentation and prompts: a run with this seed reads the same.
    shuffle: as in training.
    num_examples: at most so many, bad ones included.

  Raises:
    UserError: the task has no such split.
  """
  if split not in task.splits:
    raise UserError(
      f'{task.name} has no split {split}{bindings.near(split, task.splits)} It has '
      f'{", ".join(task.splits)}.'
    )
  converter = task.preprocessors[task_examples.converter_step(task)].feature_converter()

  def finish(example):
    made = converter.convert(example, lengths)
    fields = {k: v for k, v in made.items() if not k.startswith('stream/')}
    meta = {k: v for k, v in example.items() if k.startswith('meta/')}
    return {**fields, **meta, stream.POSITION: example[stream.POSITION]}

  order = task_examples.order_of(task, split, seed, shuffle)
  source = task_examples.TaskExamples(
    task, split, order, lengths, finish, max_bad_share=1.0, epochs=1
  )
  yield from itertools.islice(_with_bad_ones(source.start(0, 1)), num_examples)


def _with_bad_ones(examples: task_examples.Examples) -> Iterator[Example]:
  """Examples, and an error for each record that was skipped before them."""
  shown = 0
  while True:
    try:
      made = next(examples, None)
    except task_examples.BadDataError as error:
      yield error
      return
    for record, fault in examples.skipped[shown:]:
      yield BadRecordError(f'{record}: {fault}')
    shown = len(examples.skipped)
    if made is None:
      return
    meta = {k: v for k, v in made.fields.items() if k.startswith('meta/')}
    yield {k: v for k, v in made.fields.items() if k not in meta}, meta


def row_of(number: int, example: Example, masks: bool) -> dataset_page.Row:
  """The row of one example; whatever is wrong with it is told there."""
  if not isinstance(example, Exception):
    try:
      return dataset_page.Row(number=number, cells=dataset_cells.cells_of(*example, masks=masks))
    except Exception as error:
      logging.exception('Example %d cannot be shown.', number)
      example = error
  return dataset_page.Row(number=number, error=f'{type(example).__name__}: {example}')


if __name__ == '__main__':
  main()
