"""A user's own data file as a seqio source whose rows are read by number, and its tasks."""

from collections.abc import Mapping, Sequence
import functools
import struct
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from t5x import stream
from t5x.examples.unified_io import modality_processing
from t5x.examples.unified_io.data import postprocessing
from t5x.examples.unified_io.data.own import decode, index
from t5x.examples.unified_io.data.preprocessing import own
from t5x.examples.unified_io.metrics import own as own_metrics

_NUMBER = struct.Struct('<q')


class OwnSource(stream.NumberedSource):
  """Some rows of one file, in splits."""

  def __init__(
    self,
    name: str,
    made: index.Index,
    splits: Mapping[str, np.ndarray],
    *,
    rename: Mapping[str, str | None],
    max_frames: int,
  ):
    """Opens nothing more.

    Args:
      name: of the task.
      made: the index of the file.
      splits: name -> its rows.
      rename: name of a field in the file -> ours, or None to leave it out.
      max_frames: of a video, and segments of a sound before its last.
    """
    super().__init__(name)
    self._index, self._splits = made, dict(splits)
    used = np.concatenate(list(splits.values()))
    self.families = made.texts('family', used)
    self.max_options = int(made.columns['num_options'][used].max())
    self._decoder = decode.Decoder(
      made.rows, rename=rename, families=self.families, brings=made.brings(used),
      max_frames=max_frames,
    )  # fmt: skip

  @property
  def splits(self) -> Sequence[str]:
    return tuple(self._splits)

  def num_examples(self, split: str) -> int:
    """The number of rows."""
    return len(self._splits[self._known(split)])

  def read(self, split: str, records: np.ndarray) -> np.ndarray:
    """The rows as they stand in the file, each behind its number: object array of bytes."""
    rows, chosen = self._index.rows, self._splits[split][records].tolist()
    return np.array([_NUMBER.pack(rows.number(i)) + rows.read(i) for i in chosen], object)

  def decode(self, split: str, stored: tf.Tensor) -> dict[str, Any]:
    """One stored row -> the fields of `own.decode`; frames to learn from are resized faster."""
    specs, exact = self._decoder.specs, split != 'train'

    def run(stored):
      values = self._decoder(stored[_NUMBER.size :], *_NUMBER.unpack_from(stored), exact=exact)
      return [values[name] for name in specs]

    values = tf.numpy_function(run, [stored], [spec.dtype for spec in specs.values()])
    named = zip(specs.items(), values, strict=True)
    return {name: tf.ensure_shape(value, spec.shape) for (name, spec), value in named}


def add_task(source: OwnSource) -> None:
  """Registers the task of a source under the source's name, in place of one that was there."""
  if source.name in seqio.TaskRegistry.names():
    seqio.TaskRegistry.remove(source.name)
  seqio.TaskRegistry.add(
    source.name,
    source=source,
    preprocessors=[
      functools.partial(
        own.own_data_preprocessor, families=source.families, max_options=source.max_options
      ),
      modality_processing.unified_io_preprocessor,
    ],
    output_features=modality_processing.OUTPUT_FEATURES(),
    postprocess_fn=postprocessing.return_meta,
    metric_fns=[own_metrics.own_data_metric],
  )


def add_mixture(name: str, rates: Mapping[str, float]) -> None:
  """Registers a mixture, in place of one that was there."""
  if name in seqio.MixtureRegistry.names():
    seqio.MixtureRegistry.remove(name)
  seqio.MixtureRegistry.add(name, list(rates.items()))
