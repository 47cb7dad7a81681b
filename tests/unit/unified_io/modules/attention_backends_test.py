"""Kernels compute what the plain attention does, on each device's part, and write no scores out."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x import partitioning, train_state
from t5x.examples.unified_io import models
from t5x.examples.unified_io.modules import attention, attention_backends, masks
from tests import tiny

BATCH, QUERIES, KEYS, HEADS, WIDTH = 2, 130, 140, 2, 8
DIVISOR = 3.0

KERNELS = {
  'splash': attention_backends.attend_splash,
  # The call that cuDNN gets, computed without it; attention_gpu_test.py has the kernel itself.
  'cudnn': functools.partial(attention_backends.attend_cudnn, implementation='xla'),
}


def pattern(kind: str, batch: int = BATCH) -> tuple[masks.Pattern, np.ndarray]:
  """A pattern, and which queries it is meant for [B, Q]."""
  lengths = np.resize([KEYS - 40, KEYS], (batch, 1))
  keys = np.arange(KEYS) < lengths
  queries = keys[:, :QUERIES]
  own, others = (np.resize(np.repeat([0, 1], 70), (1, n)) for n in (QUERIES, KEYS))
  between = {
    'all': lambda: masks.Pattern(),
    'causal': lambda: masks.Pattern(causal=True),
    'segments': lambda: masks.Pattern.between(queries, keys, own, others),
    'causal segments': lambda: masks.Pattern.between(queries, queries, own, own, causal=True),
    'lengths': lambda: masks.Pattern.between(queries, keys, keys_first=True),
  }
  everyone = np.ones((batch, QUERIES), bool)
  return between[kind](), everyone if kind in ('all', 'causal') else queries


def draw(pattern: masks.Pattern, batch: int = BATCH, dtype: str = 'float32'):
  """Queries, keys and values; as many keys as queries where the pattern is causal."""
  keys = QUERIES if pattern.causal else KEYS
  drawn = jax.random.split(jax.random.key(0), 3)
  shapes = [(batch, length, HEADS, WIDTH) for length in (QUERIES, keys, keys)]
  normal = (jax.random.normal(key, shape) for key, shape in zip(drawn, shapes, strict=True))
  return [x.astype(dtype) for x in normal]


def values_and_gradients(attend, made: masks.Pattern, valid: np.ndarray):
  """(q, k, v) -> a weighted sum over the valid queries, and its gradients; to be compiled."""
  weights = (
    jnp.asarray(valid, jnp.float32)[..., None, None] * jnp.linspace(-1, 1, WIDTH)[None, None, None]
  )
  weigh = lambda *qkv: jnp.sum(attend(*qkv, made, DIVISOR) * weights)
  return jax.jit(jax.value_and_grad(weigh, argnums=(0, 1, 2)))


def assert_close(got, want, rtol=1e-5, atol=2e-5):
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), got, want)


@pytest.mark.parametrize('kind', ['all', 'causal', 'segments', 'causal segments', 'lengths'])
@pytest.mark.parametrize('kernel', KERNELS)
def test_a_kernel_gives_the_values_and_gradients_of_plain_attention(kernel, kind):
  made, valid = pattern(kind)
  want = values_and_gradients(attention.attend_dense, made, valid)(*draw(made))
  assert_close(values_and_gradients(KERNELS[kernel], made, valid)(*draw(made)), want)


def test_cudnn_gets_a_key_for_every_query_since_its_gradients_are_no_numbers_without():
  nothing = masks.Pattern.between(np.ones((BATCH, QUERIES)), np.zeros((BATCH, KEYS)))
  everything = masks.Pattern()
  q, k, v = draw(everything)
  got = KERNELS['cudnn'](q, k, v, nothing, DIVISOR)
  want = attention.attend_dense(q, k, v, everything, DIVISOR)
  np.testing.assert_allclose(got, want, atol=1e-5)
  no_lengths = masks.Pattern(key_lengths=jnp.zeros(BATCH, jnp.int32))
  got = KERNELS['cudnn'](q, k, v, no_lengths, DIVISOR)
  np.testing.assert_allclose(got, np.broadcast_to(v[:, :1], got.shape), atol=1e-5)


@pytest.mark.parametrize('mesh', [(8, 1), (4, 2), (1, 8)])  # no two heads for eight devices
@pytest.mark.parametrize('kernel', KERNELS)
def test_each_device_runs_its_own_rows_and_heads(kernel, mesh):
  data, model = mesh
  made, valid = pattern('segments', batch=8)
  qkv = draw(made, batch=8)
  want = values_and_gradients(attention.attend_dense, made, valid)(*qkv)
  partitioner = partitioning.PjitPartitioner(model, devices=jax.devices()[: data * model])
  placed = jax.device_put(qkv, partitioner.batch_sharding)
  run = values_and_gradients(KERNELS[kernel], made, valid)
  with partitioner.scope():
    assert_close(run(*placed), want)
    assert 'all-gather' not in run.lower(*placed).compile().as_text()


@pytest.mark.parametrize('kernel', ['xla', 'splash'])
def test_only_plain_attention_has_an_array_of_queries_times_keys_for_each_head(kernel):
  attend = {'xla': attention.attend_dense, **KERNELS}[kernel]
  made, valid = pattern('causal segments')
  program = str(jax.make_jaxpr(values_and_gradients(attend, made, valid))(*draw(made)))
  shapes = [tuple(map(int, found)) for found in re.findall(r'\[(\d+),(\d+),(\d+),(\d+)\]', program)]
  squares = [shape for shape in shapes if min(shape[2:]) >= QUERIES]
  assert shapes
  assert bool(squares) == (kernel == 'xla')


def test_bfloat16_loses_no_more_in_splash_attention_than_in_the_plain_one():
  made, valid = pattern('causal segments')

  def run(attend, dtype):
    out = jax.jit(lambda *qkv: attend(*qkv, made, DIVISOR))(*draw(made, dtype=dtype))
    return np.float32(out)[valid]

  exact = run(attention.attend_dense, 'float32')
  plain, splash = (
    np.abs(run(attend, 'bfloat16') - exact).max()
    for attend in (attention.attend_dense, attention_backends.attend_splash)
  )
  assert splash < 1.5 * plain < 0.1


@pytest.fixture
def calls(monkeypatch):
  """Names of the kernels that were called."""
  called = []

  def spy(name):
    def attend(q, *_):
      called.append(name)
      return q

    return attention_backends.KERNELS[name]._replace(attend=attend)

  kernels = {name: spy(name) for name in attention_backends.KERNELS}
  monkeypatch.setattr(attention_backends, 'KERNELS', kernels)
  return called


@pytest.mark.parametrize(
  ('device', 'backend', 'dtype', 'length', 'want'),
  [
    ('cudnn', 'auto', 'bfloat16', 182, ['cudnn']),
    ('cudnn', 'auto', 'bfloat16', 180, []),  # too short to be worth it
    ('cudnn', 'auto', 'float32', 182, []),
    ('cudnn', 'xla', 'bfloat16', 182, []),
    ('splash', 'auto', 'float32', 182, ['splash']),
    ('xla', 'auto', 'bfloat16', 182, []),
    ('xla', 'splash', 'float32', 3, ['splash']),
  ],
)
def test_the_device_and_the_shape_choose_the_kernel_unless_one_is_named(
  calls, monkeypatch, device, backend, dtype, length, want
):
  monkeypatch.setattr(attention_backends, 'device_kernel', lambda: device)
  x = jnp.ones((1, length, 1, 8), dtype)
  attention.attend(x, x, x, masks.Pattern(), divisor=1.0, backend=backend)
  assert calls == want


@pytest.mark.parametrize(
  ('change', 'why'),
  [
    ({}, None),
    ({'dtype': 'float32'}, 'float32'),
    ({'width': 12}, 'heads of width 12'),
    ({'width': 512}, 'heads of width 512'),
    ({'queries': 1}, 'a single query'),
    ({'queries': 5}, 'a mask of 5 x 6, which is odd'),
    ({'queries': 5, 'segments': None}, None),
  ],
)
def test_what_cudnn_cannot_do_is_said(change, why):
  given = {'queries': 4, 'width': 8, 'dtype': 'bfloat16', 'segments': 0, **change}
  q, k = (jnp.ones((1, n, 1, given['width']), given['dtype']) for n in (given['queries'], 6))
  ids = None if given['segments'] is None else jnp.zeros((1, 1), jnp.int32)
  assert attention_backends.cudnn_refuses(q, k, k, masks.Pattern(ids, ids)) == why


def test_splash_takes_segments_and_no_other_mask():
  x = jnp.ones((1, 4, 1, 8))
  extra = masks.Pattern(extra=jnp.ones((1, 1, 4, 4), bool))
  assert attention_backends.splash_refuses(x, x, x, masks.Pattern(causal=True)) is None
  assert 'neither' in attention_backends.splash_refuses(x, x, x, extra)
  assert 'float32' in attention_backends.splash_refuses(
    x, x, x.astype('bfloat16'), extra.replace(extra=None)
  )


@pytest.mark.skipif(attention_backends.device_kernel() == 'cudnn', reason='this is such a GPU')
def test_cudnn_without_its_gpu_is_refused_with_words():
  x = jnp.ones((1, 4, 1, 8), 'bfloat16')
  with pytest.raises(ValueError, match=r"'cudnn' needs an NVIDIA GPU.* set ModelConfig.attention"):
    attention.attend(x, x, x, masks.Pattern(), divisor=1.0, backend='cudnn')


def test_a_network_on_a_kernel_has_the_loss_of_the_plain_one_on_a_mesh_too():
  batch = tiny.batch(4)
  partitioner = partitioning.PjitPartitioner(2, devices=jax.devices()[:4])

  def run(backend):
    module = tiny.transformer(use_vit=False, num_decoder_layers=1, attention=backend)
    model = models.EncoderDecoderModel(module)
    params = tiny.init(module, batch)
    axes = model.param_axes(train_state.batch_spec(batch))
    placed = jax.device_put(params, partitioner.shardings(axes, params))
    packing = {'fold': 2, 'pack_inputs': 20, 'pack_targets': 10}
    loss = lambda params, batch: model.loss_fn(params, batch, None, **packing)[0]
    with partitioner.scope():
      return jax.jit(loss)(placed, partitioner.to_global(batch))

  np.testing.assert_allclose(run('splash'), run('xla'), rtol=1e-5)
