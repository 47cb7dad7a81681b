"""What metrics get to see."""

import pytest

from t5x.examples.unified_io.data import postprocessing as post

EXAMPLE = {'meta/label': 'cat', 'text_targets': 'a cat'}


def test_targets_are_fields_of_the_example():
  assert post.return_example('said', example=EXAMPLE, is_target=True) == EXAMPLE
  assert post.return_meta('said', example=EXAMPLE, is_target=True) == {'label': 'cat'}
  assert post.return_field('said', 'meta/label', example=EXAMPLE, is_target=True) == 'cat'


def test_what_was_said_passes_through():
  assert post.return_example('said') == post.return_meta('said') == 'said'
  assert post.return_field('said', 'meta/label') == 'said'


def test_a_missing_field_is_an_error():
  with pytest.raises(KeyError):
    post.return_field('said', 'meta/other', example=EXAMPLE, is_target=True)
