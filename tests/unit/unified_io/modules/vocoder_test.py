"""The vocoder's parts against their definitions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io.config import VocoderConfig
from t5x.examples.unified_io.modules import vocoder

TINY = VocoderConfig(
  upsample_rates=(2, 3), upsample_kernel_sizes=(4, 5), upsample_initial_channel=8,
  resblock_kernel_sizes=(3, 5), resblock_dilation_sizes=((1, 2), (1,)), num_mels=6, hop_size=6,
)  # fmt: skip


def draw(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize(('width', 'rate'), [(4, 2), (2, 2), (5, 3), (16, 8)])
def test_every_frame_adds_its_kernel_to_the_samples_around_it(width, rate):
  x, kernel = draw(2, 5, 3), draw(width, 3, 4)
  margin = (width - rate) // 2
  want = np.zeros((2, 5 * rate + 2 * margin, 4))
  for t in range(5):
    for k in range(width):
      want[:, rate * t + k] += x[:, t] @ kernel[k]
  got = vocoder.stretch(x, kernel, rate)
  assert got.shape == (2, 5 * rate, 4)
  np.testing.assert_allclose(got, want[:, margin : margin + 5 * rate], atol=1e-5)


@pytest.mark.parametrize(('width', 'rate'), [(5, 2), (2, 4)])
def test_a_kernel_that_lies_unevenly_is_refused(width, rate):
  with pytest.raises(ValueError, match=f'a kernel of {width} does not lie evenly around {rate}'):
    vocoder.stretch(draw(1, 3, 2), draw(width, 2, 2), rate)


def test_a_convolution_sees_samples_a_dilation_apart():
  layer = vocoder.Conv1d(1, 3, dilation=2)
  kernel = jnp.asarray([100.0, 10.0, 1.0]).reshape(3, 1, 1)
  params = {'kernel': kernel, 'bias': jnp.asarray([0.5])}
  x = jnp.arange(1.0, 6.0).reshape(1, 5, 1)
  y = layer.apply({'params': params}, x)
  np.testing.assert_array_equal(y[0, :, 0], [13.5, 24.5, 135.5, 240.5, 350.5])


def test_a_stack_adds_each_convolution_of_the_leaky_input():
  layer = vocoder.ResidualStack(1, (1, 3))
  params = {
    'convs_0': {'kernel': jnp.full((1, 1, 1), 2.0), 'bias': jnp.zeros(1)},
    'convs_1': {'kernel': jnp.full((1, 1, 1), 3.0), 'bias': jnp.zeros(1)},
  }
  y = layer.apply({'params': params}, jnp.asarray([[[1.0], [-10.0]]]))
  # 1 + 2 = 3, 3 + 9 = 12; -10 - 2 = -12, -12 - 3.6 = -15.6
  np.testing.assert_allclose(y[0, :, 0], [12, -15.6], rtol=1e-6)


def test_there_are_hop_size_samples_a_frame_between_minus_one_and_one():
  network = vocoder.Vocoder(TINY)
  log_mel = draw(2, 7, 6)
  shapes = nn.unbox(jax.eval_shape(network.init, jax.random.key(0), log_mel))
  params = jax.tree.map(lambda leaf: draw(*leaf.shape), shapes)
  wave = jax.jit(network.apply)(params, log_mel)
  assert wave.shape == (2, 42)
  assert 0.5 < np.abs(wave).max() <= 1
  assert set(params['params']) == {
    'conv_pre', 'ups_0', 'ups_1', 'resblocks_0', 'resblocks_1', 'resblocks_2', 'resblocks_3',
    'conv_post',
  }  # fmt: skip


def test_the_layers_follow_one_another_with_their_slopes():
  settings = VocoderConfig(
    upsample_rates=(1,), upsample_kernel_sizes=(1,), upsample_initial_channel=2,
    resblock_kernel_sizes=(1, 1), resblock_dilation_sizes=((1,), (1,)), num_mels=1, hop_size=1,
  )  # fmt: skip
  layer = lambda *kernel: {'kernel': jnp.asarray(kernel), 'bias': jnp.zeros(len(kernel[0][0]))}
  outer = lambda middle: [[[0.0] * len(middle)]] * 3 + [[middle]] + [[[0.0] * len(middle)]] * 3
  params = {
    'conv_pre': layer(*outer([1.0, 0.0])),
    'ups_0': layer([[1.0], [0.0]]),
    'resblocks_0': {'convs_0': layer([[0.0]])},
    'resblocks_1': {'convs_0': layer([[1.0]])},
    'conv_post': layer(*outer([100.0])),
  }
  wave = vocoder.Vocoder(settings).apply({'params': params}, jnp.asarray([[[-1.0]]]))
  # -1, leaky -0.1; stacks -0.1 and -0.11, mean -0.105, leaky -0.00105, times 100
  np.testing.assert_allclose(wave, [[np.tanh(-0.105)]], rtol=1e-5)


def test_a_configuration_that_cannot_be_is_refused():
  with pytest.raises(ValueError, match=r'rates \(2, 2\) do not multiply to the hop 6'):
    VocoderConfig(upsample_rates=(2, 2), upsample_kernel_sizes=(4, 4), hop_size=6)
  with pytest.raises(ValueError, match="resblock is '1'"):
    VocoderConfig(resblock='1')
