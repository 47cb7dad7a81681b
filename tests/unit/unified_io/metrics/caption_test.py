"""CIDEr-D and BLEU against the published code."""

import random
import types

import numpy as np
import pytest

from t5x.examples.unified_io.metrics import caption

WORDS = ['a', 'red', 'blue', 'small', 'cat', 'dog', 'on', 'the', 'mat', 'under', 'of', 'two']


def sentences(seed, count, shortest=1):
  rng = random.Random(seed)
  return [' '.join(rng.choices(WORDS, k=rng.randint(shortest, 12))) for _ in range(count)]


def said(texts):
  return [types.SimpleNamespace(text=text) for text in texts]


@pytest.fixture(params=[(1, 1, 1), (2, 1, 1), (7, 5, 1), (30, 2, 0), (60, 5, 0)], ids=str)
def pictures(request):
  """(captions, references): one is right, some are empty or of few words."""
  number, each, shortest = request.param
  references = [sentences(f'r{i}', each + i % 3, shortest) for i in range(number)]
  return [*sentences('c', number - 1, shortest), references[-1][0]], references


def as_published(captions, references):
  truths = dict(enumerate(references))
  return truths, {i: [text] for i, text in enumerate(captions)}


def test_cider_equals_the_published_code(pictures):
  from pycocoevalcap.cider.cider import Cider

  mean, scores = Cider().compute_score(*as_published(*pictures))
  ours = caption.Captions(*pictures).cider()
  np.testing.assert_allclose(ours, scores, rtol=1e-12, atol=1e-12)
  assert ours.mean() == pytest.approx(mean, abs=1e-12)


def test_bleu_equals_the_published_code(pictures):
  from pycocoevalcap.bleu.bleu import Bleu

  scores, _ = Bleu(4).compute_score(*as_published(*pictures), verbose=0)
  np.testing.assert_allclose(caption.Captions(*pictures).bleu(), scores, rtol=1e-12)


@pytest.mark.parametrize(
  ('captions', 'references'),
  [
    (['', ''], [[''], ['a cat']]),
    (['a'], [['a', 'b']]),
    (['a b'], [['a b']]),
    (['a b'], [['a', 'a b c']]),
    (['a a a a'], [['a a']]),
    (['the the the'], [['a the', 'the cat the']]),
  ],
)
def test_few_words_are_scored_as_published(captions, references):
  from pycocoevalcap.bleu.bleu import Bleu
  from pycocoevalcap.cider.cider import Cider

  published, ours = as_published(captions, references), caption.Captions(captions, references)
  np.testing.assert_allclose(ours.cider(), Cider().compute_score(*published)[1], atol=1e-12)
  bleu, _ = Bleu(4).compute_score(*published, verbose=0)
  np.testing.assert_allclose(ours.bleu(), bleu, rtol=1e-12)


def test_captions_without_a_word_score_nothing():
  nothing = caption.Captions([''], [['']])
  assert nothing.cider().tolist() == [0.0]
  assert max(nothing.bleu()) < 1e-5


def test_as_many_captions_as_pictures_are_wanted():
  with pytest.raises(ValueError, match='1 captions, but references of 2 pictures'):
    caption.Captions(['a'], [['a'], ['b']])


TARGETS = [['a cat on a mat', 'the cat'], ['two dogs run on green grass'], 'a bird flies over it']
RIGHT = ['A cat on a mat.', 'Two dogs run on green grass', b'a bird flies over it'.decode()]


@pytest.mark.parametrize(
  ('metric', 'name', 'best'),
  [(caption.cider_metric, 'cider', None), (caption.bleu_metric, 'bleu_4', 1.0)],
)
def test_the_right_captions_beat_others(metric, name, best):
  right = metric(TARGETS, said(RIGHT), {})[name]
  assert right > 5 * metric(TARGETS, said(RIGHT[1:] + RIGHT[:1]), {})[name]
  assert best is None or right == pytest.approx(best)


def test_the_names_of_scores():
  assert list(caption.cider_metric(TARGETS, said(RIGHT))) == ['cider']
  assert list(caption.bleu_metric(TARGETS, said(RIGHT))) == [f'bleu_{n}' for n in (1, 2, 3, 4)]


@pytest.mark.parametrize('metric', [caption.cider_metric, caption.bleu_metric])
@pytest.mark.parametrize(
  ('targets', 'words'),
  [([], 'no example to score'), ([['a'], []], 'example 1 has no reference')],
)
def test_what_cannot_be_scored_is_refused(metric, targets, words):
  with pytest.raises(ValueError, match=words):
    metric(targets, said(['a'] * len(targets)))


def test_all_scores_of_five_thousand_pictures_take_a_second_or_two():
  import time

  references = [sentences(f'{i}', 5) for i in range(5000)]
  captions = said(sentences('c', 5000))
  start = time.process_time()
  caption.cider_metric(references, captions)
  caption.bleu_metric(references, captions)
  assert time.process_time() - start < 6
