"""What the decoding loops take and give. Letters: B rows, N decodes of an example, L tokens."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from t5x.array_types import Array, PyTree

# One step of a model: (ids [B] int32 fed at this step, cache) -> (logits [B, V] float32, cache).
StepFn = Callable[[Array, PyTree], tuple[Array, PyTree]]
# Changes logits [B, V] given the index of the step (int32 scalar).
LogitsFn = Callable[[Array, Array], Array]

START_ID = 0  # fed at the first step, and after the end
NEGATIVE = -1e7  # a logit that is never chosen; finite, so that sums stay finite


class Decoded(NamedTuple):
  """Rows as decoded."""

  tokens: Array  # [B, L] int32, 0 after the end
  scores: Array  # [B] float32, sum of the log-probabilities up to and including the end
  logprobs: Array  # [B, L] float32, of the token chosen at each step, also after the end


def best_last(decoded: Decoded, num_decodes: int) -> Decoded:
  """Groups the decodes of an example and sorts them by score, the best one last.

  Args:
    decoded: rows, the `num_decodes` of an example beside each other.
    num_decodes: decodes an example.

  Returns:
    tokens and logprobs [B / N, N, L], scores [B / N, N].
  """
  grouped = [x.reshape((-1, num_decodes, *x.shape[1:])) for x in decoded]
  order = jnp.argsort(grouped[1], axis=1)
  tokens, logprobs = (jnp.take_along_axis(grouped[i], order[..., None], axis=1) for i in (0, 2))
  return Decoded(tokens, jnp.take_along_axis(grouped[1], order, axis=1), logprobs)
