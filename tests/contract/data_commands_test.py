"""Every build command of create_data/README.md is one that its script understands."""

import importlib
import pathlib
import re
import shlex

import pytest

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / 'create_data' / 'README.md').read_text(encoding='utf-8')
COMMANDS = re.findall(r'^ +python (create_data/tfdatasets/\S+/build\.py .*)$', README, re.M)


def test_every_build_is_shown():
  scripts = {path.relative_to(ROOT).as_posix() for path in ROOT.glob('create_data/**/build.py')}
  assert {command.split()[0] for command in COMMANDS} == scripts


@pytest.mark.parametrize('command', COMMANDS)
def test_a_build_command_is_understood(command, monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  script, *arguments = shlex.split(command)
  module = importlib.import_module(script.removesuffix('.py').replace('/', '.'))
  with pytest.raises(SystemExit, match=r'SHA256SUMS does not exist; build the dataset first'):
    module.main([*arguments, '--verify'])
