"""Text <-> ids, the layout of the added pieces and the constructor's switches."""

import itertools
import pickle

import numpy as np
import pytest
import tensorflow as tf

from t5x.examples.unified_io.data.vocabulary import Vocabulary
from tests.parity import harness
from tests.parity.data import raw


def text_of(tensor):
  return tensor.numpy().decode('utf-8', 'replace')


@pytest.mark.parametrize('path', harness.cases('data/a_tokenizer', 'encode_*'))
def test_ids_and_text_are_those_of_the_original(path):
  with harness.case(path) as c:
    c.given('model', 'tokenizer', 'settings')
    vocab = Vocabulary(raw.tokenizer(c), **c.config['settings'])
    unmodified = Vocabulary(
      raw.tokenizer(c), extra_ids=0, modality_extra_id_n_frames=0, hack_to_t5_start_tokens=False,
      prefix_as_special_token=False,
    )  # fmt: skip
    compare_properties(c, vocab, unmodified)
    for i, row in enumerate(c.config['encode']):
      compare_encoding(c, f'encode/{i}', row, vocab, unmodified)
    for i, row in enumerate(c.config['decode']):
      at, ids = f'decode/{i}', row['ids']
      c.given(f'{at}/ids')
      c.exact(f'{at}/decode', vocab.decode(ids), row['decode'])
      c.exact(
        f'{at}/decode_tf', text_of(vocab.decode_tf(tf.constant(ids, tf.int32))), row['decode_tf']
      )
      for error in ('error', 'decode_tf_error'):
        c.exact(f'{at}/{error}', None, row[error])


def compare_properties(c, vocab, unmodified):
  want, tokenizer = c.config['vocabulary'], vocab.tokenizer
  raw_tokenizer = unmodified.tokenizer
  batch = vocab.encode_tf(tf.constant(want['batch_encode_texts']))
  rows, one = want['decode_tf_2d']['ids'], want['decode_tf_1d']['ids']
  got = {
    'vocab_size': vocab.vocab_size,
    'base_vocab_size_property': vocab._base_vocab_size,
    'extra_ids': vocab.extra_ids,
    'modality_extra_ids_property': vocab.modality_extra_ids,
    'eos_id': vocab.eos_id, 'bos_id': vocab.bos_id, 'pad_id': vocab.pad_id, 'unk_id': vocab.unk_id,
    'processor_pad_id': tokenizer.pad_id(),
    'raw_pieces': raw_tokenizer.get_piece_size(),
    'raw_unk_bos_eos': [raw_tokenizer.unk_id(), raw_tokenizer.bos_id(), raw_tokenizer.eos_id()],
    'first_12': [tokenizer.id_to_piece(i) for i in range(12)],
    'batch_encode_tf_is_ragged': isinstance(batch, tf.RaggedTensor),
    'batch_encode_tf': batch.to_list(),
    'batch_encode_dtype': batch.dtype.name,
    'decode_tf_2d/out': [t.decode() for t in vocab.decode_tf(tf.constant(rows)).numpy()],
    'decode_tf_1d/out': text_of(vocab.decode_tf(tf.constant(one))),
  }  # fmt: skip
  c.given(*(f'vocabulary/{name}' for name in (
    'batch_encode_texts', 'decode_tf_2d/ids', 'decode_tf_1d/ids',
  )))  # fmt: skip
  for name, value in got.items():
    wanted = want
    for key in name.split('/'):
      wanted = wanted[key]
    c.exact(f'vocabulary/{name}', value, wanted)


def compare_encoding(c, at, row, vocab, unmodified):
  text, ids = row['text'], row['ids']
  decoded, decoded_tf = vocab.decode(ids), text_of(vocab.decode_tf(tf.constant(ids, tf.int32)))
  got = {
    'ids': vocab.encode(text),
    'pieces': [vocab.tokenizer.id_to_piece(i) for i in vocab.encode(text)],
    'raw_model_ids': unmodified.encode(text),
    'encode_tf_same': vocab.encode_tf(tf.constant(text)).numpy().tolist() == ids,
    'decoded': decoded,
    'decoded_tf': decoded_tf,
    'decode_tf_same': decoded_tf == decoded,
    'roundtrip': decoded == text,
  }
  c.given(f'{at}/text')
  for name in row:
    if name != 'text':
      c.exact(f'{at}/{name}', got[name], row[name])


@pytest.mark.parametrize('path', harness.cases('data/a_tokenizer', 'layout_*'))
def test_every_added_id_is_that_of_the_original(path):
  with harness.case(path) as c:
    c.given('model', 'tokenizer', 'ranges/*/what', 'embedding_rows')
    vocab, want = Vocabulary(raw.tokenizer(c)), c.config
    piece = vocab.tokenizer.id_to_piece
    n = vocab.num_base_pieces
    c.exact('n', n, want['n'])
    c.exact('total', vocab.vocab_size, want['total'])
    c.exact('first', [piece(i) for i in range(len(want['first']))], want['first'])
    c.exact('added', {str(i): piece(i) for i in range(n, vocab.vocab_size)}, want['added'])
    bins = want['loc_bin_to_id']
    c.exact('loc_bin_to_id', bins and [vocab.location_token_id(b) for b in range(1000)], bins)
    edges = [0, 1, 2, 3, 259, n, n + 1000, n + 1200, n + 1216, n + 1218, vocab.vocab_size]
    ranges = [[a, b - 1] for a, b in itertools.pairwise(edges)]
    ranges.append([vocab.vocab_size, want['ranges'][-1]['ids'][1]])
    for i, row in enumerate(want['ranges']):
      end = row['ids'][1] if row['ids'][1] is None else ranges[i][1]
      c.exact(f'ranges/{i}/ids', [ranges[i][0], end], row['ids'])
    t = vocab.tokenizer
    kinds = [
      0 if t.is_control(i) else 1 if t.is_unknown(i) else 2 if t.is_byte(i) else 3
      for i in range(vocab.vocab_size)
    ]
    c.exact('piece_type', np.array(kinds), c.outputs['piece_type'])


@pytest.mark.parametrize('path', harness.cases('data/a_tokenizer', 'options'))
def test_constructor_switches_do_what_they_did(path):
  with harness.case(path) as c:
    c.given('model', 'tokenizer', 'text', 'variants/*/kw')
    for i, row in enumerate(c.config['variants']):
      vocab = Vocabulary(raw.tokenizer(c), **row['kw'])
      piece = vocab.tokenizer.id_to_piece
      got = {
        'vocab_size': vocab.vocab_size, 'eos': vocab.eos_id, 'bos': vocab.bos_id,
        'unk': vocab.unk_id, 'pad': vocab.pad_id,
        'modality_extra_ids_property': vocab.modality_extra_ids,
        'added': [piece(j) for j in range(vocab.num_base_pieces, vocab.vocab_size)],
        'first4': [piece(j) for j in range(4)],
        'example': vocab.encode(c.config['text']),
      }  # fmt: skip
      for name in row.keys() - {'kw'}:
        c.exact(f'variants/{i}/{name}', got[name], row[name])


@pytest.mark.parametrize('path', harness.cases('data/a_tokenizer', 'misc'))
def test_equality_and_pickling_are_those_of_the_original(path):
  with harness.case(path) as c:
    c.given('tokenizer', 'other_tokenizer')
    vocab = Vocabulary(raw.tokenizer(c))
    other = Vocabulary(str(harness.root() / 'data' / c.config['other_tokenizer']))
    c.exact('same_file_equal', vocab == Vocabulary(raw.tokenizer(c)), c.config['same_file_equal'])
    c.exact('other_file_equal', vocab == other, c.config['other_file_equal'])
    copy = pickle.loads(pickle.dumps(vocab))
    c.exact('pickled_equal', copy == vocab, c.config['pickled_equal'])
    c.exact('vs_other_type_equal', vocab == 'text', c.config['vs_other_type_equal'])
