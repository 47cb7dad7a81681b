"""CIDEr-D against the published code, and the tokeniser."""

import random
import types

import pytest

from t5x.examples.unified_io.metrics import caption

WORDS = ['a', 'red', 'blue', 'small', 'cat', 'dog', 'on', 'the', 'mat', 'under', 'of', 'two']


def sentences(seed, count):
  rng = random.Random(seed)
  return [' '.join(rng.choices(WORDS, k=rng.randint(1, 12))) for _ in range(count)]


@pytest.mark.parametrize(('pictures', 'each'), [(1, 1), (7, 5), (30, 2)])
def test_scores_equal_the_published_code(pictures, each):
  from pycocoevalcap.cider.cider import Cider

  references = {i: sentences(f'r{i}', each) for i in range(pictures)}
  captions = [*sentences('c', pictures - 1), references[pictures - 1][0]]
  mean, scores = Cider().compute_score(references, {i: [c] for i, c in enumerate(captions)})
  ours = caption.Cider(list(references.values())).scores(captions)
  assert ours == pytest.approx(scores.tolist(), abs=1e-9)
  assert sum(ours) / pictures == pytest.approx(mean, abs=1e-9)


def test_as_many_captions_as_pictures_are_wanted():
  with pytest.raises(ValueError):
    caption.Cider([['a'], ['b']]).scores(['a'])


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ("A man's well-worn hat, isn't it?", "a man 's well-worn hat is n't it"),
    ('Red,blue; 2,000 or 3.5!', 'red blue 2,000 or 3.5'),
    ('  "Two"\ndogs (brown)...', 'two dogs brown'),
    ('They’re -- can\'t', "they 're ca n't"),
    ('', ''),
  ],
)  # fmt: skip
def test_words_are_lower_case_without_punctuation(text, words):
  assert ' '.join(caption.tokenize(text)) == words


def test_tokens_equal_the_treebanks_on_plain_captions():
  nltk_like = 'a woman is riding a horse on the beach .'
  assert caption.tokenize('A woman is riding a horse on the beach.') == nltk_like.split()[:-1]


def test_the_right_caption_beats_another():
  targets = [['a cat on a mat', 'the cat'], ['two dogs run'], 'a bird']
  right = [types.SimpleNamespace(text=t) for t in ('A cat on a mat.', 'Two dogs run', 'a bird')]
  wrong = right[1:] + right[:1]
  best = caption.cider_metric(targets, right, {})['cider']
  assert best > 10 * caption.cider_metric(targets, wrong, {})['cider']
