"""A row's fields: what they mean together, and what is said about each fault."""

import contextlib
import math

import hypothesis
from hypothesis import strategies as st
import pytest

from t5x.examples.unified_io.data import prompts
from t5x.examples.unified_io.data.own import rows
from t5x.examples.unified_io.data.own.media import Media


def parse(**fields):
  return rows.parse(fields, '/data')


def faults(**fields):
  with pytest.raises(rows.RowError) as refused:
    parse(**fields)
  return refused.value.faults


def test_a_question_about_a_picture():
  row = parse(image='cat.jpg', text='What?', answers='a cat', id=7)
  assert row.media == {'image': Media(path='/data/cat.jpg')}
  assert (row.text, row.answers, row.family) == ('What?', ('a cat',), rows.AS_IS)
  assert (row.prefix, row.example_id, row.has_target) == (prompts.TEXT_OUTPUT, '7', True)


def test_null_is_no_field():
  assert parse(text='Hi', target='Ho', image=None, boxes=None) == parse(text='Hi', target='Ho')


def test_a_row_without_answer_has_no_target():
  row = parse(text='What?')
  assert (row.has_target, row.metric) == (False, '')


@pytest.mark.parametrize(
  ('box_format', 'box'),
  [('xyxy', [1, 2, 4, 6]), ('yxyx', [2, 1, 6, 4]), ('xywh', [1, 2, 3, 4])],
)
def test_boxes_of_all_formats_become_top_left_bottom_right(box_format, box):
  row = parse(image='c.jpg', text='the cat', boxes=[box], box_format=box_format)
  assert row.boxes == ((2, 1, 6, 4),)


def test_one_box_needs_no_list_around_it():
  assert parse(image='c.jpg', text='it', boxes=[1, 2, 3, 4]).boxes == ((2, 1, 4, 3),)


def test_boxes_that_no_text_names_are_the_answer_to_a_text():
  row = parse(image='c.jpg', text='the cat', boxes=[[1, 2, 3, 4]])
  assert row.answers == ('{boxes}',)
  assert row.metric == 'refexp'


def test_boxes_fill_a_prompt_where_there_is_no_text():
  row = parse(image='c.jpg', boxes=[[1, 2, 3, 4]], answers='cat')
  assert (row.text, row.family) == ('{boxes}', 'Box_Classification_Scene')


def test_a_picture_alone_is_captioned():
  row = parse(image='c.jpg', answers=['a cat', 'some cat'])
  assert (row.family, row.metric) == ('Image_Captioning', 'cider')


def test_a_picture_to_make_may_have_no_text():
  row = parse(image_target='c.jpg')
  assert (row.family, row.prefix, row.has_target) == ('Unconditional_Image', '[Image] [S] ', True)


def test_a_named_family_is_filled_with_the_text():
  assert parse(image='c.jpg', task='Refexp', text='it', boxes=[1, 2, 3, 4]).family == 'Refexp'


@pytest.mark.parametrize(
  ('fields', 'metric'),
  [
    ({'answers': 'cat'}, 'exact_match'),
    ({'answers': ['cat', 'kitten', 'animal']}, 'exact_match'),
    ({'answers': ['cat', 'cat', 'kitten']}, 'vqa'),
    ({'answers': ['cat', 'cat', 'kitten'], 'metric': 'cider'}, 'cider'),
    ({'boxes': [[1, 2, 3, 4], [1, 2, 3, 5]]}, 'localization'),
    ({'boxes': [[1, 2, 3, 4], [1, 2, 3, 5]], 'target': '{box1}'}, 'refexp'),
    ({'boxes': [[1, 2, 3, 4]], 'target': 'at {box0}'}, 'exact_match'),
  ],
)
def test_the_metric_suits_the_answer(fields, metric):
  assert parse(image='c.jpg', text='What?', **fields).metric == metric


def test_a_text_is_cut_at_its_boxes():
  assert rows.pieces('from {box0} to {boxes}.') == (
    ['from ', ' to ', '.'],
    [rows.FIRST_BOX, rows.ALL_BOXES, rows.NO_BOX],
  )
  assert rows.pieces('{box} {x}') == (['{box} {x}'], [rows.NO_BOX])


@pytest.mark.parametrize(
  ('answers', 'boxes'), [(['{box1}'], [1]), (['{boxes}'], [0, 1, 2]), (['cat'], []), ([], [])]
)
def test_the_boxes_of_the_first_answer(answers, boxes):
  assert rows.target_boxes(answers, 3) == boxes


@pytest.mark.parametrize(
  ('fields', 'fault'),
  [
    ({'imge': 'c.jpg'}, "unknown field 'imge'; did you mean image"),
    ({'zzz': 1, 'qqq': 2}, "unknown field 'zzz', 'qqq'; a row may have text, task"),
    ({'text': ''}, 'text is empty'),
    ({'text': 3}, 'text must be a text, not 3'),
    ({'answers': ' '}, 'answers is empty'),
    ({'answers': []}, 'answers is empty'),
    ({'answers': ['a', '']}, 'one of answers is empty'),
    ({'answers': [3]}, 'answers must be a text or a list of texts, not [3]'),
    ({'answers': 'a', 'target': 'a'}, 'both answers and target'),
    ({'answers': 'c', 'options': ['a', 'b']}, "the answer 'c' is none of the options"),
    ({'options': ['a', 'a']}, 'two or more different texts'),
    ({'boxes': [[1, 2, 3]]}, 'boxes must be lists of four numbers'),
    ({'boxes': [1, 2, 3, 4], 'box_format': 'cxcy'}, "box_format is 'cxcy'; it must be one of xyxy"),
    ({'boxes': []}, 'boxes is empty'),
    ({'boxes': [1, 2, 3, 4]}, 'boxes need an image'),
    ({'text': 'at {box0}?'}, 'a text names boxes, but the row has none'),
    ({'text': '{box3}', 'boxes': [1, 2, 3, 4]}, 'names box 3, but the last of the boxes is 0'),
    ({'boxes': [1, 2, 3, 4], 'target': 'x'}, 'no text names the boxes; write {boxes}'),
    ({'task': 'Refxep'}, "no prompt for 'Refxep'"),
    ({'task': 'Refexp', 'text': None}, 'needs a text or boxes to ask about'),
    ({'task': 'Image_Captioning'}, 'asks by itself; leave out text or task'),
    ({'task': 'NLP Instruction'}, "has the slots ['instruction']; a row can fill one, {}"),
    ({'text': None}, 'neither text nor task nor a picture'),
    ({'image': 3}, 'image: it must be a path'),
    ({'image': 'https://a/b.jpg'}, 'image: https://a/b.jpg is an address'),
    ({'metric': 'vaq'}, "there is no metric 'vaq'; did you mean one of vqa"),
    ({'metric': 'refexp', 'answers': 'a'}, 'metric refexp needs one answer, which names boxes'),
    ({'image_target': 'c.jpg', 'answers': 'a'}, 'several targets (image_target, answers)'),
  ],
)
def test_a_fault_is_named_and_told_how_to_mend(fields, fault):
  found = faults(**{'text': 'What?', **fields})
  assert any(fault in said for said in found), found


def test_boxes_stand_for_no_answer_where_a_picture_is_to_be_made():
  given = {'image': 'a.jpg', 'image_target': 'b.jpg', 'boxes': [1, 2, 3, 4]}
  assert not parse(**given, text='Fill {boxes}').answers
  assert 'no text names the boxes; write {boxes} where they belong' in faults(**given, text='Fill')


TEXTS = st.sampled_from(
  ['', ' ', 'a', '{box0}', '{boxes}', 'Refexp', 'xywh', 'vqa', 'a.jpg', 'data:,base64,YQ==']
)
JSON = st.recursive(
  st.one_of(st.none(), st.booleans(), st.sampled_from([-1, 0, 2, 0.5, math.nan, math.inf]), TEXTS),
  lambda inner: st.one_of(
    st.lists(inner, max_size=4),
    st.dictionaries(st.sampled_from(['bytes', 'path', 'a']), inner, max_size=2),
  ),
  max_leaves=5,
)


@hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(st.dictionaries(st.sampled_from([*rows.FIELDS, 'other']), JSON))
def test_whatever_json_says_is_a_row_or_refused_with_words(fields):
  with contextlib.suppress(rows.RowError):
    assert parse(**fields).prefix


def test_all_faults_of_a_row_are_told():
  assert len(faults(txt='a', answers='', boxes='b')) == 4
