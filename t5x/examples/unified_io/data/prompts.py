"""Which prompts a task may use, and filling in their slots.

A slot is a word in braces, '{instruction}', or '{}'. Prompts are known when the dataset is built,
so they are cut at their slots there and then: per example only the pieces are joined.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import difflib
import re

import gin
import tensorflow as tf

from t5x.examples.unified_io.data import data_utils, prompt_dict

_SLOT = re.compile(r'{([^{}]*)}')
TEXT_OUTPUT, IMAGE_OUTPUT = '[Text] [S] ', '[Image] [S] '  # every input starts with one of them
UNCONDITIONAL_IMAGE = 'Unconditional_Image'  # the family of prompts for any image at all
TRUNCATE_MARKER = '[TR]'  # what stands before it may be cut off, what stands behind it stays


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Prompt:
  """Chooses the prompts of a task.

  Attributes:
    original_flag, manual_flag, gpt3_flag: use prompts of that kind.
    revised_original_flag: use the revised prompts in place of the original, where there are any.
    single_prompt: only the first of them.
    dbg: this one prompt for all tasks.
  """

  original_flag: bool = True
  revised_original_flag: bool = False
  manual_flag: bool = True
  gpt3_flag: bool = True
  single_prompt: bool = False
  dbg: str | None = None

  def get_prompt_list(
    self,
    task_family: str,
    dataset_family: str = '',
    dictionary: prompt_dict.PromptDict | None = None,
  ) -> list[str]:
    """The prompts of both families, kind by kind: original, manual, gpt3.

    Args:
      task_family: 'Refexp', ...
      dataset_family: a further family with the prompts of one dataset; need not exist.
      dictionary: None for ours.

    Raises:
      ValueError: no prompt is left; near names are offered.
    """
    if self.dbg is not None:
      return [self.dbg]
    dictionary = prompt_dict.load() if dictionary is None else dictionary
    families = [dictionary.get(family, {}) for family in (task_family, dataset_family)]
    chosen = []
    if self.original_flag:
      for family in families:
        revised = family.get('revised_original') if self.revised_original_flag else None
        chosen += revised or family.get('original', [])
    for kind, is_used in (('manual', self.manual_flag), ('gpt3', self.gpt3_flag)):
      chosen += [prompt for family in families if is_used for prompt in family.get(kind, [])]
    if not chosen:
      wanted = ' or '.join(repr(name) for name in (task_family, dataset_family) if name)
      near = difflib.get_close_matches(task_family, dictionary) or sorted(dictionary)[:8]
      raise ValueError(
        f'no prompt for {wanted} with {self}; did you mean one of {near}? '
        'New families go into data/prompts.json.'
      )
    return chosen[:1] if self.single_prompt else chosen


def slots(prompt: str) -> list[str]:
  """The names of the slots, in order of appearance: '{a} or {}' -> ['a', '']."""
  return _SLOT.findall(prompt)


def check_slots(prompts: Sequence[str]) -> set[str]:
  """The slots that all the prompts have, each of them once.

  Raises:
    ValueError: a prompt has others, or one twice.
  """
  wanted = set(slots(prompts[0]))
  for prompt in prompts:
    if sorted(slots(prompt)) != sorted(wanted):
      raise ValueError(
        f'prompt {prompt!r} has the slots {slots(prompt)}; each of {sorted(wanted)} must stand in '
        'it once, as in the other prompts of its task'
      )
  return wanted


def _pieces(prompt: str, names: Sequence[str], allow_missing: bool) -> tuple[list[str], list[str]]:
  """'a {x} b' -> (['a ', ' b'], ['x'])."""
  found = []
  for name in names:
    count = prompt.count(f'{{{name}}}')
    if count == 1:
      found.append(name)
    elif not allow_missing:
      raise ValueError(f'prompt {prompt!r} must hold the slot {{{name}}} once, not {count} times')
  found.sort(key=lambda name: prompt.index(f'{{{name}}}'))
  pieces = []
  for name in found:
    piece, prompt = prompt.split(f'{{{name}}}')
    pieces.append(piece)
  return [*pieces, prompt], found


def fill(
  prompt: str, values: Mapping[str, str | tf.Tensor], allow_missing: bool = False
) -> tf.Tensor:
  """Puts values into the slots, as they are: braces and backslashes in them mean nothing.

  'find {}', {'': 'a {b}'} -> 'find a {b}'

  Args:
    prompt: a sentence with slots.
    values: slot -> text.
    allow_missing: leave a slot alone that does not stand in the prompt exactly once.

  Raises:
    ValueError: a slot stands there not at all or twice.
  """
  pieces, found = _pieces(prompt, list(values), allow_missing)
  parts = [pieces[0]]
  for name, piece in zip(found, pieces[1:], strict=True):
    parts += [values[name], piece]
  return tf.strings.join(parts)


def fill_one_of(
  prompts: Sequence[str], seed: tf.Tensor, values: Mapping[str, str | tf.Tensor] | None = None
) -> tf.Tensor:
  """One of the prompts, drawn by `seed` (int32 [2]), with its slots filled.

  Raises:
    ValueError: a prompt lacks a slot or has it twice.
  """
  values, names = values or {}, list(values or {})
  cut = [_pieces(prompt, names, allow_missing=False) for prompt in prompts]
  drawn = 0 if len(prompts) == 1 else data_utils.draw_index(seed, len(prompts))
  pieces = tf.constant([pieces for pieces, _ in cut])[drawn]
  if not names:
    return pieces[0]
  order = tf.constant([[names.index(name) for name in found] for _, found in cut])[drawn]
  texts = tf.gather(tf.stack([tf.convert_to_tensor(values[name]) for name in names]), order)
  return tf.strings.reduce_join(
    tf.reshape(tf.stack([pieces, tf.concat([texts, ['']], 0)], 1), [-1])
  )
