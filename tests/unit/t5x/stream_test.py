import json
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from t5x import stream
from t5x.ordering import MixingSchedule, Order


@pytest.mark.parametrize('size', [1, 2, 5, 64, 1000])
def test_every_epoch_holds_every_record_once(size):
  order = Order('task', size, seed=3, shuffle=True)
  for epoch in range(3):
    positions = np.arange(epoch * size, (epoch + 1) * size)
    assert sorted(order.records(positions)) == list(range(size))


def test_epochs_tasks_and_seeds_differ_in_their_order():
  def first_epoch(task='a', seed=0, epoch=0):
    order = Order(task, 100, seed=seed, shuffle=True)
    return order.records(np.arange(100 * epoch, 100 * (epoch + 1))).tolist()

  orders = [first_epoch(), first_epoch(task='b'), first_epoch(seed=1), first_epoch(epoch=1)]
  assert len({tuple(order) for order in orders}) == 4
  assert first_epoch() == orders[0]


def test_a_far_position_is_found_without_those_before_it():
  order = Order('task', 10**9, seed=0, shuffle=True)
  together = order.records(np.arange(10**12, 10**12 + 5))
  apart = [order.records(np.array([p]))[0] for p in range(10**12, 10**12 + 5)]
  assert together.tolist() == apart
  assert len(set(apart)) == 5


def test_without_shuffling_records_come_in_their_order():
  order = Order('task', 3, seed=0, shuffle=False)
  assert order.records(np.arange(7)).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_permutations_look_random():
  # Neighbours of the first epoch: no share of successors (1 in 1000 by chance) stands out.
  records = Order('task', 1000, seed=0, shuffle=True).records(np.arange(1000))
  assert (np.diff(records) == 1).sum() < 8
  assert abs(np.corrcoef(np.arange(1000), records)[0, 1]) < 0.1


def test_seeds_belong_to_task_record_and_epoch_not_to_the_position():
  shuffled = Order('task', 10, seed=0, shuffle=True)
  straight = Order('task', 10, seed=0, shuffle=False)
  positions = np.arange(10)
  by_record = straight.seeds(shuffled.records(positions))
  assert shuffled.seeds(positions).tolist() == by_record.tolist()
  assert shuffled.seeds(positions).dtype == np.int32
  seeds = [*straight.seeds(np.arange(30)), *Order('b', 10, 0, False).seeds(positions)]
  seeds += [*Order('task', 10, 1, False).seeds(positions)]
  assert len({tuple(seed) for seed in np.array(seeds).tolist()}) == 50


@pytest.mark.parametrize(
  'rates', [[1.0], [1, 1], [1.0, 1.0, 1.0], [0.4, 0.32, 0.2, 0.05, 0.03], [1000, 1, 1, 1], [3, 0.7]]
)
def test_realised_shares_stay_within_one_example_of_the_rates(rates):
  schedule, shares = MixingSchedule(rates), np.array(rates) / sum(rates)
  for n in range(1, 3000):
    next(schedule)
    assert np.abs(schedule.counts - n * shares).max() < 1, n


@pytest.mark.parametrize('taken', [0, 1, 17, 1010])
def test_a_schedule_goes_on_from_its_counts(taken):
  rates = [0.4, 0.32, 0.2, 0.05, 0.03]
  whole = MixingSchedule(rates)
  for _ in range(taken):
    next(whole)
  later = MixingSchedule(rates, whole.counts.tolist())
  assert [next(later) for _ in range(300)] == [next(whole) for _ in range(300)]


def test_a_schedule_refuses_counts_and_rates_that_cannot_be():
  with pytest.raises(ValueError, match='has taken'):
    MixingSchedule([1, 1], [5, 0])
  with pytest.raises(ValueError, match='above 0'):
    MixingSchedule([1, 0])


class Numbers:
  """A source whose record i is the text of i."""

  def __init__(self, size):
    self.size, self.reads = size, []

  def num_examples(self, split):
    return self.size

  def read(self, split, records):
    self.reads.append(len(records))
    return np.array([json.dumps(int(i)).encode() for i in records], object)

  def decode(self, split, stored):
    return {'number': tf.strings.to_number(stored, tf.int64)}


def test_records_are_read_from_any_position_on():
  source = Numbers(5)
  order = Order('task', 5, seed=0, shuffle=True)
  dataset = stream.read(source, 'train', order, tf.data.Dataset.range(8, 100))
  got = [(int(ex['number']), int(ex[stream.POSITION])) for ex in dataset.take(9)]
  want = order.records(np.arange(8, 17)).tolist()
  assert got == list(zip(want, range(8, 17), strict=True))
  assert max(source.reads) == stream.CHUNK


def test_shards_share_out_the_records_of_an_epoch():
  source, order = Numbers(7), Order('task', 7, seed=0, shuffle=True)
  seen = [
    int(ex['number'])
    for shard in range(3)
    for ex in stream.read(source, 'train', order, tf.data.Dataset.range(shard, 7, 3))
  ]
  assert sorted(seen) == list(range(7))


def test_an_empty_split_is_refused():
  with pytest.raises(ValueError, match='no examples'):
    stream.read(Numbers(0), 'train', Order('task', 0, 0, True), tf.data.Dataset.range(1))


def test_a_dataset_too_small_for_its_splits_is_named(monkeypatch):
  files = tfds.core.ShardedFileTemplate(data_dir='/', dataset_name='a', filetype_suffix='records')
  five = tfds.core.SplitInfo(name='train', shard_lengths=[5], num_bytes=0, filename_template=files)
  builder = types.SimpleNamespace(info=types.SimpleNamespace(splits=tfds.core.SplitDict([five])))
  monkeypatch.setattr(stream.TfdsSource, 'builder', builder)
  source = stream.TfdsSource('a:1.0.0', splits={'train': 'train[3:]', 'validation': 'train[:9]'})
  assert source.num_examples('train') == 2
  with pytest.raises(ValueError, match=r"a:1.0.0 has too few .* 'validation', train.:9.: .*5 exa"):
    source.num_examples('validation')


def test_missing_files_name_the_command_that_builds_them(tmp_path):
  source = stream.TfdsSource(
    'coco_all:1.0.1', data_dir=lambda: str(tmp_path), build_command='python build.py DIR'
  )
  with pytest.raises(FileNotFoundError, match=r'coco_all/1\.0\.1; build it with: python build\.py'):
    source.num_examples('train')
