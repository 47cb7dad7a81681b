"""What a user may type, and what is said where it cannot be."""

import os
import pathlib
import sys

from absl.testing import flagsaver
import gin
import pytest

from t5x import gin_utils
from t5x.bindings import UserError
from tests.unit.t5x import gin_stub

RUN = """
from __gin__ import dynamic_registration
from tests.unit.t5x import gin_stub as script

MODEL_DIR = %gin.REQUIRED
CHECKPOINT_PATH = None
STEPS = 3
script.train:
  config = @script.Config()
  total_steps = %STEPS
  model_dir = %MODEL_DIR
script.Config.path = %CHECKPOINT_PATH
"""


@pytest.fixture(autouse=True)
def fresh_gin(monkeypatch, tmp_path):
  """No configuration, no names but gin's own, no calls, and `run.gin` in the current folder."""
  gin.clear_config()
  own = {name: c for name, c in gin.config._REGISTRY.items() if name.startswith('gin.')}
  registry = type(gin.config._REGISTRY)()
  for name, configurable in own.items():
    registry[name] = configurable
  monkeypatch.setattr(gin.config, '_REGISTRY', registry)
  monkeypatch.setattr(gin.config, '_INVERSE_REGISTRY', {c.wrapped: c for c in own.values()})
  gin_stub.calls.clear()
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'run.gin').write_text(RUN)
  yield
  gin.clear_config()


def command(monkeypatch, *args, positional=()):
  """What a script that ends with `gin_utils.run(train)` does; returns its exit status."""
  monkeypatch.setattr(sys, 'argv', ['train.py', *args])
  gin_utils._define_flags()
  with flagsaver.flagsaver(), pytest.raises(SystemExit) as exit_:
    gin_utils.run(gin_stub.train, positional)
  return exit_.value.code


# ---- Arguments -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
  ('given', 'want'),
  [
    ('--gin.a/b.X=Y=Z', '--gin_bindings=a/b.X = Y=Z'),
    ('--gin.LIST=[1, 2]', '--gin_bindings=LIST = [1, 2]'),
    ('--gin_file=x.gin', '--gin_file=x.gin'),
    ('--ginx.A=1', '--ginx.A=1'),
    ('gin.A=1', 'gin.A=1'),
  ],
)
def test_a_gin_argument_is_split_at_its_first_equals_sign_and_others_are_left_alone(given, want):
  assert gin_utils.rewrite_gin_args([given]) == [want]


def test_a_gin_argument_without_a_value_is_refused_by_its_name():
  with pytest.raises(UserError, match=r'--gin\.STEPS has no value'):
    gin_utils.rewrite_gin_args(['--gin.STEPS'])


def test_words_without_dashes_set_the_macros_that_a_script_gives_them_to(monkeypatch, tmp_path):
  macros = ('CHECKPOINT_PATH', 'MODEL_DIR')
  assert not command(monkeypatch, 'here', 'there', '--gin_file=run.gin', positional=macros)
  assert gin_stub.calls[0]['model_dir'] == str(tmp_path / 'there')
  assert gin_stub.calls[0]['config'].path == str(tmp_path / 'here')


@pytest.mark.parametrize(
  ('words', 'sentence'),
  [
    ((), 'give CHECKPOINT_PATH and MODEL_DIR as words without dashes, in this order.'),
    (('a',), 'give MODEL_DIR as words'),
    (('a', 'b', 'c'), 'c is no option'),
  ],
)
def test_too_few_or_too_many_words_are_refused(words, sentence, monkeypatch, capsys):
  macros = ('CHECKPOINT_PATH', 'MODEL_DIR')
  assert command(monkeypatch, *words, '--gin_file=run.gin', positional=macros) == 2
  assert sentence in capsys.readouterr().err


@pytest.mark.parametrize('kept', ['gs://bucket/a', 's3://b/a', '/a/b', None, [], 3])
def test_absolute_paths_addresses_and_other_values_stay(kept):
  assert gin_utils.absolute_path(kept) == kept


def test_a_relative_path_is_seen_from_the_current_folder(tmp_path):
  assert gin_utils.absolute_path('a/b') == str(tmp_path / 'a' / 'b')
  assert gin_utils.absolute_path(['a', 'gs://b']) == [str(tmp_path / 'a'), 'gs://b']
  assert gin_utils.absolute_path('~/a') == os.path.expanduser('~/a')


# ---- Parsing -------------------------------------------------------------------------------------
def test_bindings_win_over_later_files_and_later_files_over_earlier(tmp_path):
  (tmp_path / 'later.gin').write_text('STEPS = 4\nCHECKPOINT_PATH = "c"')
  gin_utils.parse(['run.gin', 'later.gin'], ['MODEL_DIR = "m"', 'train.total_steps = 5'])
  got = gin.get_bindings(gin_stub.train)
  assert got['total_steps'] == 5
  assert gin.query_parameter('STEPS/gin.macro.value') == 4
  assert got['config'] == gin_stub.Config(path=str(tmp_path / 'c'))


def test_path_macros_become_absolute_and_the_rest_stays(tmp_path):
  gin_utils.parse(['run.gin'], ["MODEL_DIR = 'runs/x'", "CHECKPOINT_PATH = 'gs://b/c'"])
  got = gin.get_bindings(gin_stub.train)
  assert got['model_dir'] == str(tmp_path / 'runs' / 'x')
  assert got['config'].path == 'gs://b/c'


def test_the_configuration_is_locked_after_parsing():
  gin_utils.parse(['run.gin'], ['MODEL_DIR = "m"'])
  with pytest.raises(RuntimeError):
    gin.bind_parameter('train.total_steps', 1)


def test_a_file_is_looked_for_here_then_on_the_users_paths_then_in_the_repository(
  tmp_path, monkeypatch
):
  (tmp_path / 'mine' / 'sub').mkdir(parents=True)
  (tmp_path / 'mine' / 'sub' / 'a.gin').write_text('STEPS = 7\ninclude "sub/b.gin"')
  (tmp_path / 'mine' / 'sub' / 'b.gin').write_text('CHECKPOINT_PATH = "from_include"')
  monkeypatch.setattr(gin_utils, 'ROOT', tmp_path / 'installed')
  (tmp_path / 'installed' / 't5x').mkdir(parents=True)
  (tmp_path / 'installed' / 't5x' / 'c.gin').write_text('MODEL_DIR = "from_root"')
  gin_utils.parse(['run.gin', 'sub/a.gin', 't5x/c.gin'], (), [str(tmp_path / 'mine')])
  got = gin.get_bindings(gin_stub.train)
  assert (got['total_steps'], got['model_dir']) == (7, str(tmp_path / 'from_root'))
  assert got['config'].path == str(tmp_path / 'from_include')


def test_of_two_files_of_one_name_the_nearer_is_taken(tmp_path, monkeypatch):
  monkeypatch.setattr(gin_utils, 'ROOT', tmp_path / 'installed')
  for number, folder in enumerate(('', 'mine', 'installed')):
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / 'steps.gin').write_text(f'STEPS = {number}')
  for nearest in range(3):
    gin.clear_config()
    gin_utils.parse(['run.gin', 'steps.gin'], ["MODEL_DIR = 'm'"], [str(tmp_path / 'mine')])
    assert gin.get_bindings(gin_stub.train)['total_steps'] == nearest
    (tmp_path / ('', 'mine', 'installed')[nearest] / 'steps.gin').unlink()


@pytest.mark.parametrize(
  ('bindings', 'sentence'),
  [
    ([], 'MODEL_DIR must be given: add --gin.MODEL_DIR=...'),
    (['MODLE_DIR = "m"'], 'uses a macro MODLE_DIR; did you mean MODEL_DIR?'),
    (['trian.total_steps = 3'], 'no configurable trian; did you mean train'),
    (['train.total_step = 3'], 'train has no parameter total_step; did you mean total_steps?'),
    (['MODEL_DIR = /a/b'], '/a/b is no gin value for MODEL_DIR; a string needs quotes'),
    (['MODEL_DIR = "m"', 'DatasetConfig.seed = 1'], 'No gin file of this run uses DatasetConfig'),
    (['x/train.total_stepz = 1'], 'did you mean total_steps?'),
    (['MODEL_DIR = "m"', 'STEPS = %STEP'], '%STEP is used but never set; did you mean STEPS?'),
    (['MODEL_DIR = "m"', 'train.config = @Confg()'], 'no configurable Confg; did you mean Config'),
  ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence_with_the_near_names(bindings, sentence):
  with pytest.raises(UserError) as error:
    gin_utils.parse(['run.gin'], bindings)
  assert sentence in str(error.value)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('line', 'sentence'),
  [
    ('import no_such_module', "No module named 'no_such_module'"),
    ('other.x = 1', 'other is used without an import'),
    ('script.trian.x = 1', 'has no attribute trian'),
    ('include "none.gin"', 'Unable to open file: none.gin'),
    ('STEPS = [', 'EOF in multi-line statement'),
  ],
)
def test_an_error_in_a_file_names_the_file(tmp_path, line, sentence):
  (tmp_path / 'run.gin').write_text(RUN + line)
  with pytest.raises(UserError) as error:
    gin_utils.parse(['run.gin'])
  assert sentence in str(error.value)
  assert 'run.gin' in str(error.value)
  assert '\n' not in str(error.value)


def test_a_missing_gin_file_is_named_with_the_near_ones(tmp_path, monkeypatch):
  monkeypatch.setattr(gin_utils, 'ROOT', tmp_path)
  (tmp_path / 't5x').mkdir()
  (tmp_path / 't5x' / 'large.gin').write_text('')
  with pytest.raises(UserError, match=r'no gin file t5x/lagre.gin .* did you mean t5x/large.gin\?'):
    gin_utils.parse(['t5x/lagre.gin'])


# ---- Commands ------------------------------------------------------------------------------------
def test_a_command_calls_its_function_with_what_gin_supplies(monkeypatch, tmp_path):
  status = command(monkeypatch, '--gin_file=run.gin', '--gin.MODEL_DIR="m"', '--gin.STEPS=9')
  assert status in (None, 0)
  assert gin_stub.calls == [
    {'config': gin_stub.Config(), 'total_steps': 9, 'model_dir': str(tmp_path / 'm')}
  ]


def test_a_dry_run_prints_the_configuration_and_calls_nothing(monkeypatch, capsys):
  status = command(monkeypatch, '--gin_file=run.gin', '--gin.MODEL_DIR="m"', '--dry_run')
  assert status in (None, 0)
  assert not gin_stub.calls
  assert 'script.train.total_steps = %STEPS' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('args', 'sentence'),
  [
    (['--gin_file=run.gin'], 'MODEL_DIR must be given'),
    (['--gin_file=run.gin', '--gin.MODEL_DIR'], '--gin.MODEL_DIR has no value'),
    (['--gin_file=run.gin', '--gin.MODEL_DIR="m"', 'extra'], 'extra is no option'),
    (['--gin_file=run.gin', '--gin.MODEL_DIR="m"', '--gin.Config.width=-1'], 'width is -1'),
    (['--gin_file=nothing.gin'], 'no gin file nothing.gin'),
    (['--gin_file=half.gin'], 'No gin file gives train() its config'),
    (
      ['--gin_file=run.gin', '--multiprocess_gpu', '--process_count=2'],
      'needs --coordinator_address and --process_index too',
    ),
  ],
)  # fmt: skip
def test_a_command_that_cannot_be_ends_with_one_sentence_and_status_2(
  monkeypatch, capsys, tmp_path, args, sentence
):
  (tmp_path / 'half.gin').write_text(
    'from __gin__ import dynamic_registration\n'
    'from tests.unit.t5x import gin_stub as script\n'
    'script.train.total_steps = 1\n'
  )
  assert command(monkeypatch, *args) == 2
  assert not gin_stub.calls
  message = capsys.readouterr().err.strip()
  assert message.startswith('train.py: ')
  assert sentence in message
  assert '\n' not in message


def test_gin_files_of_the_repository_are_found_from_anywhere():
  assert (pathlib.Path(gin_utils.ROOT) / 't5x' / 'gin_utils.py').is_file()
