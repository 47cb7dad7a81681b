"""Which prompts a task may use."""

from collections.abc import Sequence
import dataclasses
import difflib

import gin

from t5x.examples.unified_io.data import prompt_dict

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
    draw_in_evaluation: each example of an evaluation draws its prompt, by its own seed and so the
      same one every time; False asks all of them in the words of the first.
    dbg: this one prompt for all tasks.
    files: JSON files with further families, which go before ours; see `prompt_dict`.
  """

  original_flag: bool = True
  revised_original_flag: bool = False
  manual_flag: bool = True
  gpt3_flag: bool = True
  single_prompt: bool = False
  draw_in_evaluation: bool = True
  dbg: str | None = None
  files: Sequence[str] = ()

  def active_set(self) -> prompt_dict.PromptSet:
    """All families, ours and those of `files` (or $UIO2_PROMPTS); `origin` names them."""
    files = [self.files] if isinstance(self.files, str) else self.files
    return prompt_dict.load(files)

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
      dictionary: None for the active set.

    Raises:
      ValueError: no prompt is left; near names are offered.
    """
    if self.dbg is not None:
      return [self.dbg]
    dictionary = self.active_set().families if dictionary is None else dictionary
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
        'New families go into data/prompts.json or a file of your own (Prompt.files).'
      )
    return chosen[:1] if self.single_prompt else chosen


def for_task(task_family: str, dataset_family: str = '', *, is_training: bool = True) -> list[str]:
  """What a preprocessor draws its prompts from, as gin binds `Prompt`.

  Raises:
    ValueError: there is none; near names are offered.
  """
  prompt = Prompt()
  found = prompt.get_prompt_list(task_family, dataset_family)
  return found if is_training or prompt.draw_in_evaluation else found[:1]
