"""Joining and parting modalities."""

import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io.modules import masks, sequences


def _target(length: int, answers) -> sequences.TargetSequence:
  ids = jnp.ones((2, length), jnp.int32)
  return sequences.TargetSequence(
    embed=jnp.zeros((2, length, 3)), mask=ids, rotary=jnp.zeros((1, length, 4)), answers=answers,
    tokens=ids, loss_mask=ids,
  )  # fmt: skip


def test_a_batch_of_one_is_repeated_when_joined():
  joined = sequences.concat({'a': jnp.zeros((1, 2, 3)), 'b': jnp.ones((4, 1, 3))})
  assert joined.shape == (4, 3, 3)
  assert sequences.concat({'a': None, 'b': None}) is None


def test_a_field_that_only_some_modalities_have_is_refused():
  with pytest.raises(ValueError, match=r"\['b'\] have no values where \['a'\] have"):
    sequences.concat({'a': jnp.zeros((1, 2)), 'b': None})


def test_parts_come_back_by_name():
  joined = jnp.arange(10).reshape(2, 5)
  parts = sequences.split(joined, {'a': 2, 'b': 0, 'c': 3})
  assert {name: part.shape for name, part in parts.items()} == {
    'a': (2, 2), 'b': (2, 0), 'c': (2, 3),
  }  # fmt: skip
  np.testing.assert_array_equal(parts['c'], joined[:, 2:])


def test_each_answer_of_each_modality_has_its_own_number():
  parts = {'text': _target(3, jnp.asarray([[1, 1, 2], [1, 2, 3]])), 'image': _target(2, None)}
  answers = np.asarray(sequences.join_targets(parts).answers)
  for row, count in zip(answers, (3, 4), strict=True):
    assert len(set(row)) == count
    assert row[3] == row[4]


def test_combined_ids_are_equal_only_where_all_parts_are():
  a, b = jnp.asarray([[0, 0, 1, 1]]), jnp.asarray([[0, 2, 0, 2]])
  combined = np.asarray(masks.combine([(a, 0), (None, 7), (b, 3)]))
  assert len(set(combined[0])) == 4
  assert masks.combine([(None, 0)]) is None
