"""What the model said about each example, as metrics and files want it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from t5x import evaluation, prediction
from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import vocabulary as vocabulary_lib
from t5x.examples.unified_io.metrics import coordinates
from t5x.loggers import Logger


class Vocabulary(Protocol):
  """What is asked of a vocabulary here."""

  def decode(self, ids: Sequence[int]) -> str: ...


class UnifiedIOOutput:
  """The answer to one example: a view of the arrays that the model gave for it."""

  def __init__(self, aux: Mapping[str, Any]):
    """Takes the example's entries of the model's aux values, and 'text' where it wrote text."""
    self._aux = aux

  @property
  def text(self) -> str | list[str] | None:
    """Decoded text, a list of them where several were drawn; None if the model wrote none."""
    return self._aux.get('text')

  @property
  def text_tokens(self) -> np.ndarray | None:
    """Ids of the text, 0 after its end."""
    return self._aux.get('text-tokens')

  @property
  def image_tokens(self) -> np.ndarray | None:
    """Codes of the image."""
    return self._aux.get('image-tokens')

  @property
  def image(self) -> np.ndarray | None:
    """Pixels of the image."""
    return self._aux.get('image')

  @property
  def audio(self) -> np.ndarray | None:
    """The spectrogram."""
    return self._aux.get('audio')

  @property
  def scores(self) -> np.ndarray:
    """The score of the answer: of an option where there were options, else of what was written.

    Raises:
      ValueError: when the model gave none.
    """
    for name in ('scores', 'text-scores', 'image-scores', 'audio-scores'):
      if name in self._aux:
        return self._aux[name]
    raise ValueError(f'the model gave no scores; it gave {sorted(self._aux)}')

  @property
  def boxes(self) -> list[list[float]]:
    """Boxes in the text as [top, left, bottom, right], fractions of the padded picture."""
    boxes, _ = coordinates.extract_bboxes_from_text(self.text or '')
    return np.asarray(boxes, float).tolist()

  def __repr__(self) -> str:
    return f'UnifiedIOOutput({self.text!r})'


def build_uio_outputs(
  aux_values: Mapping[str, np.ndarray], vocabulary: Vocabulary | None = None
) -> list[UnifiedIOOutput]:
  """Splits the aux values of a batch by example and decodes the text.

  Args:
    aux_values: name -> array, the batch's axis first.
    vocabulary: the model's own when None.
  """
  vocabulary = vocabulary or vocabulary_lib.get_default_vocabulary()
  rows = next(iter(aux_values.values())).shape[0]
  outputs = []
  for i in range(rows):
    aux = {name: values[i] for name, values in aux_values.items()}
    if 'text-tokens' in aux:
      tokens = np.asarray(aux['text-tokens'])
      texts = [decode_text(ids, vocabulary) for ids in np.atleast_2d(tokens)]
      aux['text'] = texts[0] if tokens.ndim == 1 else texts
    outputs.append(UnifiedIOOutput(aux))
  return outputs


def decode_text(ids: np.ndarray, vocabulary: Vocabulary) -> str:
  """The text of ids up to the end mark or the padding."""
  ends = np.flatnonzero((ids == config.EOS_ID) | (ids == config.PAD_ID))
  return vocabulary.decode([int(i) for i in ids[: ends[0] if ends.size else None]])


def describe_row(row: prediction.Row) -> dict[str, Any]:
  """What infer.py writes of an example: what was asked and said, scores, boxes, its metadata."""
  return {
    'input': row.example.get('text_inputs'),
    'text': row.output.text,
    'score': row.output.scores,
    **({'all_scores': row.aux['all_scores']} if 'all_scores' in row.aux else {}),
    'boxes': row.output.boxes,
    'meta': {k: v for k, v in row.example.items() if k.startswith('meta/')},
  }


class UnifiedIOEvaluator(evaluation.Evaluator):
  """The evaluator of Unified-IO's tasks; its arguments are those of `evaluation.Evaluator`."""

  def __init__(
    self,
    *,
    num_examples: int | None = None,
    logger_cls: Sequence[Callable[[str], Logger]] = (),
    exchange: Sequence[str] = (),
    build_outputs: prediction.BuildOutputs = build_uio_outputs,
    **arguments: Any,
  ):
    """Names the arguments that gin files bind, and how outputs are built."""
    super().__init__(
      num_examples=num_examples,
      logger_cls=logger_cls,
      exchange=exchange,
      build_outputs=build_outputs,
      **arguments,
    )
