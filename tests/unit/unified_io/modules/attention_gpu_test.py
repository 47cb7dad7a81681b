"""cuDNN's attention on a GPU against the plain one; needs only the JAX lane's packages and pytest.

JAX_PLATFORMS=cuda python -m pytest tests/unit/unified_io/modules/attention_gpu_test.py
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x import partitioning
from t5x.examples.unified_io.modules import attention, attention_backends, masks
from tests import tiny

pytestmark = [
  pytest.mark.gpu,
  pytest.mark.skipif(
    attention_backends.device_kernel() != 'cudnn',
    reason='needs an NVIDIA GPU of compute capability 8 or newer, and JAX_PLATFORMS=cuda',
  ),
]

BATCH, QUERIES, KEYS, HEADS, WIDTH = 3, 192, 320, 4, 64


def pattern(kind: str) -> tuple[masks.Pattern, np.ndarray]:
  """A pattern, and which queries it is meant for [B, Q]."""
  queries = np.arange(QUERIES) < np.array([[QUERIES], [100], [7]])
  keys = np.arange(KEYS) < np.array([[KEYS], [150], [1]])
  own, others = (np.arange(n)[None] // 80 for n in (QUERIES, KEYS))
  everyone = np.ones_like(queries)
  return {
    'tokenizer: all': (masks.Pattern(), everyone),
    'encoder: segments': (masks.Pattern.between(queries, queries, own, own), queries),
    'encoder: lengths': (masks.Pattern.between(queries, queries, keys_first=True), queries),
    'decoder: causal': (masks.Pattern(causal=True), everyone),
    'decoder: causal segments': (
      masks.Pattern.between(queries, queries, own, own, causal=True), queries,
    ),
    'cross: segments': (masks.Pattern.between(queries, keys, own * 0, others * 0), queries),
    'cross: lengths': (masks.Pattern.between(queries, keys, keys_first=True), queries),
  }[kind]  # fmt: skip


def draw(kind: str, dtype: str) -> list[jax.Array]:
  """Queries, keys and values that bfloat16 can hold."""
  keys = KEYS if kind.startswith('cross') else QUERIES
  rng = np.random.default_rng(0)
  shapes = [(BATCH, length, HEADS, WIDTH) for length in (QUERIES, keys, keys)]
  return [jnp.asarray(rng.standard_normal(s), 'bfloat16').astype(dtype) for s in shapes]


def run(attend, made: masks.Pattern, valid: np.ndarray, qkv: list[jax.Array]) -> list[np.ndarray]:
  """The outputs of the valid queries, and the gradients of a weighted sum of them."""
  weights = np.random.default_rng(1).standard_normal((*valid.shape, HEADS, WIDTH))
  weights = jnp.asarray(weights * valid[..., None, None], 'bfloat16')

  def weigh(*qkv):
    out = attend(*qkv, made, attention.rounded_sqrt(WIDTH, 'bfloat16'))
    return jnp.sum((out * weights.astype(out.dtype)).astype(jnp.float32)), out

  gradients, out = jax.jit(jax.grad(weigh, argnums=(0, 1, 2), has_aux=True))(*qkv)
  return [np.float32(out)[valid], *map(np.float32, gradients)]


@pytest.mark.parametrize(
  'kind',
  [
    'tokenizer: all', 'encoder: segments', 'encoder: lengths', 'decoder: causal',
    'decoder: causal segments', 'cross: segments', 'cross: lengths',
  ],
)  # fmt: skip
def test_cudnn_is_as_near_to_float32_as_plain_attention_forwards_and_backwards(kind):
  made, valid = pattern(kind)
  exact = run(attention.attend_dense, made, valid, draw(kind, 'float32'))
  plain = run(attention.attend_dense, made, valid, draw(kind, 'bfloat16'))
  cudnn = run(attention_backends.attend_cudnn, made, valid, draw(kind, 'bfloat16'))
  for name, want, near, got in zip(('out', 'dq', 'dk', 'dv'), exact, plain, cudnn, strict=True):
    size = np.linalg.norm(want)
    assert np.isfinite(got).all(), name
    error, allowed = (np.linalg.norm(x - want) / size for x in (got, near))
    assert error < max(1.5 * allowed, 5e-3), (name, error, allowed)


def test_a_row_without_any_key_comes_out_finite():
  empty = np.zeros((BATCH, QUERIES), bool)
  everyone = np.ones_like(empty)
  qkv = draw('encoder', 'bfloat16')
  for keys_first in (True, False):
    made = masks.Pattern.between(everyone, empty, keys_first=keys_first)
    for x in run(attention_backends.attend_cudnn, made, everyone, qkv):
      assert np.isfinite(x).all()


def test_no_scores_are_written_out_and_one_mask_serves_all_heads():
  made, _ = pattern('decoder: causal segments')
  loss = lambda *qkv: jnp.sum(attention.attend(*qkv, made, divisor=8.0).astype(jnp.float32))
  program = str(jax.make_jaxpr(jax.grad(loss))(*draw('decoder', 'bfloat16')))
  shapes = {tuple(map(int, s)) for s in re.findall(r'\[(\d+),(\d+),(\d+),(\d+)\]', program)}
  squares = {shape for shape in shapes if shape[2:] == (QUERIES, QUERIES)}
  assert squares <= {(BATCH, 1, QUERIES, QUERIES), (1, 1, QUERIES, QUERIES)}
  assert (BATCH, QUERIES, HEADS, WIDTH) in shapes


def test_cudnn_runs_on_a_mesh():
  made, valid = pattern('decoder: causal segments')
  qkv = draw('decoder', 'bfloat16')
  want = run(attention_backends.attend_cudnn, made, valid, qkv)
  with partitioning.PjitPartitioner(1).scope():
    got = run(attention_backends.attend_cudnn, made, valid, qkv)
  for a, b in zip(got, want, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2)


def test_a_network_on_cudnn_has_the_loss_and_gradients_of_the_plain_one():
  batch = tiny.batch(4)

  def of(backend):
    module = tiny.transformer(use_vit=False, dtype='bfloat16', attention=backend)
    params = tiny.init(module, batch)
    packing = {'fold': 2, 'pack_inputs': 26, 'pack_targets': 14}  # no row is full
    loss = lambda p: tiny.loss(module.apply({'params': p}, batch, **packing).targets['text'])
    return jax.jit(jax.value_and_grad(loss))(params)

  (want, want_grads), (got, got_grads) = of('xla'), of('cudnn')
  np.testing.assert_allclose(got, want, rtol=1e-2)
  for a, b in zip(jax.tree.leaves(got_grads), jax.tree.leaves(want_grads), strict=True):
    assert np.linalg.norm(a - b) <= 0.1 * np.linalg.norm(b) + 1e-3
