"""Stage 1 of the tasks on text."""

import pytest
import tensorflow as tf

from t5x.examples.unified_io.data import prompts as prompts_lib
from t5x.examples.unified_io.data.preprocessing import nlp


def rows_of(field, values):
  return tf.data.Dataset.from_tensor_slices({field: values})


@pytest.mark.parametrize(
  ('source', 'kept'),
  [('NIv2', ['task1_a', 'wmt16_de']), ('Flan2021', ['task086_a', 'task1_a']), ('CoT', None)],
)
def test_tasks_in_other_languages_are_left_out(source, kept):
  names = ['task086_a', 'task1_a', 'wmt16_de']
  ds = nlp.filter_non_english(rows_of('task_name', names), source=source)
  assert [row['task_name'].decode() for row in ds.as_numpy_iterator()] == (kept or names)


@pytest.mark.parametrize(
  ('context', 'wanted'), [('', 'no: do'), ('A cat.', 'with: A cat. [TR] do')]
)
def test_the_context_is_given_where_there_is_one(monkeypatch, context, wanted):
  templates = {
    'NLP Instruction': ['no: {instruction}'],
    'NLP Instruction Context': ['with: {context} [TR] {instruction}'],
  }
  monkeypatch.setattr(
    prompts_lib.Prompt, 'get_prompt_list', lambda self, task, dataset: templates[task]
  )
  example = {'instruction': 'do', 'context': context, 'response': 'done', 'example_num': 3}
  (row,) = nlp.preprocess_instruction_context(tf.data.Dataset.from_tensors(example))
  assert row['text_inputs'].numpy().decode() == f'[Text] [S] {wanted}'
  assert row['text_targets'] == b'done'


def test_what_stands_before_the_mark_is_cut_first():
  lengths = {'text_inputs': 8}
  whole = 'one two three four five six seven eight [TR] the end'
  ds = rows_of('text_inputs', [whole, 'the end'])
  long, short = nlp.tokenize_with_truncate(ds, sequence_length=lengths).as_numpy_iterator()
  assert len(long['text_inputs']) == 7  # one place is left for EOS
  end = short['text_inputs'].tolist()
  assert long['text_inputs'].tolist()[-len(end) :] == end


def test_texts_without_room_for_their_end_are_left_out():
  ds = tf.data.Dataset.from_tensor_slices(
    {'text_inputs': ['a', 'a b c d e f g h'], 'text_targets': ['b', 'b']}
  )
  kept = nlp.filter_by_len(ds, {'text_inputs': 4, 'text_targets': 4})
  assert len(list(kept)) == 1
