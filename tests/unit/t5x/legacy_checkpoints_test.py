import json
import shutil

import jax.numpy as jnp
import msgpack
import numpy as np
import pytest

from t5x import legacy_checkpoints

TARGET = {
  'encoder': {'kernel': np.arange(6, dtype=np.float32).reshape(2, 3)},
  'norm': {'scale': np.array([1.5, 2.5], jnp.bfloat16)},
}
STATE = {
  'encoder/kernel/m': np.full((2, 3), 0.5, np.float32),
  'encoder/kernel/v': np.zeros(1, np.float32),
  'encoder/kernel/v_row': np.array([1, 2], np.float32),
  'encoder/kernel/v_col': np.array([1, 2, 3], np.float32),
}


@pytest.fixture
def saved(tmp_path):
  return legacy_checkpoints.save_t5x_checkpoint(tmp_path / 'checkpoint_70', TARGET, 70, STATE)


def edit_tree(folder, change):
  """Rewrites the msgpack file as an older or damaged writer would have."""
  keep = {'strict_map_key': False, 'ext_hook': msgpack.ExtType}
  tree = msgpack.unpackb((folder / 'checkpoint').read_bytes(), **keep)
  change(tree)
  (folder / 'checkpoint').write_bytes(msgpack.packb(tree))


def specs(tree):
  target = tree['optimizer']['target']
  return target['encoder']['kernel'], target['norm']['scale']


def test_what_was_saved_is_read(saved):
  checkpoint = legacy_checkpoints.load(saved)
  assert checkpoint.step == 70
  read = checkpoint.read()
  np.testing.assert_array_equal(read['encoder/kernel'], TARGET['encoder']['kernel'])
  assert read['norm/scale'].dtype == jnp.bfloat16
  np.testing.assert_array_equal(read['norm/scale'].astype(float), [1.5, 2.5])
  state = checkpoint.read('state/param_states')
  assert state.keys() == STATE.keys()
  for name, array in STATE.items():
    np.testing.assert_array_equal(state[name], array)


def test_folder_and_its_file_name_the_same_checkpoint(saved):
  names = (saved, saved / 'checkpoint', f'{saved}/')
  assert len({legacy_checkpoints.load(name).base for name in names}) == 1


def test_folder_looks_like_one_of_t5x(saved):
  folders = {p.name for p in saved.iterdir() if p.is_dir()}
  assert folders == {
    'target.encoder.kernel',
    'target.norm.scale',
    'state.param_states.encoder.kernel.m',
  }
  zarray = json.loads((saved / 'target.norm.scale' / '.zarray').read_text())
  assert zarray == {
    'chunks': [2],
    'compressor': {'id': 'gzip', 'level': 1},
    'dimension_separator': '.',
    'dtype': 'bfloat16',
    'fill_value': None,
    'filters': None,
    'order': 'C',
    'shape': [2],
    'zarr_format': 2,
  }


def test_result_has_the_dtype_asked_for(saved):
  read = legacy_checkpoints.load(saved).read(dtype='float32')
  assert {array.dtype.name for array in read.values()} == {'float32'}


def test_only_the_wanted_arrays_are_read(saved):
  shutil.rmtree(saved / 'target.encoder.kernel')
  checkpoint = legacy_checkpoints.load(saved)
  assert list(checkpoint.read(paths=['norm/scale'])) == ['norm/scale']
  assert checkpoint.shapes() == {'encoder/kernel': (2, 3), 'norm/scale': (2,)}


@pytest.mark.parametrize('path_beside_store', [False, True])
def test_bucket_chunks_and_compressor_of_a_spec_do_not_count(saved, path_beside_store):
  def as_on_a_bucket(tree):
    for spec in specs(tree):
      path = spec['kvstore']['path']
      spec['kvstore'] = {'driver': 'gcs', 'bucket': 't5x-dummy-bucket'}
      (spec if path_beside_store else spec['kvstore'])['path'] = path
      spec['metadata'] |= {'chunks': [1] * len(spec['metadata']['shape']), 'compressor': None}

  edit_tree(saved, as_on_a_bucket)
  read = legacy_checkpoints.load(saved).read()
  np.testing.assert_array_equal(read['encoder/kernel'], TARGET['encoder']['kernel'])


def test_array_inside_the_tree_is_read_like_one_beside_it(saved):
  def put_inside(tree):
    kernel = TARGET['encoder']['kernel']
    payload = msgpack.packb((kernel.shape, 'float32', kernel.tobytes()))
    tree['optimizer']['target']['encoder']['kernel'] = msgpack.ExtType(1, payload)

  edit_tree(saved, put_inside)
  shutil.rmtree(saved / 'target.encoder.kernel')
  read = legacy_checkpoints.load(saved).read()
  np.testing.assert_array_equal(read['encoder/kernel'], TARGET['encoder']['kernel'])


def test_array_that_was_cut_into_pieces_is_joined(saved):
  def cut(tree):
    pieces = [np.arange(4, dtype=np.float32), np.arange(4, 6, dtype=np.float32)]
    packed = {
      str(i): msgpack.ExtType(1, msgpack.packb((piece.shape, 'float32', piece.tobytes())))
      for i, piece in enumerate(pieces)
    }
    tree['optimizer']['target']['encoder']['kernel'] = {
      '__msgpack_chunked_array__': True,
      'shape': {'0': 2, '1': 3},
      'chunks': packed,
    }

  edit_tree(saved, cut)
  read = legacy_checkpoints.load(saved).read()
  np.testing.assert_array_equal(read['encoder/kernel'], TARGET['encoder']['kernel'])


def test_missing_parameter_is_refused_and_missing_state_may_be_left_out(saved):
  shutil.rmtree(saved / 'target.norm.scale')
  shutil.rmtree(saved / 'state.param_states.encoder.kernel.m')
  checkpoint = legacy_checkpoints.load(saved)
  with pytest.raises(ValueError, match=r"lacks the folders of 1 of 2 .*'target.norm.scale'"):
    checkpoint.read()
  state = checkpoint.read('state/param_states', missing_ok=True)
  assert sorted(state) == ['encoder/kernel/v', 'encoder/kernel/v_col', 'encoder/kernel/v_row']


def test_lost_piece_of_an_array_never_reads_as_zeros(saved):
  (saved / 'target.encoder.kernel' / '0.0').unlink()
  with pytest.raises(ValueError, match=r'encoder/kernel.*damaged or cut off'):
    legacy_checkpoints.load(saved).read()


def test_cut_off_piece_of_an_array_is_refused(saved):
  piece = saved / 'target.encoder.kernel' / '0.0'
  piece.write_bytes(piece.read_bytes()[:10])
  with pytest.raises(ValueError, match=r'encoder/kernel.*damaged or cut off'):
    legacy_checkpoints.load(saved).read()


def test_shape_that_contradicts_the_tree_is_refused(saved):
  edit_tree(saved, lambda tree: specs(tree)[0]['metadata'].update(shape=[3, 2]))
  with pytest.raises(ValueError, match=r'shape \(2, 3\), the tree says \(3, 2\)'):
    legacy_checkpoints.load(saved).read()


def test_unknown_array_is_refused(saved):
  with pytest.raises(ValueError, match=r"but not 1 of those wanted, such as \['decoder'\]"):
    legacy_checkpoints.load(saved).read(paths=['norm/scale', 'decoder'])


def test_cut_off_file_is_refused(saved):
  data = (saved / 'checkpoint').read_bytes()
  (saved / 'checkpoint').write_bytes(data[:100])
  with pytest.raises(ValueError, match=r'\(100 bytes\) is cut off or no T5X checkpoint'):
    legacy_checkpoints.load(saved)


@pytest.mark.parametrize('version', [1, 2])
def test_older_version_is_refused(saved, version):
  edit_tree(saved, lambda tree: tree.update(version=version))
  with pytest.raises(ValueError, match=f'of version {version}; only version 3'):
    legacy_checkpoints.load(saved)


def test_bfloat16_stored_as_uint16_is_refused(saved):
  edit_tree(saved, lambda tree: specs(tree)[1].update(dtype='uint16'))
  with pytest.raises(ValueError, match='target/norm/scale is stored as uint16'):
    legacy_checkpoints.load(saved)


@pytest.mark.parametrize(
  ('content', 'reason'),
  [
    (b'model_checkpoint_path: "model.ckpt-1"\n', 'TensorFlow checkpoint'),
    (msgpack.packb({'params': {}}), 'no version or target'),
    (msgpack.packb([1, 2]), 'no version or target'),
    (b'', 'cut off or no T5X'),
  ],
)
def test_another_kind_of_file_is_refused(tmp_path, content, reason):
  (tmp_path / 'checkpoint').write_bytes(content)
  with pytest.raises(ValueError, match=reason):
    legacy_checkpoints.load(tmp_path)


def test_folder_without_the_file_is_refused_and_names_what_is_inside(saved):
  with pytest.raises(ValueError, match=r"no file named checkpoint; .*\['checkpoint_70'\]"):
    legacy_checkpoints.load(saved.parent)
  with pytest.raises(ValueError, match='no file named checkpoint'):
    legacy_checkpoints.load(saved.parent / 'nowhere')


def test_newest_whole_checkpoint_is_found(saved):
  model = saved.parent
  legacy_checkpoints.save_t5x_checkpoint(model / 'checkpoint_9', TARGET, 9)
  (model / 'checkpoint_800.tmp-1').mkdir()
  (model / 'checkpoint_900').mkdir()  # has no file
  assert legacy_checkpoints.find(model) == model / 'checkpoint_70'
  assert legacy_checkpoints.find(model, step=9) == model / 'checkpoint_9'
  with pytest.raises(ValueError, match=r'no checkpoint of step 8; the steps in it are \[9, 70\]'):
    legacy_checkpoints.find(model, step=8)


def test_existing_folder_is_not_overwritten(saved):
  with pytest.raises(ValueError, match='exists already'):
    legacy_checkpoints.save_t5x_checkpoint(saved, TARGET, 70)


@pytest.mark.parametrize(
  ('shape', 'itemsize', 'limit', 'chunk'),
  [
    ((8192, 8192), 4, 2**26, (4096, 4096)),
    ((8192, 8193), 4, 2**26, (4096, 2731)),
    ((33280, 2048), 4, 2**26, (6656, 2048)),
    ((16512, 2048), 4, 2**26, (5504, 2048)),
    ((7,), 4, 2**26, (7,)),
    ((7,), 4, 1, (1,)),
    ((), 4, 2**26, ()),
  ],
)
def test_chunks_shrink_to_divisors_until_they_fit(shape, itemsize, limit, chunk):
  assert legacy_checkpoints.chunk_shape(shape, itemsize, limit) == chunk
