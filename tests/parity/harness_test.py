"""The harness accepts what agrees, and refuses what differs or was not looked at."""

import json

import numpy as np
import pytest

from tests.parity import harness


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """A root with one case: two arrays and nested results."""
  monkeypatch.setenv(harness.ENVIRONMENT_VARIABLE, str(tmp_path))
  monkeypatch.setattr(harness, 'ROWS', [])
  harness._mended.cache_clear()
  path = tmp_path / 'network' / 'a_case'
  path.mkdir(parents=True)
  results = {'what': 'prose', 'seed': 3, 'rows': [{'text': 'cat', 'ids': [1, 2]}], 'loss': 0.5}
  (path / 'case.json').write_text(json.dumps(results))
  (tmp_path / 'mended.json').write_text(json.dumps({'network-7': ['network/a_*']}))
  np.savez(path / 'outputs.npz', x__y=np.float32([1, 2]), mask=np.int32([1, 0]))
  yield path
  harness._mended.cache_clear()


def test_all_fields_covered_passes_and_gives_a_row_each(folder):
  with harness.case(folder) as c:
    c.given('seed', 'rows/*/text')
    c.equal('x/y', [1.0005, 99], c.outputs['x/y'], atol=1e-3, mask=c.outputs['mask'])
    c.exact('mask', [1, 0], c.outputs['mask'])
    c.exact('rows/0/ids', [1, 2], c.config['rows'][0]['ids'])
    c.fixed('loss', 'network-7')
  verdicts = [(row['field'], row['verdict']) for row in harness.ROWS]
  equal = [(field, 'equal') for field in ('x/y', 'mask', 'rows/0/ids')]
  assert verdicts == [*equal, ('loss', 'fixed:network-7')]
  assert harness.ROWS[0]['count'] == 1
  assert harness.ROWS[0]['max_error'] == pytest.approx(5e-4)


def test_a_field_that_nobody_looked_at_fails(folder):
  def look_at_some():
    with harness.case(folder) as c:
      c.given('seed', 'rows/*/text', 'mask')
      c.skip('x/*', 'part')
      c.skip('loss', 'part')

  with pytest.raises(AssertionError, match=r'rows/0/ids: not looked at'):
    look_at_some()


@pytest.mark.parametrize(
  ('got', 'want'),
  [
    ([1.0, 2.1], [1.0, 2.0]),
    ([1.0], [1.0, 2.0]),
    ([1.0, float('nan')], [1.0, 2.0]),
    ({'a': 'b'}, {'a': 'c'}),
    ({}, {'a': 'c'}),
    (['x', None], ['x', 'y']),
    (None, 'x'),
  ],
)
def test_a_difference_fails_when_the_case_is_left(folder, got, want):
  def compare():
    with harness.case(folder) as c:
      c.given('*')
      c.equal('x', got, want, atol=0.01)

  with pytest.raises(AssertionError, match=r'x: '):
    compare()


def test_mended_defects_are_limited_to_the_listed_cases(folder):
  c = harness.Case(folder)
  with pytest.raises(AssertionError, match='may not say fixed:network-8'):
    c.fixed('loss', 'network-8')


def test_a_case_that_waits_for_a_part_is_skipped_with_its_name(folder):
  c = harness.Case(folder)
  with pytest.raises(pytest.skip.Exception, match='vqgan'):
    c.skip('*', 'vqgan')
  assert [row['verdict'] for row in harness.ROWS] == ['skipped:vqgan']


def test_an_absent_root_is_one_skipped_test(monkeypatch):
  monkeypatch.delenv(harness.ENVIRONMENT_VARIABLE, raising=False)
  (param,) = harness.cases('network', 'b_*')
  assert 'UIO2_GOLDENS' in param.marks[0].kwargs['reason']
