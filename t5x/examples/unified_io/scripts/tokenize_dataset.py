"""Writes a task's examples with codes in place of target pixels, so that training encodes nothing.

python3 t5x/examples/unified_io/scripts/tokenize_dataset.py TASK TFDS_DIR --gin_file=SIZE.gin \
  --gin_file=t5x/configs/runs/tokenize.gin --gin.CHECKPOINT_PATH=...
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import itertools
import pathlib
from typing import Any

from absl import logging
import numpy as np
import seqio

from create_data import common
from create_data.tfdatasets import execution, parts, records, shards
from t5x import checkpoint_config, gin_utils, task_examples
from t5x.bindings import UserError, explained
from t5x.checkpoint_config import RestoreCheckpointConfig, Tokenizer
from t5x.examples.unified_io import models
from t5x.examples.unified_io.data import tokenized
from t5x.examples.unified_io.scripts import target_codes
from t5x.partitioning import PjitPartitioner


def tokenize(
  *,
  model: models.EncoderDecoderModel,
  task: str,
  tfds_dir: str,
  task_feature_lengths: Mapping[str, Any],
  restore_checkpoint_cfg: RestoreCheckpointConfig,
  partitioner: PjitPartitioner,
  tokenizer: Tokenizer,
  batch_size: int = 32,
  seed: int = 0,
  splits: Sequence[str] | None = None,
  records_per_shard: int = 1024,
  max_bad_share: float = 0.01,
) -> pathlib.Path:
  """Writes `TFDS_DIR/TASK_tokenized/1.0.0`, or what of it is missing; returns the folder.

  Stopped at any moment, it goes on with the same command: shards that are whole are not made again.

  Args:
    model: says which targets there are, and how their tokenizers are built.
    task: its name.
    tfds_dir: root of TFDS datasets.
    task_feature_lengths: sequence lengths of the training to come.
    restore_checkpoint_cfg: names the checkpoint with the tokenizers; nothing else of it is used.
    partitioner: the mesh; its devices share each batch.
    tokenizer: of the text.
    batch_size: examples encoded at once.
    seed: of prompts and augmentation; a training with this seed draws the same.
    splits: of the task; None for all. 'train' is augmented, the others are not.
    records_per_shard: of the source.
    max_bad_share: of its records may be unusable; the log names them.

  Raises:
    CheckpointError: no checkpoint, or one without the tokenizers.
    UserError: a mixture, or no target to encode.
  """
  if batch_size < 1 or records_per_shard < 1:
    raise UserError(f'{batch_size=} and {records_per_shard=} have to be 1 or more')
  targets = target_codes.with_pixels(model.module.targets)
  sources = _sources(task, splits, task_feature_lengths, seed, max_bad_share)
  codes = target_codes.TargetCodes(
    model.module.config, targets, next(iter(sources.values())).spec, batch_size,
    restore=restore_checkpoint_cfg, partitioner=partitioner, tokenizer=tokenizer,
  )  # fmt: skip
  about = {
    'task': task,
    'seed': seed,
    'lengths': dict(task_feature_lengths),
    'modalities': repr([model.module.inputs, model.module.targets]),
    'codes_of': codes.fingerprints,
  }

  def make(inputs: Any, complain: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    split, start, end = inputs
    examples = _from_to(sources[split], start, end, complain)
    return map(tokenized.nested, codes.in_place_of_pixels(examples))

  built = shards.build(
    records.Dataset(
      name=task + tokenized.SUFFIX,
      version=tokenized.VERSION,
      features=tokenized.features_of(codes.fields),
      description=f'{task} with codes in place of target pixels',
    ),
    pathlib.Path(tfds_dir),
    _parts(sources, records_per_shard, [about, tokenizer.fingerprint]),
    make=make,
    run=execution.ONE_PROCESS,  # it holds the accelerators
    problems=common.Problems(),
    source={},
    extra_files={tokenized.MANIFEST: checkpoint_config.run_manifest(tokenizer, **about)},
  )
  logging.info('%s', built)
  return built.folder


def _sources(name, splits, lengths, seed, max_bad_share) -> dict[str, task_examples.TaskExamples]:
  """The examples of a task by split."""
  with explained():
    task = task_examples.get_mixture_or_task(name)
    if not isinstance(task, seqio.Task):
      raise UserError(f'{name} is a mixture; tokenize its tasks one by one')
    return {
      split: _examples(task, split, lengths, seed, max_bad_share)
      for split in splits or task.source.splits
    }


def _examples(task, split, lengths, seed, max_bad_share) -> task_examples.TaskExamples:
  """The examples of a split once, as the network reads them, in the order of their records."""
  lengths = {**lengths, 'is_training': split == 'train'}
  order = task_examples.order_of(task, split, seed, shuffle=False)
  finish = task_examples.finish_of(task, lengths)
  return task_examples.TaskExamples(
    task, split, order, lengths, finish, max_bad_share=max_bad_share, epochs=1
  )


def _parts(
  sources: Mapping[str, task_examples.TaskExamples], size: int, identity: Any
) -> list[parts.Part]:
  """One shard for so many records of the source."""
  made = []
  for split, source in sources.items():
    total = source.order.size
    for start in range(0, total, size):
      here = [split, start, min(start + size, total)]
      made.append(
        parts.Part(
          split=split, inputs=here, identity=[identity, here, total], count=here[2] - start
        )
      )
  return made


def _from_to(
  source: task_examples.TaskExamples, start: int, end: int, complain: Callable[[str], None]
) -> Iterator[dict[str, np.ndarray]]:
  """The fields of the examples of records `start` to `end` - 1."""
  examples = source.start(start, 1)
  try:
    for made in itertools.takewhile(lambda made: made.position < end, examples):
      yield made.fields
  finally:
    examples.close()
  if examples.bad:
    complain(f'{examples.bad} records of {source.split} from {start} on; the log names them')


if __name__ == '__main__':
  gin_utils.run(tokenize, positional=('MIXTURE_OR_TASK_NAME', 'TOKENIZED_DIR'))
