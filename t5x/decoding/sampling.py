"""Greedy decoding and sampling: one compiled loop that stops when every row has ended.

Letters: B rows, V vocabulary, L tokens.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from t5x.array_types import Array, PyTree
from t5x.decoding import logits as logits_lib
from t5x.decoding.state import START_ID, Decoded, LogitsFn, StepFn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampler:
  """How a token is chosen from the logits of a step.

  `top_p` comes first, then `top_k`, then the temperature.
  """

  temperature: float = 0.0  # 0 takes the most probable id
  top_k: int = 0  # 0 looks at every id
  top_p: float = 0.0  # 0 looks at every id

  def __post_init__(self):
    if self.temperature < 0 or self.top_k < 0 or not 0 <= self.top_p <= 1:
      raise ValueError(
        f'temperature {self.temperature} and top_k {self.top_k} must not be negative, top_p '
        f'{self.top_p} must lie in [0, 1]'
      )

  @property
  def draws(self) -> bool:
    """Whether it needs a key."""
    return self.temperature > 0 and self.top_k != 1

  def filtered(self, logits: Array) -> Array:
    """The logits whose log-probabilities are reported, [B, V]."""
    return logits_lib.keep_top_p(logits, self.top_p) if self.top_p else logits

  def candidates(self, filtered: Array) -> tuple[Array, Array | None]:
    """Logits of the draw, [B, V] or [B, top_k] in falling order, and the ids of the latter."""
    values, ids = filtered, None
    if self.top_k:
      values, ids = jax.lax.top_k(filtered, min(self.top_k, filtered.shape[-1]))
    return values / (self.temperature + 1e-7), ids

  def choose(self, filtered: Array, key: Array | None) -> Array:
    """One id of each row, [B] int32."""
    if not self.draws:
      return jnp.argmax(filtered, axis=-1).astype(jnp.int32)
    values, ids = self.candidates(filtered)
    drawn = jax.random.categorical(key, values)
    if ids is not None:
      drawn = jnp.take_along_axis(ids, drawn[:, None], axis=-1)[:, 0]
    return drawn.astype(jnp.int32)


GREEDY = Sampler()


class _Loop(NamedTuple):
  index: Array  # int32 scalar, the step
  ids: Array  # [B] int32, fed at this step
  ended: Array  # [B] bool
  decoded: Decoded
  cache: PyTree
  key: Array | None


def decode(
  step_fn: StepFn,
  cache: PyTree,
  *,
  batch: int,
  length: int,
  eos_id: int,
  sampler: Sampler = GREEDY,
  key: Array | None = None,
  logits_fn: LogitsFn | None = None,
) -> Decoded:
  """Writes up to `length` tokens a row, starting from id 0.

  Each step is fed the token of the one before. After `eos_id` a row has 0s; the loop stops when all
  rows have ended. All shapes are fixed.

  Args:
    step_fn: one step of the model.
    cache: its state, with room for `length` steps.
    batch: number of rows.
    length: largest number of tokens.
    eos_id: ends a row.
    sampler: chooses the tokens.
    key: of the draws; needed where the sampler draws.
    logits_fn: changes the logits of each step before the choice.

  Raises:
    ValueError: when a key is missing, or there is nothing to decode.
  """
  if sampler.draws and key is None:
    raise ValueError(f'{sampler} draws at random: give a key')
  if length < 1:
    raise ValueError(f'length is {length}; decode at least one token')

  def running(loop: _Loop) -> Array:
    return (loop.index < length) & ~jnp.all(loop.ended)

  def step(loop: _Loop) -> _Loop:
    keys = None if loop.key is None else jax.random.split(loop.key)
    logits, cache = step_fn(loop.ids, loop.cache)
    if logits_fn is not None:
      logits = logits_fn(logits, loop.index)
    filtered = sampler.filtered(logits)
    chosen = sampler.choose(filtered, None if keys is None else keys[0])
    emitted = jnp.where(loop.ended, START_ID, chosen)
    logprob = _log_probability(filtered, chosen)
    return _Loop(
      index=loop.index + 1,
      ids=emitted,
      ended=loop.ended | (emitted == eos_id),
      decoded=Decoded(
        tokens=_put(loop.decoded.tokens, emitted, loop.index),
        scores=loop.decoded.scores + jnp.where(loop.ended, 0.0, logprob),
        logprobs=_put(loop.decoded.logprobs, logprob, loop.index),
      ),
      cache=cache,
      key=None if keys is None else keys[1],
    )

  start = _Loop(
    index=jnp.int32(0),
    ids=jnp.full(batch, START_ID, jnp.int32),
    ended=jnp.zeros(batch, bool),
    decoded=Decoded(
      tokens=jnp.zeros((batch, length), jnp.int32),
      scores=jnp.zeros(batch, jnp.float32),
      logprobs=jnp.zeros((batch, length), jnp.float32),
    ),
    cache=cache,
    key=key,
  )
  return jax.lax.while_loop(running, step, start).decoded


def _log_probability(logits: Array, ids: Array) -> Array:
  at_ids = jnp.take_along_axis(logits, ids[:, None], axis=-1)[:, 0]
  return at_ids - jax.nn.logsumexp(logits, axis=-1)


def _put(table: Array, column: Array, index: Array) -> Array:
  return jax.lax.dynamic_update_slice_in_dim(table, column[:, None], index, axis=1)
