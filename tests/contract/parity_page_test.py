"""docs/parity.md: every known oddity of the original has one row, and the row says what we mend."""

import collections
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
NUMBERED = {'network-': 18, 'B': 17, 'data-': 43}  # how many each list has


def known() -> list[str]:
  """The ids of all lists: network-1, ..., B1, ..., data-1, ..."""
  return [f'{name}{n}' for name, count in NUMBERED.items() for n in range(1, count + 1)]


def rows() -> dict[str, list[str]]:
  """Id -> the last cell of each row that it stands in front of."""
  found = collections.defaultdict(list)
  page = (ROOT / 'docs' / 'parity.md').read_text(encoding='utf-8')
  for line in page.splitlines():
    cells = [cell.strip() for cell in line.split('|')[1:-1]]
    if len(cells) == 3:
      for name in cells[0].split(', '):
        found[name].append(cells[2])
  return found


def mended_in_parity_tests() -> set[str]:
  """The ids that tests of stored cases name, those of the harness itself left out."""
  sources = [path.read_text(encoding='utf-8') for path in ROOT.glob('tests/parity/*/*.py')]
  return {name for text in sources for name in re.findall(r"'((?:data|network)-\d+)'", text)}


def test_every_known_oddity_has_one_row():
  found = rows()
  assert {name: len(found[name]) for name in known()} == dict.fromkeys(known(), 1)


def test_what_parity_tests_call_fixed_is_called_so_on_the_page():
  found, mended = rows(), mended_in_parity_tests()
  assert len(mended) > 10  # they are found at all
  for name in sorted(mended):
    assert found[name][0].startswith(f'`fixed:{name}`'), f'{name}: {found[name]}'
