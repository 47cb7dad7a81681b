import logging

from absl import logging as absl_logging
import jax
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from t5x import partitioning


@pytest.fixture
def log(caplog, monkeypatch):
  monkeypatch.setattr(absl_logging.get_absl_logger(), 'propagate', True)
  caplog.set_level(logging.INFO, logger='absl')
  return caplog


def shape(*sizes):
  return jax.ShapeDtypeStruct(sizes, np.float32)


def test_axis_names_become_mesh_axes():
  assert partitioning.spec_for(('embed', 'mlp')) == P(None, 'model')
  assert partitioning.spec_for(('batch', 'length', 'embed')) == P('data', None, None)
  assert partitioning.spec_for(('layers', 'joined_kv', None)) == P(None, 'model', None)
  assert partitioning.spec_for(()) == P()


def test_a_mesh_axis_is_given_once_to_the_name_that_stands_first_in_the_table():
  assert partitioning.spec_for(('mlp', 'vocab')) == P(None, 'model')
  assert partitioning.spec_for(('vocab', 'mlp')) == P('model', None)


def test_an_unknown_axis_is_refused_with_the_near_names():
  with pytest.raises(KeyError, match=r"no sharding rule for axis 'embd'.*\['embed'\]"):
    partitioning.spec_for(('embd', 'mlp'))


def test_one_name_for_two_axes_is_refused():
  with pytest.raises(ValueError, match=r'stands twice in .*axis_0 and axis_1'):
    partitioning.spec_for(('embed', 'embed'))


def test_rules_can_be_added_but_not_changed():
  rules = partitioning.standard_logical_axis_rules({'frames': 'data', 'mlp': None})
  assert partitioning.spec_for(('frames', 'mlp'), rules) == P('data', 'model')


@pytest.mark.parametrize(
  ('asked', 'devices', 'data', 'model'),
  [(1, 8, 8, 1), (2, 8, 4, 2), (3, 8, 4, 2), (4, 1, 1, 1), (100, 6, 1, 6), (5, 6, 2, 3)],
)
def test_num_partitions_is_honoured_or_becomes_the_largest_divisor_aloud(
  log, asked, devices, data, model
):
  made = partitioning.PjitPartitioner(asked, devices=jax.devices()[:devices])
  assert dict(made.mesh.shape) == {'data': data, 'model': model}
  assert made.num_partitions == model
  said = (
    f'num_partitions={asked} does not divide the {devices} device(s) of this run; using {model}'
  )
  assert (said in log.text) == (asked != model)


def test_num_partitions_below_one_is_refused():
  with pytest.raises(ValueError, match='num_partitions=0'):
    partitioning.PjitPartitioner(0)


def test_parameters_are_cut_along_their_axes():
  made = partitioning.PjitPartitioner(4)
  axes = {'a': {'kernel': ('embed', 'mlp')}, 'scale': ('embed',)}
  cut = made.shardings(axes, {'a': {'kernel': shape(6, 8)}, 'scale': shape(6)})
  assert cut['a']['kernel'].spec == P(None, 'model')
  assert cut['a']['kernel'].shard_shape((6, 8)) == (6, 2)
  assert cut['scale'].shard_shape((6,)) == (6,)


def test_what_an_optimizer_does_not_name_is_kept_whole():
  made = partitioning.PjitPartitioner(4)
  with pytest.raises(ValueError, match=r'v_row has shape \(8,\) but axis names \(\)'):
    made.shardings({'v_row': ()}, {'v_row': shape(8)})
  cut = made.shardings({'v_row': ()}, {'v_row': shape(8)}, unnamed_whole=True)
  assert cut['v_row'].spec == P()


def test_an_axis_that_cannot_be_cut_evenly_is_refused_by_name():
  made = partitioning.PjitPartitioner(4)
  with pytest.raises(ValueError, match="axis 'mlp' of a/kernel has size 6, which 4 partitions"):
    made.shardings({'a': {'kernel': ('embed', 'mlp')}}, {'a': {'kernel': shape(3, 6)}})


def test_a_batch_is_cut_by_rows_and_keeps_its_numbers():
  made = partitioning.PjitPartitioner(2)
  rows = np.arange(24, dtype=np.int32).reshape(8, 3)
  put = made.to_global({'inputs/text/tokens': rows})['inputs/text/tokens']
  np.testing.assert_array_equal(put, rows)
  assert {piece.data.shape for piece in put.addressable_shards} == {(2, 3)}


def test_a_batch_that_devices_cannot_share_is_refused():
  made = partitioning.PjitPartitioner(2)
  made.check_batch_size(8)
  with pytest.raises(ValueError, match='a batch of 6 rows cannot be shared by 4 devices'):
    made.check_batch_size(6)


def test_activations_are_laid_out_inside_a_scope_and_left_alone_outside():
  made = partitioning.PjitPartitioner(2)
  fn = lambda x: partitioning.constrain(x + 1, ('batch', 'mlp'))
  with made.scope():
    inside = jax.jit(fn)(np.ones([4, 2], np.float32))
  assert inside.sharding.spec == P('data', 'model')
  assert len(jax.jit(lambda x: fn(x))(np.ones([4, 2], np.float32)).sharding.device_set) == 1


def test_activations_need_a_name_for_each_axis():
  made = partitioning.PjitPartitioner(1)
  with made.scope(), pytest.raises(ValueError, match='names 1 axes of an array of shape'):
    jax.jit(lambda x: partitioning.constrain(x, ('batch',)))(np.ones([8, 2], np.float32))


def on_mesh(rows, heads, mask):
  """The shapes that a function sees on each device of a mesh of (4, 2), and its result."""
  seen = []

  def function(x, mask):
    seen.append((x.shape, mask.shape))
    return x * mask

  axes = [('batch', 'heads'), ('batch', None)]
  run = lambda x, mask: partitioning.on_each_device(function, [x, mask], axes, axes[0])
  with partitioning.PjitPartitioner(2).scope():
    result = jax.jit(run)(np.ones((rows, heads), np.float32), np.full((mask, 1), 2, np.float32))
  assert (result == 2).all()
  assert result.shape == (rows, heads)
  return seen[-1]


@pytest.mark.parametrize(
  ('rows', 'heads', 'mask', 'want'),
  [
    (8, 6, 8, ((2, 3), (2, 1))),
    (8, 6, 1, ((2, 3), (1, 1))),  # an axis of size 1 is whole everywhere
    (6, 6, 6, ((6, 3), (6, 1))),  # so is one that cannot be shared evenly
    (8, 3, 8, ((2, 3), (2, 1))),
  ],
)
def test_a_kernel_sees_the_part_of_its_device(rows, heads, mask, want):
  assert on_mesh(rows, heads, mask) == want


def test_a_kernel_sees_all_where_there_is_no_mesh():
  x = np.ones((3, 2), np.float32)
  got = partitioning.on_each_device(lambda x: x + x.shape[0], [x], [('batch', 'heads')], ())
  np.testing.assert_array_equal(got, x + 3)
