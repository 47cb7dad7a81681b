"""From a stored row to tensors: its texts cut into pieces, its pictures and sounds decoded."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from t5x.examples.unified_io.data.own import check, files, media_fields
from t5x.examples.unified_io.data.own import rows as rows_lib

_TEXT_SPECS = {
  'number': tf.TensorSpec([], tf.int64),  # of the line or row, from 1
  'id': tf.TensorSpec([], tf.string),
  'metric': tf.TensorSpec([], tf.string),
  'prefix': tf.TensorSpec([], tf.string),
  'family': tf.TensorSpec([], tf.int32),
  # The question, the answers and the options, one behind the other: pieces of text, what follows
  # each of them (`rows.pieces`), and which of the texts it belongs to.
  'pieces': tf.TensorSpec([None], tf.string),
  'slots': tf.TensorSpec([None], tf.int32),
  'owners': tf.TensorSpec([None], tf.int32),
  'num_answers': tf.TensorSpec([], tf.int32),
  'num_options': tf.TensorSpec([], tf.int32),
  'boxes': tf.TensorSpec([None, 4], tf.float32),  # as parts of the picture
  'target_boxes': tf.TensorSpec([None], tf.int32),
}


class Decoder:
  """Decodes rows of one file; may be called by several threads."""

  def __init__(
    self,
    rows: files.RowFile,
    *,
    rename: Mapping[str, str | None],
    families: Sequence[str],
    brings: Collection[str],
    max_frames: int,
  ):
    """Reads nothing yet.

    Args:
      rows: the file.
      rename: name of a field in the file -> ours, or None to leave it out.
      families: of prompts; 'family' is a number into them.
      brings: what rows of the file bring, see `media_fields.BRINGS`.
      max_frames: of a video, and segments of a sound before its last.
    """
    self._rows, self._rename, self._families = rows, rename, list(families)
    self._brings, self._max_frames = brings, max_frames
    self.specs = {**_TEXT_SPECS, **media_fields.specs(brings)}

  def __call__(self, stored: bytes, number: int, *, exact: bool = True) -> dict[str, Any]:
    """One row as arrays of `specs`.

    Args:
      stored: the row.
      number: of its line or row, from 1.
      exact: of frames, see `media.resize.to_size`.

    Raises:
      ValueError: it cannot be used (a picture has vanished, or is broken where its header did not
        tell); the message names the row.
    """
    try:
      return self._decoded(check.parse(self._rows, stored, self._rename), number, exact)
    except (ValueError, OSError) as e:
      raise ValueError(f'{self._rows.path}, {self._rows.unit} {number}: {e}') from e

  def _decoded(self, row: rows_lib.Row, number: int, exact: bool) -> dict[str, Any]:
    media = media_fields.read(row.media, self._brings, self._max_frames, exact=exact)
    size = media['image'].shape[:2] if 'image' in media else (1, 1)
    return {
      **media,
      **_texts(row),
      'number': np.int64(number),
      'id': row.example_id,
      'metric': row.metric,
      'prefix': row.prefix,
      'family': np.int32(self._families.index(row.family)),
      'boxes': np.array(row.boxes, np.float32).reshape(-1, 4) / np.tile(np.float32(size), 2),
      'target_boxes': np.array(rows_lib.target_boxes(row.answers, len(row.boxes)), np.int32),
    }


def _texts(row: rows_lib.Row) -> dict[str, Any]:
  """The question, the answers and the options, cut at their boxes."""
  cut = [rows_lib.pieces(text) for text in (row.text, *row.answers, *row.options)]
  return {
    'pieces': np.array([piece.encode() for pieces, _ in cut for piece in pieces], object),
    'slots': np.array([slot for _, slots in cut for slot in slots], np.int32),
    'owners': np.repeat(np.arange(len(cut), dtype=np.int32), [len(slots) for _, slots in cut]),
    'num_answers': np.int32(len(row.answers)),
    'num_options': np.int32(len(row.options)),
  }
