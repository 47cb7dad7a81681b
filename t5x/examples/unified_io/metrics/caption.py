"""Captions: CIDEr-D and BLEU, as COCO's caption evaluation computes them.

Both compare a caption with the references of its picture by their n-grams of 1 to 4 words. All
n-grams of all texts are counted together, as arrays.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any

import numpy as np

from t5x.examples.unified_io.metrics import caption_tokens
from t5x.examples.unified_io.metrics import text as text_lib

LONGEST = 4
_SIGMA = 6.0  # of the penalty on another length
_TINY, _SMALL = 1e-15, 1e-9  # PARITY: the public BLEU adds them to numerator and denominator


@dataclasses.dataclass(frozen=True)
class _Grams:
  """Which n-grams of one length the texts have: a row for each text and n-gram in it, in order.

  Attributes:
    text: number of the text, int64 [rows].
    gram: number of the n-gram, int64 [rows].
    count: how often it stands there, int64 [rows].
    number: above all numbers of n-grams.
  """

  text: np.ndarray
  gram: np.ndarray
  count: np.ndarray
  number: int


def _count(texts: Sequence[Sequence[str]]) -> list[_Grams]:
  """The n-grams of texts of words, for each length."""
  numbers: dict[str, int] = {}
  words = np.array([numbers.setdefault(word, len(numbers)) for text in texts for word in text], int)
  text_of = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
  grams, counted = words, []
  for n in range(1, LONGEST + 1):
    if n > 1:  # a gram and the word behind it, where that is of the same text
      inside = text_of[n - 1 :] == text_of[: max(0, len(text_of) - n + 1)]
      longer = grams[: len(inside)] * len(numbers) + words[n - 1 :]
      grams = np.unique(np.where(inside, longer, -1), return_inverse=True)[1]
      starts = text_of[: len(inside)][inside], grams[inside]
    else:
      starts = text_of, words
    number = 1 + int(grams.max(initial=0))
    rows, count = np.unique(starts[0] * number + starts[1], return_counts=True)
    counted.append(_Grams(rows // number, rows % number, count, number))
  return counted


class Captions:
  """Captions beside the references of their pictures, counted once for all scores."""

  def __init__(self, captions: Sequence[str], references: Sequence[Sequence[str]]):
    """Counts n-grams.

    Args:
      captions: one for each picture, tokens joined by single spaces.
      references: for each picture its true captions, in the same form; at least one.

    Raises:
      ValueError: there are not as many captions as pictures.
    """
    if len(captions) != len(references):
      raise ValueError(f'{len(captions)} captions, but references of {len(references)} pictures')
    self._number = len(captions)
    texts = [text.split() for text in (*captions, *(t for true in references for t in true))]
    self._lengths = np.array([len(text) for text in texts], int)
    each = np.array([len(true) for true in references], int)
    # The picture of each text: captions come first, then all references.
    self._picture = np.concatenate([np.arange(self._number), np.repeat(range(len(each)), each)])
    self._counted = _count(texts)

  def cider(self) -> np.ndarray:
    """CIDEr-D (Vedantam et al., CVPR 2015) of each caption, float64 [pictures].

    N-grams are weighted by how few pictures' references have them; the clipped cosine is averaged
    over lengths and references; a caption of another length gets less.
    """
    similar = sum(self._similarities(grams) for grams in self._counted) / LONGEST
    of, lengths = self._picture[self._number :], self._lengths
    difference = lengths[of] - lengths[self._number :]
    penalised = similar * np.exp(-(difference**2) / (2 * _SIGMA**2))
    return 10 * _sums(of, penalised, self._number) / _sums(of, np.ones(len(of)), self._number)

  def _similarities(self, grams: _Grams) -> np.ndarray:
    """Clipped cosine of each reference with the caption of its picture."""
    keys = np.sort(self._keys(grams)[grams.text >= self._number])
    once = keys[np.diff(keys, prepend=-1) > 0] % grams.number
    pictures_with = np.maximum(1, np.bincount(once, minlength=grams.number))
    weight = grams.count * (np.log(self._number) - np.log(pictures_with))[grams.gram]
    norm = np.sqrt(_sums(grams.text, weight**2, len(self._lengths)))
    said, beside = self._beside(grams)
    common = np.minimum(weight[said], weight[beside]) * weight[beside]
    total = _sums(grams.text[beside], common, len(self._lengths))
    scale = norm * norm[self._picture]
    return np.divide(total, scale, out=np.zeros_like(total), where=scale > 0)[self._number :]

  def _keys(self, grams: _Grams) -> np.ndarray:
    """A number for each picture and n-gram."""
    return self._picture[grams.text] * grams.number + grams.gram

  def _beside(self, grams: _Grams) -> tuple[np.ndarray, np.ndarray]:
    """Rows of captions and rows of references that have the same n-gram of the same picture."""
    keys = self._keys(grams)
    first = np.searchsorted(grams.text, self._number)  # the rows before it are of captions
    place = np.searchsorted(keys[:first], keys[first:])
    place = np.minimum(place, max(first - 1, 0))
    same = keys[place] == keys[first:] if first else np.zeros(len(keys), bool)
    return place[same], np.flatnonzero(same) + first

  def bleu(self) -> list[float]:
    """BLEU-1 to BLEU-4 (Papineni et al., ACL 2002) of all captions together.

    The length that counts is that of the closest reference, the shorter one of two.
    """
    precision, scores = 1.0, []
    for n, grams in enumerate(self._counted, 1):
      said, beside = self._beside(grams)
      most = np.zeros(len(grams.count), int)
      np.maximum.at(most, said, grams.count[beside])
      right = np.minimum(grams.count, most).sum()
      tried = np.maximum(0, self._lengths[: self._number] - n + 1).sum()
      precision *= (right + _TINY) / (tried + _SMALL)
      scores.append(precision ** (1 / n))
    ratio = (self._lengths[: self._number].sum() + _TINY) / (self._closest().sum() + _SMALL)
    return [float(score * min(1.0, np.exp(1 - 1 / ratio))) for score in scores]

  def _closest(self) -> np.ndarray:
    """The length of the closest reference of each picture."""
    of, lengths = self._picture[self._number :], self._lengths[self._number :]
    distance = np.abs(lengths - self._lengths[of])
    order = np.lexsort((lengths, distance, of))
    return lengths[order][np.unique(of[order], return_index=True)[1]]


def _sums(of: np.ndarray, values: np.ndarray, number: int) -> np.ndarray:
  return np.bincount(of, values, minlength=number).astype(np.float64)  # no value: integers


def cider_metric(
  targets: Sequence[Any], predictions: Sequence[Any], aux_values: Mapping[str, Any] | None = None
) -> dict[str, float]:
  """{'cider': mean CIDEr-D}; the best of several equal references is 10.

  Args:
    targets: the references of each picture, one text or several.
    predictions: with `.text`.
    aux_values: not used.

  Raises:
    ValueError: no example, or one without a reference.
  """
  del aux_values
  return {'cider': float(_captions(targets, predictions).cider().mean())}


def bleu_metric(
  targets: Sequence[Any], predictions: Sequence[Any], aux_values: Mapping[str, Any] | None = None
) -> dict[str, float]:
  """{'bleu_1': BLEU-1 of all captions together, ..., 'bleu_4': BLEU-4}, each at most 1.

  Raises:
    ValueError: no example, or one without a reference.
  """
  del aux_values
  scores = _captions(targets, predictions).bleu()
  return {f'bleu_{n}': score for n, score in enumerate(scores, 1)}


def _captions(targets, predictions):
  if not targets:
    raise ValueError('there is no example to score')
  references = tuple(tuple(map(_tokenized, text_lib.as_texts(target))) for target in targets)
  if not all(references):
    raise ValueError(f'example {references.index(())} has no reference to compare with')
  return _counted(tuple(_tokenized(output.text) for output in predictions), references)


@functools.lru_cache(maxsize=2**17)
def _tokenized(text: str) -> str:
  return ' '.join(caption_tokens.tokenize(text))


@functools.lru_cache(maxsize=1)
def _counted(captions: tuple[str, ...], references: tuple[tuple[str, ...], ...]) -> Captions:
  return Captions(captions, references)
