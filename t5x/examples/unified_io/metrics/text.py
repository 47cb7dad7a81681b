"""Text compared as it is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def as_texts(target: Any) -> list[str]:
  """The true texts of an example: one, or any of several; bytes are decoded."""
  several = target if isinstance(target, (list, tuple, np.ndarray)) else [target]
  return [
    text.decode('utf-8') if isinstance(text, bytes) else str(text)
    for text in np.ravel(np.array(several, object))
  ]


def exact_match(
  targets: Sequence[Any], predictions: Sequence[Any], aux_values: Mapping[str, Any] | None = None
) -> dict[str, float]:
  """{'score': share of texts that equal one of the true ones in lower case}.

  Args:
    targets: a text or several for each example.
    predictions: with `.text`.
    aux_values: not used.

  Raises:
    ValueError: no example.
  """
  del aux_values
  if not targets:
    raise ValueError('there is no example to score')
  hits = [
    output.text.lower() in {text.lower() for text in as_texts(target)}
    for target, output in zip(targets, predictions, strict=True)
  ]
  return {'score': float(np.mean(hits))}


def null_metric(
  targets: Sequence[Any], predictions: Sequence[Any], aux_values: Mapping[str, Any] | None = None
) -> dict[str, float]:
  """Nothing: makes an evaluation write predictions of a task that has no metric."""
  del targets, predictions, aux_values
  return {}
