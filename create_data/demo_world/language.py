"""What can be said about a scene: referring expressions, questions with answers, captions.

Every phrase is true and every expression fits one object only. Each question form has its own
wordings, so that `question_form` finds the form of a question again.
"""

from collections.abc import Callable
import difflib
import random
import re
from typing import NamedTuple

from create_data.demo_world.scenes import COLORS, SHAPES, Scene, SceneObject

NUMBER_WORDS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six')
CLEAR_DISTANCE = 1 / 8  # of the picture: how far apart things must be to be called left or above
FLAT = 1.5  # how much longer the one leg must be than the other to name a direction


class Question(NamedTuple):
  form: str
  text: str
  answer: str


# form: (share of the questions where it can be asked, its wordings)
FORMS: dict[str, tuple[float, tuple[str, ...]]] = {
  'color': (24, ('What color is the {}?', 'Which color does the {} have?')),
  'shape': (22, ('What shape is the {} object?', 'Which shape does the {} thing have?')),
  'count': (11, ('How many objects are there?', 'How many shapes are in the picture?')),
  'place': (13, ('Where is the {}?', 'In which corner is the {}?')),
  'extreme': (20, ('What color is the {} object?', 'Which color does the {} object have?')),
  'relation': (16, ('Where is the {} relative to the {}?', 'Where is the {} seen from the {}?')),
  'size': (3, ('What size is the {}?', 'How big is the {}?')),
  'count_of': (4, ('How many {} are there?', 'How many {} can be seen?')),
  'exists': (3, ('Is there any {}?', 'Can you see any {}?')),
}
COUNTED = ('count', 'count_of')
RELATING = ('relation',)
YES_NO = ('exists',)
_SUPERLATIVES = {'leftmost': (0, -1), 'rightmost': (0, 1), 'top': (1, -1), 'bottom': (1, 1)}
_DIRECTIONS = {'left of': (0, -1), 'right of': (0, 1), 'above': (1, -1), 'below': (1, 1)}


def _form_patterns() -> list[tuple[str, re.Pattern]]:
  rows = []
  for form, (_, wordings) in FORMS.items():
    for wording in wordings:
      slots = re.escape(wording)
      pattern = re.compile(re.sub(r'\\{\\}', '(.+)', slots), re.IGNORECASE)
      rows.append((len(wording), form, pattern))
  # Longer wordings first: 'How many objects are there?' also fits 'How many {} are there?'.
  return [(form, pattern) for _, form, pattern in sorted(rows, key=lambda row: -row[0])]


_PATTERNS = _form_patterns()


def question_form(question: str) -> str:
  """The form that a question of the demo world was asked in: 'What color is the cross?' -> 'color'.

  Raises:
    KeyError: The question is in none of the forms.
  """
  for form, pattern in _PATTERNS:
    if pattern.fullmatch(question.strip()):
      return form
  known = [wording for _, wordings in FORMS.values() for wording in wordings]
  near = difflib.get_close_matches(question, known, cutoff=0) or known[:3]
  raise KeyError(f'{question!r} is in no form of the demo world; the nearest are {near}')


def only(objects: tuple[SceneObject, ...], test: Callable[[SceneObject], bool]) -> bool:
  return sum(map(test, objects)) == 1


def furthest(scene: Scene, axis: int, sign: int) -> SceneObject | None:
  """The object furthest along an axis (0 columns, 1 rows), or None where it is not clear."""
  if len(scene.objects) < 2:
    return None
  first, second = sorted(scene.objects, key=lambda o: -sign * o.center[axis])[:2]
  gap = sign * (first.center[axis] - second.center[axis])
  return first if gap >= CLEAR_DISTANCE / 2 * scene.image_size else None


def direction(scene: Scene, item: SceneObject, anchor: SceneObject) -> str | None:
  """Where `item` clearly is, seen from `anchor`: 'left', 'right', 'above', 'below' or None."""
  dx, dy = (a - b for a, b in zip(item.center, anchor.center, strict=True))
  if max(abs(dx), abs(dy)) < CLEAR_DISTANCE * scene.image_size:
    return None
  if abs(dx) >= FLAT * abs(dy):
    return 'left' if dx < 0 else 'right'
  if abs(dy) >= FLAT * abs(dx):
    return 'above' if dy < 0 else 'below'
  return None


def corner(scene: Scene, item: SceneObject) -> str | None:
  """'top left' and so on, or None for an object near one of the middle lines."""
  x, y = (value - scene.image_size / 2 for value in item.center)
  if min(abs(x), abs(y)) < CLEAR_DISTANCE / 2 * scene.image_size:
    return None
  return f'{"top" if y < 0 else "bottom"} {"left" if x < 0 else "right"}'


# ---- Referring expressions -----------------------------------------------------------------------
def _by_relation(scene: Scene, item: SceneObject) -> list[str]:
  """'cross left of the red circle', where no other cross lies on that side of it."""
  phrases = []
  for anchor in scene.objects:
    if anchor is item or direction(scene, item, anchor) is None:
      continue
    for words, (axis, sign) in _DIRECTIONS.items():
      if not words.startswith(direction(scene, item, anchor)):
        continue

      def lies_there(other, anchor=anchor, axis=axis, sign=sign):
        return (
          other is not anchor
          and other.shape == item.shape
          and sign * (other.center[axis] - anchor.center[axis]) > 0
        )

      if only(scene.objects, lies_there):
        phrases.append(f'{item.shape} {words} the {anchor.name}')
  return phrases


def expressions(scene: Scene, item: SceneObject) -> list[tuple[float, str]]:
  """(weight, phrase) of every way to name one object; no phrase fits another object."""
  objects = scene.objects
  found = [(4.0, item.name), (2.0, f'{item.size} {item.name}')]
  if only(objects, lambda o: o.color == item.color):
    found.append((1.5, f'{item.color} object'))
  if only(objects, lambda o: o.shape == item.shape):
    found.append((1.5, item.shape))
  if len(objects) > 1:
    if only(objects, lambda o: o.size == item.size):
      found.append((0.7, f'{item.size} object'))
    if only(objects, lambda o: (o.size, o.shape) == (item.size, item.shape)):
      found.append((0.7, f'{item.size} {item.shape}'))
  for word, (axis, sign) in _SUPERLATIVES.items():
    if furthest(scene, axis, sign) is item:
      found.append((0.7, f'{word} object'))
  found.extend((0.5, phrase) for phrase in _by_relation(scene, item)[:2])
  return found


def refer(scene: Scene, item: SceneObject, rng: random.Random, count: int = 3) -> list[str]:
  """`count` different expressions for one object; the first one names colour and shape."""
  phrases = [item.name]
  pool = expressions(scene, item)[1:]
  while pool and len(phrases) < count:
    pick = rng.choices(range(len(pool)), [weight for weight, _ in pool])[0]
    phrases.append(pool.pop(pick)[1])
  texts = [rng.choice(('', 'the ')) + phrase for phrase in phrases]
  if len(texts) < count:  # a crowded scene leaves few ways: the other article fills up
    texts.append(item.name if texts[0].startswith('the ') else f'the {item.name}')
  return texts[:count]


# ---- Questions -----------------------------------------------------------------------------------
def _plural(shape: str) -> str:
  return shape + ('es' if shape.endswith('s') else 's')


def _ask_color(scene: Scene, rng: random.Random) -> tuple[list[str], str] | None:
  plain = [
    (o.shape, o) for o in scene.objects if only(scene.objects, lambda p, o=o: p.shape == o.shape)
  ]
  sized = [
    (f'{o.size} {o.shape}', o)
    for o in scene.objects
    if only(scene.objects, lambda p, o=o: (p.size, p.shape) == (o.size, o.shape))
  ]
  options = plain or sized
  if not options:
    return None
  name, item = rng.choice(options)
  return [name], item.color


def _ask_shape(scene: Scene, rng: random.Random) -> tuple[list[str], str] | None:
  options = [o for o in scene.objects if only(scene.objects, lambda p, o=o: p.color == o.color)]
  if not options:
    return None
  item = rng.choice(options)
  return [item.color], item.shape


def _ask_count(scene: Scene, rng: random.Random) -> tuple[list[str], str]:
  del rng
  return [], str(len(scene.objects))


def _ask_place(scene: Scene, rng: random.Random) -> tuple[list[str], str] | None:
  options = [(o, where) for o in scene.objects if (where := corner(scene, o))]
  if not options:
    return None
  item, where = rng.choice(options)
  return [item.name], where


def _ask_extreme(scene: Scene, rng: random.Random) -> tuple[list[str], str] | None:
  options = [(words, o) for words, way in _SUPERLATIVES.items() if (o := furthest(scene, *way))]
  if not options:
    return None
  words, item = rng.choice(options)
  return [words], item.color


def _ask_relation(scene: Scene, rng: random.Random) -> tuple[list[str], str] | None:
  options = [
    (a, b, where)
    for a in scene.objects
    for b in scene.objects
    if a is not b and (where := direction(scene, a, b))
  ]
  if not options:
    return None
  item, anchor, where = rng.choice(options)
  return [item.name, anchor.name], where


def _ask_size(scene: Scene, rng: random.Random) -> tuple[list[str], str]:
  item = rng.choice(scene.objects)
  return [item.name], item.size


def _ask_count_of(scene: Scene, rng: random.Random) -> tuple[list[str], str]:
  shape = rng.choice([o.shape for o in scene.objects] * 2 + list(SHAPES))
  return [_plural(shape)], str(sum(o.shape == shape for o in scene.objects))


def _ask_exists(scene: Scene, rng: random.Random) -> tuple[list[str], str]:
  if rng.random() < 0.5:
    return [rng.choice(scene.objects).name], 'yes'
  present = {o.name for o in scene.objects}
  absent = [f'{c} {s}' for c in COLORS for s in SHAPES if f'{c} {s}' not in present]
  return [rng.choice(absent)], 'no'


_ASK = {
  'color': _ask_color,
  'shape': _ask_shape,
  'count': _ask_count,
  'place': _ask_place,
  'extreme': _ask_extreme,
  'relation': _ask_relation,
  'size': _ask_size,
  'count_of': _ask_count_of,
  'exists': _ask_exists,
}


def ask(scene: Scene, rng: random.Random, count: int = 4) -> list[Question]:
  """`count` questions in different forms, drawn by the forms' shares."""
  shares = {form: share for form, (share, _) in FORMS.items()}
  questions = []
  while shares and len(questions) < count:
    form = rng.choices(list(shares), list(shares.values()))[0]
    del shares[form]
    asked = _ASK[form](scene, rng)
    if asked is not None:
      slots, answer = asked
      questions.append(Question(form, rng.choice(FORMS[form][1]).format(*slots), answer))
  return questions


# ---- Captions ------------------------------------------------------------------------------------
def _listed(names: list[str]) -> str:
  return ' and '.join(filter(None, (', '.join(names[:-1]), names[-1])))


def describe(scene: Scene, rng: random.Random, count: int = 5) -> list[str]:
  """`count` captions that name all objects from left to right, each worded in its own way."""
  in_order = sorted(scene.objects, key=lambda o: (o.center, o.name))
  articles = {'orange': 'an'}
  things = _listed([f'{articles.get(o.color, "a")} {o.name}' for o in in_order])
  sized = _listed([f'a {o.size} {o.name}' for o in in_order])
  number = NUMBER_WORDS[len(in_order)]
  plural = '' if len(in_order) == 1 else 's'
  wordings = [
    f'{things}',
    f'a picture of {things}',
    f'there {"are" if plural else "is"} {things}',
    f'{number} object{plural}: {things}',
    f'{sized}',
    f'{things} on grey',
  ]
  return [wordings[0], *rng.sample(wordings[1:], count - 1)]
