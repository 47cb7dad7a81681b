"""Every gin file: its header, that it parses with what its header says, and what it builds."""

import pathlib
import re

import gin
import jax
import pytest

from t5x import gin_utils, preflight
from t5x.bindings import UserError
from t5x.examples.unified_io import modality_processing

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob('t5x/**/*.gin'))
UIO = 't5x/examples/unified_io/t5_1_1'
RUNS = 't5x/configs/runs'
# Parameters of each size with image and text in, text out.
SIZES = {
  'tiny': 79_282_688,
  'base': 303_684_096,
  'large': 831_724_800,
  'xl': 2_868_196_608,
  'xxl': 6_527_854_848,
}
MODALITIES = (
  "get_input_modalities.input_modality = ['image', 'text']",
  "get_target_modalities.target_modality = ['text']",
)
OWN = ("DATA = 'tests/testdata/own_rows.jsonl'", "MODEL_DIR = 'm'")
TRAINING = ("MODEL_DIR = 'm'", "INITIAL_CHECKPOINT_PATH = 'c'")
BY_HAND = (
  "MIXTURE_OR_TASK_NAME = 'refcoco_unc'",
  'TRAIN_STEPS = 1',
  'OPTIMIZER = @adamw()',
  "TASK_FEATURE_LENGTHS_TRAIN = {'text_inputs': 4, 'text_targets': 4, 'image_input_samples': None}",
  "TASK_FEATURE_LENGTHS_EVAL = {'text_inputs': 4, 'text_targets': 4, 'image_input_samples': None}",
)
CHECKPOINT = ("CHECKPOINT_PATH = 'c'", "MIXTURE_OR_TASK_NAME = 'refcoco_unc'")
# run file -> its entry point and the bindings that its header calls required
RUN_FILES = {
  f'{RUNS}/pretrain.gin': ('train', ("MODEL_DIR = 'm'", *BY_HAND)),
  f'{RUNS}/multitask.gin': ('train', (*TRAINING, *BY_HAND)),
  f'{RUNS}/finetune.gin': ('train', (*TRAINING, *BY_HAND)),
  f'{RUNS}/eval.gin': (
    'eval',
    (*CHECKPOINT, "EVAL_OUTPUT_DIR = 'o'", "TASK_FEATURE_LENGTHS = {'text_inputs': 4}"),
  ),
  f'{RUNS}/infer.gin': ('infer', (*CHECKPOINT, "INFER_OUTPUT_DIR = 'o'")),
  f'{RUNS}/tokenize.gin': ('tokenize', (*CHECKPOINT, "TOKENIZED_DIR = 'o'")),
  f'{UIO}/finetune/refexp.gin': ('train', TRAINING),
  f'{UIO}/finetune/jsonl.gin': ('train', OWN),
  f'{UIO}/eval/vision_language.gin': ('eval', (*CHECKPOINT, "EVAL_OUTPUT_DIR = 'o'")),
}
# Files that name their own size, alone or after another file.
ALONE = {
  f'{UIO}/finetune/quickstart.gin': ('train', ("MODEL_DIR = 'm'",)),
  f'{RUNS}/doctor.gin': ('doctor', ()),
  f'{UIO}/eval/quickstart.gin': ('eval', ("CHECKPOINT_PATH = 'c'", "EVAL_OUTPUT_DIR = 'o'")),
  f'{UIO}/eval/jsonl.gin': ('eval', (*OWN, "EVAL_OUTPUT_DIR = 'o'")),
  f'{UIO}/infer/jsonl.gin': ('infer', (*OWN, "INFER_OUTPUT_DIR = 'o'")),
}
# What must be read before it.
AFTER = {
  f'{UIO}/eval/quickstart.gin': (f'{UIO}/finetune/quickstart.gin',),
  f'{UIO}/eval/jsonl.gin': (f'{UIO}/tiny.gin', f'{UIO}/finetune/jsonl.gin'),
  f'{UIO}/infer/jsonl.gin': (f'{UIO}/tiny.gin', f'{UIO}/finetune/jsonl.gin'),
}
SIZE_FILES = [f'{UIO}/{size}.gin' for size in SIZES]


@pytest.fixture(autouse=True)
def fresh_gin():
  gin.clear_config()
  yield
  gin.clear_config()


def entry_point(name):
  """The function that a run calls."""
  from t5x import doctor, eval, infer, train
  from t5x.examples.unified_io.scripts import tokenize_dataset

  return {
    'train': train.train,
    'eval': eval.evaluate,
    'infer': infer.infer,
    'doctor': doctor.diagnose,
    'tokenize': tokenize_dataset.tokenize,
  }[name]


def test_every_file_is_tried_here():
  assert sorted({*SIZE_FILES, *RUN_FILES, *ALONE}) == FILES


@pytest.mark.parametrize('file', FILES)
def test_a_file_opens_with_its_command_its_hardware_and_what_to_expect(file):
  header = (ROOT / file).read_text(encoding='utf-8').split('from __gin__')[0]
  assert re.search(r'^#   (python3?|make) ', header, re.MULTILINE)
  assert '# Hardware' in header
  assert re.search(r'^# (Expect|Hardware and what to expect)', header, re.MULTILINE)
  assert all(line.startswith('#') for line in header.splitlines() if line)


@pytest.mark.parametrize('size', SIZES)
def test_a_size_file_builds_its_size(size):
  gin_utils.parse([f'{UIO}/{size}.gin'], MODALITIES)
  model = gin.get_configurable('EncoderDecoderModel')()
  spec = {
    name: jax.ShapeDtypeStruct(shape, dtype)
    for name, (shape, dtype) in modality_processing.get_input_spec().items()
  }
  shapes = jax.eval_shape(lambda key: model.init(key, spec), jax.random.key(0))
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == SIZES[size]


@pytest.mark.parametrize(
  ('macro', 'value', 'of', 'parameter'),
  [
    ('Z_LOSS', 0.5, 'EncoderDecoderModel', 'z_loss'),
    ('LABEL_SMOOTHING', 0.5, 'EncoderDecoderModel', 'label_smoothing'),
    ('LOSS_NORMALIZING_FACTOR', 0.5, 'EncoderDecoderModel', 'loss_normalizing_factor'),
    (
      'LOSS_NORMALIZING_BY_WEIGHT_SUM', False, 'EncoderDecoderModel',
      'loss_normalizing_by_weight_sum',
    ),
    ('DROPOUT_RATE', 0.5, 'model_config', 'dropout_rate'),
    ('TEXT_DECODER_LENGTH', 7, 'EncoderDecoderModel.predict_batch_with_aux', 'length'),
  ],
)  # fmt: skip
@pytest.mark.parametrize('size', ['base', 'xxl'])
def test_a_macro_of_a_size_file_arrives_in_the_model(size, macro, value, of, parameter):
  gin_utils.parse([f'{UIO}/{size}.gin'], [f'{macro} = {value}'])
  assert gin.get_bindings(of)[parameter] == value


@pytest.mark.parametrize('file', [*RUN_FILES, *ALONE])
def test_a_run_file_gives_its_entry_point_all_that_it_needs(file):
  name, bindings = {**RUN_FILES, **ALONE}[file]
  before = AFTER.get(file, () if file in ALONE else (f'{UIO}/tiny.gin',))
  gin_utils.parse([*before, file], bindings)
  assert preflight.arguments_of(entry_point(name))


@pytest.mark.parametrize('file', [f'{UIO}/finetune/refexp.gin', f'{RUNS}/infer.gin'])
def test_the_configuration_that_a_run_writes_gives_the_same_again(file, tmp_path):
  gin_utils.parse([f'{UIO}/tiny.gin', file], RUN_FILES[file][1])
  text = gin_utils.config_text()
  (tmp_path / 'config.gin').write_text(text)
  gin.clear_config()
  gin_utils.parse([str(tmp_path / 'config.gin')])
  assert gin_utils.config_text() == text


@pytest.mark.parametrize('file', RUN_FILES)
def test_a_run_file_asks_for_each_macro_that_it_requires(file):
  bindings = RUN_FILES[file][1]
  for left_out in bindings:
    gin.clear_config()
    others = [binding for binding in bindings if binding != left_out]
    with pytest.raises(UserError, match=f'{left_out.split()[0]} must be given'):
      gin_utils.parse([f'{UIO}/tiny.gin', file], others)


@pytest.mark.parametrize('checkpoint', [None, 'c'])
def test_own_data_take_the_released_defaults_with_a_checkpoint_alone(checkpoint):
  file = f'{UIO}/finetune/jsonl.gin'
  given = (f'INITIAL_CHECKPOINT_PATH = {checkpoint!r}', 'TRAIN_STEPS = 1')
  gin_utils.parse([f'{UIO}/tiny.gin', file], (*OWN, *given))
  modalities, run = gin.get_bindings('get_input_modalities'), gin.get_bindings('train')
  vits = {modalities[f'use_{m}_vit'] for m in ('image', 'image_history', 'audio', 'audio_history')}
  frozen = gin.query_parameter('RELEASED_TRAINABLE/gin.macro.value')
  assert vits == {checkpoint is not None}
  assert run['trainable'] == (('.*',) if checkpoint is None else frozen)
  rate = float(run['optimizer'].learning_rate_fn(3_000_000))
  assert rate == pytest.approx(0.001 if checkpoint is None else 0.5 / 3_000_000**0.5)
