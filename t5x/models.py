"""What the framework asks of a model: a few pure functions of parameters and a batch."""

import abc
from collections.abc import Mapping
from typing import Any

import jax

from t5x.array_types import Array, Batch, Metrics, PyTree


class BaseModel(abc.ABC):
  """A model without state: parameters come in as a plain nested dict.

  Every function may be compiled; none draws a number unless it is given a key.
  """

  @abc.abstractmethod
  def init(self, key: Array, input_spec: Mapping[str, jax.ShapeDtypeStruct]) -> PyTree:
    """New parameters, float32.

    Args:
      key: random key.
      input_spec: shape and dtype of every field of a batch.
    """

  @abc.abstractmethod
  def param_axes(self, input_spec: Mapping[str, jax.ShapeDtypeStruct]) -> PyTree:
    """The tree of `init` with tuples of logical axis names as leaves; computes nothing."""

  @abc.abstractmethod
  def loss_fn(self, params: PyTree, batch: Batch, key: Array | None) -> tuple[Array, Metrics]:
    """The scalar that training makes small, and what to report.

    Args:
      params: parameters.
      batch: flat dict of arrays, batch axis first.
      key: of the dropout; None for no dropout.
    """

  def eval_fn(self, params: PyTree, batch: Batch) -> Metrics:
    """What to report on held-out data: the metrics of the loss, without dropout."""
    return self.loss_fn(params, batch, None)[1]

  @abc.abstractmethod
  def predict_batch_with_aux(
    self, params: PyTree, batch: Batch, key: Array | None = None, **options: Any
  ) -> tuple[Array, dict[str, Array]]:
    """Predictions and what comes with them; the leading axis of every array is the batch's.

    Args:
      params: parameters.
      batch: as for the loss; targets are not looked at.
      key: of the sampling; None for predictions that draw nothing.
      **options: of the model, such as `length`.
    """

  def predict_batch(
    self, params: PyTree, batch: Batch, key: Array | None = None, **options: Any
  ) -> Array:
    """The predictions alone."""
    return self.predict_batch_with_aux(params, batch, key, **options)[0]

  def score_batch(self, params: PyTree, batch: Batch) -> Array:
    """Log-probability of each example's targets, [B] float32."""
    raise NotImplementedError(f'{type(self).__name__} scores no targets')
