"""train, eval and infer as commands: what they refuse, and one run through all of them."""

import json
import os

import pytest

from tests.e2e import commands
from tests.testdata import tiny_world

# TFDS calls a protobuf function that its version of protobuf calls deprecated.
pytestmark = pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning')

QUICKSTART = f'--gin_file={commands.UIO}/finetune/quickstart.gin'
SIZE = f'--gin_file={commands.UIO}/tiny.gin'
REFEXP = f'--gin_file={commands.UIO}/finetune/refexp.gin'
VISION = f'--gin_file={commands.UIO}/eval/vision_language.gin'
GIVEN = {
  'train': (SIZE, REFEXP, "--gin.MODEL_DIR='model'", '--gin.INITIAL_CHECKPOINT_PATH=None'),
  'eval': (
    SIZE, VISION, "--gin.CHECKPOINT_PATH='model'", "--gin.EVAL_OUTPUT_DIR='out'",
    "--gin.MIXTURE_OR_TASK_NAME='refcoco_unc'",
  ),
  'infer': (
    SIZE, '--gin_file=t5x/configs/runs/infer.gin', "--gin.CHECKPOINT_PATH='model'",
    "--gin.INFER_OUTPUT_DIR='out'", "--gin.MIXTURE_OR_TASK_NAME='refcoco_unc'",
  ),
}  # fmt: skip


@pytest.fixture(scope='module')
def world(tmp_path_factory):
  """A folder with the data of a tiny world in `tfds`."""
  folder = tmp_path_factory.mktemp('world')
  tiny_world.build(folder)
  return folder


@pytest.mark.parametrize(
  ('name', 'args', 'sentence'),
  [
    ('train', ['--gin.trian.total_steps=5'], 'no configurable trian; did you mean train'),
    ('train', ['--gin.train.total_step=5'], 'no parameter total_step; did you mean total_steps'),
    ('train', ['--gin.MODEL_DIR=%gin.REQUIRED'], 'MODEL_DIR must be given'),
    ('train', ['--gin.MODEL_DRI="m"'], 'macro MODEL_DRI; did you mean MODEL_DIR'),
    ('train', ['--gin.MODEL_DIR=/tmp/m'], 'a string needs quotes that pass the shell'),
    ('train', ['--gin.model_config.size="lagre"'], "unknown model size 'lagre'; the sizes are"),
    (
      'train', ["--gin.MIXTURE_OR_TASK_NAME='refcoco_ucn'"],
      "no task or mixture 'refcoco_ucn'; did you mean one of ['refcoco_unc'",
    ),
    ('train', ["--gin.train/DatasetConfig.split='tran'"], 'has no split tran; did you mean train?'),
    ('train', ["--gin.INITIAL_CHECKPOINT_PATH='large-3m'"], 'large-3m does not exist'),
    ('train', ["--gin.get_input_modalities.input_modality=['imgae']"], "mean one of ['image'"),
    ('train', ['--gin_file=t5x/configs/runs/finetune.gni'], 'did you mean t5x/configs'),
    ('train', ["--gin.OPTIMIZER=@adam()"], 'no configurable adam'),
    ('train', [], "allow it with train.allow_random_frozen = ('image_vit',)"),
    ('eval', [], 'does not exist'),
    ('eval', ["--gin.SPLIT='tset'"], 'has no split tset; did you mean test?'),
    ('infer', [], 'does not exist'),
    ('infer', ["--gin.infer.describe=1"], 'no parameter describe; did you mean describe_row?'),
  ],
)  # fmt: skip
def test_what_cannot_be_ends_with_one_sentence_and_status_2_before_anything_is_written(
  name, args, sentence, world, monkeypatch, tmp_path, capfd
):
  monkeypatch.chdir(tmp_path)
  given = [*GIVEN[name], f'--tfds_data_dir={world}/tfds', *args]
  assert commands.call(monkeypatch, name, *given) == 2
  said = [line for line in capfd.readouterr().err.splitlines() if line.startswith(f'{name}.py: ')]
  assert len(said) == 1
  assert sentence in said[0]
  assert not list(tmp_path.iterdir())


def test_missing_data_are_refused_with_the_command_that_builds_them(monkeypatch, tmp_path, capfd):
  monkeypatch.chdir(tmp_path)
  assert commands.call(monkeypatch, 'train', *GIVEN['train'], '--tfds_data_dir=nothing') == 2
  said = capfd.readouterr().err
  assert 'create_data/tfdatasets/refcoco/build.py' in said
  assert str(tmp_path / 'nothing') in said


# ---- One run -------------------------------------------------------------------------------------
def command(world, name, *args):
  """Runs a command in `world`, which holds its relative paths; returns what it printed."""
  script = os.path.join(commands.ROOT, 't5x', f'{name}.py')
  done = commands.run([script, *args, '--tfds_data_dir=tfds'], world)
  assert done.returncode == 0, done.stderr
  return done.stderr


def json_lines(path):
  return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]


@pytest.mark.slow
@pytest.mark.e2e
def test_a_run_is_trained_resumed_evaluated_and_asked_with_relative_paths(world):
  train = (QUICKSTART, "--gin.MODEL_DIR='model'", '--gin.BATCH_SIZE=4', '--gin.EVAL_PERIOD=2',
           '--gin.EVAL_STEPS=1', '--gin.SaveCheckpointConfig.period=2')  # fmt: skip
  assert 'starting from scratch' in command(world, 'train', *train, '--gin.TRAIN_STEPS=2')
  assert 'Resuming this run from' in command(world, 'train', *train, '--gin.TRAIN_STEPS=4')
  assert (world / 'model' / 'checkpoint_4').is_dir()
  evaluation = f'--gin_file={commands.UIO}/eval/quickstart.gin'
  command(
    world, 'eval', QUICKSTART, evaluation, "--gin.CHECKPOINT_PATH='model'",
    "--gin.EVAL_OUTPUT_DIR='evaluated'",
  )  # fmt: skip
  results = world / 'evaluated' / 'inference_eval'
  (metrics,) = json_lines(results / 'refcoco_unc-metrics.jsonl')
  assert metrics['step'] == 4
  assert 0 <= metrics['iou'] <= 1
  evaluated = json_lines(results / 'refcoco_unc-000004.jsonl')

  asked = (
    QUICKSTART, '--gin_file=t5x/configs/runs/infer.gin', '--gin.MODEL_DIR=None',
    "--gin.CHECKPOINT_PATH='model/checkpoint_4'", "--gin.INFER_OUTPUT_DIR='asked'",
    "--gin.MIXTURE_OR_TASK_NAME='refcoco_unc'", '--gin.TEXT_DECODER_LENGTH=24',
    '--gin.TASK_FEATURE_LENGTHS=%TASK_FEATURE_LENGTHS_EVAL',
  )  # fmt: skip
  command(world, 'infer', *asked)
  rows = json_lines(world / 'asked' / 'refcoco_unc-4.jsonl')
  assert [row['index'] for row in rows] == list(range(len(evaluated)))
  assert [row['text'] for row in rows] == [row['prediction'] for row in evaluated]
  assert set(rows[0]) == {'index', 'input', 'text', 'score', 'boxes', 'meta'}
