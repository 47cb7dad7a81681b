"""docs/own_data.md: its worked example word for word, and its tables against the code."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from t5x.examples.unified_io.data.own import files, rows
from tests.e2e import commands

PAGE = (commands.ROOT / 'docs' / 'own_data.md').read_text(encoding='utf-8')


def section(title: str) -> str:
  """The text below a heading, up to the next one."""
  return re.split(r'^## ', PAGE.split(f'\n## {title}', 1)[1], flags=re.MULTILINE)[0]


def first_column(text: str) -> list[str]:
  return re.findall(r'^\| `(\w+)` \|', text, re.MULTILINE)


def test_the_page_has_every_field_and_no_other():
  assert sorted(first_column(section('Fields').split('**Metrics.**')[0])) == sorted(rows.FIELDS)


def test_the_page_has_every_metric():
  table = section('Fields').split('**Metrics.**')[1]
  assert sorted(re.findall(r'^\| [^|]+ \| `(\w+)` \|', table, re.MULTILINE)) == sorted(rows.METRICS)


def test_the_rows_that_the_page_shows_are_rows():
  (block,) = re.findall(r'```json\n(.*?)```', PAGE, re.DOTALL)
  for line in block.splitlines():
    assert rows.parse(json.loads(line), '/data').has_target


WITHOUT_DATA = (
  '--gin.DATA=None',
  """--gin.INPUT_MODALITIES='["text", "image"]'""",
  """--gin.TARGET_MODALITIES='["text"]'""",
)


# ---- Executed ------------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def workplace(tmp_path_factory) -> pathlib.Path:
  """A folder in which the commands find the repository's folders, and may write."""
  folder = tmp_path_factory.mktemp('workplace')
  for name in ('t5x', 'create_data'):
    (folder / name).symlink_to(commands.ROOT / name)
  (folder / 'bin').mkdir()
  (folder / 'bin' / 'python3').write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
  (folder / 'bin' / 'python3').chmod(0o755)
  return folder


def run(block: str, folder: pathlib.Path) -> str:
  """Runs shell commands as a user would; returns what they printed."""
  inherited = {k: v for k, v in os.environ.items() if not k.startswith('JAX_')}
  environment = {
    'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(commands.ROOT),
    'PATH': f'{folder}/bin:{os.environ["PATH"]}', files.ENVIRONMENT_VARIABLE: str(folder / 'cache'),
  }  # fmt: skip
  done = subprocess.run(
    ['sh', '-e', '-c', block], cwd=folder, env={**inherited, **environment}, check=False,
    capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.mark.slow
@pytest.mark.e2e
def test_the_worked_example_runs_word_for_word(workplace):
  make, train, evaluate, ask = re.findall(r'```sh\n(.*?)```', section('A worked'), re.DOTALL)
  assert [
    rows.parse(json.loads(line), '/').has_target for line in run(make, workplace).splitlines()
  ]
  run(train, workplace)
  written = (workplace / 'runs/photographs/metrics.jsonl').read_text(encoding='utf-8')
  lines = [json.loads(line) for line in written.splitlines()]
  losses = [line['values'].get('loss') for line in lines if line['collection'] == 'train']
  losses = [loss for loss in losses if loss is not None]
  assert losses[-1] < losses[0] - 1
  assert set(json.loads(run(evaluate, workplace))) == {
    'step', 'refexp_acc', 'refexp_iou', 'vqa', 'exact_match', 'cider',
  }  # fmt: skip
  answer = json.loads(run(ask, workplace))
  assert answer['input'] == '[Text] [S] What is this?'
  assert answer['meta']['meta/number'] == 1
  (look,) = re.findall(r'```sh\n(.*?)```', section('Look at it'), re.DOTALL)
  run(look, workplace)
  page = workplace / 'runs/photographs/shown/own.photographs.html'
  assert page.read_text(encoding='utf-8').count('data:image/jpeg') >= 5
  assert all(option in PAGE for option in WITHOUT_DATA)
  (workplace / 'runs/photographs.jsonl').unlink()
  command = ask.split('\ncat')[0].replace('answers"', 'again"')
  run(' '.join([command, *WITHOUT_DATA]), workplace)
  folder = workplace / 'runs/photographs'
  first, again = (folder / f / 'own.questions-100.jsonl' for f in ('answers', 'again'))
  assert first.read_text(encoding='utf-8') == again.read_text(encoding='utf-8')


@pytest.mark.slow
@pytest.mark.e2e
def test_bad_rows_end_the_command_or_are_skipped(workplace):
  (workplace / 'bad.jsonl').write_text(
    ''.join(f'{{"text": "{i}?", "answers": "{i}"}}\n' for i in range(8)) + '{"txt": "x"}\n'
  )
  command = (
    'python3 t5x/train.py --gin_file=t5x/examples/unified_io/t5_1_1/tiny.gin '
    '--gin_file=t5x/examples/unified_io/t5_1_1/finetune/jsonl.gin '
    """--gin.DATA='"bad.jsonl"' --gin.MODEL_DIR='"bad"' --gin.HELD_OUT=0.2 """
    '--gin.STEPS=1 --gin.EVAL_PERIOD=1'
  )
  with pytest.raises(AssertionError, match=r"line 9: unknown field 'txt'; did you mean text?"):
    run(command, workplace)
  assert not (workplace / 'bad').exists()
  run(f'{command} --skip_bad_rows', workplace)
  assert (workplace / 'bad' / 'checkpoint_1').is_dir()
