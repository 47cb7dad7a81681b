"""Language about scenes: every phrase is true, every expression fits one object."""

import collections
import random

import pytest

from create_data.demo_world import language, scenes

SCENES = [
  scenes.make_scene(scenes.SceneConfig(), seed=f'language/{i}', count=1 + i % 5) for i in range(300)
]
QUESTIONS = [(s, q) for i, s in enumerate(SCENES) for q in language.ask(s, random.Random(i))]
AXES = {'left of': (0, -1), 'right of': (0, 1), 'above': (1, -1), 'below': (1, 1)}
ENDS = {'leftmost': (0, -1), 'rightmost': (0, 1), 'top': (1, -1), 'bottom': (1, 1)}


def meant(scene: scenes.Scene, phrase: str) -> list[scenes.SceneObject]:
  """A reader of its own: the objects of a scene that a phrase can mean."""
  phrase = phrase.removeprefix('the ')
  for words, (axis, sign) in AXES.items():
    if f' {words} the ' in phrase:
      noun, name = phrase.split(f' {words} the ')
      (anchor,) = meant(scene, name)
      return [
        item
        for item in meant(scene, noun)
        if item is not anchor and sign * (item.center[axis] - anchor.center[axis]) > 0
      ]
  *attributes, noun = phrase.split()
  found = [o for o in scene.objects if noun in (o.shape, 'object')]
  for word in attributes:
    if word in ENDS:
      axis, sign = ENDS[word]
      best = max(sign * o.center[axis] for o in found)
      found = [o for o in found if sign * o.center[axis] == best]
    else:
      found = [o for o in found if word in (o.color, o.size)]
  return found


def test_every_expression_fits_its_object_and_no_other():
  for scene in SCENES:
    for item in scene.objects:
      for weight, phrase in language.expressions(scene, item):
        assert weight > 0
        assert meant(scene, phrase) == [item], phrase


def test_an_object_gets_three_different_expressions_and_the_first_names_colour_and_shape():
  for i, scene in enumerate(SCENES):
    for item in scene.objects:
      texts = language.refer(scene, item, random.Random(i))
      assert len(set(texts)) == 3
      assert texts[0].removeprefix('the ') == item.name
      assert all(meant(scene, text) == [item] for text in texts)


def test_expressions_use_attributes_ends_and_relations():
  words = ' '.join(p for s in SCENES for o in s.objects for _, p in language.expressions(s, o))
  for word in ('small', 'leftmost', 'bottom', 'above the', 'object', 'left of the'):
    assert word in words


def test_no_form_has_more_than_a_quarter_and_few_are_yes_or_no():
  shares = collections.Counter(question.form for _, question in QUESTIONS)
  total = sum(shares.values())
  assert set(shares) == set(language.FORMS)
  assert len(shares) >= 6
  assert max(shares.values()) <= total / 4
  assert sum(shares[form] for form in language.YES_NO) <= total / 10
  assert all(shares[form] > 0 for form in (*language.COUNTED, *language.RELATING))


def test_no_answer_fills_a_form_but_the_two_sided_ones():
  answers = collections.defaultdict(collections.Counter)
  for _, question in QUESTIONS:
    answers[question.form][question.answer] += 1
  for form, counts in answers.items():
    limit = 0.7 if form in ('exists', 'size', 'count_of') else 0.4
    assert max(counts.values()) / sum(counts.values()) < limit, form


def test_a_question_is_short_and_tells_its_form():
  for _, question in QUESTIONS:
    assert len(question.text.split()) <= 12
    assert language.question_form(question.text) == question.form
    assert language.question_form(question.text.lower()) == question.form


def test_a_question_in_no_form_is_refused_with_near_ones():
  with pytest.raises(KeyError, match='nearest are'):
    language.question_form('Why is the sky blue?')


@pytest.mark.parametrize(
  ('text', 'form'),
  [
    ('How many objects are there?', 'count'),
    ('How many circles are there?', 'count_of'),
    ('What color is the cross?', 'color'),
    ('What color is the leftmost object?', 'extreme'),
    ('Where is the red cross?', 'place'),
    ('Where is the red cross seen from the blue circle?', 'relation'),
    ('Which color does the cross have?', 'color'),
    ('Which color does the top object have?', 'extreme'),
  ],
)
def test_alike_questions_are_told_apart(text, form):
  assert language.question_form(text) == form


def answer(scene: scenes.Scene, question: language.Question) -> str:
  """The true answer, found again from the words of the question."""
  words = question.text.rstrip('?').replace(' have', '').split()
  half = scene.image_size / 2
  if question.form == 'count':
    return str(len(scene.objects))
  if question.form == 'count_of':
    shape = words[2].removesuffix('s').removesuffix('e') if 'crosses' in words else words[2][:-1]
    return str(sum(o.shape == shape for o in scene.objects))
  if question.form == 'exists':
    return 'yes' if ' '.join(words[-2:]) in {o.name for o in scene.objects} else 'no'
  names = [o for o in scene.objects if o.name in question.text]
  if question.form == 'relation':
    item, anchor = sorted(names, key=lambda o: question.text.index(o.name))
    dx, dy = (a - b for a, b in zip(item.center, anchor.center, strict=True))
    sideways = 'left' if dx < 0 else 'right'
    return sideways if abs(dx) > abs(dy) else 'above' if dy < 0 else 'below'
  if question.form == 'place':
    x, y = names[0].center
    return f'{"top" if y < half else "bottom"} {"left" if x < half else "right"}'
  if question.form == 'size':
    return names[0].size
  end = words.index('the') + 1
  if question.form == 'shape':
    return meant(scene, f'{words[end]} object')[0].shape
  return meant(scene, ' '.join(words[end:]))[0].color


def test_every_answer_is_true():
  for scene, question in QUESTIONS:
    assert question.answer == answer(scene, question), (question, scene)


def test_captions_name_all_objects_from_left_to_right_in_five_wordings():
  for i, scene in enumerate(SCENES):
    captions = language.describe(scene, random.Random(i))
    names = [o.name for o in sorted(scene.objects, key=lambda o: o.center[0])]
    assert len(set(captions)) == 5
    for caption in captions:
      places = [caption.index(name) for name in names]
      assert ' a orange' not in f' {caption}'
      if len({o.center[0] for o in scene.objects}) == len(names):
        assert places == sorted(places)
