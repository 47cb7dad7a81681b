"""The embedded tokenizer is what its training script makes of the words that lie beside it."""

import pathlib

from create_data.tokenizer import collect, train
from t5x.examples.unified_io import config


def test_training_makes_the_shipped_model():
  assert train.train() == pathlib.Path(config.EMBEDDED_TOKENIZER_PATH).read_bytes()


def test_words_keep_the_spaces_that_pieces_are_made_of():
  lines = ['a  b a', '   c']
  assert collect.words(lines) == {'a': 2, '▁b': 1, '▁▁▁c': 1}


def test_words_are_trained_on_as_often_as_they_count(tmp_path, monkeypatch):
  path = tmp_path / 'words.json'
  path.write_text('{"1": "▁▁c", "2": "a ▁b"}', encoding='utf-8')
  monkeypatch.setattr(train, 'WORDS', path)
  assert list(train.lines()) == ['  c', 'a', 'a', ' b', ' b']
