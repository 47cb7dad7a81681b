"""What the model said: text, scores, boxes, of one answer and of chosen options."""

import numpy as np
import pytest

from t5x import prediction
from t5x.examples.unified_io.inference import evaluator
from t5x.examples.unified_io.inference.evaluator import UnifiedIOOutput


class Letters:
  """Id 2 is 'a', 3 is 'b', ..."""

  def decode(self, ids):
    return ''.join(chr(95 + i) for i in ids)


def outputs(**aux):
  return evaluator.build_uio_outputs(
    {name.replace('_', '-'): np.array(value) for name, value in aux.items()}, Letters()
  )


def test_text_ends_at_the_end_mark_and_at_the_padding():
  said = outputs(text_tokens=[[2, 3, 1, 0, 0], [4, 0, 0, 0, 0], [2, 2, 2, 2, 2]])
  assert [output.text for output in said] == ['ab', 'c', 'aaaaa']


def test_all_draws_of_an_example_are_decoded():
  assert outputs(text_tokens=[[[2, 1], [3, 1]]])[0].text == ['a', 'b']


def test_each_output_has_its_own_row():
  first, second = outputs(text_tokens=[[2, 1], [3, 1]], text_scores=[-0.5, -2.0])
  assert (first.scores, second.scores) == (-0.5, -2.0)
  assert second.text_tokens.tolist() == [3, 1]


def test_the_score_of_a_chosen_option_goes_before_that_of_written_text():
  assert UnifiedIOOutput({'text-scores': 1.0, 'scores': 2.0}).scores == 2.0


def test_scores_that_the_model_did_not_give_are_an_error():
  with pytest.raises(ValueError, match='the model gave no scores'):
    _ = UnifiedIOOutput({'text': 'a'}).scores


def test_what_was_not_made_is_none():
  said = UnifiedIOOutput({})
  assert (said.text, said.text_tokens, said.image, said.audio, said.image_tokens) == (None,) * 5


def test_boxes_are_read_from_the_text():
  text = '<extra_id_200> <extra_id_450> <extra_id_700> <extra_id_1199>'
  assert UnifiedIOOutput({'text': text}).boxes == [[0.0, 0.25, 0.5, 0.999]]
  assert UnifiedIOOutput({'text': 'a cat'}).boxes == []
  assert UnifiedIOOutput({'image': np.zeros([2, 2, 3])}).boxes == []


def test_a_row_is_described_by_what_was_asked_and_said():
  output = UnifiedIOOutput({'text': 'a cat', 'scores': 0.5})
  example = {'text_inputs': 'What?', 'text_targets': 'a dog', 'meta/id': 7}
  row = prediction.Row(example=example, output=output, aux={'all_scores': np.array([0.5, 1.0])})
  described = evaluator.describe_row(row)
  assert described.pop('all_scores').tolist() == [0.5, 1.0]
  assert described == {
    'input': 'What?', 'text': 'a cat', 'score': 0.5, 'boxes': [], 'meta': {'meta/id': 7},
  }  # fmt: skip
