"""All prompts that we ship: enough of them, each with the slots of its family, none twice."""

import itertools
import json

import pytest

from t5x.examples.unified_io.data import prompt_dict, prompt_slots, prompts

OURS = json.loads(prompt_dict.PATH.read_text(encoding='utf-8'))
SLOTS = {family: prompt_dict.SLOTS[family] for family in OURS}  # all of them belong to a task
FEW = ('image_caption_coco_2017', 'image_generation_coco_2017', 'Unconditional_Image')


def all_of(family):
  return list(itertools.chain(*OURS[family].values()))


def test_our_own_file_passes_the_check_of_files():
  assert prompt_dict.read(str(prompt_dict.PATH)) == OURS


@pytest.mark.parametrize('family', SLOTS)
def test_all_prompts_of_a_family_have_its_slots(family):
  assert prompt_slots.check_slots(all_of(family)) == SLOTS[family]


@pytest.mark.parametrize('family', SLOTS)
def test_no_prompt_stands_twice(family):
  found = all_of(family)
  assert len(set(found)) == len(found)
  assert all(prompt == prompt.strip() for prompt in found)


@pytest.mark.parametrize('family', sorted(set(SLOTS) - set(FEW)))
def test_there_are_several_prompts(family):
  assert len(all_of(family)) >= 8


@pytest.mark.parametrize('family', SLOTS)
def test_kinds_of_prompts_are_those_that_are_read(family):
  assert set(OURS[family]) <= set(prompt_dict.KINDS)


@pytest.mark.parametrize('family', ['Box_Classification_Scene', 'Image_Inpainting'])
def test_location_pieces_start_a_word(family):
  # A piece that touches the word before it would fall apart into letters.
  for prompt in all_of(family):
    before = prompt.split('{}')[0]
    assert not before or before.endswith(' '), prompt


def test_the_mark_of_truncation_keeps_the_instruction():
  marked = [p for p in all_of('NLP Instruction Context') if prompts.TRUNCATE_MARKER in p]
  assert len(marked) > len(all_of('NLP Instruction Context')) / 2
  for prompt in marked:
    before, after = prompt.split(prompts.TRUNCATE_MARKER)
    assert '{context}' in before
    assert '{instruction}' in after
