"""Pictures are built, tokenized and trained on by the commands that a user types."""

import json

import pytest

from tests.e2e import commands
from tests.testdata import tiny_world

# TFDS calls a protobuf function that its version of protobuf calls deprecated.
pytestmark = pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning')

TASK = 'image_generation_coco_2017'
SMALL = f"""
from __gin__ import dynamic_registration
from t5x import input_pipeline
from t5x import optimizers
from t5x import schedules
from t5x import train as train_script
from t5x.examples.unified_io import config
from t5x.examples.unified_io import modality_processing
from t5x.examples.unified_io.data import data_utils
include '{commands.UIO}/tiny.gin'

config.model_config:
  dtype = 'float32'
  image_vqgan = @config.ImageVqganConfig()
config.ImageVqganConfig:
  codebook_size = 64
  resolution = 32
  channels = 32
  channel_multipliers = (1, 1, 1, 1)
  num_res_blocks = 1
  attention_resolutions = (4,)
data_utils.image_sizes.target = (32, 32)
"""
CHOICE = """
modality_processing.get_input_modalities.input_modality = ['text']
modality_processing.get_target_modalities.target_modality = ['image']
"""
RUN = f"""
include 'small.gin'
include 't5x/configs/runs/pretrain.gin'
MIXTURE_OR_TASK_NAME = '{TASK}'
TRAIN_STEPS = 2
BATCH_SIZE = 2
EVAL_PERIOD = 0
DROPOUT_RATE = 0.0
RANDOM_SEED = 0
OPTIMIZER = @optimizers.adamw()
TASK_FEATURE_LENGTHS_TRAIN = {{'text_inputs': 32, 'text_targets': 4}}
TASK_FEATURE_LENGTHS_EVAL = %TASK_FEATURE_LENGTHS_TRAIN
train/input_pipeline.DatasetConfig.shuffle = False
train_script.train:
  stats_period = 1
  train_eval_dataset_cfg = None
"""


def losses(folder):
  rows = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
  return [row['values']['image/loss'] for row in rows if row['collection'] == 'train']


@pytest.mark.slow
@pytest.mark.e2e
def test_a_tokenized_task_trains_as_its_pictures_without_the_tokenizer(tmp_path):
  tiny_world.build(tmp_path)
  (tmp_path / 'small.gin').write_text(SMALL)
  (tmp_path / 'run.gin').write_text(RUN + CHOICE)

  def command(script, *args):
    done = commands.run([str(commands.ROOT / script), *args, '--tfds_data_dir=tfds'], tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stderr

  train = ('t5x/train.py', '--gin_file=run.gin')
  pixels = (*train, "--gin.MODEL_DIR='pixels'", "--gin.train.allow_random_frozen=('image_vqgan',)")
  command(*pixels)
  tokenize = (
    't5x/examples/unified_io/scripts/tokenize_dataset.py', TASK, 'tfds', '--gin_file=small.gin',
    '--gin_file=t5x/configs/runs/tokenize.gin', "--gin.CHECKPOINT_PATH='pixels/checkpoint_2'",
    "--gin.TASK_FEATURE_LENGTHS={'text_inputs': 32, 'text_targets': 4}",
    "--gin.get_input_modalities.input_modality=['text']", '--gin.BATCH_SIZE=2',
  )  # fmt: skip
  assert 'is complete: ' in command(*tokenize)
  command(
    *train, "--gin.MODEL_DIR='codes'", f"--gin.MIXTURE_OR_TASK_NAME='{TASK}_tokenized'",
    "--gin.get_target_modalities.use_codes=['image']",
  )  # fmt: skip
  assert 'image_vqgan' in (tmp_path / 'pixels' / 'model-info.txt').read_text()
  assert 'image_vqgan' not in (tmp_path / 'codes' / 'model-info.txt').read_text()
  assert losses(tmp_path / 'codes') == pytest.approx(losses(tmp_path / 'pixels'), rel=1e-4)
