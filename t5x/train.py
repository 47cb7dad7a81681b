"""Trains a model: `python3 t5x/train.py --gin_file=SIZE.gin --gin_file=RUN.gin --gin.NAME=VALUE`.

The same command started again goes on where the run stopped, with the same examples and the same
random numbers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import json
import os
import sys
import time
from typing import Any

from absl import logging
import seqio

from t5x import (
  checkpoint_config,
  checkpoints,
  hosts,
  input_pipeline,
  state_transforms,
  task_examples,
)
from t5x import loggers as loggers_lib
from t5x.array_types import Batch, PyTree
from t5x.checkpoint_config import CheckpointConfig, Tokenizer, run_manifest
from t5x.checkpoints import CheckpointStore
from t5x.hooks import EvalHook, Hook, ProfileHook, ProgressBar, StatsHook
from t5x.input_pipeline import DatasetConfig, Host
from t5x.models import BaseModel
from t5x.optimizers import OptimizerDef
from t5x.partitioning import PjitPartitioner
from t5x.train_state import StatePlan, TrainState, parameter_table
from t5x.trainer import Trainer


def train(
  *,
  model: BaseModel,
  optimizer: OptimizerDef,
  train_dataset_cfg: DatasetConfig,
  train_eval_dataset_cfg: DatasetConfig | None = None,
  infer_eval_dataset_cfg: DatasetConfig | None = None,
  checkpoint_cfg: CheckpointConfig,
  partitioner: PjitPartitioner,
  model_dir: str,
  total_steps: int,
  random_seed: int | None,
  eval_steps: int = 0,
  eval_period: int = 0,
  stats_period: int | None = None,
  inference_evaluator_cls: Callable[..., Any] | None = None,
  trainable: Sequence[str] = ('.*',),
  allow_random_frozen: Sequence[str] = (),
  num_microbatches: int = 1,
  sum_microbatches: bool = False,
  tokenizer: Tokenizer | None = None,
  use_wandb: bool = False,
  hooks: Sequence[Hook] = (),
  debug: 'DebugConfig | None' = None,
  config_text: Callable[[], str] | None = None,
  open_batches: Callable[[DatasetConfig, Host], Any] = input_pipeline.open_train,
) -> TrainState:
  """Trains until `total_steps` updates are made; returns the state after the last.

  Restores, in this order: the newest checkpoint in `model_dir`, `checkpoint_cfg.restore`, scratch.
  The updates that a checkpoint brings count.

  Args:
    model, optimizer, partitioner: what is trained, how, and on which mesh.
    train_dataset_cfg: what it is trained on; `open_batches` opens it.
    train_eval_dataset_cfg: what the loss is measured on, `eval_steps` batches of each task.
    infer_eval_dataset_cfg: what `inference_evaluator_cls` makes predictions for and scores.
    checkpoint_cfg, model_dir: when to save and what to start from; the folder of the run.
    random_seed: of parameters, dropout and, where the data has none, its order; None draws one.
    eval_period: steps between evaluations of both kinds; 0 for none.
    stats_period: steps between reports; None: as often as it is evaluated or saved.
    trainable: path patterns of the parameters to train; the others stay as they are.
    allow_random_frozen: parts ('image_vit') that are neither trained nor in any checkpoint; without
      their name here, a run with such parts is refused.
    num_microbatches, sum_microbatches: see `Trainer`.
    tokenizer: of the text; a checkpoint made with another one is refused.
    use_wandb, hooks: report to Weights & Biases too; called after each step, after ours.
    debug, config_text: switches; the configuration, to be written to `model_dir`.
  """
  debug, seed = debug or DebugConfig(), choose_seed(random_seed, model_dir)
  host = Host(*partitioner.host_part(train_dataset_cfg.batch_size))
  batches = open_batches(with_seed(train_dataset_cfg, seed), host)
  trainer = Trainer(
    model, optimizer, partitioner, batches.spec, seed=seed, trainable=trainable,
    num_microbatches=num_microbatches, sum_microbatches=sum_microbatches,
  )  # fmt: skip
  evaluators = make_evaluators(
    model, trainer, os.path.join(model_dir, 'inference_eval'), train_eval_dataset_cfg, eval_steps,
    infer_eval_dataset_cfg, inference_evaluator_cls,
  )  # fmt: skip
  paths = tuple(state_transforms.flatten(trainer.plan.param_axes))
  frozen = checkpoint_config.frozen_paths(paths, trainable, allow_random_frozen)
  restored = checkpoints.restore_or_init(checkpoint_cfg, model_dir, trainer.plan, tokenizer, frozen)
  if restored.cursor is not None:
    batches.restore(restored.cursor)
  steps = debug.steps(int(restored.state.step), total_steps)
  manifest = run_manifest(tokenizer, seed=seed, origin=restored.origin)
  write_run_files(model_dir, manifest, trainer.plan, partitioner, config_text)
  with contextlib.ExitStack() as exits:
    log = exits.enter_context(loggers_lib.default_loggers(model_dir, use_wandb=use_wandb))
    store = exits.enter_context(CheckpointStore(model_dir, checkpoint_cfg.save, manifest))
    stats = StatsHook(
      report_period(stats_period, eval_period, checkpoint_cfg.save.period, total_steps),
      trainer.batch_size, log, abort_when_not_finite=debug.abort_when_not_finite,
    )  # fmt: skip
    stats.note('timing/init_or_restore_seconds', restored.seconds)
    stats.note('timing/compilation_seconds', trainer.compile() if steps else 0.0)
    own = ProgressBar(steps, trainer.batch_size), EvalHook(eval_period, steps, evaluators, log)
    hooks = (*own, *debug.hooks(model_dir), *hooks)
    return run_steps(trainer, restored.state, batches, steps, store=store, stats=stats, hooks=hooks)


def run_steps(
  trainer: Trainer,
  state: TrainState,
  batches: Any,
  steps: range,
  *,
  store: CheckpointStore,
  stats: StatsHook,
  hooks: Sequence[Hook],
) -> TrainState:
  """The loop. A checkpoint holds the batches handed out so far, so a resumed run sees the next.

  Args:
    trainer: makes a step.
    state: at the step before `steps`.
    batches: iterator of host batches with `state()`; closed at the end.
    steps: updates made after each turn.
    store: where checkpoints go.
    stats: reports, and knows whether a state is sound.
    hooks: called after each step; closed at the end, by success or error.
  """
  with contextlib.ExitStack() as exits:
    exits.callback(batches.close)
    for hook in (stats, *hooks):
      exits.callback(hook.close)
    for step in steps:
      state, metrics = trainer.step(state, next(batches))
      stats.after_step(step, state, metrics)
      if store.is_due(step) or step == steps[-1]:
        stats.check()  # what is not finite is never saved
        cursor = hosts.joined(hosts.gathered(batches.state()))
        stats.note('timing/checkpoint_seconds', store.save(step, state, cursor))
      began = time.monotonic()
      for hook in hooks:
        hook.after_step(step, state, metrics)
      stats.leave_out(time.monotonic() - began)
    stats.finish()
  return state


@dataclasses.dataclass(frozen=True, kw_only=True)
class DebugConfig:
  """Switches for looking into a run; none of them changes a number.

  Attributes:
    stop_after: stop after so many steps of this call; schedules do not notice.
    profile_steps: (a, b) writes a profile of the steps after a, up to b, for TensorBoard.
    abort_when_not_finite: end the run when loss or gradient is nan or infinite; else only say so.
  """

  stop_after: int | None = None
  profile_steps: tuple[int, int] | None = None
  abort_when_not_finite: bool = True

  def steps(self, done: int, total: int) -> range:
    """The updates of this call: `done` + 1 to `total`, or fewer.

    Raises:
      ValueError: when more are done than wanted.
    """
    if done > total:
      raise ValueError(
        f'{done} steps are made, but total_steps={total}; total_steps counts the steps of the '
        'checkpoint that training started from too'
      )
    if done == total:
      logging.warning('All %d steps are made; nothing is left to train.', total)
    return range(done + 1, min(total, done + self.stop_after if self.stop_after else total) + 1)

  def hooks(self, model_dir: str) -> list[Hook]:
    """The hooks that these switches need."""
    if not self.profile_steps:
      return []
    return [ProfileHook(*self.profile_steps, os.path.join(model_dir, 'profile'))]


def make_evaluators(
  model: BaseModel,
  trainer: Trainer,
  log_dir: str,
  train_eval: DatasetConfig | None,
  eval_steps: int,
  infer_eval: DatasetConfig | None,
  inference_evaluator_cls: Callable[..., Any] | None,
) -> dict[str, Callable[..., Any]]:
  """What `train` evaluates by, by name; see its arguments. Predictions are written to `log_dir`."""
  evaluators: dict[str, Callable[..., Any]] = {}
  if train_eval:
    evaluators['training_eval'] = TeacherForced(trainer, train_eval, eval_steps)
  if infer_eval and inference_evaluator_cls:
    evaluators['inference_eval'] = inference_evaluator_cls(
      model=model, dataset_cfg=infer_eval, partitioner=trainer.partitioner, log_dir=log_dir
    ).evaluate
  return evaluators


class TeacherForced:
  """The loss and its metrics on held-out data, with the true targets as the decoder's input."""

  def __init__(self, trainer: Trainer, dataset_cfg: DatasetConfig, num_batches: int):
    """Takes `num_batches` batches of every task of the mixture that has the split."""
    self._trainer, self._batch_size = trainer, dataset_cfg.batch_size
    tasks = seqio.get_subtasks(task_examples.get_mixture_or_task(dataset_cfg.mixture_or_task_name))
    number = num_batches * dataset_cfg.batch_size
    self._sets = {
      task.name: input_pipeline.open_eval(dataset_cfg, task.name, num_examples=number)
      for task in tasks
      if dataset_cfg.split in task.splits
    }

  def __call__(self, params: PyTree, step: int) -> dict[str, dict[str, float]]:
    """{task: {metric: value}}."""
    del step
    return {task: self._trainer.evaluate(params, self._whole(task)) for task in self._sets}

  def _whole(self, task: str) -> Iterator[Batch]:
    """Whole batches; the last one of a task is padded and only used where it is the first."""
    for i, (batch, examples) in enumerate(self._sets[task]):
      if i == 0 or len(examples) == self._batch_size:
        yield batch


def choose_seed(random_seed: int | None, model_dir: str) -> int:
  """The given seed, else that of the run that is resumed, else one from the clock, said aloud."""
  path = os.path.join(model_dir, 'manifest.json')
  before = None
  if os.path.exists(path):
    with open(path, encoding='utf-8') as file:
      before = json.load(file).get('seed')
  if random_seed is None:
    random_seed = time.time_ns() % 2**31 if before is None else before
    logging.info('random_seed is not given; using %d.', random_seed)
  elif before not in (None, random_seed):
    logging.warning('This run had random_seed=%s before; going on with %d.', before, random_seed)
  return random_seed


def with_seed(cfg: DatasetConfig, seed: int) -> DatasetConfig:
  """A dataset without a seed of its own takes that of the run."""
  return dataclasses.replace(cfg, seed=seed) if cfg.seed is None else cfg


def report_period(stats_period: int | None, *others: int | None) -> int:
  """Steps between reports: as given, else the shortest of the other periods."""
  return stats_period or min(period for period in others if period)


def write_run_files(
  model_dir: str,
  manifest: Mapping[str, Any],
  plan: StatePlan,
  partitioner: PjitPartitioner,
  config_text: Callable[[], str] | None,
) -> None:
  """Writes manifest.json, model-info.txt and, where there is a configuration, config.gin."""
  os.makedirs(model_dir, exist_ok=True)
  table = parameter_table(plan, partitioner)
  logging.info('%s', '; '.join(table.splitlines()[-2:]))
  files = {
    'manifest.json': json.dumps({**manifest, 'command': sys.argv}, indent=2) + '\n',
    'model-info.txt': table + '\n',
    **({'config.gin': config_text()} if config_text else {}),
  }
  for name, text in files.items():
    with open(os.path.join(model_dir, name), 'w', encoding='utf-8') as file:
      file.write(text)


if __name__ == '__main__':
  from t5x import gin_utils

  gin_utils.run(train)
