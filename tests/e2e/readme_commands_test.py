"""Every command of the README: parsed with --dry_run here, executed where the test is slow."""

import json
import os
import pathlib
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from sentencepiece import sentencepiece_model_pb2 as proto

from t5x import legacy_checkpoints, state_transforms
from t5x.examples.unified_io import config, utils
from t5x.examples.unified_io.interop import legacy_names
from tests.e2e import commands
from tests.testdata import tiny_world

COMMANDS = commands.of_readme()
# Few rows of a batch are padding; equal numbers on any number of devices.
SMALL = ('--gin.BATCH_SIZE=8', "--gin.model_config.dtype='float32'")
MODALITIES = (['image', 'text'], ['text'])
PARAMETERS = 'Total number of parameters: 831,724,800'


def test_the_readme_trains_evaluates_and_predicts():
  assert sorted(COMMANDS) == ['eval', 'infer', 'train']


@pytest.mark.parametrize('name', COMMANDS)
@pytest.mark.parametrize('elsewhere', [False, True])
def test_a_command_of_the_readme_parses_from_any_folder(
  name, elsewhere, monkeypatch, tmp_path, capsys
):
  monkeypatch.chdir(tmp_path if elsewhere else commands.ROOT)
  assert commands.call(monkeypatch, name, *COMMANDS[name], '--dry_run') == 0
  printed = capsys.readouterr().out
  assert PARAMETERS in printed
  assert 'inputs/image/input' in printed
  assert "config.model_config.size = 'large'" in printed


def test_the_command_on_own_data_parses(monkeypatch, tmp_path, capsys):
  args = next(filter(commands.on_own_data, commands.lines_of_readme()))
  rows = (f'{{"text": "{n} and one?", "target": "{n + 1}"}}\n' for n in range(40))
  (tmp_path / 'my.jsonl').write_text(''.join(rows))
  monkeypatch.chdir(tmp_path)
  assert commands.call(monkeypatch, 'train', *args[2:], '--dry_run') == 0
  assert "config.model_config.size = 'tiny'" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  args = [a.replace('/path/to/output', 'output') for a in COMMANDS['eval']]
  assert commands.call(monkeypatch, 'eval', *args, '--dry_run') == 0
  assert not list(tmp_path.iterdir())


# ---- Executed ------------------------------------------------------------------------------------
def filled_tokenizer(path: pathlib.Path) -> None:
  """The embedded tokenizer with as many pieces as the released weights expect."""
  model = proto.ModelProto.FromString(pathlib.Path(config.EMBEDDED_TOKENIZER_PATH).read_bytes())
  for i in range(config.RELEASED_BASE_PIECES - len(model.pieces)):
    model.pieces.add(piece=f'filling {i}', score=-1e6, type=proto.ModelProto.SentencePiece.UNUSED)
  path.write_bytes(model.SerializeToString())


@pytest.fixture(scope='module')
def workshop(tmp_path_factory):
  """A folder with data, a filled tokenizer and a T5X checkpoint of the tiny model."""
  folder = tmp_path_factory.mktemp('workshop')
  tiny_world.build(folder)
  filled_tokenizer(folder / 'tokenizer.model')
  model = utils.get_model('tiny', *MODALITIES)
  params, _ = utils.get_parameters(model, rng=jax.random.key(1))
  flat = legacy_names.tree_to_legacy(
    jax.tree.map(np.asarray, params), model.module.config, ['image', 'text']
  )
  legacy_checkpoints.save_t5x_checkpoint(folder / 'tiny-3m', flat, step=3_000_000)
  return folder


def evaluated(folder: pathlib.Path) -> tuple[dict, list[str]]:
  """Metrics and predicted texts of one evaluation."""
  results = folder / 'inference_eval'
  metrics = json.loads((results / 'refcoco_unc-metrics.jsonl').read_text())
  rows = (results / 'refcoco_unc-3000000.jsonl').read_text().splitlines()
  return metrics, [json.loads(row)['prediction'] for row in rows]


@pytest.mark.slow
@pytest.mark.e2e
def test_the_eval_command_runs_on_a_t5x_checkpoint_with_relative_paths_on_1_and_8_devices(workshop):
  here = os.path.relpath(workshop, commands.ROOT)
  given = {
    '/path/to/checkpoint': f'{here}/tiny-3m',
    f'{commands.UIO}/large.gin': f'{commands.UIO}/tiny.gin',
  }
  results = []
  for devices in ('1', '8'):
    args = COMMANDS['eval']
    for old, new in {**given, '/path/to/output': f'{here}/out{devices}'}.items():
      args = [arg.replace(old, new) for arg in args]
    done = commands.run(
      ['t5x/eval.py', *args, f'--tfds_data_dir={here}/tfds', *SMALL],
      JAX_NUM_CPU_DEVICES=devices,
      UIO2_TOKENIZER=str(workshop / 'tokenizer.model'),
    )
    assert done.returncode == 0, done.stderr
    results.append(evaluated(workshop / f'out{devices}'))
  (metrics, texts), (metrics_of_8, texts_of_8) = results
  assert len(texts) >= 4
  assert texts == texts_of_8
  assert metrics == metrics_of_8
  assert {'step', 'acc', 'iou'} <= set(metrics)


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.filterwarnings('ignore:Sharding info not provided')  # it is read from the checkpoint
def test_own_data_start_from_a_t5x_checkpoint_and_leave_its_frozen_parts_as_they_are(workshop):
  (args,) = [
    words[2:]
    for words in filter(commands.on_own_data, commands.lines_of_readme())
    if any('INITIAL_CHECKPOINT_PATH' in word for word in words)
  ]
  picture = os.path.join(commands.ROOT, 'create_data/demo_world/photographs/cat.jpg')
  rows = [{'text': f'{i}?', 'answers': f'{i}', 'image': picture} for i in range(4)]
  rows += [{'text': f'{i}?', 'answers': f'{i}'} for i in range(9)]
  (workshop / 'my.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  args = [a.replace('large.gin', 'tiny.gin').replace('/path/to/large-3m', 'tiny-3m') for a in args]
  done = commands.run(
    [os.path.join(commands.ROOT, 't5x/train.py'), *args, '--gin.STEPS=1', '--gin.EVAL_STEPS=1',
     '--gin.image_sizes.input=(64, 64)', *SMALL], workshop,
    UIO2_TOKENIZER=str(workshop / 'tokenizer.model'), PYTHONPATH=str(commands.ROOT),
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  saved = ocp.PyTreeCheckpointer().restore(workshop / 'out' / 'checkpoint_3000001' / 'state')
  assert saved['state']['step'] == 3_000_001
  before, _ = utils.get_parameters(utils.get_model('tiny', *MODALITIES), rng=jax.random.key(1))
  before, after = (state_transforms.flatten(tree) for tree in (before, saved['target']))
  changed = {name for name in before if not np.array_equal(before[name], after[name])}
  assert any('image_vit' in name for name in before)
  assert changed
  assert not any('image_vit' in name for name in changed)


@pytest.mark.slow
@pytest.mark.e2e
def test_a_t5x_checkpoint_is_refused_with_a_tokenizer_of_another_size(workshop):
  args = [arg.replace('large.gin', 'tiny.gin') for arg in COMMANDS['eval']]
  args = [arg.replace('/path/to/checkpoint', f'{workshop}/tiny-3m') for arg in args]
  args = [arg.replace('/path/to/output', f'{workshop}/refused') for arg in args]
  done = commands.run(['t5x/eval.py', *args, f'--tfds_data_dir={workshop}/tfds'])
  assert done.returncode == 2
  assert 'needs a tokenizer of 32000 pieces' in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.e2e
def test_installed_commands_parse_from_elsewhere(tmp_path):
  # What `pip install .` copies: the packages with their data files, and no repository around them.
  installed = tmp_path / 'site'
  done = commands.run(
    ['-m', 'pip', 'install', '-q', '--no-deps', '--no-build-isolation', '--target', str(installed),
     str(shutil.copytree(commands.ROOT, tmp_path / 'source', ignore=shutil.ignore_patterns(
       '.venv', '.git', '*.egg-info', 'build')))],
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  elsewhere = tmp_path / 'elsewhere'
  elsewhere.mkdir()
  for name, args in COMMANDS.items():
    done = commands.run(
      ['-m', f't5x.{name}', *args, '--dry_run'], elsewhere, PYTHONPATH=str(installed)
    )
    assert done.returncode == 0, done.stderr
    assert PARAMETERS in done.stdout
