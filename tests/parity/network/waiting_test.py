"""Network cases whose part is not built yet: each leaves a row that names the part."""

import pytest

from tests.parity import harness

# Kinds of cases (the letter before the first underscore) that other tests look at.
_LOOKED_AT = tuple(f'{kind}_*' for kind in 'abdefghiju')
_PARTS = {'c': 'packing'}


@pytest.mark.parametrize('path', harness.cases('network', '*', exclude=_LOOKED_AT))
def test_waits_for_its_part(path):
  with harness.case(path) as c:
    c.skip('*', _PARTS.get(path.name.split('_')[0], 'unknown'))
