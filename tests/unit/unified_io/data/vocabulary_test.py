import pathlib
import pickle

import pytest

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import vocabulary


@pytest.fixture(scope='module')
def vocab():
  return vocabulary.Vocabulary(config.EMBEDDED_TOKENIZER_PATH)


def test_the_table_of_the_embedded_tokenizer(vocab):
  assert (vocab.num_base_pieces, vocab.vocab_size) == (2871, 4096)
  assert (vocab.pad_id, vocab.eos_id, vocab.unk_id, vocab.bos_id) == (0, 1, 2, 0)
  pieces = [vocab.tokenizer.id_to_piece(i) for i in (0, 1, 2, 3, 258)]
  assert pieces == ['<s>', '</s>', '<unk>', '<0x00>', '<0xFF>']


@pytest.mark.parametrize(
  ('text', 'from_end'),
  [
    ('<extra_id_1199>', 1225), ('<extra_id_200>', 226), ('<extra_id_199>', 225),
    ('<extra_id_0>', 26), ('<image_history_1>', 25), ('<audio_history_8>', 10),
    ('<image_input>', 9), ('<audio_input>', 8), ('[Text] [S]', 7), ('[Text] [R]', 6),
    ('[Text] [X]', 5), ('[Image] [S]', 4), ('[Image] [R]', 3), ('[Audio] [S]', 2),
    ('[Audio] [R]', 1),
  ],
)  # fmt: skip
def test_added_pieces_stand_behind_the_others(vocab, text, from_end):
  assert vocab.encode(text) == [4096 - from_end]


def test_location_bins_count_downwards(vocab):
  assert vocab.encode('<extra_id_200> <extra_id_640>') == [
    vocab.location_token_id(0), vocab.location_token_id(440),
  ]  # fmt: skip
  assert vocab.location_token_id(0) == 2871 + 999
  assert vocab.location_token_id(999) == 2871
  with pytest.raises(ValueError, match='extra_id_1200'):
    vocab.location_token_id(1000)


def test_text_comes_back_whatever_it_is(vocab):
  for text in ('', ' ', 'two  spaces', ' é 日本 \n\t', '[Text] [S] What? <extra_id_200>', '3.14'):
    assert vocab.decode(vocab.encode(text)) == text


def test_added_pieces_match_at_word_starts_only(vocab):
  assert len(vocab.encode('<extra_id_200>')) == 1
  assert len(vocab.encode('box<extra_id_200>')) > 5
  assert len(vocab.encode('[Text]  [S]')) > 5


def test_digits_stand_apart(vocab):
  assert [vocab.tokenizer.id_to_piece(i) for i in vocab.encode('1234')][1:] == list('1234')


def test_decoding_ends_at_the_end_mark(vocab):
  cat = vocab.encode('a cat')
  assert vocab.decode([*cat, 1, *cat]) == 'a cat'
  assert vocab.decode([*cat, 5000]) == 'a cat ⁇ '


def test_vocabularies_are_equal_when_they_give_the_same_ids(vocab, tmp_path):
  copy = tmp_path / 'copy.model'
  copy.write_bytes(pathlib.Path(config.EMBEDDED_TOKENIZER_PATH).read_bytes())
  assert vocab == vocabulary.Vocabulary(str(copy))
  assert vocab != vocabulary.Vocabulary(str(copy), extra_ids=10)
  assert vocab == pickle.loads(pickle.dumps(vocab))
  assert len(vocab.fingerprint) == 32


def test_the_default_follows_its_settings_at_any_time(monkeypatch, tmp_path):
  default = vocabulary.get_default_vocabulary()
  assert default.num_base_pieces == 2871
  monkeypatch.setenv(vocabulary.ENVIRONMENT_VARIABLE, '/from/environment')
  assert vocabulary.tokenizer_path() == '/from/environment'
  monkeypatch.setattr(config, 'LLAMA_TOKENIZER_PATH', '/from/config')
  assert vocabulary.tokenizer_path() == '/from/config'
  assert vocabulary.tokenizer_path('/from/gin') == '/from/gin'
  with pytest.raises(FileNotFoundError, match='/from/config'):
    default.encode('a')


def test_a_wrong_file_is_told_in_words(tmp_path):
  empty, text = tmp_path / 'empty.model', tmp_path / 'text.model'
  empty.write_bytes(b'')
  text.write_bytes(b'{"model": "not SentencePiece"}')
  for path in (empty, text):
    with pytest.raises(ValueError, match='SentencePiece model'):
      vocabulary.Vocabulary(str(path)).encode('a')
  with pytest.raises(FileNotFoundError, match=r'there is no tokenizer file .*UIO2_TOKENIZER'):
    vocabulary.Vocabulary(str(tmp_path)).encode('a')


def test_a_tokenizer_with_other_start_pieces_is_refused(tmp_path):
  edited = tmp_path / 'edited.model'
  edited.write_bytes(vocabulary.Vocabulary(config.EMBEDDED_TOKENIZER_PATH).sp_model)
  with pytest.raises(ValueError, match=r"another kind: its first pieces are \['<s>'"):
    vocabulary.Vocabulary(str(edited)).encode('a')
