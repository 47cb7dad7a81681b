import pytest

from t5x import state_transforms

TREE = {'target': {'a': {'kernel': 1}, 'b': 2}, 'state': {'step': 3}}


def test_flatten_and_unflatten_are_inverse():
  flat = {'target/a/kernel': 1, 'target/b': 2, 'state/step': 3}
  assert state_transforms.flatten(TREE) == flat
  assert state_transforms.unflatten(flat) == TREE


@pytest.mark.parametrize('flat', [{'a': 1, 'a/b': 2}, {'a/b': 2, 'a': 1}])
def test_path_that_is_array_and_folder_is_refused(flat):
  with pytest.raises(ValueError, match='a'):
    state_transforms.unflatten(flat)


def test_matching_takes_whole_paths_in_their_order():
  paths = ('decoder/b', 'encoder/a', 'encoder/b')
  assert state_transforms.matching(paths, ('encoder/.*', '.*/b')) == paths
  assert state_transforms.matching(paths, ('.*/a',)) == ('encoder/a',)


def test_pattern_without_use_is_refused_with_near_paths():
  with pytest.raises(ValueError, match=r"'enc/a' matches no path.*encoder/a"):
    state_transforms.matching(('encoder/a', 'zzz'), ('enc/a',))


def test_rule_renames_what_is_wanted():
  got = state_transforms.apply_assignment_map(
    TREE, {'target': {'c': {'kernel': 0}}}, [(r'target/c/(\w+)', r'target/a/\1')]
  )
  assert state_transforms.flatten(got) == {'target/c/kernel': 1, 'target/b': 2, 'state/step': 3}


def test_first_rule_that_matches_wins():
  rules = [('x', 'target/b'), ('x|y', 'state/step')]
  got = state_transforms.apply_assignment_map(TREE, {'x': 0, 'y': 0}, rules)
  assert (got['x'], got['y']) == (2, 3)


def test_dropped_path_is_not_carried_over():
  got = state_transforms.apply_assignment_map(TREE, TREE, state_transforms.remove_optimizer_state())
  assert got == {'target': TREE['target']}


def test_source_that_is_wanted_under_its_own_name_too_stays():
  got = state_transforms.apply_assignment_map({'b': 2}, {'a': 0, 'b': 0}, [('a', 'b')])
  assert got == {'a': 2, 'b': 2}


def test_missing_source_is_refused_with_near_names():
  with pytest.raises(ValueError, match=r"'x' is to be read from 'target/bb'.*target/b"):
    state_transforms.apply_assignment_map(TREE, {'x': 0}, [('x', 'target/bb')])


def test_rule_without_use_is_refused_unless_allowed():
  with pytest.raises(ValueError, match=r"no wanted path: \['zzz'\]"):
    state_transforms.apply_assignment_map(TREE, {'x': 0}, [('zzz', None)])
  same = state_transforms.apply_assignment_map(
    TREE, {'x': 0}, [('zzz', None)], require_all_rules_match=False
  )
  assert same == TREE


def test_resuming_changes_nothing():
  rules = [('state.*', None)]
  assert state_transforms.apply_assignment_map(TREE, TREE, rules, is_resuming=True) is TREE
