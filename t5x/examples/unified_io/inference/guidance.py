"""Changes of the logits that know what the ids of the text vocabulary mean."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from t5x.array_types import Array
from t5x.decoding.state import LogitsFn
from t5x.examples.unified_io import config

PENALTY = -10_000.0
STEPS_OF_ONE_BOX = 4  # two corners of two numbers


def location_probability(logits: Array, first_location: int, num_locations: int) -> Array:
  """The probability [B, 1] of all location tokens together, from logits [B, V]."""
  locations = slice(first_location, first_location + num_locations)
  return jnp.sum(jax.nn.softmax(logits)[..., locations], -1, keepdims=True)


def prefer_locations(
  *,
  threshold: float = 0.5,
  require_one_box: bool = False,
  first_location: int = config.RELEASED_BASE_PIECES,
  num_locations: int = config.NUM_DETECTION_BINS,
) -> LogitsFn:
  """Lets only location tokens through where they are likely together.

  A box is often spread over many neighbouring bins, none of which wins against one other word.

  Args:
    threshold: probability of all location ids together from which on they are meant.
    require_one_box: take locations in the first four steps in any case.
    first_location: id of the first location token.
    num_locations: number of location tokens, beside each other.

  Returns:
    A function of logits [B, V] and the step that gives log-probabilities, less 10,000 for what is
    no location in the rows where locations are meant.
  """

  def apply(logits: Array, index: Array) -> Array:
    logprobs = jax.nn.log_softmax(logits)
    ids = jnp.arange(logits.shape[-1])[None]
    is_location = (ids >= first_location) & (ids < first_location + num_locations)
    likely = location_probability(logits, first_location, num_locations) > threshold
    if require_one_box:
      likely |= index < STEPS_OF_ONE_BOX
    return logprobs + jnp.where(likely & ~is_location, PENALTY, 0.0)

  return apply


def pose_mask(
  part_ids: Sequence[Sequence[int]],
  *,
  vocab_size: int,
  first_location: int = config.RELEASED_BASE_PIECES,
  num_locations: int = config.NUM_DETECTION_BINS,
) -> np.ndarray:
  """Forbids all that is no pose: for each part two locations and its name, at the end EOS.

  Args:
    part_ids: the ids of each part's name, in the order of `config.HUMAN_POSE_PART`.
    vocab_size: width of the logits.
    first_location: id of the first location token.
    num_locations: number of location tokens, beside each other.

  Returns:
    bool [steps, vocab_size], True where a token is forbidden, for `decoding.logits.mask_logits`.
  """
  locations = list(range(first_location, first_location + num_locations))
  allowed = [
    ids for name in part_ids for ids in (locations, locations, *([token] for token in name))
  ]
  allowed.append([config.EOS_ID])
  mask = np.ones((len(allowed), vocab_size), bool)
  for row, ids in zip(mask, allowed, strict=True):
    row[ids] = False
  return mask
