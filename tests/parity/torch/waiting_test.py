"""Cases of the PyTorch release: they wait for the import and export of its weights."""

import pytest

from tests.parity import harness


@pytest.mark.parametrize('path', harness.cases('torch'))
def test_waits_for_the_release_of_pytorch(path):
  with harness.case(path) as c:
    c.skip('*', 'torch_release')
