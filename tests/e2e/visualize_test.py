"""The visualiser's documented commands, and one example of every released task, from built data."""

import json
import re
import shlex

import gin
import pytest
import seqio

from create_data.tfdatasets.alpaca import build as alpaca
from create_data.tfdatasets.dolly import build as dolly
from create_data.tfdatasets.flan import build as flan
from create_data.tfdatasets.refcoco import build as refcoco
from t5x.examples.unified_io.scripts import dataset_visualize
from tests.contract import tasks_test
from tests.e2e import commands
from tests.testdata import tiny_world
from tests.unit.unified_io.scripts import import_prompts_test

# TFDS asks protobuf in an outdated way.
pytestmark = [
  pytest.mark.slow,
  pytest.mark.e2e,
  pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning'),
]
ROWS = 2010  # a task on text holds 2000 rows out
TEXT_ROW = {
  'inputs': 'Two and two?', 'targets': 'four', 'task_source': 'x', 'task_name': 'x',
  'template_type': 'x', 'instruction': 'Count the cats.', 'context': 'A cat.', 'input': 'A cat.',
  'response': 'one', 'output': 'one',
}  # fmt: skip


def documented():
  """The commands of the README and of docs/data.md that run one of the scripts here."""
  text = (commands.ROOT / 'docs' / 'data.md').read_text(encoding='utf-8')
  blocks = re.findall(r'```sh\n(.*?)```', text, re.DOTALL)
  lines = [shlex.split(block.replace('\\\n', ' ')) for block in blocks]
  lines += commands.lines_of_readme()
  return [line[1:] for line in lines if 'dataset_visualize' in str(line) or 'import_' in str(line)]


@pytest.fixture(scope='module')
def tfds_root(tmp_path_factory):
  """All released datasets, small, built by their own scripts."""
  folder = tmp_path_factory.mktemp('data')
  root, world = tiny_world.build(folder), folder / 'world'
  refs = world / 'refcoco' / 'refs(unc).json'
  refs.with_name('refs(google).json').write_bytes(refs.read_bytes())
  for dataset, partition in (('refcocoplus', 'unc'), ('refcocog', 'google')):
    refcoco.build(
      root, world / 'refcoco', world / 'coco', splits=tiny_world.SPLITS, dataset=dataset,
      partition=partition,
    )  # fmt: skip
  source = folder / 'rows.jsonl'
  source.write_text((json.dumps(TEXT_ROW) + '\n') * ROWS)
  for dataset in (alpaca.DATASET, dolly.DATASET, *map(flan.dataset, flan.KINDS)):
    dataset.build(root, source)
  return root


def test_the_docs_show_how_to_look_and_how_to_import():
  scripts = {line[0] if line[0] != '-m' else line[1] for line in documented()}
  assert scripts == {
    't5x/examples/unified_io/scripts/dataset_visualize.py',
    't5x.examples.unified_io.scripts.import_prompts',
  }


@pytest.mark.parametrize('command', documented(), ids=lambda command: command[1])
def test_documented_commands_run(command, tfds_root, tmp_path):
  checkout = tmp_path / 'original'
  module = checkout / import_prompts_test.import_prompts.PLACE
  module.parent.mkdir(parents=True)
  module.write_text(import_prompts_test.MODULE)
  places = {
    'OUTPUT_DIR': str(tmp_path / 'out'),
    'ORIGINAL_CHECKOUT': str(checkout),
    'prompts_of_the_original.json': str(tmp_path / 'out' / 'prompts.json'),
  }
  args = [places.get(arg, arg) for arg in command]
  if 'import_prompts' not in str(command):
    args.append(f'--tfds_data_dir={tfds_root}')
  done = commands.run(args)
  assert done.returncode == 0, done.stderr
  if 'import_prompts' in str(command):
    assert 'Refexp' in json.loads((tmp_path / 'out' / 'prompts.json').read_text())
    return
  index = (tmp_path / 'out' / 'index.html').read_text()
  pages = re.findall('href="(.*?)"', index)
  assert pages
  for page in pages:
    shown = (tmp_path / 'out' / page).read_text()
    assert shown.count('<tr><td class="number">') >= 2
    assert 'class="bad"' not in shown


def test_every_released_task_shows_an_example(tfds_root, tmp_path):
  names = sorted(tasks_test.RELEASED)
  for name in names:
    gin.clear_config()
    dataset_visualize.main(
      [name, str(tmp_path), '--eval', '--split=validation', '--num_examples=1', '--noshuffle',
       f'--tfds_data_dir={tfds_root}']
    )  # fmt: skip
  seqio.set_tfds_data_dir_override(None)
  index = (tmp_path / 'index.html').read_text()
  assert re.findall('href="(.*?).html"', index) == names
  assert index.count('1 examples') == len(names)
  for name in names:
    page = (tmp_path / f'{name}.html').read_text()
    assert 'class="bad"' not in page
    assert '<p>[Text] [S]' in page or '<p>[Image] [S]' in page
    is_text = tasks_test.dataset_of(seqio.TaskRegistry.get(name)) in tasks_test.TEXT_ALONE
    assert ('<img' in page) != is_text
