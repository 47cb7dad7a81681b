"""Devices share the work; they do not change the result."""

import jax
import numpy as np
import pytest

from t5x import partitioning, train_state
from t5x.examples.unified_io import models
from tests import tiny_training as tiny


@pytest.mark.parametrize('mesh', [(8, 1), (4, 2), (1, 4)])
def test_losses_and_parameters_do_not_depend_on_the_mesh(mesh):
  alone, losses_alone = tiny.run(3, tiny.MemoryBatches(), tiny.make_trainer())
  shared, losses_shared = tiny.run(3, tiny.MemoryBatches(), tiny.make_trainer(mesh=mesh))
  np.testing.assert_allclose(losses_shared, losses_alone, rtol=1e-5)
  for ours, theirs in zip(tiny.leaves(shared.params), tiny.leaves(alone.params), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_initial_parameters_do_not_depend_on_the_mesh():
  alone = tiny.make_trainer().plan.init()
  shared = tiny.make_trainer(mesh=(2, 4)).plan.init()
  for ours, theirs in zip(tiny.leaves(shared), tiny.leaves(alone), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)  # jax 0.12 rounds by the shape of a shard


def loss_on_mesh(tiny_network, params, batch, mesh):
  data, model_size = mesh
  made = partitioning.PjitPartitioner(model_size, devices=jax.devices()[: data * model_size])
  model = models.EncoderDecoderModel(tiny_network)
  axes = model.param_axes(train_state.batch_spec(batch))
  placed = jax.device_put(params, made.shardings(axes, params))
  with made.scope():
    loss, _ = jax.jit(model.loss_fn)(placed, made.to_global(batch), None)
  return float(loss)


def test_the_loss_of_the_network_does_not_depend_on_the_mesh(tiny_network, tiny_params, tiny_batch):
  batch = {name: np.concatenate([x, np.flip(x, 0)] * 2) for name, x in tiny_batch.items()}
  alone = loss_on_mesh(tiny_network, tiny_params, batch, (1, 1))
  for mesh in [(8, 1), (4, 2)]:
    loss = loss_on_mesh(tiny_network, tiny_params, batch, mesh)
    np.testing.assert_allclose(loss, alone, rtol=1e-5)
