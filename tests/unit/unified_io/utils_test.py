"""A model and its parameters in two calls."""

import gin
import jax
import numpy as np
import pytest

from t5x import legacy_checkpoints
from t5x.bindings import UserError
from t5x.checkpoint_config import CheckpointError
from t5x.examples.unified_io import utils
from t5x.examples.unified_io.interop import legacy_names
from t5x.partitioning import PjitPartitioner

RAW_PATCHES = ('get_input_modalities.use_image_vit = False',)  # so that a model is small


@pytest.fixture(autouse=True)
def fresh_gin():
  gin.clear_config()
  yield
  gin.clear_config()


def small(**settings):
  return utils.get_model('tiny', ['image', 'text'], ['text'], RAW_PATCHES, **settings)


def test_a_model_is_of_the_size_modalities_and_dtype_that_are_asked_for():
  module = small(dtype='float32').module
  assert (module.config.emb_dim, module.config.dtype) == (16, 'float32')
  assert (list(module.inputs), list(module.targets)) == (['text', 'image'], ['text'])


def test_a_model_may_be_asked_for_again_after_gin_was_locked():
  small()
  assert small(dtype='float32').module.config.dtype == 'float32'


@pytest.mark.parametrize(
  ('size', 'bindings', 'error', 'words'),
  [
    ('lagre', (), ValueError, "unknown model size 'lagre'"),
    ('tiny', ('model_confg.emb_dim = 8',), UserError, 'did you mean model_config'),
  ],
)
def test_what_cannot_be_is_refused_with_the_near_names(size, bindings, error, words):
  with pytest.raises(error, match=words):
    utils.get_model(size, gin_bindings=bindings)


def test_new_parameters_depend_on_the_key_alone_not_on_the_mesh():
  model = small()
  params, axes = utils.get_parameters(model, rng=jax.random.key(3))
  assert axes is None
  on_mesh, axes = utils.get_parameters(
    model, partitioner=PjitPartitioner(num_partitions=4), rng=jax.random.key(3)
  )
  jax.tree.map(np.testing.assert_array_equal, params, on_mesh)
  assert axes['text_token_embedder']['embedding'] == ('vocab', 'embed')
  cut = on_mesh['text_token_embedder']['embedding'].sharding.shard_shape((33_280, 16))
  assert cut == (33_280 // 4, 16)


def test_parameters_of_a_checkpoint_of_another_tokenizer_are_refused(tmp_path):
  model = small()
  params, _ = utils.get_parameters(model)
  flat = legacy_names.tree_to_legacy(jax.tree.map(np.asarray, params), model.module.config)
  path = legacy_checkpoints.save_t5x_checkpoint(tmp_path / 'checkpoint_1', flat, 1)
  with pytest.raises(CheckpointError, match='needs a tokenizer of 32000 pieces'):
    utils.get_parameters(model, path)


def test_a_missing_checkpoint_is_refused(tmp_path):
  with pytest.raises(CheckpointError, match='does not exist'):
    utils.get_parameters(small(), tmp_path / 'none')
