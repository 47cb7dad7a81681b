"""Cuts captions into words as COCO's caption evaluation does, without Java.

There it is Stanford's PTBTokenizer (CoreNLP 3.4.1, lower case) and what COCO leaves out of its
result: quotes, full stops, commas, (semi)colons, dashes, single question and exclamation marks.
Brackets, signs and doubled marks stay. Its rules were found by giving it texts. On the 25,014
captions of COCO val2017 the two differ in four, which end in a single letter ("reads K."): it reads
all captions as one text, and such a letter loses its full stop where the next one begins with "A",
"The" or the like, the usual start of a sentence. Here a caption's neighbours do not matter.
"""

import functools
import json
import pathlib
import re

_LETTER, _ALNUM = r'[^\W\d_]', r'[^\W_]'
_WORD = rf'{_LETTER}{_ALNUM}*(?:[.!?]{_LETTER}{_ALNUM}*)*'  # a space forgotten: river.A
_NUMBER = r'[+-]?(?:\d+(?:[.,:]\d+)*|(?:[.,:]\d+)+)'
_HYPHENS = r'[A-Za-z0-9][A-Za-z0-9.,]*(?:-(?:(?:[A-Za-z]\.){2,}|[^\W_]+))+'
_SLASHED = r'[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}'

_HALVES = {
  'cannot': ('can', 'not'),
  'gonna': ('gon', 'na'),
  'gotta': ('got', 'ta'),
  'wanna': ('wan', 'na'),
  'gimme': ('gim', 'me'),
  'lemme': ('lem', 'me'),
  "'tis": ("'t", 'is'),
  "'twas": ("'t", 'was'),
}
_WRITTEN = {
  '(': '-lrb-', ')': '-rrb-', '[': '-lsb-', ']': '-rsb-', '{': '-lcb-', '}': '-rcb-',
  '£': '#', '€': '$', '¢': 'cents', '&amp;': '&', '½': '1/2', '¼': '1/4', '¾': '3/4',
}  # fmt: skip

# At each place the longest match counts, the first of equally long ones.
_KINDS = [
  re.compile(pattern)
  for pattern in (
    rf"{_LETTER}*[nN]'[tT](?!{_ALNUM})",
    rf"'(?:[sSmMdD]|ll|LL|ve|VE|re|RE|n'?|em|til|cause|\d0s|tis|[tT](?:is|was))(?!{_ALNUM})",
    rf"[dlnoA-HJ-Z]'{_LETTER}{{2,}}{_ALNUM}*|(?i:{_LETTER}+[aeiouy]'[aeiouy]{_LETTER}*)",
    _WORD,
    _NUMBER,
    rf'{_ALNUM}+',
    _HYPHENS,
    rf'{_ALNUM}+(?:[-_]{_ALNUM}+)+',
    rf'{_SLASHED}(?:/{_SLASHED}){{1,2}}',
    r'\d{1,4}-\d{1,4}/\d{1,4}',
    rf'(?:{_WORD}|{_NUMBER}|{_HYPHENS}|{_ALNUM}+)\.(?=[,;:])',
    r'[A-Za-z](?:\.[A-Za-z])*\.|[A-Za-z](?:\.[A-Za-z])+|[pP][hH]\.[dD]\.',
    r'[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+',
    r'(?:https?://|www\.)[^\s"<>|]+[^\s"<>|.!?,;]',
    r'[\w.-]+@[\w.-]*\w|@[A-Za-z_]\w*|#[A-Za-z]+|[A-Z]*\$',
    r'</?[A-Za-z!?][^<>]*>|[:;=]-?[()DPO\[\]|](?![^\W_])',
    r'&amp;|[?!]{2,}|-{2,}|\.{2,}|\*+|#+|_+',
    r'.',
  )
]
_LEFT_OUT = frozenset('\'"`’‘“”«»„.,:;?!-–—―…\u00ad')
_BEFORE_STOP = re.compile(r'[A-Za-z]+(?=\.)')


def tokenize(caption: str) -> list[str]:
  """Words in lower case.

  "A man's well-worn hat, isn't it?" -> a man 's well-worn hat is n't it
  """
  words: list[str] = []
  chunks = caption.split()
  for chunk, after in zip(chunks, [*chunks[1:], ''], strict=False):
    words += _words(chunk, after[:1].isdigit())
  return words


@functools.lru_cache(maxsize=2**16)
def _words(chunk: str, before_number: bool) -> tuple[str, ...]:
  """The words of what stands between spaces."""
  words: list[str] = []
  chunk, place = chunk.replace('’', "'"), 0
  while place < len(chunk):
    ends = [match.end() for kind in _KINDS if (match := kind.match(chunk, place))]
    end = max(*ends, _end_of_abbreviation(chunk, place, before_number))
    words += _written(chunk[place:end])
    place = end
  return tuple(words)


@functools.cache
def _abbreviations() -> dict[str, str]:
  """Word -> when it keeps its full stop."""
  path = pathlib.Path(__file__).with_name('caption_abbreviations.json')
  table = json.loads(path.read_text(encoding='utf-8'))
  return {word: when for when, words in table.items() for word in words}


def _end_of_abbreviation(chunk: str, place: int, before_number: bool) -> int:
  """Behind the full stop that belongs to the word, 0 where there is none."""
  match = _BEFORE_STOP.match(chunk, place)
  if not match:
    return 0
  word, end = match[0].lower(), match.end() + 1
  if end < len(chunk):
    before_number = chunk[end].isdigit()
  kept = {
    'in any case': True,
    'with a capital': match[0][0].isupper(),
    'before a number': before_number,
  }
  return end if kept.get(_abbreviations().get(word)) else 0


def _written(token: str) -> tuple[str, ...]:
  """What a token is called: nothing, or one or two words."""
  if set(token) <= _LEFT_OUT and (len(token) == 1 or token[0] not in '?!'):
    return ()
  word = token.lower()
  if word in _HALVES:
    return _HALVES[word]
  if word.endswith("n't") and word != "n't":
    return (word[:-3], "n't")
  return (_WRITTEN.get(word) or ''.join(_WRITTEN.get(mark, mark) for mark in word),)
