"""T5X's bindings, row by row: each is bound from the command line and reaches what it names."""

import gin
import pytest

from t5x import bindings, gin_utils

FILES = (
  't5x/examples/unified_io/t5_1_1/tiny.gin',
  't5x/examples/unified_io/t5_1_1/finetune/refexp.gin',
)
GIVEN = ("MODEL_DIR = 'm'", "INITIAL_CHECKPOINT_PATH = 'c'")
# A value that differs from the files' for each row of the table.
VALUES = {
  'train.total_steps': 7,
  'train.eval_period': 7,
  'train.eval_steps': 7,
  'train.stats_period': 7,
  'train.random_seed': 7,
  'train.use_wandb': True,
  'SaveCheckpointConfig.period': 7,
  'SaveCheckpointConfig.keep': 7,
  'RestoreCheckpointConfig.path': 'elsewhere',
  'RestoreCheckpointConfig.mode': 'latest',
  'RestoreCheckpointConfig.dtype': 'bfloat16',
  'RestoreCheckpointConfig.strict': True,
  'RestoreCheckpointConfig.fallback_to_scratch': True,
  'PjitPartitioner.num_partitions': 1,
  'DatasetConfig.mixture_or_task_name': 'other_task',
  'DatasetConfig.task_feature_lengths': {'text_inputs': 3},
  'DatasetConfig.split': 'test',
  'DatasetConfig.batch_size': 7,
  'DatasetConfig.shuffle': True,
  'DatasetConfig.seed': 7,
  'DatasetConfig.use_cached': True,
  'DatasetConfig.pack': False,
  'DatasetConfig.use_custom_packing_ops': False,
  'DatasetConfig.module': 'os',
  'DatasetConfig.use_memory_cache': False,
  'DatasetConfig.target_field_name': 'x',
  'DatasetConfig.trim_output_features': False,
  'create_learning_rate_scheduler.factors': 'constant',
  'create_learning_rate_scheduler.base_learning_rate': 0.25,
  'create_learning_rate_scheduler.warmup_steps': 7,
  'create_learning_rate_scheduler.decay_factor': 0.25,
  'create_learning_rate_scheduler.steps_per_decay': 7,
  'create_learning_rate_scheduler.steps_per_cycle': 7,
  'create_learning_rate_scheduler.step_offset': 7,
  'create_learning_rate_scheduler.min_learning_rate': 0.25,
  'get_input_modalities.input_modality': ['text'],
  'get_target_modalities.target_modality': ['text', 'image'],
  'UnifiedIOEvaluator.num_examples': 7,
  'UnifiedIOEvaluator.logger_cls': (),
}
ROWS = [f'{name}.{parameter}' for name, row in bindings.BINDINGS.items() for parameter in row]


@pytest.fixture(autouse=True)
def fresh_gin():
  gin.clear_config()
  yield
  gin.clear_config()


@pytest.mark.parametrize('row', ROWS)
def test_a_binding_of_the_original_is_taken_from_the_command_line(row):
  scope = 'train/' if row.startswith('DatasetConfig') else ''
  rewritten = gin_utils.rewrite_gin_args([f'--gin.{scope}{row}={VALUES[row]!r}'])
  binding = rewritten[0].removeprefix('--gin_bindings=')
  gin_utils.parse(FILES, [*GIVEN, binding])
  assert gin.query_parameter(f'{scope}{row}') == VALUES[row]


def test_every_row_has_its_value():
  assert sorted(VALUES) == sorted(ROWS)
