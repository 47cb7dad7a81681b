"""A row of a user's own data: which fields it may have, and what they mean together.

docs/own_data.md tells the format to users. A row is read without touching its pictures and sounds;
`t5x.examples.unified_io.data.own.media` reads those.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import difflib
import functools
import re
from typing import Any

from t5x.examples.unified_io.data import prompt_slots
from t5x.examples.unified_io.data import prompts as prompts_lib
from t5x.examples.unified_io.data.own import media as media_lib

AS_IS = ''  # the family of rows whose text is asked as it stands
IMAGE_OUTPUT, AUDIO_OUTPUT = '[Image] [S] ', '[Audio] [S] '
INPUT_MEDIA, TARGET_MEDIA = ('image', 'audio', 'video'), ('image_target', 'audio_target')
MEDIA = (*INPUT_MEDIA, *TARGET_MEDIA)
FIELDS = (
  'text', 'task', *MEDIA, 'boxes', 'box_format', 'answers', 'target', 'options', 'metric', 'id',
)  # fmt: skip
METRICS = ('exact_match', 'vqa', 'cider', 'refexp', 'localization')
ALL_BOXES, NO_BOX, FIRST_BOX = 1, 0, 2  # what follows a piece of text, see `pieces`
_SLOT = re.compile(r'\{box(es|\d+)\}')
# box_format -> top, left, bottom, right
_BOX_FORMATS = {
  'xyxy': lambda a, b, c, d: (b, a, d, c),
  'yxyx': lambda a, b, c, d: (a, b, c, d),
  'xywh': lambda a, b, c, d: (b, a, b + d, a + c),
}


class RowError(ValueError):
  """What is wrong in a row, one sentence for each fault."""

  def __init__(self, faults: list[str]):
    super().__init__('; '.join(faults))
    self.faults = faults


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One row, checked.

  Attributes:
    text: what is asked, or goes into the prompt; may hold box slots.
    family: of prompts, or AS_IS.
    prefix: what the answer is: text, an image or a sound.
    answers: true answers; may hold box slots. Empty where there is nothing to learn.
    options: to choose from.
    boxes: (top, left, bottom, right) in pixels of the picture.
    media: field -> file or bytes.
    metric: how an answer is scored, '' for not at all.
    example_id: as given, '' for none.
  """

  text: str
  family: str
  prefix: str
  answers: tuple[str, ...]
  options: tuple[str, ...]
  boxes: tuple[tuple[float, ...], ...]
  media: Mapping[str, media_lib.Media]
  metric: str
  example_id: str

  @property
  def has_target(self) -> bool:
    """Whether there is something to learn."""
    return bool(self.answers) or any(name in self.media for name in TARGET_MEDIA)


def parse(fields: Mapping[str, Any], folder: str) -> Row:
  """A row's fields, checked one by one and together.

  Args:
    fields: name -> value; None counts as absent.
    folder: where relative paths start.

  Raises:
    RowError: with all faults.
  """
  fields = {name: value for name, value in fields.items() if value is not None}
  reader = _Reader(fields, folder)
  row = reader.row()
  if reader.faults:
    raise RowError(reader.faults)
  return row


def pieces(text: str) -> tuple[list[str], list[int]]:
  """A text cut at its box slots: pieces, and what follows each of them.

  'from {box0} to {boxes}.' -> ['from ', ' to ', '.'], [FIRST_BOX, ALL_BOXES, NO_BOX]
  """
  cut = _SLOT.split(text)
  slots = [ALL_BOXES if name == 'es' else FIRST_BOX + int(name) for name in cut[1::2]]
  return cut[::2], [*slots, NO_BOX]


def target_boxes(answers: Sequence[str], count: int) -> list[int]:
  """Which of `count` boxes the first answer names: ['{box2}'] -> [2], ['{boxes}'] -> [0, 1, 2]."""
  slots = pieces(answers[0])[1] if answers else []
  if ALL_BOXES in slots:
    return list(range(count))
  return [slot - FIRST_BOX for slot in slots if slot >= FIRST_BOX]


@functools.lru_cache(maxsize=256)
def family_slots(family: str) -> frozenset[str]:
  """The slots of a family's prompts.

  Raises:
    ValueError: there is no such family; near names are offered.
  """
  return frozenset(prompt_slots.check_slots(prompts_lib.for_task(family)))


def _default_family(text: str, boxes: tuple, media: Mapping[str, Any]) -> str:
  if text:
    return AS_IS
  if boxes:
    return 'Box_Classification_Scene'
  if 'image' in media:
    return 'Image_Captioning'
  return 'Unconditional_Image' if 'image_target' in media else AS_IS


class _Reader:
  """Reads one row and gathers what is wrong in it."""

  def __init__(self, fields: Mapping[str, Any], folder: str):
    self.fields, self.folder, self.faults = fields, folder, []

  def row(self) -> Row:
    self.check_names()
    boxes, media = self.boxes(), self.media()
    text, answers = self.text_of('text'), self.answers()
    family = self.family(text, boxes, media)
    if boxes and not text and family != AS_IS and family_slots(family):
      text = '{boxes}'  # the boxes fill the slot of the prompt
    writes_text = not any(name in media for name in TARGET_MEDIA)
    if boxes and writes_text and not answers and not _SLOT.search(text):
      answers = ('{boxes}',)  # where is ...?
    options = self.texts('options')
    self.check_options(options, answers)
    self.check_slots([text, *answers, *options], boxes)
    if boxes and 'image' not in media:
      self.faults.append('boxes need an image')
    return Row(
      text=text, family=family, prefix=self.prefix(media), answers=answers,
      options=options, boxes=boxes, media=media, example_id=str(self.fields.get('id', '')),
      metric=self.metric(answers, boxes, family),
    )  # fmt: skip

  def check_names(self) -> None:
    near = {n: difflib.get_close_matches(n, FIELDS, n=2) for n in self.fields if n not in FIELDS}
    for name, found in near.items():
      if found:
        self.faults.append(f'unknown field {name!r}; did you mean {" or ".join(found)}?')
    if far := [repr(name) for name, found in near.items() if not found]:
      self.faults.append(
        f'unknown field {", ".join(far)}; a row may have {", ".join(FIELDS)} (OwnData.fields gives '
        'other names)'
      )

  def text_of(self, name: str) -> str:
    value = self.fields.get(name, '')
    if isinstance(value, str):
      if name in self.fields and not value.strip():
        self.faults.append(f'{name} is empty')
      return value
    self.faults.append(f'{name} must be a text, not {_shown(value)}')
    return ''

  def texts(self, name: str) -> tuple[str, ...]:
    """A list of texts; one text counts as a list of it."""
    value = self.fields.get(name, [])
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
      self.faults.append(f'{name} must be a text or a list of texts, not {_shown(value)}')
      return ()
    if name in self.fields and not (value and all(v.strip() for v in value)):
      self.faults.append(f'{name} is empty' if len(value) < 2 else f'one of {name} is empty')
    return tuple(value)

  def answers(self) -> tuple[str, ...]:
    if 'target' in self.fields and 'answers' in self.fields:
      self.faults.append(
        'it has both answers and target; target is for a text that is to be written'
      )
    if 'target' in self.fields:
      return (self.text_of('target'),)
    return self.texts('answers')

  def boxes(self) -> tuple[tuple[float, ...], ...]:
    value, name = self.fields.get('boxes', []), self.fields.get('box_format', 'xyxy')
    if not isinstance(name, str) or name not in _BOX_FORMATS:
      self.faults.append(
        f'box_format is {_shown(name)}; it must be one of {", ".join(_BOX_FORMATS)}'
      )
      return ()
    if isinstance(value, (list, tuple)) and value and _is_box(value):
      value = [value]
    if not isinstance(value, (list, tuple)) or not all(_is_box(box) for box in value):
      self.faults.append(f'boxes must be lists of four numbers, not {_shown(value)}')
      return ()
    if 'boxes' in self.fields and not value:
      self.faults.append('boxes is empty')
    return tuple(_BOX_FORMATS[name](*map(float, box)) for box in value)

  def media(self) -> dict[str, media_lib.Media]:
    found = {}
    for name in MEDIA:
      if name in self.fields:
        try:
          found[name] = media_lib.of_value(self.fields[name], self.folder)
        except ValueError as e:
          self.faults.append(f'{name}: {e}')
    return found

  def family(self, text: str, boxes: tuple, media: Mapping[str, Any]) -> str:
    family = self.fields.get('task') or _default_family(text, boxes, media)
    if family == AS_IS:
      if 'text' not in self.fields and not media:
        self.faults.append('it has neither text nor task nor a picture, sound or video')
      return AS_IS
    if not isinstance(family, str):
      self.faults.append(f'task must be the name of a prompt family, not {_shown(family)}')
      return AS_IS
    try:
      slots = family_slots(family)
    except ValueError as e:
      self.faults.append(f'task: {e}')
      return AS_IS
    if slots - {''}:
      self.faults.append(f'task {family!r} has the slots {sorted(slots)}; a row can fill one, {{}}')
    elif slots and not text and not boxes:
      self.faults.append(f'task {family!r} needs a text or boxes to ask about')
    elif text and not slots:
      self.faults.append(f'task {family!r} asks by itself; leave out text or task')
    return family

  def prefix(self, media: Mapping[str, Any]) -> str:
    targets = [name for name in TARGET_MEDIA if name in media]
    targets += [name for name in ('answers', 'target') if name in self.fields]
    if len(targets) > 1 and set(targets) != {'answers', 'target'}:
      self.faults.append(f'it has several targets ({", ".join(targets)}); make a row of each')
    if 'image_target' in media:
      return IMAGE_OUTPUT
    return AUDIO_OUTPUT if 'audio_target' in media else prompts_lib.TEXT_OUTPUT

  def check_options(self, options: tuple[str, ...], answers: tuple[str, ...]) -> None:
    if not options:
      return
    if len(set(options)) < len(options) or len(options) < 2:
      self.faults.append('options must be two or more different texts')
    for answer in answers:
      if answer not in options:
        self.faults.append(f'the answer {answer!r} is none of the options')

  def check_slots(self, texts: list[str], boxes: tuple) -> None:
    used = {slot for text in texts for slot in pieces(text)[1]} - {NO_BOX}
    beyond = [slot - FIRST_BOX for slot in used if slot - FIRST_BOX >= len(boxes)]
    if used and not boxes:
      self.faults.append('a text names boxes, but the row has none')
    elif beyond:
      self.faults.append(
        f'a text names box {max(beyond)}, but the last of the boxes is {len(boxes) - 1}'
      )
    elif boxes and not used:
      self.faults.append('no text names the boxes; write {boxes} where they belong')

  def metric(self, answers: tuple[str, ...], boxes: tuple, family: str) -> str:
    """The metric of a row; docs/own_data.md says this rule."""
    given = self.fields.get('metric')
    if given is not None and given not in METRICS:
      near = difflib.get_close_matches(str(given), METRICS) or METRICS
      self.faults.append(
        f'there is no metric {_shown(given)}; did you mean one of {", ".join(near)}?'
      )
    boxes_alone = len(answers) == 1 and _SLOT.fullmatch(answers[0].strip())
    if given in ('refexp', 'localization') and answers and not boxes_alone:
      self.faults.append(f'metric {given} needs one answer, which names boxes and nothing else')
    if not answers or given:
      return given or ''
    if boxes_alone:
      return 'refexp' if len(target_boxes(answers, len(boxes))) == 1 else 'localization'
    if 'caption' in family.lower():
      return 'cider'
    asked_of_people = len(answers) >= 3 and len(set(answers)) < len(answers)
    return 'vqa' if asked_of_people else 'exact_match'


def _is_box(value: Any) -> bool:
  is_list = isinstance(value, (list, tuple)) and len(value) == 4
  return is_list and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)


def _shown(value: Any) -> str:
  text = repr(value)
  return text if len(text) <= 60 else f'{text[:57]}...'
