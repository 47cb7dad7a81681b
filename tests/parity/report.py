"""Writes parity.json: a row for each field of each case, from all pytest-xdist workers."""

import json
import pathlib

import pytest

from tests.parity import harness

_WORKER_KEY = 'parity_rows'


def pytest_addoption(parser: pytest.Parser) -> None:
  parser.addoption(
    '--parity-report',
    default='runs/parity.json',
    help='where the comparison with the original systems is written (default: %(default)s)',
  )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
  """Tests of stored cases that were skipped before they opened a case leave a row, too."""
  if 'tests/parity/' in report.nodeid and report.when == 'setup' and report.skipped:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    row = {'case': report.nodeid, 'field': '*', 'count': 0, 'max_error': None}
    harness.ROWS.append({**row, 'tolerance': None, 'verdict': f'skipped:{reason}'})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
  """Takes over the rows of a worker that has ended (pytest-xdist, in the controlling process)."""
  del error
  harness.ROWS.extend(getattr(node, 'workeroutput', {}).get(_WORKER_KEY, ()))


def pytest_sessionfinish(session: pytest.Session) -> None:
  """A worker hands its rows over; the controlling (or only) process writes the report."""
  if hasattr(session.config, 'workeroutput'):
    cases = [row for row in harness.ROWS if not row['case'].startswith('tests/')]
    session.config.workeroutput[_WORKER_KEY] = cases
    return
  if not harness.ROWS:
    return  # a run of other tests does not replace the last report
  rows = sorted(harness.ROWS, key=lambda row: (row['case'], row['field']))
  path = pathlib.Path(session.config.getoption('--parity-report'))
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text('[\n' + ',\n'.join(map(json.dumps, rows)) + '\n]\n')
