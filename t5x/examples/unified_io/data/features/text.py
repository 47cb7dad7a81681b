"""Text: strings or ids -> tokens that end in EOS -> rows of fixed length, and answer options.

Lengths are those of the sequence-length dict: 'text_inputs' and 'text_targets', or the names an
evaluator uses for them, 'inputs/text/tokens' and 'targets/text/tokens'.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from t5x.examples.unified_io import config, modality_specs
from t5x.examples.unified_io.data import vocabulary

Example = Mapping[str, Any]
Lengths = Mapping[str, Any]


def _length(lengths: Lengths | None, key: str, alias: str | None = None) -> int:
  for name in (key, alias):
    if name and (lengths or {}).get(name) is not None:
      return int(lengths[name])
  raise ValueError(
    f'the sequence lengths {dict(lengths or {})} lack {key!r}: the largest number of tokens, EOS '
    'included'
  )


def _tokens(text: Any) -> tf.Tensor | tf.RaggedTensor:
  """Strings as ids; ids stay as they are. A vector of strings becomes ragged."""
  if text.dtype == tf.string:
    return vocabulary.get_default_vocabulary().encode_tf(text)
  return tf.cast(text, tf.int32)


def shift_right(
  targets: tf.Tensor, segment_ids: tf.Tensor | None = None, bos_id: int = config.PAD_ID
) -> tf.Tensor:
  """Decoder inputs: the token before each target, `bos_id` where a segment begins.

  targets [5, 1, 7, 1, 0], segments [1, 1, 2, 2, 0], bos 0 -> [0, 5, 0, 7, 0]

  Args:
    targets: int32 [length].
    segment_ids: int32 [length], or None for one segment without padding.
    bos_id: the id that starts a segment. Padding after the first padded place is always 0.
  """
  shifted = tf.concat([[bos_id], targets[:-1]], 0)
  if segment_ids is None:
    return shifted
  begins = tf.concat([[False], segment_ids[1:] != segment_ids[:-1]], 0)
  return tf.where(begins, bos_id, shifted)


class TextInput:
  """`text_inputs`: a string, or ids without EOS."""

  def __init__(self, spec: modality_specs.TextInputSpec):
    del spec

  def preprocess(self, example: Example, lengths: Lengths, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Stage 2: ids cut to the length less one, then EOS; no ids where there is no text.

    'a cat' -> tokens [261, 451, 1]
    """
    del seed
    text = example.get('text_inputs')
    if text is None:
      return {'tokens': tf.zeros([0], tf.int32)}
    text = tf.convert_to_tensor(text)
    tokens = _tokens(text)[: _length(lengths, 'text_inputs') - 1]
    tokens = tf.concat([tokens, [config.EOS_ID]], 0)
    if 'use_text' in example:
      tokens = tokens[: tf.where(example['use_text'], tf.size(tokens), 0)]
    return {'tokens': tokens}

  def convert(self, fields: Example, lengths: Lengths) -> dict[str, tf.Tensor]:
    """Stage 3: [length] int32 each, zeros after the tokens; `mask` is 1 on tokens."""
    length = _length(lengths, 'text_inputs', 'inputs/text/tokens')
    tokens = pad(fields['tokens'], length)
    return {
      'tokens': tokens,
      'pos_ids': tf.constant(np.arange(length), tf.int32),
      'mask': tf.cast(tokens != config.PAD_ID, tf.int32),
    }


class TextTarget:
  """`text_targets`: a string, ids, or several of them (a vector of strings, ragged ids)."""

  def __init__(self, spec: modality_specs.TextTargetSpec):
    del spec

  def preprocess(self, example: Example, lengths: Lengths, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Stage 2: each answer cut to the length less one and ended by EOS; answers stand in a row.

    ['a cat', 'cats'] -> tokens [261, 451, 1, 300, 1], pos_ids [0, 1, 2, 0, 1],
    segment_ids [1, 1, 1, 2, 2]
    """
    del seed
    text = example.get('text_targets', '')
    if not isinstance(text, tf.RaggedTensor):
      text = tf.convert_to_tensor(text)
    longest = _length(lengths, 'text_targets') - 1
    tokens = _tokens(text)
    if isinstance(tokens, tf.RaggedTensor):
      # As filled rows: operations on ragged ones are ten times as many.
      places, rows = tf.range(longest + 1), tokens.to_tensor(shape=[None, longest + 1])
      last = tf.minimum(tf.cast(tokens.row_lengths(), tf.int32), longest)[:, None]
      rows = tf.where(places == last, config.EOS_ID, rows)
      chosen = tf.where(places <= last)
      answer, position = tf.unstack(tf.cast(chosen, tf.int32), 2, axis=1)
      return {
        'tokens': tf.gather_nd(rows, chosen), 'pos_ids': position, 'segment_ids': answer + 1,
      }  # fmt: skip
    tokens, eos = tokens[:longest], tf.constant([config.EOS_ID])
    if text.dtype != tf.string:  # ids may end in EOS already
      eos = eos[: tf.where(tf.reduce_any(tokens[-1:] == config.EOS_ID), 0, 1)]
    tokens = tf.concat([tokens, eos], 0)
    positions = tf.range(tf.size(tokens))
    return {'tokens': tokens, 'pos_ids': positions, 'segment_ids': tf.ones_like(tokens)}

  def convert(self, fields: Example, lengths: Lengths) -> dict[str, tf.Tensor]:
    """Stage 3: [length] int32 each. The mask of an empty target (EOS alone) is all zero."""
    length = _length(lengths, 'text_targets', 'targets/text/tokens')
    in_order = [fields[name] for name in ('tokens', 'segment_ids', 'pos_ids')]
    tokens, segments, positions = tf.unstack(pad(tf.stack(in_order), length))
    not_empty = tf.reduce_sum(tokens) > config.EOS_ID
    return {
      'inputs': shift_right(tokens, segments),
      'targets': tokens,
      'pos_ids': positions,
      'segment_ids': segments,
      'mask': tf.cast((tokens > config.PAD_ID) & not_empty, tf.int32),
    }


def pad(values: tf.Tensor, length: int) -> tf.Tensor:
  """Cuts the last axis or fills it with zeros: [1, 2], 3 -> [1, 2, 0]."""
  rest = [[0, 0]] * (values.shape.rank - 1)
  values = values[..., :length]
  values = tf.pad(values, [*rest, [0, length - tf.shape(values)[-1]]])
  return tf.ensure_shape(values, [*values.shape[:-1], length])


def with_eos(tokens: tf.RaggedTensor) -> tf.RaggedTensor:
  """Ids of several texts, each ended by EOS: [[5], []] -> [[5, 1], [1]]."""
  eos = tf.fill([tokens.nrows(), 1], config.EOS_ID)
  return tf.concat([tokens, tf.RaggedTensor.from_tensor(eos)], axis=1)


def convert_choices(choices: Any, lengths: Lengths) -> tf.Tensor:
  """Answer options as int32 [options, length], each ended by EOS and filled with zeros.

  ['cat', ''] with a length of 4 -> [[451, 1, 0, 0], [1, 0, 0, 0]]

  Args:
    choices: a vector of strings, ragged ids without EOS, or filled rows of ids with EOS (rows of
      zeros are no options).
    lengths: sequence lengths.

  Raises:
    tf.errors.InvalidArgumentError: when run, for filled rows without EOS or beyond the length.
  """
  length = _length(lengths, 'text_targets', 'targets/text/tokens')
  count = choices.shape[0]
  tokens = _tokens(choices)
  if isinstance(tokens, tf.RaggedTensor):
    tokens = with_eos(tokens[:, : length - 1]).to_tensor()
  else:
    ended = tf.reduce_any(tokens == config.EOS_ID, 1) | tf.reduce_all(tokens == config.PAD_ID, 1)
    wanted = tf.debugging.assert_equal(tf.reduce_all(ended), True, 'an option has no EOS')
    fits = tf.debugging.assert_less_equal(
      tf.shape(tokens)[1], length, 'filled options are longer than text_targets'
    )
    with tf.control_dependencies([check for check in (wanted, fits) if check is not None]):
      tokens = tf.identity(tokens)
  tokens = tf.pad(tokens, [[0, 0], [0, length - tf.shape(tokens)[1]]])
  return tf.ensure_shape(tokens, [count, length])
