"""Pools put examples into rows and batches, lose none, keep to limits, and can be kept."""

import itertools
import json

import numpy as np
import pytest

from t5x import shards
from t5x.examples.unified_io import modality_processing, packing
from t5x.examples.unified_io.packing import PackingStrategy
from t5x.examples.unified_io.packing_pools import BestFit, Item, LimitedRows, Pairs, Unpacked
from t5x.task_examples import Made

ROW = (100, 60)


def items(count=200, seed=0, counts=0):
  """Items named 0, 1, ... of random lengths."""
  rng = np.random.default_rng(seed)
  lengths = rng.integers(1, (60, 40), (count, 2))
  numbers = rng.integers(0, 4, (count, counts))
  return [Item(i, *lengths[i].tolist(), counts=tuple(numbers[i].tolist())) for i in range(count)]


def best_fit(pool=8, groups=2, group_rows=2, group_examples=5, limits=(), extra=4):
  return BestFit(
    ROW, pool, groups=groups, group_rows=group_rows, group_examples=group_examples,
    limits=limits, extra=extra,
  )  # fmt: skip


def pool_of(kind, limits=()):
  limited = LimitedRows(4, limits, 3)
  if kind == 'pairs':
    return Pairs(ROW, 5, limited)
  return Unpacked(limited) if kind == 'unpacked' else best_fit(limits=limits)


def all_batches(pool, given):
  stream = iter(given)
  return list(iter(lambda: pool.batch(stream), []))


KINDS = ('pairs', 'best_fit', 'unpacked')


# ---- All pools -----------------------------------------------------------------------------------
@pytest.mark.parametrize('limits', [(), (9, 7)])
@pytest.mark.parametrize('kind', KINDS)
def test_every_example_comes_once_and_no_row_is_too_long(kind, limits):
  given = items(counts=len(limits))
  batches = all_batches(pool_of(kind, limits), given)
  rows = [row for batch in batches for row in batch]
  assert sorted(item.example for row in rows for item in row) == list(range(200))
  assert all(len(batch) == 4 for batch in batches)
  for row in rows:
    assert sum(item.inputs for item in row) <= ROW[0]
    assert sum(item.targets for item in row) <= ROW[1]


@pytest.mark.parametrize('kind', KINDS)
def test_batches_keep_to_the_limit_of_each_count(kind):
  limits = (9, 7)
  batches = all_batches(pool_of(kind, limits), items(counts=2))
  sums = [np.sum([item.counts for row in batch for item in row], axis=0) for batch in batches]
  assert (np.array(sums) <= limits).all()
  assert (np.array(sums).max(0) == limits).all()  # they are used


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('done', [1, 7, 20])
def test_a_pool_that_was_kept_goes_on_as_if_it_had_not_been(kind, done):
  given, limits = items(counts=1), (6,)
  unbroken, stream = pool_of(kind, limits), iter(given)
  for _ in range(done):
    unbroken.batch(stream)
  rest = list(stream)
  resumed = pool_of(kind, limits)
  resumed.hold(unbroken.held)
  assert all_batches(resumed, rest) == all_batches(unbroken, rest)


@pytest.mark.parametrize('kind', KINDS)
def test_an_example_over_the_limit_comes_alone_and_blocks_nothing(kind):
  given = [Item(0, 5, 5, (1,)), Item(1, 5, 5, (50,))]
  given += [Item(i, 5, 5, (i % 3,)) for i in range(2, 60)]
  batches = all_batches(pool_of(kind, (4,)), given)
  assert sorted(item.example for batch in batches for row in batch for item in row) == [*range(60)]
  for batch in batches:
    counts = [sum(item.counts[0] for item in row) for row in batch]
    assert sum(counts) <= 4 or sum(counts) == max(counts) >= 50


# ---- Limits --------------------------------------------------------------------------------------
def rows_of(*counts):
  return [(Item(i, 1, 1, (count,)),) for i, count in enumerate(counts)]


def numbers(batch):
  return [row[0].example if row else None for row in batch]


def test_a_batch_begins_with_all_waiting_rows_that_fit_the_oldest_first():
  limited = LimitedRows(4, (10,), 3)
  stream = iter(rows_of(6, 5, 5, 5, 0, 0, 1, 1, 9))
  assert numbers(limited.batch(stream)) == [0, None, None, None]
  # Of the three that waited two fit; the third goes on waiting while others fill the batch.
  assert numbers(limited.batch(stream)) == [1, 2, 4, 5]
  assert numbers(limited.batch(stream)) == [3, 6, 7, None]
  assert numbers(limited.batch(stream)) == [8, None, None, None]
  assert limited.batch(stream) == []


# ---- Pairs ---------------------------------------------------------------------------------------
def test_pairs_without_any_target_are_dropped_but_not_one_half_of_a_pair():
  given = [Item(0, 5, 0), Item(1, 5, 0), Item(2, 5, 0), Item(3, 5, 4)]
  batches = all_batches(Pairs(ROW, 2, LimitedRows(2, (), 1)), given)
  assert [[item.example for item in row] for row in batches[0]] == [[3, 2], []]


def test_data_without_targets_is_refused():
  endless = (Item(i, 5, 0) for i in itertools.count())
  with pytest.raises(ValueError, match='there is nothing to train on'):
    Pairs(ROW, 2, LimitedRows(2, (), 1)).batch(endless)


# ---- Best fit ------------------------------------------------------------------------------------
def test_rows_are_filled_with_the_largest_that_fit_beside_the_oldest():
  given = [Item(i, inputs, 5) for i, inputs in enumerate([20, 30, 75, 81, 40, 10])]
  batches = all_batches(best_fit(pool=6, groups=1, group_rows=2, group_examples=9), given)
  assert [[item.example for item in row] for row in batches[0]] == [[0, 2], [1, 4, 5]]
  assert [[item.example for item in row] for row in batches[1]] == [[3], []]


def test_groups_never_have_more_examples_than_places():
  given = [Item(i, 5, 5) for i in range(60)]
  batches = all_batches(best_fit(groups=2, group_rows=3, group_examples=7), given)
  for batch in batches[:-1]:
    assert [sum(map(len, batch[:3])), sum(map(len, batch[3:]))] == [7, 7]
    assert all(batch)
  assert sum(map(len, batches[-1])) == 4


def test_no_example_waits_for_more_rows_than_the_pool_is_large():
  given = items(600)
  rows = [row for batch in all_batches(best_fit(pool=8), given) for row in batch if row]
  first_of = np.cumsum([0] + [len(row) for row in rows])
  for number, row in enumerate(rows):
    for item in row:
      assert item.example >= first_of[number] - 8 * 5


# ---- The strategy --------------------------------------------------------------------------------
def fields(text, target, frames=0):
  shown = np.arange(4)[:, None] < np.full([1, 3], frames)
  return {
    'inputs/text/tokens': np.zeros(9, np.int32),
    'inputs/text/mask': np.arange(9) < text,
    'inputs/image_history/mask': shown,
    'targets/text/mask': np.arange(9) < target,
    'targets/text/targets': np.zeros(9, np.int32),
  }


def test_lengths_count_valid_tokens_and_the_latents_of_frames_that_show():
  example = fields(5, 3, frames=2)
  assert packing.input_length(example, {'image_history': 32}) == 5 + 2 * 32
  assert packing.target_length(example) == 3
  assert packing.frame_counts(example, ('image_history',)) == (2,)
  del example['targets/text/mask']
  with pytest.raises(ValueError, match=r"targets \['text'\] have no mask"):
    packing.target_length(example)


def limited(monkeypatch, **limits):
  choose = modality_processing.get_input_modalities
  monkeypatch.setattr(
    modality_processing,
    'get_input_modalities',
    lambda: choose(['text', *limits_of(limits)], **limits),
  )


def limits_of(limits):
  names = {'max_img_history': 'image_history', 'max_audio_history': 'audio_history'}
  return [names[limit] for limit in limits]


def test_a_limit_counts_its_own_modality_and_every_example_of_a_packed_batch(monkeypatch):
  # data-28: the original counts the last modality, and as many frames for pairs as for one.
  limited(monkeypatch, max_img_history=1.5, max_audio_history=1.0)
  strategy = PackingStrategy(pack_max_len=(400, 20))
  example = fields(2, 2, frames=3)
  example['inputs/audio_history/mask'] = np.zeros((4, 3))
  stream = (shards.Example(0, Made(i, 0, example)) for i in itertools.count())
  part = strategy.open(8, 0, 1).next(stream)
  # Pairs of 6 frames; 8 x 1.5 = 12 frames are two pairs.
  assert sum(row is not None for row in part.rows) == 4


@pytest.mark.parametrize('count', [1, 2, 4])
def test_the_shards_share_out_a_limit(monkeypatch, count):
  limited(monkeypatch, max_img_history=0.8)
  example = fields(2, 2, frames=1)
  frames = 0
  for shard in range(count):
    stream = (shards.Example(0, Made(i, 0, example)) for i in itertools.count())
    part = PackingStrategy(constraint_pool_size=2).open(8, shard, count).next(stream)
    frames += sum(row is not None for row in part.rows)
  assert frames == round(0.8 * 8)


def test_rows_say_where_each_example_goes_and_how_long_it_waited():
  strategy = PackingStrategy(pack_max_len=(9, 9), max_to_pack=5, rows_together=2, pack_pool_size=4)
  texts = [4, 5, 8, 1, 7, 2, 3, 3]
  made = [shards.Example(0, Made(i, 0, fields(text, 1))) for i, text in enumerate(texts)]
  part = strategy.open(5, 0, 1).next(iter(made))
  assert [row and row.made.position for row in part.rows] == [0, 1, 2, 3, None]
  assert part.fields['packing/row'].tolist() == [0, 0, 1, 1, 0]
  assert part.fields['packing/age'].tolist() == [5, 4, 3, 2, 0]
  assert strategy.rows(5) == 2


def test_the_state_of_an_assembly_is_small_and_names_the_examples_held_back(monkeypatch):
  limited(monkeypatch, max_img_history=0.5)
  strategy = PackingStrategy(pack_max_len=(9, 9), pack_pool_size=50, constraint_pool_size=50)
  assembly = strategy.open(4, 0, 1)
  lengths = np.random.default_rng(0).integers(5, 9, 300)
  stream = iter([shards.Example(1, Made(i, 2, fields(n, 1, 1))) for i, n in enumerate(lengths)])
  assembly.next(stream)
  state = json.loads(json.dumps(assembly.state()))
  refs = assembly.refs(state)
  assert 40 < len(refs) == len(set(refs))
  assert {(task, index) for task, _, index in refs} == {(1, 2)}
  assert len(json.dumps(state)) < 50 * len(refs)


def test_the_place_of_a_large_run_stays_below_a_megabyte():
  strategy = PackingStrategy(
    pack_max_len=(9, 9), pack_pool_size=100, max_to_pack=4, rows_together=3
  )
  tasks, count, states = 100, 64, {}
  for shard in range(count):
    assembly = strategy.open(4 * count, shard, count)
    far = range(10**9, 10**9 + 200)
    assembly.next(iter([shards.Example(99, Made(i, 9, fields(8, 5))) for i in far]))
    place = shards.Place(position=10**9, taken=9, done=99, bad=10**6)
    states[shard] = shards.Shard.start(tasks, shard, assembly)
    states[shard] |= {'mixed': [10**9] * tasks, 'places': [place] * tasks}
  assert len(assembly.refs(assembly.state())) >= 97
  assert len(json.dumps(states)) < 1_000_000


@pytest.mark.parametrize(
  ('settings', 'words'),
  [
    ({'max_to_pack': 2, 'rows_together': 3}, 'cannot be filled'),
    ({'pack_pool_size': 0}, 'at least 1'),
    ({'pack_max_len': (864,)}, 'no .input length, target length'),
  ],
)
def test_settings_that_cannot_be_are_refused(settings, words):
  with pytest.raises(ValueError, match=words):
    PackingStrategy(**settings)


def test_a_batch_that_shards_cannot_share_in_whole_rows_is_refused():
  PackingStrategy(pack_max_len=(9, 9)).check(8, 4)
  with pytest.raises(ValueError, match=r'virtual_shards=4 x PackingStrategy.max_to_pack=2'):
    PackingStrategy(pack_max_len=(9, 9)).check(4, 4)
  PackingStrategy().check(4, 4)
