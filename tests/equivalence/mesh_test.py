"""Devices share the work; they do not change the result."""

import numpy as np
import pytest

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
    np.testing.assert_array_equal(ours, theirs)
