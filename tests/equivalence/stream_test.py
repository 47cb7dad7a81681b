"""The laws of the stream: hosts, restarts and bad records change no example that comes out."""

import dataclasses
import itertools
import json

from absl import logging
import numpy as np
import pytest
import seqio
import tensorflow as tf

from t5x import input_pipeline, stream, task_examples
from t5x.input_pipeline import Host
from t5x.ordering import Order
from tests import tiny_tasks
from tests.tiny_tasks import Numbers

SIZES = {'a': 12, 'b': 20}  # records, and rates, of the mixture


@pytest.fixture(autouse=True, scope='module')
def traced_once():
  """Tracing a pipeline takes most of the time here; equal ones are shared by these tests."""
  make, made = input_pipeline._source, {}

  def shared(task, cfg):
    key = task.name, repr(dataclasses.replace(cfg, batch_size=4, virtual_shards=1))
    made[key] = made.get(key) or make(task, cfg)
    return made[key]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(input_pipeline, '_source', shared)
    yield


@pytest.fixture(autouse=True, scope='module')
def tasks():
  made = {
    f'stream_{name}': (Numbers(size, first=1000 * i), [])
    for i, (name, size) in enumerate(SIZES.items())
  }
  made['stream_several'] = Numbers(24), [tiny_tasks.as_many_as_the_last_digit]
  made['stream_sequence'] = tiny_tasks.in_sequence(24), [tiny_tasks.as_many_as_the_last_digit]
  rates = [(f'stream_{name}', size) for name, size in SIZES.items()]
  with tiny_tasks.registered(made, {'stream_mixture': rates}):
    yield


def config(name='mixture', **changes):
  settings = {'split': 'train', 'batch_size': 8, 'seed': 5, 'shuffle_window': 3}
  settings |= {'task_feature_lengths': {'inputs': 2}, 'virtual_shards': 4, 'max_bad_share': 1.0}
  return input_pipeline.DatasetConfig(f'stream_{name}', **{**settings, **changes})


def take(batches, n):
  return [next(batches)['x'].tolist() for _ in range(n)]


def rows_of(batches, n):
  """The rows of the next n batches."""
  return list(itertools.chain.from_iterable(take(batches, n)))


def joined(parts):
  """Batches of several hosts -> global batches."""
  return [list(itertools.chain.from_iterable(rows)) for rows in zip(*parts, strict=True)]


def state_of(hosts):
  """The places of all hosts together, through JSON."""
  states = [json.loads(json.dumps(host.state())) for host in hosts]
  shards = {v: place for state in states for v, place in state['shards'].items()}
  return {**states[0], 'shards': shards}


# ---- Hosts ---------------------------------------------------------------------------------------
@pytest.mark.parametrize('name', ['mixture', 'several'])
def test_the_global_batches_are_the_same_for_every_number_of_hosts(name):
  alone = take(input_pipeline.open_train(config(name)), 5)
  for count in (2, 4):
    hosts = [input_pipeline.open_train(config(name), Host(i, count)) for i in range(count)]
    assert joined([take(host, 5) for host in hosts]) == alone


def test_a_run_goes_on_with_another_number_of_hosts():
  alone = input_pipeline.open_train(config())
  hosts = [input_pipeline.open_train(config(), Host(i, 2)) for i in range(2)]
  assert joined([take(host, 3) for host in hosts]) == take(alone, 3)
  assert state_of(hosts) == state_of([alone])
  one = input_pipeline.open_train(config())
  one.restore(state_of(hosts))
  assert take(one, 3) == take(alone, 3)


def test_hosts_that_cannot_share_the_shards_are_refused():
  with pytest.raises(ValueError, match='3 hosts cannot share virtual_shards=4'):
    input_pipeline.open_train(config(), Host(0, 3))


# ---- Epochs --------------------------------------------------------------------------------------
@pytest.mark.parametrize('shards', [1, 4])
def test_nothing_is_lost_or_doubled_within_an_epoch(shards):
  batches = input_pipeline.open_train(config(virtual_shards=shards, shuffle_window=1))
  epoch = sum(SIZES.values()) // 8
  for _ in range(2):
    rows = rows_of(batches, epoch)
    numbers = sorted(row[0] for row in rows)
    assert numbers == [1000 * i + n for i, size in enumerate(SIZES.values()) for n in range(size)]


def test_records_come_as_a_function_of_seed_and_number_alone():
  batches = input_pipeline.open_train(config('a', virtual_shards=1, shuffle_window=1))
  rows = rows_of(batches, 6)
  order = Order('stream_a', SIZES['a'], seed=5, shuffle=True)
  assert [row[0] for row in rows] == order.records(np.arange(48)).tolist()


# ---- Restarts ------------------------------------------------------------------------------------
@pytest.mark.parametrize('done', [10, 1_000_000])
def test_a_resume_reads_no_more_records_far_from_the_beginning_than_near(done):
  source = Numbers(2_000_000)
  with tiny_tasks.registered({'stream_large': (source, [])}):
    cfg = config('large', virtual_shards=1, shuffle_window=1)
    batches = input_pipeline.open_train(cfg)
    state = batches.state()
    state['shards']['0'] |= {'mixed': [done], 'places': [[done - 1, 1, 0, 0]]}
    batches.restore(state)
    rows = take(batches, 1)[0]
    batches.close()
  order = Order('stream_large', 2_000_000, seed=5, shuffle=True)
  assert [row[0] for row in rows] == order.records(np.arange(done, done + 8)).tolist()
  assert len(source.reads) <= 10 * stream.CHUNK


@pytest.mark.parametrize('handed_out', [1, 4])
def test_a_source_that_cannot_seek_says_so_and_is_resumed_by_reading_again(handed_out, caplog):
  logging.get_absl_logger().propagate = True
  unbroken = input_pipeline.open_train(config('sequence', virtual_shards=2))
  task_examples.order_of(seqio.TaskRegistry.get('stream_sequence'), 'train', 0, True)
  assert 'a resumed run reads all those before its place again' in caplog.text
  take(unbroken, handed_out)
  resumed = input_pipeline.open_train(config('sequence', virtual_shards=2))
  resumed.restore(state_of([unbroken]))
  assert take(resumed, 5) == take(unbroken, 5)


def test_a_source_that_cannot_seek_gives_every_record_in_each_pass():
  batches = input_pipeline.open_train(config('sequence', virtual_shards=2, shuffle_window=1))
  rows = rows_of(batches, 6)
  wanted = sorted(i for i in range(24) for _ in range(i % 3))
  for epoch in (rows[:24], rows[24:]):
    assert sorted(row[0] for row in epoch) == wanted


# ---- Bad records ---------------------------------------------------------------------------------
BAD = (3, 8, 22)


class Unreadable(Numbers):
  """The reader raises for some records, alone or among others."""

  def read(self, split, records):
    if set(records.tolist()) & set(BAD):
      raise OSError('checksum of the block is wrong')
    return super().read(split, records)


class Broken(Numbers):
  """Some records are no numbers."""

  def read(self, split, records):
    stored = super().read(split, records)
    stored[np.isin(records, BAD)] = b'broken picture'
    return stored


def refuse(ds):
  """A preprocessor that fails for some records."""

  def check(ex):
    bad = tf.reduce_any(ex['id'] == tf.constant(BAD))
    with tf.control_dependencies([tf.debugging.Assert(~bad, ['no box'])]):
      return {**ex, 'id': tf.identity(ex['id'])}

  return ds.map(check, num_parallel_calls=4)


def in_python(ds):
  """A preprocessor in Python that raises for some records."""

  def check(number):
    if number in BAD:
      raise KeyError('no caption')
    return number

  def call(ex):
    number = tf.numpy_function(check, [ex['id']], tf.int32)
    return {**ex, 'id': tf.ensure_shape(number, [])}

  return ds.map(call)


EXPAND = tiny_tasks.as_many_as_the_last_digit
BAD_TASKS = {
  'unreadable': (Unreadable(24), []),
  'undecodable': (Broken(24), []),
  'refused': (Numbers(24), [refuse]),
  'raised': (Numbers(24), [in_python]),
  'refused_before_filter': (Numbers(24), [refuse, lambda ds: ds.filter(lambda ex: ex['id'] > 5)]),
  'refused_after_expansion': (Numbers(24), [EXPAND, refuse]),
  'refused_alone': (Numbers(24), [refuse, EXPAND, tiny_tasks.forget_the_stream]),
}


@pytest.mark.parametrize('name', BAD_TASKS)
def test_bad_records_are_named_and_left_out_and_all_others_come(name, caplog):
  logging.get_absl_logger().propagate = True
  task = f'stream_{name}'
  with tiny_tasks.registered({task: BAD_TASKS[name]}):
    cfg = config(name, virtual_shards=2, shuffle_window=1, shuffle=False, batch_size=2)
    batches = input_pipeline.open_train(cfg)
    rows = rows_of(batches, 14)
    steps = BAD_TASKS[name][1]
    limit = 6 if name == 'refused_before_filter' else 0
    copies = (lambda i: i % 3) if EXPAND in steps else (lambda i: 1)
    for shard in range(2):
      got = [row[0] for row in rows[shard::2]]
      numbers = [i for i in range(shard, 24, 2) if i not in BAD and i >= limit]
      wanted = [i for i in numbers for _ in range(copies(i))]
      assert got == (wanted + wanted)[: len(got)]
    named = {i for i in range(24) if f'record {i} of {task} (train)' in caplog.text}
    assert named == {i for i in BAD if copies(i) or steps[0] is refuse}
    state = batches.state()['shards']
    assert sum(state[v]['places'][0][-1] for v in state) >= len(named)


def test_a_resumed_stream_leaves_out_the_same_bad_records():
  with tiny_tasks.registered({'stream_resumed': (Numbers(24), [EXPAND, refuse])}):
    cfg = config('resumed', virtual_shards=2, batch_size=4)
    unbroken, resumed = (input_pipeline.open_train(cfg) for _ in range(2))
    take(unbroken, 4)
    resumed.restore(state_of([unbroken]))
    assert take(resumed, 8) == take(unbroken, 8)
    assert state_of([resumed]) == state_of([unbroken])


@pytest.mark.parametrize(('share', 'allowed'), [(0.003, True), (0.002, False)])
def test_too_many_bad_records_end_the_run(share, allowed):
  with tiny_tasks.registered({'stream_limit': (Numbers(30), [refuse])}):
    cfg = config('limit', virtual_shards=1, batch_size=3, max_bad_share=share, shuffle=False)
    batches = input_pipeline.open_train(cfg)
    if allowed:
      take(batches, 9)
      return
    with pytest.raises(task_examples.BadDataError, match=r'3 records of .* max_bad_share=0\.002'):
      take(batches, 9)


def test_a_preprocessor_that_always_fails_ends_the_run_with_its_message():
  def fail(ds):
    return ds.map(lambda ex: {**ex, 'text': tf.debugging.check_numerics(np.nan, 'nothing works')})

  with tiny_tasks.registered({'stream_failing': (Numbers(30), [fail])}):
    batches = input_pipeline.open_train(config('failing', virtual_shards=1))
    with pytest.raises(task_examples.BadDataError, match='nothing works'):
      take(batches, 1)


def test_evaluation_leaves_out_bad_records_too():
  with tiny_tasks.registered({'stream_told': (Broken(24), [])}):
    pairs = list(input_pipeline.open_eval(config('told', split='test')))
  records = [example['record'] for _, examples in pairs for example in examples]
  assert records == [i for i in range(24) if i not in BAD]
