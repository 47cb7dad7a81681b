"""Words of captions: literals, and COCO's own tokenizer where Java exists."""

import shutil

import pytest

from t5x.examples.unified_io.metrics import caption_tokens

CASES = {
  # Sentences of captions.
  "A man's well-worn hat, isn't it?": "a man 's well-worn hat is n't it",
  'A woman is riding a horse on the beach.': 'a woman is riding a horse on the beach',
  '  "Two"\ndogs (brown)...': 'two dogs -lrb- brown -rrb-',
  'The stop.] sign {x}': 'the stop -rsb- sign -lcb- x -rcb-',
  'Dogs; cats: birds - fish -- all!': 'dogs cats birds fish all',
  'Wow!! What?! Really?': 'wow !! what ?! really',
  'a river.A group of people': 'a river.a group of people',
  'cut on board.cabbage.': 'cut on board.cabbage',
  '': '',
  # Clitics and halves.
  "They're -- can't, won't; he'd DON'T": "they 're ca n't wo n't he 'd do n't",
  "the dogs' bowl, James' hat": 'the dogs bowl james hat',
  "I'm sure we've seen what'll be let's": "i 'm sure we 've seen what 'll be let 's",
  "o'clock O'Brien ma'am Ho'ohu": "o'clock o'brien ma'am ho'ohu",
  'He cannot, gonna wanna gotta lemme gimme': 'he can not gon na wan na got ta lem me gim me',
  "'Tis 'twas 'em rock 'n' roll in the '80s": "'t is 't was 'em rock 'n' roll in the '80s",
  "'quoted' and ''more'' and `this`": 'quoted and more and this',
  'it’s “curly” ‘too’': "it 's curly too",
  # Numbers and signs.
  'Red,blue; 2,000 or 3.5!': 'red blue 2,000 or 3.5',
  'at 11:44 or 10:30pm, 1/2 of 22-3/4': 'at 11:44 or 10:30 pm 1/2 of 22-3/4',
  'The #41 bus #cat costs $5.50, 50% off': 'the # 41 bus #cat costs $ 5.50 50 % off',
  '£5 €6 7¢ ½ cup 10° 5x7': '# 5 $ 6 7 cents 1/2 cup 10 ° 5x7',
  'black & white, AT&T, b&w &amp; more': 'black & white at&t b & w & more',
  'a tub/shower and/or schoolbus/boat/house': 'a tub/shower and/or schoolbus/boat/house',
  'an elephant/ w/ under_score a*b ** _ __': 'an elephant / w / under_score a * b ** _ __',
  '3-legged, black-and-white, 2,000-seat - x': '3-legged black-and-white 2,000-seat x',
  'a smile :) and @home at foo@bar.com': 'a smile :-rrb- and @home at foo@bar.com',
  'see http://a.com/b?c=d. www.foo.com <b>': 'see http://a.com/b?c=d www.foo.com <b>',
  # Full stops that stay.
  'A T.V., a D.V.D player at 5 p.m.': 'a t.v. a d.v.d player at 5 p.m.',
  'corner of Furnace St. and Crapo Ave.': 'corner of furnace st. and crapo ave.',
  'Mr. Smith of Fort York Blvd. vs. Dr. No.': 'mr. smith of fort york blvd. vs. dr. no',
  'No. 5 and no.5 and no. Then fig. 2': 'no. 5 and no. 5 and no then fig. 2',
  'the Miss. and Ill. rivers; miss. ill.': 'the miss. and ill. rivers miss ill',
  'J.K. Rowling by E. coli with a U.S. flag': 'j.k. rowling by e. coli with a u.s. flag',
  'A dog., a cat.; a bird.: end': 'a dog. a cat. a bird. end',
  'naïve café–style—dash': 'naïve café style dash',
}


@pytest.mark.parametrize('text', CASES)
def test_words_of(text):
  assert ' '.join(caption_tokens.tokenize(text)) == CASES[text]


def test_cocos_own_tokenizer_says_the_same():
  if not shutil.which('java'):
    pytest.skip("COCO's tokenizer needs Java")
  from pycocoevalcap.tokenizer import ptbtokenizer

  # A line of its own keeps one caption from being read with the next.
  texts = [text.replace('\n', ' ') for text in CASES if text]
  spaced = {i: [{'caption': text}, {'caption': 'x'}] for i, text in enumerate(texts)}
  theirs = ptbtokenizer.PTBTokenizer().tokenize(spaced)
  ours = [' '.join(caption_tokens.tokenize(text)) for text in texts]
  assert [' '.join(theirs[i][0].split()) for i in range(len(texts))] == ours
