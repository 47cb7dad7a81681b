import jax
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from t5x import optimizers, train_state
from t5x.partitioning import path_names
from tests import tiny_training as tiny


def specs_by_path(tree):
  return {
    '/'.join(path_names(path)): leaf.sharding.spec
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
  }


def test_moments_are_cut_like_their_parameter_and_counters_are_kept_whole():
  plan = tiny.make_trainer(mesh=(2, 4)).plan
  params = specs_by_path(plan.abstract.params)
  assert params['embedding'] == P('model', None)
  assert params['mlp/wi'] == P(None, 'model')
  moments = specs_by_path(plan.abstract.opt_state)
  for path, spec in moments.items():
    owner = next((name for name in params if path.endswith(name)), None)
    assert spec == (params[owner] if owner else P()), path
  assert sum(path.endswith('mlp/wi') for path in moments) == 2


def test_what_is_factored_is_kept_whole():
  class LargeModel(tiny.TinyModel):
    def init(self, key, input_spec):
      return {'kernel': np.ones([128, 256], np.float32)}

    def param_axes(self, input_spec):
      return {'kernel': ('embed', 'mlp')}

  made = tiny.make_trainer(mesh=(1, 2))
  model, axes = LargeModel(), {'kernel': ('embed', 'mlp')}
  optimizer = optimizers.adafactor(0.1, beta1=0.9).build(axes)
  plan = train_state.plan_state(
    model, optimizer, made.partitioner, made.input_spec, axes, jax.random.key(0)
  )
  kept = {
    path.rsplit('/', 1)[-1]: (leaf.shape, leaf.sharding.spec)
    for path, leaf in zip(
      specs_by_path(plan.abstract.opt_state), jax.tree.leaves(plan.abstract.opt_state), strict=True
    )
  }
  assert kept['m'] == ((128, 256), P(None, 'model'))
  assert sorted(kept[name] for name in ('v_row', 'v_col')) == [((128,), P()), ((256,), P())]


def test_the_initial_state_has_the_planned_shapes_and_shardings():
  plan = tiny.make_trainer(mesh=(2, 4)).plan
  state = plan.init()
  for got, planned in zip(jax.tree.leaves(state), jax.tree.leaves(plan.abstract), strict=True):
    assert (got.shape, got.dtype) == (planned.shape, planned.dtype)
    assert got.sharding.is_equivalent_to(planned.sharding, got.ndim)
  assert int(state.step) == 0


def test_bookkeeping_is_no_part_of_what_the_step_receives():
  spec = train_state.batch_spec({'x': np.zeros([2, 3], np.int32), 'stream/example': np.zeros(2)})
  assert list(spec) == ['x']
  assert (spec['x'].shape, spec['x'].dtype) == ((2, 3), np.int32)


def test_the_table_counts_every_parameter():
  made = tiny.make_trainer(mesh=(2, 4))
  lines = train_state.parameter_table(made.plan, made.partitioner).splitlines()
  assert [line.split()[0] for line in lines[:3]] == ['embedding', 'mlp/wi', 'mlp/wo']
  assert lines[0].split(maxsplit=1)[1] == "64 (vocab=16, embed=4) ('model', None)"
  total = tiny.VOCAB * tiny.EMBED + tiny.EMBED * tiny.MLP + tiny.MLP * tiny.VOCAB
  assert lines[-2] == f'Total number of parameters: {total}'


def test_a_batch_that_the_mesh_cannot_share_is_refused_before_anything_is_computed():
  with pytest.raises(ValueError, match='a batch of 8 rows cannot be shared by 3 devices'):
    tiny.make_trainer(mesh=(3, 1))
