"""A packed stream obeys the laws of any: restarts and hosts change no bit, nothing is lost."""

import functools
import itertools
import json

import numpy as np
import pytest

from t5x import input_pipeline
from t5x.examples.unified_io import modality_processing
from t5x.examples.unified_io.packing import PackingStrategy
from t5x.input_pipeline import Host
from tests import tiny_tasks
from tests.tiny_tasks import Numbers

ROW = {'pack_max_len': (16, 10), 'latents': {'image_history': 2}}
STRATEGIES = {
  'pairs': PackingStrategy(**ROW, pack_pool_size=4),
  'best_fit': PackingStrategy(**ROW, max_to_pack=4, rows_together=2, pack_pool_size=7),
}
FRAMES = 1.25  # an example, on average over a batch
BATCH, SHARDS = 16, 2


@pytest.fixture(autouse=True, scope='module')
def tasks():
  """A mixture of two tasks, one of whose records become several examples; frames are limited."""
  several = tiny_tasks.as_many_as_the_last_digit
  made = {'packed_a': (Numbers(40), []), 'packed_b': (Numbers(30, first=100), [several])}
  chosen = functools.partial(
    modality_processing.get_input_modalities, ['text', 'image_history'], max_img_history=FRAMES
  )
  mixture = {'packed_mixture': [('packed_a', 2.0), ('packed_b', 1.0)]}
  with (
    tiny_tasks.registered(made, mixture, last=tiny_tasks.make_masks),
    pytest.MonkeyPatch.context() as patch,
  ):
    patch.setattr(modality_processing, 'get_input_modalities', chosen)
    yield


def opened(name, host=input_pipeline.ALONE, task='mixture', **changes):
  settings = {'split': 'train', 'batch_size': BATCH, 'virtual_shards': SHARDS, 'seed': 3}
  settings |= {'task_feature_lengths': {'inputs': 2}, 'shuffle_window': 4} | changes
  return input_pipeline.open_train(
    input_pipeline.DatasetConfig(f'packed_{task}', packing=STRATEGIES[name], **settings), host
  )


def take(batches, n):
  return [next(batches) for _ in range(n)]


def assert_equal(got, want):
  for one, other in zip(got, want, strict=True):
    assert set(one) == set(other)
    for name, array in one.items():
      assert array.dtype == other[name].dtype
      np.testing.assert_array_equal(array, other[name], err_msg=name)


def joined(parts):
  """Batches of several hosts -> global batches."""
  return [
    {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for parts in zip(*parts, strict=True)
  ]


@pytest.mark.parametrize('name', STRATEGIES)
def test_a_resumed_packed_stream_goes_on_to_the_bit(name):
  unbroken = opened(name)
  take(unbroken, 5)
  state = json.loads(json.dumps(unbroken.state()))
  resumed = opened(name)
  resumed.restore(state)
  assert_equal(take(resumed, 5), take(unbroken, 5))
  assert resumed.state() == unbroken.state()
  held = [place['held']['pool'] for place in state['shards'].values()]
  assert 'item' in json.dumps(held), 'nothing was held back, so this test tests nothing'


@pytest.mark.parametrize('name', STRATEGIES)
def test_packed_batches_are_the_same_for_every_number_of_hosts(name):
  hosts = [opened(name, Host(i, 2)) for i in range(2)]
  assert_equal(joined([take(host, 5) for host in hosts]), take(opened(name), 5))


@pytest.mark.parametrize('name', STRATEGIES)
def test_an_epoch_is_packed_without_loss_and_within_the_limits(name):
  batches = opened(name, task='a', shuffle=False, virtual_shards=1)
  made = take(batches, 12)
  numbers = [
    int(number)
    for batch in made
    for number, mask in zip(batch['x'][:, 0], batch['targets/text/mask'], strict=True)
    if mask.any()
  ]
  taken = batches.state()['shards']['0']
  passes, rest = divmod(taken['mixed'][0], 40)
  held = json.dumps(taken['held']).count('item')
  counts = np.bincount(numbers, minlength=40)
  assert len(numbers) + held == 40 * passes + rest
  assert (abs(counts - len(numbers) / 40) <= 1 + held).all()
  for batch in made:
    assert batch['inputs/image_history/mask'].any(-1).sum() <= round(FRAMES * BATCH)


def rows_of(batch, strategy):
  """The places of each packed row."""
  groups = np.arange(BATCH) // strategy.max_to_pack
  row = batch.get('packing/row', np.zeros(BATCH, np.int32))
  return groups * strategy.rows_together + row


@pytest.mark.parametrize('name', STRATEGIES)
def test_examples_of_a_row_fit_into_it(name):
  strategy, fullest = STRATEGIES[name], 0
  for batch in itertools.islice(opened(name), 6):
    rows = rows_of(batch, strategy)
    frames = batch['inputs/image_history/mask'].any(-1).sum(-1)
    inputs = batch['inputs/text/mask'].sum(-1) + 2 * frames
    targets = batch['targets/text/mask'].sum(-1)
    assert (np.bincount(rows, inputs) <= 16).all()
    assert (np.bincount(rows, targets) <= 10).all()
    fullest = max(fullest, np.bincount(rows, targets > 0).max())
  assert fullest == (2 if name == 'pairs' else 3)


def test_a_stream_packed_otherwise_cannot_be_resumed():
  state = opened('pairs').state()
  with pytest.raises(ValueError, match='packing was'):
    opened('best_fit').restore(state)


def test_the_spec_tells_the_fields_of_packing():
  batches = opened('best_fit')
  batch = next(batches)
  assert {name: (x.shape, x.dtype) for name, x in batch.items()} == {
    name: (x.shape, x.dtype) for name, x in batches.spec.items()
  }
  assert {'packing/row', 'packing/age'} <= set(batch)
