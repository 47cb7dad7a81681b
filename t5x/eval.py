"""Evaluates checkpoints on a task or mixture, and writes metrics and every prediction.

python3 t5x/eval.py --gin_file=SIZE.gin --gin_file=EVAL.gin --gin.CHECKPOINT_PATH=...
"""

from collections.abc import Callable
import os

from absl import logging

from t5x import evaluation, gin_utils, input_pipeline, loggers, prediction
from t5x.checkpoint_config import RestoreCheckpointConfig, Tokenizer
from t5x.models import BaseModel
from t5x.partitioning import PjitPartitioner


def evaluate(
  *,
  model: BaseModel,
  dataset_cfg: input_pipeline.DatasetConfig,
  restore_checkpoint_cfg: RestoreCheckpointConfig,
  partitioner: PjitPartitioner,
  output_dir: str,
  inference_evaluator_cls: Callable[..., evaluation.Evaluator],
  tokenizer: Tokenizer | None = None,
  fallback_init_rng: int | None = None,
  log_only: bool = False,
  use_wandb: bool = False,
) -> dict[int, dict[str, dict[str, float]]]:
  """Evaluates each checkpoint that is named, with every metric of every task.

  Writes `config.gin` and, below `inference_eval`, `TASK-metrics.jsonl` and `TASK-STEP.jsonl`.

  Args:
    model: says `predict_batch_with_aux`.
    dataset_cfg: task or mixture, split and lengths.
    restore_checkpoint_cfg: which checkpoint, or checkpoints with mode 'all'.
    partitioner: the mesh.
    output_dir: where results go.
    inference_evaluator_cls: makes the evaluator.
    tokenizer: of the text; a checkpoint made with another one is refused.
    fallback_init_rng: seed of random parameters, where no checkpoint is given on purpose.
    log_only: write predictions, compute no metric.
    use_wandb: log to Weights & Biases too.

  Returns:
    {step: {task: {metric: value}}}.

  Raises:
    CheckpointError: when there is no checkpoint; random weights are never taken in silence.
  """
  prediction.write_config(output_dir, gin_utils.config_text())
  writer = loggers.Loggers([loggers.WandbLogger()] if use_wandb else [])
  evaluator = inference_evaluator_cls(
    model=model,
    dataset_cfg=dataset_cfg,
    partitioner=partitioner,
    log_dir=os.path.join(output_dir, 'inference_eval'),
    log_only=log_only,
  )
  results = {}
  for path, params, step in prediction.restored(
    model, restore_checkpoint_cfg, partitioner, dataset_cfg, tokenizer, fallback_init_rng
  ):
    logging.info('Evaluating %s (step %d).', path, step)
    results[step] = evaluator.evaluate(params, step)
    for task, values in results[step].items():
      writer.write(f'inference/{task}', step, values)
  writer.close()
  return results


if __name__ == '__main__':
  gin_utils.run(evaluate)
