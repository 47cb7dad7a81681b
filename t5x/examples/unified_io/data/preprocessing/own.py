"""Rows of a user's own data: whatever they name, with a prompt or in their own words."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from t5x.examples.unified_io.data import data_utils, regions, vocabulary
from t5x.examples.unified_io.data import prompts as prompts_lib
from t5x.examples.unified_io.data.features import text as text_features
from t5x.examples.unified_io.data.own import rows as rows_lib

_AS_IT_STANDS = ['{}']


class PromptTable(NamedTuple):
  """The prompts of several families in one table; each prompt has one slot or none.

  `before`, `after` [P] stand around the slot, `asks` [P] tells whether there is one. The prompts of
  a family are the `count` [F] rows from `start` [F] on.
  """

  before: tf.Tensor
  after: tf.Tensor
  asks: tf.Tensor
  start: tf.Tensor
  count: tf.Tensor

  @classmethod
  def of(cls, families: Sequence[str], is_training: bool) -> 'PromptTable':
    """The table of some families; that of AS_IS is the text alone."""
    lists = [
      prompts_lib.for_task(family, is_training=is_training) if family else _AS_IT_STANDS
      for family in families
    ]
    cut = [prompt.partition('{}') for prompts in lists for prompt in prompts]
    before, slots, after = zip(*cut, strict=True)
    counts = [len(prompts) for prompts in lists]
    starts = [sum(counts[:i]) for i in range(len(counts))]
    return cls(*map(tf.constant, (before, after, [bool(s) for s in slots], starts, counts)))

  def draw(self, family: tf.Tensor, text: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A prompt of the family, with the text in its slot."""
    i = self.start[family] + data_utils.draw_index(seed, self.count[family])
    return tf.strings.join([self.before[i], tf.where(self.asks[i], text, ''), self.after[i]])


def _canvas(ex: data_utils.Example, is_training: bool, seed: tf.Tensor) -> dict[str, Any]:
  """The picture and where its boxes come to lie, if the file has pictures.

  Returns:
    The raw fields of the picture; 'boxes' [n, 4] in pixels of the canvas, 'kept' [n]: whether the
    box is still in sight; 'info'.
  """
  if 'image' not in ex:
    nothing = tf.zeros([0], tf.bool)
    return {'fields': {}, 'boxes': tf.zeros([0, 4]), 'kept': nothing, 'info': tf.zeros([11])}
  image, mask, (info, _, boxes, _, kept) = data_utils.resize_and_pad_default(
    ex['image'], is_training, seed, boxes=ex['boxes']
  )
  count = tf.shape(ex['boxes'], tf.int64)[0]
  return {
    'fields': {
      'image_inputs': image, 'image_input_masks': mask * ex['has_image'],
    },
    'boxes': tf.scatter_nd(kept[:, None], boxes, tf.stack([count, 4])),
    'kept': tf.scatter_nd(kept[:, None], tf.ones_like(kept), count[None]) > 0,
    'info': info,
  }  # fmt: skip


def _written(ex: data_utils.Example, boxes: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
  """The question, the answers and the options with their boxes written out, in one vector.

  'from {box0}' with a box -> 'from <extra_id_200> <extra_id_300> <extra_id_400> <extra_id_500>'
  """
  each = tf.strings.reduce_join(regions.regions_to_str(boxes, separator=None), -1, separator=' ')
  every = tf.strings.reduce_join(tf.boolean_mask(each, kept), separator=' ')
  ends = tf.gather(tf.concat([['', every], each], 0), ex['slots'])
  count = 1 + ex['num_answers'] + ex['num_options']
  return tf.strings.unsorted_segment_join(ex['pieces'] + ends, ex['owners'], count)


def _in_sight(slots: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
  """Whether the boxes that the texts name are all in the picture still; of '{boxes}', any."""
  named = tf.boolean_mask(slots, slots >= rows_lib.FIRST_BOX) - rows_lib.FIRST_BOX
  wants_any = tf.reduce_any(slots == rows_lib.ALL_BOXES)
  return tf.reduce_all(tf.gather(kept, named)) & (~wants_any | tf.reduce_any(kept))


@data_utils.map_example(num_seeds=4)
def _ask(
  ex: data_utils.Example,
  prompt_seed: tf.Tensor,
  answer_seed: tf.Tensor,
  image_seed: tf.Tensor,
  target_seed: tf.Tensor,
  *,
  table: PromptTable,
  is_training: bool,
  max_options: int,
  longest: int,
) -> data_utils.Example:
  """A row of `own.decode` -> the raw fields that stage 2 knows, and what metrics compare with.

  {'pieces': ['What is it?', 'a cat'], 'owners': [0, 1], 'num_answers': 1, ...} ->
  {'text_inputs': '[Text] [S] What is it?', 'text_targets': 'a cat', ...}
  """
  canvas = _canvas(ex, is_training, image_seed)
  texts = _written(ex, canvas['boxes'], canvas['kept'])
  answers = texts[1 : 1 + ex['num_answers']]
  drawn = data_utils.draw_index(answer_seed, tf.maximum(ex['num_answers'], 1)) if is_training else 0
  made = {
    **canvas['fields'],
    **{name: value for name, value in ex.items() if name.startswith(('audio_', 'image_history_'))},
    'text_inputs': ex['prefix'] + table.draw(ex['family'], texts[0], prompt_seed),
    # A slice, for there may be no answer: then there is nothing to learn from the text.
    'text_targets': tf.strings.reduce_join(answers[drawn : drawn + 1]),
    'valid': _in_sight(ex['slots'], canvas['kept']),
    'meta/number': ex['number'],
    'meta/example_id': ex['id'],
    'meta/metric': ex['metric'],
    'meta/all_references': answers,
    'meta/boxes': tf.gather(canvas['boxes'], ex['target_boxes']),
    'meta/src_boxes': tf.gather(ex['boxes'], ex['target_boxes']),
    'meta/image_info': canvas['info'],
  }
  if 'image_target' in ex:
    target, mask, _ = data_utils.resize_and_pad_default(
      ex['image_target'], is_training, target_seed, is_input=False
    )
    made |= {'image_targets': target, 'image_target_masks': mask * ex['has_image_target']}
  if max_options and not is_training:
    made['choices'] = _choices(texts[1 + ex['num_answers'] :], max_options, longest)
  return made


def _choices(options: tf.Tensor, count: int, longest: int) -> tf.Tensor:
  """Ids of the options, int32 [count, longest of them]; rows of zeros are no options."""
  ids = vocabulary.get_default_vocabulary().encode_tf(options)[:, : longest - 1]
  return text_features.with_eos(ids).to_tensor(shape=[count, None])


def own_data_preprocessor(
  ds: tf.data.Dataset,
  sequence_length: Mapping[str, Any] | None = None,
  *,
  families: Sequence[str],
  max_options: int,
) -> tf.data.Dataset:
  """An example for each row; those that lost a box to the edge are left out.

  Args:
    ds: rows of `own.decode.Decoder`.
    sequence_length: 'is_training' and 'text_targets' are read.
    families: those that 'family' counts.
    max_options: most options of a row; 0 where there are none.
  """
  is_training = data_utils.is_training(sequence_length)
  table = PromptTable.of(families, is_training)
  ds = _ask(
    ds, table=table, is_training=is_training, max_options=max_options,
    longest=(sequence_length or {}).get('text_targets', 0),
  )  # fmt: skip
  return data_utils.only_valid(ds)
