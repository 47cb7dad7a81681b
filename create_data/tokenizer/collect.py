"""Counts the words that the embedded tokenizer is trained on: writes `words.json`.

  python create_data/tokenizer/collect.py

From text that every machine with this repository has: our prompts, what is said about drawn scenes,
COCO's class names, and the reference topics of Python (`pydoc_data`, another text in each version
of Python: the list in this repository was made with 3.11). Then `train.py` makes another tokenizer,
and checkpoints of the old one are refused by their fingerprint.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
import json
import pydoc_data.topics
import random
import re
from typing import Any

from create_data import common
from create_data.demo_world import language, scenes
from create_data.tokenizer import train
from t5x.examples.unified_io import config

PROMPTS = config.PACKAGE_DIR / 'data' / 'prompts.json'
CLASS_NAMES = config.PACKAGE_DIR / 'metadata' / 'coco' / 'coco_class_name_2017.json'
NUM_SCENES = 1_500
WEIGHT = 30  # how often a prompt or a class name counts, beside the much longer topics


def strings(tree: Any) -> Iterator[str]:
  """All strings among the values of nested dicts and lists."""
  if isinstance(tree, str):
    yield tree
  elif isinstance(tree, dict):
    for value in tree.values():
      yield from strings(value)
  elif isinstance(tree, list):
    for value in tree:
      yield from strings(value)


def scene_sentences() -> Iterator[str]:
  """Expressions, questions, answers and captions of drawn scenes."""
  for i in range(NUM_SCENES):
    rng = random.Random(f'tokenizer {i}')
    scene = scenes.make_scene(scenes.SceneConfig(), seed=f'tokenizer {i}', count=1 + i % 5)
    for item in scene.objects:
      yield from language.refer(scene, item, rng)
    for question in language.ask(scene, rng):
      yield from (question.text, question.answer)
    yield from language.describe(scene, rng)


def corpus() -> Iterator[str]:
  """The text, line by line."""
  yield ' '.join(map(chr, range(33, 127)))  # every printable ASCII character is a piece
  for text in pydoc_data.topics.topics.values():
    yield from text.splitlines()
  for path in (PROMPTS, CLASS_NAMES):
    yield from list(strings(json.loads(path.read_text(encoding='utf-8')))) * WEIGHT
  yield from scene_sentences()


def words(lines: Iterable[str]) -> Counter:
  """How often each word stands there, with the spaces before it.

  Of the spaces between two words one is left out, since a line begins with one, too.
  """
  counts: Counter = Counter()
  for line in lines:
    for match in re.finditer(r'( *)([^ ]+)', line):
      spaces = len(match[1]) - (match.start() > 0)
      counts[train.SPACE * spaces + match[2]] += 1
  return counts


def main() -> None:
  by_count: dict[int, list[str]] = {}
  for word, count in sorted(words(corpus()).items()):
    by_count.setdefault(count, []).append(word)
  content = {count: ' '.join(by_count[count]) for count in sorted(by_count)}
  common.write_json(train.WORDS, content, indent=1)
  print(f'{train.WORDS}: {sum(map(len, by_count.values()))} words')


if __name__ == '__main__':
  main()
