import functools

import jax
import numpy as np
import pytest

from t5x import metrics, state_transforms
from t5x.examples.unified_io import models
from tests import tiny

EOS = 1
SHORT = {'length': tiny.ANSWER}
OPTIONS = np.array(
  [
    [[5, 1, 0, 0, 0, 0], [7, 8, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]],  # the third is not there
    [[5, 1, 0, 0, 0, 0], [9, 1, 0, 0, 0, 0], [3, 4, 8, 6, 7, 1]],
  ],
  np.int32,
)


@pytest.fixture(scope='module')
def module():
  """Raw patches: what is tested here does not depend on the feature encoder."""
  return tiny.transformer(use_vit=False, num_encoder_layers=1)


@pytest.fixture(scope='module')
def model(module):
  return models.EncoderDecoderModel(module)


@pytest.fixture(scope='module')
def spec(tiny_batch):
  return {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in tiny_batch.items()}


@pytest.fixture(scope='module')
def params(module, tiny_batch):
  """Weights whose answers are no repetition of one token."""

  def scale(path, leaf):
    kernel = path[0].key == 'decoder' and path[-1].key == 'kernel'
    return leaf * (6.0 if kernel else 0.5 if path[-1].key == 'embedding' else 1.0)

  return jax.tree.map_with_path(scale, tiny.init(module, tiny_batch))


@pytest.fixture(scope='module')
def evaluate(model, params):
  fn = jax.jit(model.eval_fn)
  return lambda batch: metrics.compute(fn(params, batch))


@pytest.fixture(scope='module')
def score(model, params):
  fn = jax.jit(model.score_batch)
  return lambda batch: np.asarray(fn(params, batch))


@pytest.fixture(scope='module')
def forward(model, params):
  """Logits, targets and mask of the text."""
  fn = jax.jit(lambda batch: model.module.apply({'params': params}, batch).targets['text'])
  return lambda batch: jax.device_get(fn(batch))


def forced(batch, targets, mask):
  """The batch with other targets, of which the masked ones count; all of them are seen."""
  fields = {
    'inputs': np.pad(targets[:, :-1], ((0, 0), (1, 0))),
    'targets': targets,
    'mask': mask,
    'pos_ids': np.broadcast_to(np.arange(targets.shape[1]), targets.shape),
    'segment_ids': np.ones_like(targets),
  }
  return {**batch, **{f'targets/text/{name}': x.astype(np.int32) for name, x in fields.items()}}


def until_end(tokens):
  """True up to and including the end."""
  return np.cumsum(np.pad(tokens[:, :-1], ((0, 0), (1, 0))) == EOS, axis=1) == 0


@pytest.fixture(scope='module')
def predict(model, params):
  @functools.partial(jax.jit, static_argnames='options')
  def compiled(batch, key, options):
    return model.predict_batch_with_aux(params, batch, key, **dict(options))

  def call(batch, key=None, **options):
    seen = {name: x for name, x in batch.items() if not name.startswith('targets/')}
    return jax.device_get(compiled(seen, key, tuple(options.items())))

  return call


def test_parameters_are_a_plain_tree_of_float32(model, spec):
  shapes = jax.eval_shape(lambda key: model.init(key, spec), jax.random.key(0))
  leaves = state_transforms.flatten(shapes).values()
  assert {type(leaf) for leaf in leaves} == {jax.ShapeDtypeStruct}
  assert {leaf.dtype.name for leaf in leaves} == {'float32'}


def test_every_axis_of_every_parameter_has_a_name(model, spec):
  shapes = jax.eval_shape(lambda key: model.init(key, spec), jax.random.key(0))
  axes = state_transforms.flatten(model.param_axes(spec))
  ranks = {path: leaf.ndim for path, leaf in state_transforms.flatten(shapes).items()}
  assert {path: len(names) for path, names in axes.items()} == ranks
  assert axes['text_token_embedder/embedding'] == ('vocab', 'embed')
  assert axes['decoder/layers/mlp/wo/kernel'] == ('layers', 'mlp', 'embed')


@pytest.mark.parametrize('rows', [2, 1])
def test_metrics_are_those_of_the_valid_tokens(evaluate, forward, tiny_batch, rows):
  # What is left of a batch is filled with examples of zeros.
  keep = lambda x: np.concatenate([x[:rows], np.zeros_like(x[rows:])])
  batch = {name: keep(x) for name, x in tiny_batch.items()}
  got, target = evaluate(batch), forward(tiny_batch)
  valid, logits = keep(target.loss_mask) != 0, target.logits
  lse = np.log(np.exp(logits).sum(-1))
  at_target = np.take_along_axis(logits, target.tokens[..., None], -1)[..., 0]
  right = logits.argmax(-1) == target.tokens
  want = {
    'text/cross_ent_loss': (lse - at_target)[valid].mean(),
    'text/z_loss': 1e-4 * (lse[valid] ** 2).mean(),
    'text/accuracy': right[valid].mean(),
    'text/nonpadding_fraction': valid.mean(),
  }
  for name, value in want.items():
    np.testing.assert_allclose(got[name], value, rtol=1e-5, err_msg=name)
  whole = got['text/cross_ent_loss'] + got['text/z_loss']
  np.testing.assert_allclose([got['text/loss'], got['loss']], [whole, whole], rtol=1e-6)
  assert {'packing/n-valid', 'packing/input_nonpadding_fraction'} <= got.keys()


def test_two_examples_of_a_row_have_the_loss_of_two_rows(model, params, evaluate, tiny_batch):
  pack = {'pack_inputs': 2 * (tiny.TEXT + tiny.PATCHES), 'pack_targets': 2 * tiny.ANSWER}
  together, _ = jax.jit(lambda p, b: model.loss_fn(p, b, fold=2, **pack))(params, tiny_batch)
  np.testing.assert_allclose(together, evaluate(tiny_batch)['loss'], rtol=1e-5)


def test_dropout_is_drawn_from_the_key_alone(params, tiny_batch):
  model = models.EncoderDecoderModel(
    tiny.transformer(use_vit=False, num_encoder_layers=1, dropout_rate=0.5)
  )
  loss = jax.jit(lambda key: model.loss_fn(params, tiny_batch, key)[0])
  first, again, other = (loss(jax.random.key(seed)) for seed in (0, 0, 1))
  assert first == again != other


def test_greedy_text_is_the_argmax_of_the_full_forward(predict, forward, tiny_batch):
  tokens = predict(tiny_batch, **SHORT)[0]
  assert len(np.unique(tokens)) > 3
  logits = forward(forced(tiny_batch, tokens, np.ones_like(tokens))).logits
  running = until_end(tokens)
  np.testing.assert_array_equal(logits.argmax(-1)[running], tokens[running])


def test_score_of_a_text_is_its_log_probability(predict, score, tiny_batch):
  tokens, aux = predict(tiny_batch, **SHORT)
  # Tokens of id 0 before the end count like any other.
  batch = forced(tiny_batch, tokens, until_end(tokens))
  np.testing.assert_allclose(aux['text-scores'], score(batch), rtol=1e-4)


def test_best_of_several_draws_counts(predict, tiny_batch):
  draws = {'temperature': 1.0, 'num_decodes': 3, 'return_all_decodes': True}
  best, aux = predict(tiny_batch, jax.random.key(0), **SHORT, **draws)
  assert aux['text-tokens'].shape == aux['text-logprobs'].shape == (tiny.BATCH, 3, tiny.ANSWER)
  assert (np.diff(aux['text-scores']) > 0).all()
  np.testing.assert_array_equal(best, aux['text-tokens'][:, -1])


def test_score_of_an_option_is_the_loss_of_its_text(predict, score, tiny_batch):
  _, aux = predict({**tiny_batch, 'choices': OPTIONS})
  for i in range(OPTIONS.shape[1]):
    option = OPTIONS[:, i]
    there = option.any(-1)
    want = -score(forced(tiny_batch, option, option > 0))
    np.testing.assert_allclose(aux['all_scores'][there, i], want[there], rtol=1e-4)
  np.testing.assert_array_equal(aux['choice_ix'], aux['all_scores'].argmin(1))
  chosen = OPTIONS[np.arange(2), aux['choice_ix']]
  np.testing.assert_array_equal(aux['text-tokens'], chosen)
  np.testing.assert_array_equal(aux['scores'], aux['all_scores'].min(1))


def test_option_that_is_not_there_is_never_chosen(predict, tiny_batch):
  _, aux = predict({**tiny_batch, 'choices': OPTIONS})
  assert aux['all_scores'][0, 2] >= 1e9
  assert (aux['all_scores'].ravel()[[0, 1, 3, 4, 5]] < 1e3).all()


def test_scoring_in_groups_and_dividing_by_all_ids_changes_no_choice(predict, tiny_batch):
  batch = {**tiny_batch, 'choices': OPTIONS}
  whole = predict(batch)[1]['all_scores']
  divided = predict(batch, max_options=2, normalize_by_len=True)[1]['all_scores']
  there, ids = OPTIONS.any(-1), np.count_nonzero(OPTIONS)
  np.testing.assert_allclose(divided[there], whole[there] / ids, rtol=1e-5)


def test_modality_that_cannot_be_written_is_refused(model, params, tiny_batch):
  with pytest.raises(ValueError, match=r"unknown target 'video'; this network has \['text'\]"):
    model.predict_batch_with_aux(params, tiny_batch, modality='video')
  with pytest.raises(ValueError, match="choices, which are texts; modality is 'video'"):
    model.predict_batch_with_aux(params, {**tiny_batch, 'choices': OPTIONS}, modality='video')


def test_batch_of_other_inputs_is_refused(model, params, tiny_batch):
  with pytest.raises(ValueError, match='image'):
    model.eval_fn(params, {k: v for k, v in tiny_batch.items() if '/image/' not in k})


def test_loss_settings_reach_the_loss(module, params, tiny_batch):
  common = {'z_loss': 0.0, 'loss_normalizing_by_weight_sum': False}
  settings = ({}, {'loss_normalizing_factor': 4.0}, {'label_smoothing': 0.5})
  variants = [models.EncoderDecoderModel(module, **common, **more) for more in settings]
  compiled = jax.jit(lambda p: [model.loss_fn(p, tiny_batch)[0] for model in variants])
  summed, shared, smoothed = compiled(params)
  np.testing.assert_allclose(shared, summed / 4, rtol=1e-6)
  assert abs(smoothed - summed) > 0.1


def test_the_most_probable_id_is_the_first_of_the_highest():
  logits = np.array(
    [[1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0], [-3.0, -2.0, -1.0, -1e9]], np.float32
  )
  np.testing.assert_array_equal(models._most_probable(logits), [1, 0, 2])
