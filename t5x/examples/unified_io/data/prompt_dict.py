"""The prompt sentences: families of them, by task or by dataset, in prompts.json."""

from collections.abc import Mapping
import functools
import json
import pathlib

# {family: {'original' | 'manual' | 'gpt3' | 'revised_original': [prompt, ...]}}
PromptDict = Mapping[str, Mapping[str, list[str]]]
PATH = pathlib.Path(__file__).with_name('prompts.json')


@functools.cache
def load(path: pathlib.Path = PATH) -> PromptDict:
  """All families of a file; read once."""
  return json.loads(path.read_text(encoding='utf-8'))
