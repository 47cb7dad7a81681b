import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x import losses

LOGITS = np.array([[[0.5, -1.0, 2.0, 0.0], [3.0, 1.0, -2.0, 1.5]]], np.float32)
TARGETS = np.array([[2, 1]], np.int32)


def by_definition(logits, targets, z_loss, smoothing):
  """The textbook formula, in float64, with a one-hot table."""
  logits = logits.astype(np.float64)
  lse = np.log(np.exp(logits).sum(-1))
  vocab = logits.shape[-1]
  wanted = np.full(logits.shape, smoothing / (vocab - 1))
  np.put_along_axis(wanted, targets[..., None], 1 - smoothing, -1)
  logs = np.log(np.where(wanted > 0, wanted, 1))
  kl = (wanted * (logs - (logits - lse[..., None]))).sum(-1)
  return kl + z_loss * lse**2, z_loss * lse**2


@pytest.mark.parametrize('z_loss', [0.0, 0.1])
@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_loss_of_a_token_is_kl_divergence_plus_z_loss(z_loss, smoothing):
  got = losses.cross_entropy_with_logits(LOGITS, TARGETS, z_loss=z_loss, label_smoothing=smoothing)
  want = by_definition(LOGITS, TARGETS, z_loss, smoothing)
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('z_loss', [0.0, 0.1])
@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_gradient_is_that_of_the_formula(z_loss, smoothing):
  def loss(logits):
    return losses.cross_entropy_with_logits(
      logits, TARGETS, z_loss=z_loss, label_smoothing=smoothing
    )[0].sum()

  got = jax.grad(loss)(jnp.asarray(LOGITS))
  step = 1e-4
  for index in np.ndindex(LOGITS.shape):
    ends = []
    for sign in (1, -1):
      moved = LOGITS.astype(np.float64)
      moved[index] += sign * step
      ends.append(by_definition(moved, TARGETS, z_loss, smoothing)[0].sum())
    np.testing.assert_allclose(got[index], (ends[0] - ends[1]) / (2 * step), atol=1e-5)


def test_the_logged_z_loss_has_no_gradient():
  def logged(logits):
    return losses.cross_entropy_with_logits(logits, TARGETS, z_loss=1.0)[1].sum()

  assert not jax.grad(logged)(jnp.asarray(LOGITS)).any()


def test_gradient_has_the_dtype_of_the_logits():
  logits = jnp.asarray(LOGITS, jnp.bfloat16)
  grad = jax.grad(lambda x: losses.weighted_cross_entropy(x, TARGETS).loss)(logits)
  assert grad.dtype == jnp.bfloat16


def test_tokens_without_weight_change_nothing():
  one = losses.weighted_cross_entropy(LOGITS[:, :1], TARGETS[:, :1], np.array([[1]]))
  two = losses.weighted_cross_entropy(LOGITS, TARGETS, np.array([[1, 0]]))
  np.testing.assert_allclose(two.loss, one.loss)
  assert two.weight_sum == 1


@pytest.mark.parametrize(
  ('how', 'share'),
  [
    ({}, 0.5),  # two tokens weigh in
    ({'by_weight_sum': False}, 1.0),
    ({'by_weight_sum': False, 'normalizing_factor': 4.0}, 0.25),
    ({'normalizing_factor': 4.0}, 0.5),  # ignored
  ],
)
def test_sum_is_divided_as_asked(how, share):
  parts = losses.weighted_cross_entropy(LOGITS, TARGETS, np.ones((1, 2)), **how)
  total = by_definition(LOGITS, TARGETS, 0, 0)[0].sum()
  np.testing.assert_allclose(parts.loss, share * total, rtol=1e-6)


def test_batch_without_a_valid_token_has_loss_zero():
  parts = losses.weighted_cross_entropy(LOGITS, TARGETS, np.zeros((1, 2)), z_loss=0.1)
  assert parts.loss == 0
  assert parts.z_loss == 0


def test_loss_keeps_no_second_array_of_the_size_of_the_logits():
  logits = jnp.zeros((2, 3, 1024))
  _, vjp = jax.vjp(
    lambda x: losses.cross_entropy_with_logits(x, jnp.zeros((2, 3), jnp.int32))[0], logits
  )
  kept = sum(leaf.size for leaf in jax.tree.leaves(vjp) if leaf is not logits)
  assert kept < 1.1 * logits.size


def test_shapes_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match=r'need targets \(1, 2\), got \(1, 3\)'):
    losses.cross_entropy_with_logits(LOGITS, np.zeros((1, 3), np.int32))
  with pytest.raises(ValueError, match='must lie in'):
    losses.cross_entropy_with_logits(LOGITS, TARGETS, label_smoothing=1.0)
