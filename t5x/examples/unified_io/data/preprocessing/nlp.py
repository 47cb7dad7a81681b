"""Instructions and their answers: FLAN 2, Dolly, Alpaca."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from t5x.examples.unified_io.data import data_utils, prompt_slots, vocabulary
from t5x.examples.unified_io.data import prompts as prompts_lib

# Numbers of the tasks of Natural Instructions v2 whose inputs or answers are not English.
_NOT_ENGLISH = """
86 117 171-175 250-266 271-273 312-315 334 336 338 394-396 406-412 414-417 424-427 432-441 446-452
463-468 473-474 479-487 524-546 548-549 551-559 561-562 601 604 612 634-635 643-644 650-663 680
762-765 771-818 829-832 836-842 872-873 877-878 896 910-914 938-954 960-962 968-969 974-1086
1090-1134 1136-1145 1168-1185 1218-1282 1323-1324 1329-1330 1334-1335 1350-1353 1365 1367 1370-1371
1373-1377 1395-1397 1402 1414 1432-1433 1435-1436 1490-1494 1496-1497 1514 1537-1539 1543-1546 1561
1569-1571 1574-1577 1588 1591 1610-1611 1616-1621 1626-1629 1646-1652 1654-1655 1662-1663 1666-1667
1676-1677 1685-1686 1689-1692
"""


def _numbers(ranges: str) -> Iterator[int]:
  """'3 5-7' -> 3, 5, 6, 7."""
  for part in ranges.split():
    first, _, last = part.partition('-')
    yield from range(int(first), int(last or first) + 1)


# Source of a submixture -> pattern of the names of tasks that are left out.
_LEFT_OUT = {
  'NIv2': f'task0*({"|".join(map(str, _numbers(_NOT_ENGLISH)))})_.*',
  'Flan2021': '(wmt[0-9]*_.*)|para_crawl_enes',
}


def filter_non_english(ds: tf.data.Dataset, *, source: str) -> tf.data.Dataset:
  """Leaves out tasks that are not in English: 'task086_...' of NIv2, 'wmt16_...' of Flan2021.

  Args:
    ds: examples with a task_name.
    source: the submixture; only 'NIv2' and 'Flan2021' have such tasks.
  """
  if source not in _LEFT_OUT:
    return ds
  return ds.filter(lambda ex: ~tf.strings.regex_full_match(ex['task_name'], _LEFT_OUT[source]))


def _numbered(name: str, number: tf.Tensor) -> tf.Tensor:
  return tf.strings.join([name, '-', tf.strings.as_string(number)])


@data_utils.map_example()
def preprocess_flan(ex: data_utils.Example, *, name: str) -> data_utils.Example:
  """{'inputs': 'Hi', 'targets': 'Ho', 'example_num': 4} -> {'text_inputs': '[Text] [S] Hi', ...}"""
  return {
    'text_inputs': prompts_lib.TEXT_OUTPUT + ex['inputs'],
    'text_targets': ex['targets'],
    'example_id': _numbered(name, ex['example_num']),
  }


@data_utils.map_example()
def tokenize(ex: data_utils.Example, *, copy_pretokenized: bool = False) -> data_utils.Example:
  """text_inputs and text_targets as ids, int32; the texts stay as '..._pretokenized' if wanted."""
  vocab = vocabulary.get_default_vocabulary()
  made = dict(ex)
  for field in ('text_inputs', 'text_targets'):
    made[field] = vocab.encode_tf(ex[field])
    if copy_pretokenized:
      made[f'{field}_pretokenized'] = ex[field]
  return made


def filter_by_len(ds: tf.data.Dataset, sequence_length: Mapping[str, int]) -> tf.data.Dataset:
  """Tokenises, and leaves out examples whose input or target would have no room for EOS."""

  def fits(ex):
    lengths = [
      (tf.size(ex[field]), sequence_length[field]) for field in ('text_inputs', 'text_targets')
    ]
    return tf.reduce_all([size < length for size, length in lengths])

  return tokenize(ds).filter(fits)


@data_utils.map_example(num_seeds=2)
def _instruct(
  ex: data_utils.Example,
  with_seed: tf.Tensor,
  without_seed: tf.Tensor,
  *,
  with_context: Sequence[str],
  without_context: Sequence[str],
) -> data_utils.Example:
  """{'instruction': 'Sum up.', 'context': 'A cat.', 'response': 'cat', 'example_num': 4} ->
  {'text_inputs': '[Text] [S] A cat. [TR] Sum up.', 'text_targets': 'cat', ...}
  """
  slots = {'instruction': ex['instruction']}
  without = prompt_slots.fill_one_of(without_context, without_seed, slots)
  slots = {**slots, 'context': ex['context']}
  with_it = prompt_slots.fill_one_of(with_context, with_seed, slots)
  text = tf.where(tf.strings.length(ex['context']) > 0, with_it, without)
  return {
    'text_inputs': prompts_lib.TEXT_OUTPUT + text,
    'text_targets': ex['response'],
    'example_id': _numbered('dolly', ex['example_num']),  # PARITY: of every dataset
  }


def preprocess_instruction_context(
  ds: tf.data.Dataset,
  sequence_length: Mapping[str, Any] | None = None,
  *,
  dataset_name: str = '',
) -> tf.data.Dataset:
  """Instructions, with a prompt that gives the context where there is one.

  Args:
    ds: instruction, context ('' for none), response, example_num.
    sequence_length: 'is_training' is read.
    dataset_name: family of further prompts.
  """
  is_training = data_utils.is_training(sequence_length)
  families = ('NLP Instruction', 'NLP Instruction Context')
  without, with_context = (
    prompts_lib.for_task(family, dataset_name, is_training=is_training) for family in families
  )
  return _instruct(ds, with_context=with_context, without_context=without)


@data_utils.map_example()
def tokenize_with_truncate(
  ex: data_utils.Example, *, sequence_length: Mapping[str, Any]
) -> data_utils.Example:
  """text_inputs as ids; what stands before '[TR]' is cut so that the rest and EOS fit.

  PARITY: each side of the mark is tokenised on its own, what stands behind a second mark is lost,
  and a rest too long for itself takes ids off the end of what stands before.
  """
  vocab = vocabulary.get_default_vocabulary()
  text = ex['text_inputs']
  parts = tf.strings.split(text, prompts_lib.TRUNCATE_MARKER)

  def cut():
    before, after = vocab.encode_tf(parts[0]), vocab.encode_tf(parts[1])
    room = sequence_length['text_inputs'] - tf.size(after) - 1
    return tf.concat([before[:room], after], 0), parts[0] + parts[1]

  tokens, text = tf.cond(tf.size(parts) > 1, cut, lambda: (vocab.encode_tf(text), text))
  return {**ex, 'text_inputs': tokens, 'text_inputs_pretokenized': text}
