"""Writes a checkpoint's predictions, one JSON line an example. A run that was stopped goes on.

python3 t5x/infer.py --gin_file=SIZE.gin --gin_file=INFER.gin --gin.CHECKPOINT_PATH=... (see README)
"""

from collections.abc import Callable, Mapping
import functools
import itertools
import os
from typing import Any

from absl import logging

from t5x import gin_utils, input_pipeline, json_lines, prediction
from t5x.bindings import UserError
from t5x.checkpoint_config import RestoreCheckpointConfig, Tokenizer
from t5x.models import BaseModel
from t5x.partitioning import PjitPartitioner

# What is written of a row.
DescribeRow = Callable[[prediction.Row], Mapping[str, Any]]


def infer(
  *,
  model: BaseModel,
  dataset_cfg: input_pipeline.DatasetConfig,
  restore_checkpoint_cfg: RestoreCheckpointConfig,
  partitioner: PjitPartitioner,
  output_dir: str,
  build_outputs: prediction.BuildOutputs,
  describe_row: DescribeRow,
  tokenizer: Tokenizer | None = None,
  num_examples: int | None = None,
) -> list[str]:
  """Predicts every example of a task, or of each task of a mixture, in order.

  `OUTPUT_DIR/TASK-STEP.jsonl` is called `.partial` until its last line is written; the same command
  goes on after the last complete line, or leaves a finished file alone.

  Args:
    model: says `predict_batch_with_aux`.
    dataset_cfg: task or mixture, split and lengths.
    restore_checkpoint_cfg: which checkpoint.
    partitioner: the mesh.
    output_dir: where the files go.
    build_outputs: aux arrays of a batch -> one output a row.
    describe_row: what to write of a row.
    tokenizer: of the text; a checkpoint made with another one is refused.
    num_examples: of each task, from the first; None for all.

  Returns:
    The finished files.

  Raises:
    UserError: when `output_dir` holds predictions of another configuration.
  """
  _same_run(output_dir)
  predictor = prediction.Predictor(model, partitioner, build_outputs)
  files = []
  for path, params, step in prediction.restored(
    model, restore_checkpoint_cfg, partitioner, dataset_cfg, tokenizer
  ):
    logging.info('Predicting with %s (step %d).', path, step)
    for task in prediction.subtasks(dataset_cfg):
      files.append(os.path.join(output_dir, f'{task.name}-{step}.jsonl'))
      batches = input_pipeline.open_eval(dataset_cfg, task.name, num_examples=num_examples)
      predict = functools.partial(predictor, params)
      _write(files[-1], batches, dataset_cfg.batch_size, predict, describe_row)
  return files


def _same_run(output_dir):
  """Refuses a folder with predictions of another configuration; marks an empty one as ours."""
  text, path = gin_utils.config_text(), os.path.join(output_dir, 'config.gin')
  if os.path.exists(path):
    with open(path, encoding='utf-8') as file:
      if file.read() != text:
        raise UserError(
          f'{output_dir} holds predictions of another configuration (its config.gin differs); '
          'name another INFER_OUTPUT_DIR'
        )
  prediction.write_config(output_dir, text)


def _write(file, batches, batch_size, predict, describe_row):
  """Writes the rows that `file` lacks; it bears its name once it is complete."""
  partial = f'{file}.partial'
  if os.path.exists(file):
    logging.info('%s is complete.', file)
    return
  done = json_lines.complete_lines(partial)
  if done:
    logging.info('%s has %d examples; going on.', partial, done)
  batches_done = done // batch_size  # the batch that was cut short is predicted again
  rows = predict(itertools.islice(batches, batches_done, None))
  with json_lines.JsonLines(partial, 'a') as lines:
    for index, row in enumerate(rows, batches_done * batch_size):
      if index >= done:
        lines.write({'index': index, **json_lines.to_json(describe_row(row))})
  os.replace(partial, file)
  logging.info('Wrote %s.', file)


if __name__ == '__main__':
  gin_utils.run(infer)
