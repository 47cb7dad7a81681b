"""Attention equals its formula, and sees what its pattern says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io import config
from t5x.examples.unified_io.modules import attention, masks, positions

BATCH, QUERIES, KEYS, HEADS, WIDTH = 2, 3, 5, 4, 8


def _draw(*shape, seed=0):
  return jax.random.normal(jax.random.key(seed), shape)


@pytest.fixture
def qkv():
  shapes = (QUERIES, KEYS, KEYS)
  return [_draw(BATCH, n, HEADS, WIDTH, seed=i) for i, n in enumerate(shapes)]


def test_attention_is_a_softmax_average_over_the_visible_keys(qkv):
  q, k, v = (np.asarray(x, np.float64) for x in qkv)
  valid = np.array([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0]])
  pattern = attention.Pattern(
    jnp.zeros((BATCH, QUERIES), jnp.int32), masks.key_segments(jnp.asarray(valid))
  )
  got = attention.attend(*qkv, pattern, divisor=3.0)
  for b in range(BATCH):
    for n in range(HEADS):
      seen = valid[b] != 0
      scores = np.exp(q[b, :, n] @ k[b, seen, n].T / 3.0)
      want = scores / scores.sum(-1, keepdims=True) @ v[b, seen, n]
      np.testing.assert_allclose(got[b, :, n], want, atol=1e-6)


def test_a_query_that_sees_no_key_averages_all_values(qkv):
  nothing = attention.Pattern(
    jnp.zeros((1, QUERIES), jnp.int32), masks.key_segments(jnp.zeros((1, KEYS), bool))
  )
  got = attention.attend(*qkv, nothing, divisor=1.0)
  want = np.broadcast_to(np.asarray(qkv[2]).mean(1, keepdims=True), got.shape)
  np.testing.assert_allclose(got, want, atol=1e-6)


def test_the_divisor_is_rounded_to_the_dtype_of_the_computation():
  assert attention.rounded_sqrt(128, 'bfloat16') == 11.3125
  assert attention.rounded_sqrt(64, 'bfloat16') == 8.0
  assert attention.rounded_sqrt(128, 'float32') == pytest.approx(11.313708, abs=1e-6)


def _rounded(x):
  return np.asarray(x).astype(jnp.bfloat16).astype(np.float64)


def _bfloat16_attention(q, k, v, divisor, *, round_weights=True, round_queries=False):
  """In float64 but for what is rounded to bfloat16."""
  q = _rounded(q / divisor) if round_queries else q / divisor
  scores = np.exp(np.einsum('bqnh,bknh->bnqk', q, k))
  weights = scores / scores.sum(-1, keepdims=True)
  return _rounded(np.einsum('bnqk,bknh->bqnh', _rounded(weights) if round_weights else weights, v))


def test_bfloat16_attention_rounds_the_root_the_weights_and_the_result_and_nothing_else():
  width, rng = 128, np.random.default_rng(0)
  qkv = [_rounded(2 * rng.standard_normal((2, n, 2, width))) for n in (8, 24, 24)]
  divisor = attention.rounded_sqrt(width, 'bfloat16')
  arrays = (jnp.asarray(x, jnp.bfloat16) for x in qkv)
  got = _rounded(attention.attend(*arrays, attention.Pattern(), divisor=divisor))
  same = lambda *args, **options: np.mean(got == _bfloat16_attention(*qkv, *args, **options))
  assert same(divisor) > 0.99
  assert same(width**0.5) < 0.97
  assert same(divisor, round_weights=False) < 0.97
  assert same(divisor, round_queries=True) < 0.97


def test_an_unknown_backend_is_refused_with_the_known_ones():
  with pytest.raises(ValueError, match=r"attention is 'xlaa'; it must be one of .*'xla'"):
    config.model_config('tiny', attention='xlaa')


def _module(**options):
  return attention.Attention(
    num_heads=HEADS, head_dim=WIDTH, out_features=6, dtype='float32', **options
  )


def test_positions_enter_only_by_their_differences():
  module = _module(qk_norm=True)
  x = _draw(BATCH, QUERIES, 6)
  table = positions.rotary_1d(20, WIDTH)
  outputs = []
  for start in (0, 11):
    rows = jnp.asarray(table[start : start + QUERIES])[None]
    rotation = positions.Rotation.from_rows(rows)
    call = lambda m, rotation=rotation: m.to_self(x, attention.Pattern(), rotation)
    outputs.append(module.init_with_output(jax.random.key(0), method=call)[0])
  np.testing.assert_allclose(*outputs, atol=1e-5)


def test_scaled_cosine_ignores_the_length_of_queries_and_keys():
  module = _module(scaled_cosine=True)
  x = _draw(BATCH, QUERIES, 6)
  call = lambda m: m.to_self(x, attention.Pattern())
  want, variables = module.init_with_output(jax.random.key(0), method=call)
  params = variables['params']
  for name in ('query', 'key'):
    params = {**params, name: jax.tree.map(lambda kernel: 3.0 * kernel, params[name])}
  got = module.apply({'params': params}, method=call)
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_dropout_drops_a_key_of_a_head_for_all_queries():
  module = _module(dropout_rate=0.5)
  context = attention.KeysValues(
    keys=jnp.zeros((1, KEYS, HEADS, WIDTH)), values=_draw(1, KEYS, HEADS, WIDTH)
  )
  x = _draw(1, QUERIES, 6)
  variables = module.init(jax.random.key(0), x, context, attention.Pattern())
  outputs = module.apply(
    variables, x, context, attention.Pattern(), deterministic=False,
    rngs={'dropout': jax.random.key(1)},
  )  # fmt: skip
  full = module.apply(variables, x, context, attention.Pattern())
  np.testing.assert_allclose(outputs, jnp.broadcast_to(outputs[:, :1], outputs.shape), atol=1e-6)
  assert np.abs(outputs - full).max() > 0.01
