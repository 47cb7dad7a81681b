"""Answers to questions about pictures, compared after the normalisation of the VQA benchmark.

The rules and the table of contractions are those of VQA's evaluation tool
(github.com/GT-Vision-Lab/VQA).
"""

from collections.abc import Mapping, Sequence
import functools
import json
import pathlib
import re
from typing import Any

import numpy as np

from t5x.examples.unified_io.metrics import text

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES = ('a', 'an', 'the')
_DIGITS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
_NUMBERS = {'none': '0'} | {word: str(number) for number, word in enumerate(_DIGITS)}
_COMMA_IN_NUMBER, _STOP = re.compile(r'\d,\d'), re.compile(r'\.(?!\d)')
_MOST_STOPS = 32  # PARITY: the tool removes so many, for it gives a flag where the count belongs
_NUM_EXAMPLES = 20


@functools.cache
def _contractions() -> dict[str, str]:
  path = pathlib.Path(__file__).with_name('vqa_contractions.json')
  return json.loads(path.read_text(encoding='utf-8'))


def process_punctuation(answer: str) -> str:
  """Marks go, or become spaces where they join words: 'a-b, c.' -> 'a b c'."""
  result = answer
  for mark in _MARKS:
    goes = f'{mark} ' in answer or f' {mark}' in answer or _COMMA_IN_NUMBER.search(answer)
    result = result.replace(mark, '' if goes else ' ')
  return _STOP.sub('', result, count=_MOST_STOPS)


def process_words(answer: str) -> str:
  """Lower case, digits for number words, no articles, full contractions: 'Two' -> '2'."""
  words = [_NUMBERS.get(word, word) for word in answer.lower().split()]
  return ' '.join(_contractions().get(word, word) for word in words if word not in _ARTICLES)


@functools.lru_cache(maxsize=2**16)
def normalize_answer(answer: str) -> str:
  """An answer in the form in which answers are compared: 'The dogs, dont.' -> "dogs don't"."""
  answer = answer.replace('\n', ' ').replace('\t', ' ').lower().strip()
  return process_words(process_punctuation(answer))


def vqa_score(target: str | Sequence[str], answer: str) -> float:
  """A third for each person who gave this answer, at most 1; with one true answer, 1 or 0.

  PARITY: all people count; the official tool averages over leaving one out.
  """
  answer = normalize_answer(answer)
  if isinstance(target, (str, bytes)):
    return float(answer == normalize_answer(text.as_texts(target)[0]))
  return min(sum(answer == normalize_answer(true) for true in text.as_texts(target)) / 3, 1.0)


def vqa_metric(
  targets: Sequence[Any], predictions: Sequence[Any], aux_values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
  """{'score': mean of `vqa_score`, 'examples': the first answers beside the true ones, as lines}.

  Raises:
    ValueError: no example.
  """
  del aux_values
  if not targets:
    raise ValueError('there is no example to score')
  pairs = [(target, output.text) for target, output in zip(targets, predictions, strict=True)]
  lines = [f'{said} | {", ".join(text.as_texts(true))}' for true, said in pairs[:_NUM_EXAMPLES]]
  return {'score': float(np.mean([vqa_score(*pair) for pair in pairs])), 'examples': lines}
