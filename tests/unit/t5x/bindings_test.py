"""T5X's bindings, row by row: each is bound from the command line and reaches what it names."""

import gin
import pytest

from t5x import bindings, gin_utils, preflight, train

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
  'SaveCheckpointConfig.dtype': 'bfloat16',
  'RestoreCheckpointConfig.path': 'elsewhere',
  'RestoreCheckpointConfig.mode': 'latest',
  'RestoreCheckpointConfig.dtype': 'bfloat16',
  'RestoreCheckpointConfig.strict': True,
  'RestoreCheckpointConfig.fallback_to_scratch': True,
  'RestoreCheckpointConfig.assignment_map': [('a', None)],
  'RestoreCheckpointConfig.restore_dataset': True,
  'PjitPartitioner.num_partitions': 1,
  'DatasetConfig.mixture_or_task_name': 'other_task',
  'DatasetConfig.task_feature_lengths': {'text_inputs': 3},
  'DatasetConfig.split': 'test',
  'DatasetConfig.batch_size': 7,
  'DatasetConfig.shuffle': True,
  'DatasetConfig.seed': 7,
  'DatasetConfig.use_cached': False,
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
  'PackingStrategy.pack_max_len': (864, 1280),
  'PackingStrategy.pack_pool_size': 7,
  'PackingStrategy.constraint_pool_size': 7,
  'PackingStrategy.max_to_pack': 7,
  'get_input_modalities.input_modality': ['text'],
  'get_target_modalities.target_modality': ['text', 'image'],
  'Prompt.original_flag': False,
  'Prompt.revised_original_flag': True,
  'Prompt.manual_flag': False,
  'Prompt.gpt3_flag': False,
  'Prompt.single_prompt': True,
  'refer_expression_preprocessor.dataset_name': 'x',
  'refer_expression_preprocessor.label_boxes': True,
  'UnifiedIOEvaluator.num_examples': 7,
  'UnifiedIOEvaluator.logger_cls': (),
}
ROWS = [f'{name}.{parameter}' for name, row in bindings.BINDINGS.items() for parameter in row]


@pytest.fixture(autouse=True)
def fresh_gin():
  gin.clear_config()
  yield
  gin.clear_config()


# Where the value of a row arrives: in what `train` is given.
ARRIVES = {
  'train': lambda arguments: arguments,
  'SaveCheckpointConfig': lambda arguments: vars(arguments['checkpoint_cfg'].save),
  'RestoreCheckpointConfig': lambda arguments: vars(arguments['checkpoint_cfg'].restore),
  'PjitPartitioner': lambda arguments: vars(arguments['partitioner']),
  'DatasetConfig': lambda arguments: vars(arguments['train_dataset_cfg']),
  'PackingStrategy': lambda arguments: vars(arguments['train_dataset_cfg'].packing),
  'get_input_modalities': lambda arguments: {
    'input_modality': list(arguments['model'].module.inputs)
  },
  'get_target_modalities': lambda arguments: {
    'target_modality': list(arguments['model'].module.targets)
  },
  'Prompt': lambda arguments: vars(gin.get_configurable('Prompt')()),
}


@pytest.mark.parametrize('row', ROWS)
def test_a_binding_of_the_original_is_taken_from_the_command_line_and_arrives(row):
  name, parameter = row.split('.')
  scope = 'train/' if name == 'DatasetConfig' else ''
  rewritten = gin_utils.rewrite_gin_args([f'--gin.{scope}{row}={VALUES[row]!r}'])
  gin_utils.parse(FILES, [*GIVEN, rewritten[0].removeprefix('--gin_bindings=')])
  if name in ARRIVES:
    arguments = preflight.arguments_of(train.train)
    assert ARRIVES[name](arguments)[parameter] == VALUES[row]
  else:
    assert gin.query_parameter(f'{scope}{row}') == VALUES[row]


def test_the_rate_that_is_bound_is_the_rate_of_the_optimizer():
  rate = [
    'create_learning_rate_scheduler.' + f
    for f in ("factors = 'constant'", 'base_learning_rate = 0.25')
  ]
  gin_utils.parse(FILES, [*GIVEN, *rate])
  assert preflight.arguments_of(train.train)['optimizer'].learning_rate_fn(9) == 0.25


def test_every_row_has_its_value():
  assert sorted(VALUES) == sorted(ROWS)


def test_a_model_that_trains_on_packed_rows_unpacks_as_its_data_were_packed():
  gin_utils.parse(FILES, [*GIVEN, 'PackingStrategy.pack_max_len = (864, 1280)'])
  arguments = preflight.arguments_of(train.train)
  assert arguments['train_dataset_cfg'].packing.pack
  assert arguments['train_eval_dataset_cfg'].packing is None
  rows = {'pack_inputs': 864, 'pack_targets': 1280, 'fold': 2, 'rows_together': 1}
  assert arguments['model'].rows == rows
