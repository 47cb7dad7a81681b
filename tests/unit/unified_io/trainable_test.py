"""What is trained is what `train.trainable` names, and nothing else costs gradient or state."""

import dataclasses

import gin
import jax
import numpy as np
import optax
import pytest

from t5x import gin_utils, optimizers, partitioning, state_transforms, trainer
from t5x.examples.unified_io import models
from tests import tiny, tiny_modalities

PARTS = ('image_vit', 'audio_vit', 'image_vqgan', 'audio_vqgan')


@pytest.fixture(scope='module')
def released():
  """The patterns of the size files."""
  gin_utils.parse(['t5x/examples/unified_io/t5_1_1/base.gin'])
  patterns = gin.query_parameter('RELEASED_TRAINABLE/gin.macro.value')
  gin.clear_config()
  return tuple(patterns)


def make_trainer(module, batch, trainable):
  model = models.EncoderDecoderModel(module)
  mesh = partitioning.PjitPartitioner(devices=jax.devices()[:1])
  return trainer.Trainer(model, optimizers.adamw(0.1), mesh, batch, seed=0, trainable=trainable)


def part_of(path):
  return path.split('/')[0]


@pytest.mark.parametrize('named', [(), ('image_vit',), ('audio_vit', 'image_vqgan')])
def test_optimizer_state_is_there_for_what_is_trained_alone(released, named):
  patterns = (*released, *(f'{part}/.*' for part in named))
  plan = make_trainer(tiny_modalities.transformer(), tiny_modalities.batch(2), patterns).plan
  every = state_transforms.flatten(plan.abstract.params)
  assert set(PARTS) <= {part_of(path) for path in every}
  wanted = {path for path in every if part_of(path) in named or part_of(path) not in PARTS}
  for moment in ('mu', 'nu'):
    kept = optax.tree_utils.tree_get(plan.abstract.opt_state, moment)
    assert set(state_transforms.flatten(kept)) == wanted
  sizes = [leaf.size for leaf in jax.tree.leaves(plan.abstract.opt_state) if leaf.ndim]
  assert sum(sizes) == 2 * sum(every[path].size for path in wanted)


@pytest.mark.parametrize('named', [(), ('image_vit',)])
def test_a_step_moves_what_is_trained_and_leaves_the_rest_as_it_was(released, named, tiny_batch):
  module = tiny.transformer(num_encoder_layers=1, num_decoder_layers=1, scan_layers=False)
  made = make_trainer(module, tiny_batch, (*released, *(f'{part}/.*' for part in named)))
  blank = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), made.plan.abstract)
  params = jax.tree.map(np.array, tiny.init(module, tiny_batch))  # the step uses up its state
  state, _ = made.step(dataclasses.replace(blank, params=params), tiny_batch)
  before, after = state_transforms.flatten(params), state_transforms.flatten(state.params)
  moved = {path for path in before if not np.array_equal(before[path], after[path])}
  assert moved == {path for path in before if part_of(path) in named or part_of(path) not in PARTS}
  assert ('image_vit' in named) == any(part_of(path) == 'image_vit' for path in moved)
