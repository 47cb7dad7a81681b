"""Trains the embedded tokenizer from the counted words in `words.json`.

  python create_data/tokenizer/train.py

The model is LLaMA-style: BPE with byte fallback, identity normalisation, a space before the first
word, white space kept as it is, digits apart, <unk> <s> </s> as 0 1 2. Equal words make equal bytes
on every version of Python; `collect.py` makes the words.
"""

import argparse
from collections.abc import Iterator
import io
import json
import pathlib

import sentencepiece

from t5x.examples.unified_io import config

BASE_PIECES = 2_871  # with the 1,225 added pieces the table has 4,096 rows
WORDS = pathlib.Path(__file__).with_name('words.json')  # count -> words, with spaces between them
SPACE = '▁'  # a space that belongs to a word


def lines() -> Iterator[str]:
  """Each word as a line, as often as it counts: BPE looks at no more than that."""
  for count, words in json.loads(WORDS.read_text(encoding='utf-8')).items():
    for word in words.split(' '):
      for _ in range(int(count)):
        yield word.replace(SPACE, ' ')


def train(pieces: int = BASE_PIECES) -> bytes:
  """A serialized SentencePiece model with exactly `pieces` pieces."""
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=lines(),
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
  model = train(args.pieces)
  args.output.parent.mkdir(parents=True, exist_ok=True)
  args.output.write_bytes(model)
  print(f'{args.output}: {args.pieces} pieces, {len(model)} bytes')


if __name__ == '__main__':
  main()
