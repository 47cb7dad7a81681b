"""Reading a table of prompts from a module's text, without running it."""

import json
import textwrap

import pytest

from t5x.examples.unified_io.data import prompt_dict, prompts
from t5x.examples.unified_io.scripts import import_prompts

# The form of the original's module, in sentences of our own.
MODULE = """
from collections import defaultdict
import elsewhere

raise SystemExit('this module is read, never run')

MARK = '[TR]'
UNCONDITIONAL_LIST = ['Any picture will do.']
SHARED = ['Tell me about {}', 'What of ' + '{}?']

PROMPT_DICT = defaultdict(
  lambda: {'original': [], 'manual': [], 'gpt3': [], 'template': []},
  {
    'Refexp': {
      'original': ['Seek {}'], 'manual': SHARED + ["Find '{}'"], 'gpt3': [], 'template': [],
    },
    'NLP Instruction Context': {'original': ['{context} ' + MARK + ' {instruction}']},
    'image_generation_coco_2017': {'original': ['Draw {}'], 'gpt': ['Colour {}', 'Ink {}']},
    'Pairs': {'manual': [['which {a}', 'this {a}'], ('which {b}', 'that {b}')]},
    'Odd': {'original': ['{x}', '{y}'], 'revised_original': ['{x} and {y}']},
    'Bare list': ['one', 'two'],
  },
)
PROMPT_DICT['Late'] = {'manual': ['late']}
PROMPT_DICT.update({'Later': {'manual': ['later']}, 'Made': {'manual': [elsewhere.make()]}})
PROMPT_DICT['Late']['gpt3'] += ['later still']
"""


@pytest.fixture
def checkout(tmp_path):
  """A folder like the original's, and a function that writes its module."""
  path = tmp_path / 'checkout' / import_prompts.PLACE
  path.parent.mkdir(parents=True)

  def write(text=MODULE):
    path.write_text(textwrap.dedent(text), encoding='utf-8')
    return tmp_path / 'checkout'

  return write


@pytest.fixture
def imported(checkout, tmp_path, capsys):
  """(the file written, what was printed)."""
  out = tmp_path / 'new' / 'prompts.json'
  import_prompts.main([str(checkout()), str(out)])
  return out, capsys.readouterr().out


def test_families_keep_their_kinds_and_sentences(imported):
  families = json.loads(imported[0].read_text(encoding='utf-8'))
  assert families['Refexp'] == {
    'original': ['Seek {}'],
    'manual': ['Tell me about {}', 'What of {}?', "Find '{}'"],
    'gpt3': [],
    'template': [],
  }
  assert families['NLP Instruction Context'] == {'original': ['{context} [TR] {instruction}']}
  assert families['Odd']['revised_original'] == ['{x} and {y}']
  assert families['Bare list'] == {'original': ['one', 'two']}
  assert families['Late'] == {'manual': ['late']}
  assert families['Later'] == {'manual': ['later']}


def test_prompts_of_several_sentences_stay_together(imported):
  families = json.loads(imported[0].read_text(encoding='utf-8'))
  assert families['Pairs']['manual'] == [['which {a}', 'this {a}'], ['which {b}', 'that {b}']]


def test_a_kind_that_nobody_reads_is_left_out_and_told(imported):
  out, printed = imported
  families = json.loads(out.read_text(encoding='utf-8'))
  assert families['image_generation_coco_2017'] == {'original': ['Draw {}']}
  assert "2 prompts of the kind 'gpt'" in printed


def test_the_written_file_serves_instead_of_ours_and_ours_elsewhere(imported, monkeypatch):
  out, printed = imported
  monkeypatch.setenv(prompt_dict.ENVIRONMENT_VARIABLE, str(out))
  assert f'{prompt_dict.ENVIRONMENT_VARIABLE}={out}' in printed
  assert prompts.for_task('Refexp')[0] == 'Seek {}'
  # The generic family of the original is empty: the dataset's own is all there is.
  assert prompts.for_task('Image_Generation', 'image_generation_coco_2017') == ['Draw {}']
  active = prompts.Prompt().active_set()
  assert active.families[prompts.UNCONDITIONAL_IMAGE] == {'original': ['Any picture will do.']}
  ours = json.loads(prompt_dict.PATH.read_text(encoding='utf-8'))
  assert active.families['VQA_short_prompt'] == ours['VQA_short_prompt']
  assert str(out) in active.origin


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('x = 1', 'has no table PROMPT_DICT of literals'),
    ('PROMPT_DICT = {**elsewhere.TABLE}', 'has no table PROMPT_DICT of literals'),
    ('PROMPT_DICT = {', 'line 1: no Python'),
    ("PROMPT_DICT = {'Refexp': {'manual': ['no slot']}}", r"each of the slots \['\{\}'\] once"),
  ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_place(text, words, checkout, tmp_path):
  out = tmp_path / 'out.json'
  with pytest.raises(SystemExit, match=words):
    import_prompts.main([str(checkout(text)), str(out)])
  assert not out.exists()


def test_what_is_no_literal_is_left_out_and_told(imported):
  out, printed = imported
  families = json.loads(out.read_text(encoding='utf-8'))
  assert 'Made' not in families
  assert families['Late'] == {'manual': ['late']}
  assert "'Made' (line " in printed
  assert "PROMPT_DICT['Late']['gpt3'] (line " in printed


def test_a_folder_without_the_table_is_named(tmp_path):
  with pytest.raises(SystemExit, match='give the folder that holds'):
    import_prompts.main([str(tmp_path), str(tmp_path / 'out.json')])
