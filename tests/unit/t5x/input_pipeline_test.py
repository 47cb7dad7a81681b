import itertools
import json

import gin
import numpy as np
import pytest
import seqio
import tensorflow as tf

from t5x import input_pipeline, task_examples
from tests.tiny_tasks import (
  OUTPUT,
  Numbers,
  as_many_as_the_last_digit,
  forget_the_stream,
  keeping,
  odd_only,
  registered,
)


def with_meta(ds):
  return keeping(lambda ex: {**ex, 'meta/name': ex['text'], 'picture': tf.zeros([40, 40, 3])})(ds)


STEPS = {
  'plain': [],
  'odd': [odd_only],
  'several': [as_many_as_the_last_digit],
  'forgetful': [as_many_as_the_last_digit, forget_the_stream],
  'told': [with_meta],
}


@pytest.fixture(autouse=True, scope='module')
def tasks():
  names = {name: f'pipeline_test_{name}' for name in STEPS}
  made = {
    names[name]: (Numbers(10, first=100 * i), steps)
    for i, (name, steps) in enumerate(STEPS.items())
  }
  rates = [(names['plain'], 2.0), (names['odd'], 1.0), (names['forgetful'], 0.5)]
  with registered(made, {'pipeline_test_mixture': rates}):
    yield


def config(name, **changes):
  settings = {'split': 'train', 'batch_size': 4, 'seed': 5, 'shuffle_window': 3}
  settings |= {'task_feature_lengths': {'inputs': 2}}
  settings |= {'mixture_or_task_name': f'pipeline_test_{name}'} | changes
  return input_pipeline.DatasetConfig(**settings)


def take(batches, n):
  return [next(batches)['x'].tolist() for _ in range(n)]


def ids(rows):
  return [row[0] for batch in rows for row in batch]


@pytest.mark.parametrize(
  ('name', 'handed_out'),
  [('plain', 0), ('odd', 5), ('several', 1), ('several', 5), ('forgetful', 3), ('mixture', 5)],
)
def test_a_resumed_stream_goes_on_with_the_same_batches(name, handed_out):
  unbroken = input_pipeline.open_train(config(name))
  take(unbroken, handed_out)
  state = json.loads(json.dumps(unbroken.state()))
  resumed = input_pipeline.open_train(config(name))
  resumed.restore(state)
  assert take(resumed, 6) == take(unbroken, 6)
  resumed.close()
  assert take(resumed, 2) == take(unbroken, 2)
  assert resumed.state() == unbroken.state()


def test_another_seed_gives_other_batches_and_cannot_be_resumed():
  one = input_pipeline.open_train(config('plain'))
  other = input_pipeline.open_train(config('plain', seed=6))
  assert take(one, 3) != take(other, 3)
  with pytest.raises(ValueError, match='seed was 5, is 6'):
    other.restore(one.state())


def test_an_epoch_holds_every_example_once():
  plain = ids(take(input_pipeline.open_train(config('plain', batch_size=5, shuffle_window=5)), 4))
  assert sorted(plain[:10]) == sorted(plain[10:]) == list(range(10))
  assert plain[:10] != plain[10:]
  wanted = [i for i in range(200, 210) for _ in range(i % 3)]
  batches = input_pipeline.open_train(config('several', shuffle_window=len(wanted)))
  several = ids(take(batches, 4))
  assert sorted(several[: len(wanted)]) == wanted


def test_every_epoch_augments_anew_and_every_run_alike():
  rows = take(input_pipeline.open_train(config('plain', batch_size=10)), 2)
  noise = {(row[0], row[1]) for batch in rows for row in batch}
  assert len(noise) == 20
  assert take(input_pipeline.open_train(config('plain', batch_size=10)), 2) == rows


def test_a_mixture_takes_its_tasks_by_their_rates():
  rows = ids(take(input_pipeline.open_train(config('mixture', batch_size=7)), 3))
  counts = [sum(i // 100 == task for i in rows) for task in (0, 1, 3)]
  assert counts == [12, 6, 3]


def test_without_shuffling_examples_come_in_their_order():
  rows = take(input_pipeline.open_train(config('plain', shuffle=False)), 3)
  assert ids(rows) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_examples_of_one_record_stand_apart():
  def neighbours(window):
    rows = ids(take(input_pipeline.open_train(config('several', shuffle_window=window)), 9))
    return sum(a == b for a, b in itertools.pairwise(rows))

  assert neighbours(window=18) < neighbours(window=1) / 2


def test_a_window_holds_no_more_than_its_bytes(monkeypatch):
  batches = input_pipeline.open_train(config('plain', shuffle_window=100))
  assert batches.state()['stream']['windows'] == [100]
  monkeypatch.setattr(input_pipeline, '_WINDOW_BYTES', 300)
  batches = input_pipeline.open_train(config('plain', shuffle_window=100))
  assert batches.state()['stream']['windows'] == [300 // (3 * 4)]


def test_virtual_shards_share_out_an_epoch_and_resume():
  batches = input_pipeline.open_train(
    config('plain', batch_size=10, virtual_shards=2, shuffle_window=1)
  )
  rows = take(batches, 1)
  assert sorted(ids(rows)) == list(range(10))
  straight = input_pipeline.open_train(
    config('plain', batch_size=10, virtual_shards=2, shuffle=False)
  )
  assert ids(take(straight, 1)) == [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
  resumed = input_pipeline.open_train(
    config('plain', batch_size=10, virtual_shards=2, shuffle_window=1)
  )
  resumed.restore(batches.state())
  assert take(resumed, 2) == take(batches, 2)
  with pytest.raises(ValueError, match='multiple of virtual_shards'):
    config('plain', virtual_shards=3)


def test_the_spec_tells_what_batches_are():
  batches = input_pipeline.open_train(config('plain'))
  batch = next(batches)
  assert {k: (v.shape, v.dtype) for k, v in batches.spec.items()} == {'x': ((4, 3), np.int32)}
  assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {'x': ((4, 3), np.int32)}


def test_the_cursor_is_small_and_tells_the_place():
  batches = input_pipeline.open_train(config('mixture'))
  take(batches, 3)
  state = batches.state()
  assert sum(state['shards']['0']['mixed']) == 12
  assert len(json.dumps(state)) < 800


def test_evaluation_yields_every_example_in_order_and_pads_the_last_batch():
  pairs = list(input_pipeline.open_eval(config('told', split='test')))
  assert [[row[0] for row in batch['x']] for batch, _ in pairs] == [
    [400, 401, 402, 403], [404, 405, 406, 407], [408, 409, 408, 408],
  ]  # fmt: skip
  assert [len(examples) for _, examples in pairs] == [4, 4, 2]
  assert pairs[2][1][1] == {'id': 409, 'text': '409', 'meta/name': '409', 'record': 9}


def test_evaluation_draws_the_same_each_time():
  eval_set = input_pipeline.open_eval(config('told', split='test'), 'pipeline_test_several')
  first, second = ([batch['x'].tolist() for batch, _ in eval_set] for _ in range(2))
  assert first == second


def test_evaluation_can_be_cut_short():
  pairs = list(input_pipeline.open_eval(config('told'), num_examples=3))
  assert [len(examples) for _, examples in pairs] == [3]
  assert pairs[0][0]['x'].shape == (4, 3)


def test_a_misspelt_name_is_answered_with_the_near_ones():
  with pytest.raises(ValueError, match=r"did you mean one of .*'pipeline_test_plain'"):
    input_pipeline.open_train(config('plane'))
  with pytest.raises(ValueError, match='is a mixture'):
    input_pipeline.open_eval(config('mixture'))


def test_a_module_may_declare_configurables_though_the_configuration_is_complete(
  monkeypatch, tmp_path
):
  source = 'import gin\n\n@gin.configurable\ndef configurable_of_a_user(x=3): pass\n'
  (tmp_path / 'module_of_a_user.py').write_text(source)
  monkeypatch.syspath_prepend(str(tmp_path))
  monkeypatch.setattr(gin.config, '_CONFIG_IS_LOCKED', True)  # as `gin.finalize` leaves it
  input_pipeline.open_train(config('plain', module='module_of_a_user')).close()
  assert gin.config_is_locked()


def test_a_task_without_converter_is_refused():
  name = 'pipeline_test_bare'
  seqio.TaskRegistry.add(name, source=Numbers(3), preprocessors=[], output_features=OUTPUT)
  with pytest.raises(ValueError, match='has a feature_converter'):
    input_pipeline.open_train(config('bare'))
  seqio.TaskRegistry.remove(name)


def test_preprocessors_that_change_the_order_are_refused():
  with registered({'pipeline_test_mixed': (Numbers(10), [lambda ds: ds.shuffle(4, seed=1)])}):
    batches = input_pipeline.open_train(config('mixed'))
    with pytest.raises(ValueError, match="'pipeline_test_mixed' change the order"):
      take(batches, 3)


def test_closing_stops_reading_ahead_and_the_next_batch_is_read_anew():
  batches = input_pipeline.open_train(config('plain'))
  first = take(batches, 1)
  thread = batches._batches
  batches.close()
  with pytest.raises(StopIteration):
    next(thread)
  assert take(batches, 1) != first


def test_the_end_of_python_stops_tensorflows_reading(monkeypatch):
  at_exit = []
  monkeypatch.setattr(task_examples.atexit, 'register', at_exit.append)
  task_examples._close_all_at_exit.__wrapped__()
  reading = task_examples.NumpyIterator(tf.data.Dataset.range(3).map(lambda n: {'n': n}))
  assert next(reading) == {'n': 0}
  at_exit[0]()
  with pytest.raises(StopIteration):
    next(reading)


@pytest.mark.parametrize('switch', ['use_cached', 'pack', 'use_custom_packing_ops'])
def test_switches_of_seqio_that_would_change_the_order_are_refused(switch):
  with pytest.raises(ValueError, match=f'DatasetConfig.{switch} must be False'):
    config('plain', **{switch: True})
