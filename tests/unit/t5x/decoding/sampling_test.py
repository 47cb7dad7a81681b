import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.decoding import sampling, state

EOS = 1
# Row 0 says 3, 2, end; row 1 says 2, 2, 2, ...
SCRIPTS = np.array([[3, 2, 1, 4, 4], [2, 2, 2, 2, 2]])
VOCAB = 5


def scripted(ids, cache):
  """A step that wants the next token of the script; the cache counts the steps."""
  return 3.0 * jax.nn.one_hot(jnp.asarray(SCRIPTS)[:, cache], VOCAB), cache + 1


START = jnp.int32(0)


def run(**settings):
  settings = {'batch': 2, 'length': 5, 'eos_id': EOS, **settings}
  return sampling.decode(scripted, START, **settings)


def test_greedy_takes_the_most_probable_and_writes_zeros_after_the_end():
  np.testing.assert_array_equal(run().tokens, [[3, 2, 1, 0, 0], [2, 2, 2, 2, 2]])


def test_score_adds_up_to_the_end_and_no_further():
  each = 3 - np.log(np.exp(3) + 4)
  decoded = run()
  np.testing.assert_allclose(decoded.scores, [3 * each, 5 * each], rtol=1e-6)
  np.testing.assert_allclose(decoded.logprobs, np.full((2, 5), each), rtol=1e-6)


def test_each_step_is_fed_the_token_before():
  fed = []

  def spy(ids, cache):
    jax.debug.callback(lambda x: fed.append(x.tolist()), ids, ordered=True)
    return scripted(ids, cache)

  sampling.decode(spy, START, batch=2, length=5, eos_id=EOS)
  jax.effects_barrier()
  assert fed == [[0, 0], [3, 2], [2, 2], [1, 2], [0, 2]]


def test_loop_stops_when_all_rows_have_ended():
  steps = []

  def both_end(ids, cache):
    jax.debug.callback(lambda: steps.append(1))
    logits = jax.nn.one_hot(jnp.where(cache < 2, 3, EOS)[None].repeat(2), VOCAB)
    return logits, cache + 1

  decoded = sampling.decode(both_end, jnp.int32(0), batch=2, length=100, eos_id=EOS)
  jax.effects_barrier()
  assert len(steps) == 3
  assert decoded.tokens.shape == (2, 100)
  np.testing.assert_array_equal(decoded.tokens[:, :4], [[3, 3, 1, 0]] * 2)


def test_one_compilation_serves_every_batch_of_a_shape():
  compiled = jax.jit(lambda cache: sampling.decode(scripted, cache, batch=2, length=5, eos_id=EOS))
  compiled(START)
  compiled(START)
  assert compiled._cache_size() == 1


def test_top_k_of_one_is_greedy():
  sampler = sampling.Sampler(temperature=1.0, top_k=1)
  np.testing.assert_array_equal(run(sampler=sampler).tokens, run().tokens)


def test_draws_are_repeated_by_the_key_alone():
  sampler = sampling.Sampler(temperature=2.0)
  draw = lambda seed: np.asarray(run(sampler=sampler, key=jax.random.key(seed)).tokens).tolist()
  assert draw(0) == draw(0)
  assert any(draw(0) != draw(seed) for seed in range(1, 4))


def test_each_step_draws_anew():
  flat = lambda ids, cache: (jnp.zeros((2, VOCAB)), cache)
  sampler, key = sampling.Sampler(temperature=1.0), jax.random.key(0)
  decoded = sampling.decode(flat, 0, batch=2, length=9, eos_id=-1, sampler=sampler, key=key)
  assert len({tuple(column) for column in decoded.tokens.T.tolist()}) > 4


@pytest.mark.parametrize(
  ('settings', 'possible'),
  [
    ({'top_k': 2}, {2, 3}),
    ({'top_p': 0.6}, {3}),
    ({'top_p': 0.7}, {2, 3}),
    ({'top_p': 0.7, 'top_k': 1}, {3}),
    ({}, {0, 1, 2, 3}),
  ],
)
def test_only_the_allowed_tokens_are_drawn(settings, possible):
  logits = jnp.log(jnp.array([[0.1, 0.05, 0.2, 0.65]]).repeat(500, axis=0))
  sampler = sampling.Sampler(temperature=1.0, **settings)
  drawn = sampler.choose(sampler.filtered(logits), jax.random.key(0))
  assert set(drawn.tolist()) == possible


def test_temperature_sharpens_the_draw():
  logits = jnp.log(jnp.array([[0.4, 0.6]]).repeat(2000, axis=0))
  shares = [
    sampling.Sampler(temperature=t).choose(logits, jax.random.key(0)).mean() for t in (1.0, 0.25)
  ]
  np.testing.assert_allclose(shares, [0.6, 0.6**4 / (0.6**4 + 0.4**4)], atol=0.04)


def test_logits_are_changed_before_the_choice():
  forbid_two = lambda logits, index: logits.at[:, 2].add(jnp.where(index == 1, -100.0, 0.0))
  tokens = run(logits_fn=forbid_two).tokens
  assert tokens[1, 0] == 2
  assert tokens[1, 1] != 2


def test_best_decode_of_an_example_comes_last():
  decoded = state.Decoded(
    tokens=jnp.array([[1], [2], [3], [4]]),
    scores=jnp.array([0.5, -1.0, -2.0, -1.5]),
    logprobs=jnp.array([[0.5], [-1.0], [-2.0], [-1.5]]),
  )
  got = state.best_last(decoded, num_decodes=2)
  assert got.tokens.tolist() == [[[2], [1]], [[3], [4]]]
  assert got.scores.tolist() == [[-1.0, 0.5], [-2.0, -1.5]]
  assert got.logprobs.tolist() == [[[-1.0], [0.5]], [[-2.0], [-1.5]]]


def test_missing_key_and_impossible_settings_are_refused():
  with pytest.raises(ValueError, match='give a key'):
    run(sampler=sampling.Sampler(temperature=1.0))
  with pytest.raises(ValueError, match='at least one token'):
    run(length=0)
  with pytest.raises(ValueError, match='must lie in'):
    sampling.Sampler(top_p=1.5)
