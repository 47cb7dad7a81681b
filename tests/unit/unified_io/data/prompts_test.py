"""Choosing prompts and filling their slots."""

import json

import gin
import pytest
import tensorflow as tf

from t5x.examples.unified_io.data import prompt_dict, prompt_slots, prompts

SEED = tf.constant([0, 1])
DICTIONARY = {
  'task': {'original': ['t1', 't2'], 'manual': ['t3'], 'revised_original': ['t4']},
  'data': {'original': ['d1'], 'gpt3': ['d2']},
}


@pytest.mark.parametrize(
  ('flags', 'wanted'),
  [
    ({}, ['t1', 't2', 'd1', 't3', 'd2']),
    ({'revised_original_flag': True}, ['t4', 'd1', 't3', 'd2']),
    ({'original_flag': False, 'gpt3_flag': False}, ['t3']),
    ({'single_prompt': True}, ['t1']),
    ({'dbg': 'x'}, ['x']),
  ],
)
def test_prompts_of_task_and_dataset_are_joined_kind_by_kind(flags, wanted):
  assert prompts.Prompt(**flags).get_prompt_list('task', 'data', DICTIONARY) == wanted


def test_a_misspelt_family_is_refused_with_the_near_names():
  with pytest.raises(ValueError, match=r"did you mean one of .*'Refexp'"):
    prompts.Prompt().get_prompt_list('Refexpp')


def test_gin_chooses_the_prompts_of_all_tasks():
  with gin.unlock_config():
    gin.parse_config('Prompt.single_prompt = True')
  try:
    assert len(prompts.Prompt().get_prompt_list('Refexp')) == 1
  finally:
    gin.clear_config()


def test_values_are_taken_as_they_are():
  filled = prompt_slots.fill('{a} and {b}', {'a': r'{b} \1', 'b': '{a}'})
  assert filled.numpy().decode() == r'{b} \1 and {a}'


@pytest.mark.parametrize('prompt', ['no slot', '{a} {a}'])
def test_a_slot_must_stand_once(prompt):
  with pytest.raises(ValueError, match=r'must hold the slot \{a\} once'):
    prompt_slots.fill(prompt, {'a': 'x'})
  assert prompt_slots.fill(prompt, {'a': 'x'}, allow_missing=True).numpy().decode() == prompt


def test_slots_may_stand_in_another_order_in_each_prompt():
  family = ['{a} then {b}', 'first {b}, last {a}.']
  seen = {
    prompt_slots.fill_one_of(family, tf.constant([i, 0]), {'a': 'A', 'b': tf.constant('B')}).numpy()
    for i in range(20)
  }
  assert seen == {b'A then B', b'first B, last A.'}


def test_prompts_without_slots_need_no_values():
  assert prompt_slots.fill_one_of(['say it'], SEED).numpy() == b'say it'


def test_every_prompt_is_drawn_about_as_often():
  drawn = [
    int(prompt_slots.fill_one_of(list('0123'), tf.constant([i, 5])).numpy()) for i in range(400)
  ]
  assert all(70 < drawn.count(i) < 130 for i in range(4))


def test_all_prompts_of_a_family_need_the_same_slots():
  assert prompt_slots.check_slots(['{a} {}', '{} {a}']) == {'a', ''}
  with pytest.raises(ValueError, match=r"has the slots \['b'\]"):
    prompt_slots.check_slots(['{a}', '{b}'])
  with pytest.raises(ValueError, match='must stand in it once'):
    prompt_slots.check_slots(['{a} {a}'])


def test_evaluation_may_ask_in_the_words_of_the_first_prompt():
  every = prompts.for_task('Refexp', is_training=False)
  assert every == prompts.for_task('Refexp') == prompts.Prompt().get_prompt_list('Refexp')
  with gin.unlock_config():
    gin.parse_config('Prompt.draw_in_evaluation = False')
  try:
    assert prompts.for_task('Refexp', is_training=False) == every[:1]
    assert prompts.for_task('Refexp') == every
  finally:
    gin.clear_config()


# ---- Files of a user -----------------------------------------------------------------------------
@pytest.fixture
def write(tmp_path):
  """A function that writes a prompt file and gives its path."""

  def write_file(content, name='mine.json'):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)

  return write_file


def test_a_family_of_a_file_stands_in_place_of_ours(write):
  file = write({'Refexp': {'manual': ['Seek {}', 'Spot {}']}, 'Mine': {'manual': ['Say it']}})
  prompt = prompts.Prompt(files=(file,))
  assert prompt.get_prompt_list('Refexp') == ['Seek {}', 'Spot {}']
  assert prompt.get_prompt_list('Mine') == ['Say it']
  ours = prompts.Prompt()
  assert prompt.get_prompt_list('VQA_short_prompt') == ours.get_prompt_list('VQA_short_prompt')


def test_of_several_files_the_last_wins(write):
  files = [write({'Mine': {'manual': [word]}}, f'{word}.json') for word in ('first', 'last')]
  assert prompts.Prompt(files=files).get_prompt_list('Mine') == ['last']


def test_an_empty_family_takes_ours_away(write):
  prompt = prompts.Prompt(files=write({'Image_Captioning': {}}))
  found = prompt.get_prompt_list('Image_Captioning', 'image_caption_coco_2017')
  assert found == prompts.Prompt().get_prompt_list('image_caption_coco_2017')


def test_gin_and_the_environment_name_files_and_gin_goes_first(write, monkeypatch):
  by_variable, by_gin = (
    write({'Mine': {'manual': [word]}}, f'{word}.json') for word in ('variable', 'gin')
  )
  monkeypatch.setenv(prompt_dict.ENVIRONMENT_VARIABLE, by_variable)
  assert prompts.for_task('Mine') == ['variable']
  with gin.unlock_config():
    gin.parse_config(f"Prompt.files = ['{by_gin}']")
  try:
    assert prompts.for_task('Mine') == ['gin']
  finally:
    gin.clear_config()


def test_the_active_set_names_its_files(write):
  file = write({'Refexp': {'manual': ['Seek {}']}, 'Mine': {}})
  assert prompts.Prompt().active_set().origin == 'prompts.json (12 families)'
  told = prompts.Prompt(files=[file]).active_set().origin
  assert told == f'prompts.json (12 families) + {file} (2 families, in place of 1)'


@pytest.mark.parametrize(
  ('content', 'words'),
  [
    ('{', 'mine.json is no JSON'),
    ([], 'not a list'),
    ({'Refexp': ['Seek {}']}, r"family 'Refexp' must be \{kind: \[prompt"),
    ({'Refexp': {'manuel': []}}, r"kind 'manuel', which nobody reads; did you mean \['manual'\]"),
    ({'Refexp': {'manual': 'Seek {}'}}, "'Refexp', manual must be a list"),
    ({'Refexp': {'manual': ['Seek it']}}, r"'Seek it' must hold each of the slots \['\{\}'\] once"),
    ({'refcoco_unc': {'manual': ['{} {}']}}, r"it has \['\{\}', '\{\}'\]"),
    ({'NLP Instruction': {'gpt3': ['{context} {instruction}']}}, r"\['\{instruction\}'\] once"),
    ({'Refexp': {'manual': [['Seek {}']]}}, 'is no text'),
    ({'Mine': {'manual': [3]}}, '3 is no text'),
  ],
)
def test_a_wrong_file_is_refused_with_the_place_and_what_was_wanted(content, words, write):
  with pytest.raises(ValueError, match=words):
    prompts.Prompt(files=[write(content)]).get_prompt_list('Refexp')


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'gone\.json \(asked for by Prompt\.files'):
    prompts.Prompt(files=[str(tmp_path / 'gone.json')]).get_prompt_list('Refexp')
