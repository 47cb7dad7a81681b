"""Trains the embedded tokenizer from text that every machine with this repository has.

  python create_data/tokenizer/train.py

The model is LLaMA-style: BPE with byte fallback, identity normalisation, a space before the first
word, white space kept as it is, digits apart, <unk> <s> </s> as 0 1 2. Its text: our prompts, what
is said about drawn scenes, COCO's class names, and the reference topics of Python (`pydoc_data`).
Train again when prompts or scenes change their words; checkpoints of the old tokenizer are then
refused by their fingerprint.
"""

import argparse
from collections.abc import Iterator
import io
import json
import pathlib
import pydoc_data.topics
import random
from typing import Any

import sentencepiece

from create_data.demo_world import language, scenes
from t5x.examples.unified_io import config

BASE_PIECES = 2_871  # with the 1,225 added pieces the table has 4,096 rows
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


def corpus() -> list[str]:
  """The training text, line by line."""
  lines = [' '.join(map(chr, range(33, 127)))]  # every printable ASCII character is a piece
  lines += [line for text in pydoc_data.topics.topics.values() for line in text.splitlines()]
  for path in (PROMPTS, CLASS_NAMES):
    lines += list(strings(json.loads(path.read_text(encoding='utf-8')))) * WEIGHT
  lines += scene_sentences()
  return [line for line in lines if line.strip()]


def train(lines: list[str], pieces: int = BASE_PIECES) -> bytes:
  """A serialized SentencePiece model with exactly `pieces` pieces."""
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(lines),
    model_writer=model,
    model_type='bpe',
    vocab_size=pieces,
    character_coverage=1.0,  # byte fallback spells what the corpus lacks
    byte_fallback=True,
    normalization_rule_name='identity',
    add_dummy_prefix=True,
    remove_extra_whitespaces=False,
    allow_whitespace_only_pieces=True,
    split_digits=True,
    unk_id=0,
    bos_id=1,
    eos_id=2,
    pad_id=-1,
    num_threads=1,
    minloglevel=1,
  )
  return model.getvalue()


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--output', type=pathlib.Path, default=config.EMBEDDED_TOKENIZER_PATH)
  parser.add_argument('--pieces', type=int, default=BASE_PIECES)
  args = parser.parse_args()
  lines = corpus()
  model = train(lines, args.pieces)
  args.output.parent.mkdir(parents=True, exist_ok=True)
  args.output.write_bytes(model)
  print(f'{args.output}: {args.pieces} pieces from {len(lines)} lines, {len(model)} bytes')


if __name__ == '__main__':
  main()
