"""Filling in the slots of prompts: words in braces, '{instruction}', or '{}'.

Prompts are known when the dataset is built, so they are cut at their slots there and then: per
example only the pieces are joined.
"""

from collections.abc import Mapping, Sequence
import re

import tensorflow as tf

from t5x.examples.unified_io.data import data_utils

_SLOT = re.compile(r'{([^{}]*)}')


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
  """Puts values into the slots as they are: 'find {}', {'': 'a {b}'} -> 'find a {b}'.

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
  names = list(values or {})
  cut = [_pieces(prompt, names, allow_missing=False) for prompt in prompts]
  drawn = data_utils.draw_index(seed, len(prompts)) if len(prompts) > 1 else 0
  pieces = tf.constant([pieces for pieces, _ in cut])[drawn]
  if not names:
    return pieces[0]
  order = tf.constant([[names.index(name) for name in found] for _, found in cut])[drawn]
  texts = tf.gather(tf.stack([tf.convert_to_tensor(values[name]) for name in names]), order)
  return tf.strings.reduce_join(
    tf.reshape(tf.stack([pieces, tf.concat([texts, ['']], 0)], 1), [-1])
  )
