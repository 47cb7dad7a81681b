"""Small worlds of drawn scenes in the official formats."""

import pytest

from tests.testdata import tiny_world


@pytest.fixture(scope='session')
def built(tmp_path_factory):
  """(folder of the official files, TFDS root with both datasets); not to be changed by tests."""
  folder = tmp_path_factory.mktemp('built')
  root = tiny_world.build(folder)
  return folder / 'world', root


@pytest.fixture
def world(tmp_path):
  """The folder of official files of one's own."""
  return tiny_world.write(tmp_path / 'world')
