"""The prompt sentences: families of them, by task or by dataset, in JSON files.

A file holds {family: {kind: [prompt, ...]}}. Ours is prompts.json; files of a user go before it,
family by family: a family of a later file stands in place of the whole family of an earlier one.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import difflib
import functools
import json
import os
import pathlib
from typing import Any

from absl import logging

from t5x.examples.unified_io.data import prompt_slots

# A prompt is a sentence with slots; some families of other projects hold lists of sentences.
PromptDict = Mapping[str, Mapping[str, list[Any]]]
PATH = pathlib.Path(__file__).with_name('prompts.json')
ENVIRONMENT_VARIABLE = 'UIO2_PROMPTS'  # files, joined as in PATH
KINDS = ('original', 'revised_original', 'manual', 'gpt3', 'template')

# Family -> the slots that our tasks fill; '' is written {}.
SLOTS: dict[str, set[str]] = {
  **{
    family: {''}
    for family in (
      'Refexp', 'refcoco_unc', 'refcocog_google', 'refcoco_plus_unc', 'VQA_short_prompt',
      'Box_Classification_Scene', 'box_classification_coco_2017', 'Image_Generation',
      'image_generation_coco_2017', 'Image_Inpainting', 'image_inpainting_coco',
    )
  },
  **{
    family: set()
    for family in (
      'Image_Captioning', 'image_caption_coco_2017', 'Image_Localized_Narrative',
      'Unconditional_Image',
    )
  },
  'NLP Instruction': {'instruction'},
  'NLP Instruction Context': {'instruction', 'context'},
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptSet:
  """Families of prompts and where they come from.

  Attributes:
    families: all of them.
    origin: one line that names the files and what each gives.
  """

  families: PromptDict
  origin: str


def load(files: Sequence[str] = ()) -> PromptSet:
  """Our prompts and those of `files`; read once.

  Args:
    files: JSON files; empty for those that $UIO2_PROMPTS names.

  Raises:
    FileNotFoundError: a file is not there.
    ValueError: a file is no JSON of families, or a prompt lacks the slots that its task fills.
  """
  files = files or [f for f in os.environ.get(ENVIRONMENT_VARIABLE, '').split(os.pathsep) if f]
  return _load(tuple(os.path.abspath(os.path.expanduser(file)) for file in files))


@functools.cache
def _load(files: tuple[str, ...]) -> PromptSet:
  ours = json.loads(PATH.read_text(encoding='utf-8'))
  families, parts = dict(ours), [f'{PATH.name} ({len(ours)} families)']
  for file in files:
    given = read(file)
    replaced = sorted(set(given) & set(families))
    parts.append(f'{file} ({len(given)} families, in place of {len(replaced)})')
    families |= given
  origin = ' + '.join(parts)
  logging.info('Prompts: %s', origin)
  return PromptSet(families=families, origin=origin)


def read(file: str) -> PromptDict:
  """The families of one file, checked.

  Raises:
    FileNotFoundError: it is not there.
    ValueError: it is no JSON of families, or a prompt lacks the slots that its task fills.
  """
  if not os.path.isfile(file):
    raise FileNotFoundError(
      f'there is no prompt file {file} (asked for by Prompt.files or ${ENVIRONMENT_VARIABLE})'
    )
  try:
    families = json.loads(pathlib.Path(file).read_text(encoding='utf-8'))
  except ValueError as error:
    raise ValueError(f'{file} is no JSON: {error}') from error
  check(families, file)
  return families


def check(families: Any, file: str) -> None:
  """Refuses what `file` may not hold.

  Raises:
    ValueError: it is no mapping of families, or a prompt lacks the slots that its task fills.
  """
  if not isinstance(families, dict):
    raise ValueError(f'{file} must hold {{family: {{kind: [prompt, ...]}}}}, not a list')
  for family, kinds in families.items():
    _check_family(file, family, kinds)


def _check_family(file: str, family: str, kinds: Any) -> None:
  at = f'{file}: family {family!r}'
  if not isinstance(kinds, dict):
    raise ValueError(f'{at} must be {{kind: [prompt, ...]}} with kinds of {list(KINDS)}')
  for kind, prompts in kinds.items():
    if kind not in KINDS:
      near = difflib.get_close_matches(kind, KINDS) or list(KINDS)
      raise ValueError(f'{at} has the kind {kind!r}, which nobody reads; did you mean {near}?')
    if not isinstance(prompts, list):
      raise ValueError(f'{at}, {kind} must be a list of prompts')
    for prompt in prompts:
      _check_prompt(f'{at}, {kind}', prompt, SLOTS.get(family))


def _check_prompt(at: str, prompt: Any, wanted: set[str] | None) -> None:
  if wanted is None:  # a family of nobody's task here: sentences, or lists of them
    sentences = prompt if isinstance(prompt, list) else [prompt]
    if not all(isinstance(sentence, str) for sentence in sentences):
      raise ValueError(f'{at}: {prompt!r} is no text')
    return
  if not isinstance(prompt, str):
    raise ValueError(f'{at}: {prompt!r} is no text')
  found = prompt_slots.slots(prompt)
  if sorted(found) != sorted(wanted):
    braces = [f'{{{name}}}' for name in sorted(wanted)]
    raise ValueError(
      f'{at}: the prompt {prompt!r} must hold each of the slots {braces} once and no other, it has '
      f'{[f"{{{name}}}" for name in found]}'
    )
