"""Captions: CIDEr-D (Vedantam et al., CVPR 2015), as COCO's caption evaluation computes it.

A caption and the references of its picture are compared as bags of 1- to 4-grams, each weighted
by how few pictures' references have it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
import functools
import math
import re
from typing import Any, NamedTuple

import numpy as np

from t5x.examples.unified_io.metrics import text as text_lib

_LONGEST = 4
_SIGMA = 6.0
_CLITIC = re.compile(r"(\w)(n't|'(?:s|re|ve|ll|d|m))\b")
_TOKEN = re.compile(
  r"n't\b|'(?:s|re|ve|ll|d|m)\b|[^\W_]+(?:(?:-|'|(?<=\d)[.,](?=\d))[^\W_]+)*"  # 2,000 is a word
)


def tokenize(caption: str) -> list[str]:
  """Words in lower case without punctuation; clitics part as in the Penn Treebank.

  "A man's well-worn hat, isn't it?" -> a man 's well-worn hat is n't it
  """
  return _TOKEN.findall(_CLITIC.sub(r'\1 \2', caption.lower().replace('’', "'")))


class _Vector(NamedTuple):
  """TF-IDF of a sentence: weights of its n-grams and their norm for each n; its length."""

  weights: list[dict[tuple[str, ...], float]]
  norms: list[float]
  length: int


def _ngrams(words: Sequence[str]) -> Counter:
  return Counter(
    tuple(words[i : i + n]) for n in range(1, _LONGEST + 1) for i in range(len(words) - n + 1)
  )


class Cider:
  """Scores of captions against fixed references."""

  def __init__(self, references: Sequence[Sequence[str]]):
    """Counts n-grams.

    Args:
      references: for each picture its captions, tokens joined by single spaces.
    """
    counted = [[_ngrams(caption.split()) for caption in captions] for captions in references]
    self._pictures_with = Counter(ngram for captions in counted for ngram in set().union(*captions))
    self._log_pictures = math.log(len(references)) if references else 0.0
    self._references = [[self._vector(ngrams) for ngrams in captions] for captions in counted]

  def _vector(self, ngrams: Counter) -> _Vector:
    weights, norms, length = [{} for _ in range(_LONGEST)], [0.0] * _LONGEST, 0
    for ngram, count in ngrams.items():
      n = len(ngram) - 1
      rarity = self._log_pictures - math.log(max(1, self._pictures_with[ngram]))
      weights[n][ngram] = count * rarity
      norms[n] += (count * rarity) ** 2
      length += count if n == 0 else 0
    return _Vector(weights, [math.sqrt(norm) for norm in norms], length)

  def scores(self, captions: Sequence[str]) -> list[float]:
    """CIDEr-D of one caption for each picture, in order; tokens are joined by spaces.

    Raises:
      ValueError: there are not as many captions as pictures.
    """
    vectors = {caption: self._vector(_ngrams(caption.split())) for caption in set(captions)}
    totals = [
      np.mean([_similarity(vectors[caption], true) for true in references])
      for caption, references in zip(captions, self._references, strict=True)
    ]
    return [10.0 * float(total) / _LONGEST for total in totals]


def _similarity(said: _Vector, true: _Vector) -> float:
  """Clipped cosine of the n-grams, summed over n, less for another length."""
  total = 0.0
  for mine, theirs, my_norm, their_norm in zip(
    said.weights, true.weights, said.norms, true.norms, strict=True
  ):
    if my_norm and their_norm:
      common = sum(
        min(w, theirs[ngram]) * theirs[ngram] for ngram, w in mine.items() if ngram in theirs
      )
      total += common / (my_norm * their_norm)
  return total * math.exp(-((said.length - true.length) ** 2) / (2 * _SIGMA**2))


def cider_metric(
  targets: Sequence[Any], predictions: Sequence[Any], aux_values: Mapping[str, Any] | None = None
) -> dict[str, float]:
  """{'cider': mean CIDEr-D}; the best of several equal references is 10.

  Args:
    targets: the references of each picture, one text or several.
    predictions: with `.text`.
    aux_values: not used.

  Raises:
    ValueError: no example.
  """
  del aux_values
  if not targets:
    raise ValueError('there is no example to score')
  references = tuple(
    tuple(' '.join(tokenize(caption)) for caption in text_lib.as_texts(target))
    for target in targets
  )
  captions = [' '.join(tokenize(output.text)) for output in predictions]
  return {'cider': float(np.mean(_scorer(references).scores(captions)))}


@functools.lru_cache(maxsize=4)
def _scorer(references: tuple[tuple[str, ...], ...]) -> Cider:
  return Cider(references)
