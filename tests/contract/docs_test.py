"""Documentation: links lead somewhere, and every page is reachable from the index."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [
  ROOT / 'README.md',
  *sorted(ROOT.glob('docs/**/*.md')),
  *sorted(ROOT.glob('create_data/**/*.md')),
]


def links_of(page: pathlib.Path) -> list[str]:
  found = re.findall(r'\]\(([^)#\s]+)', page.read_text(encoding='utf-8'))
  return [link for link in found if '://' not in link]


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
  missing = [link for link in links_of(page) if not (page.parent / link).exists()]
  assert not missing


def test_every_page_is_linked_from_the_index():
  index = ROOT / 'docs' / 'index.md'
  linked = {(index.parent / link).resolve() for link in links_of(index)}
  pages = {p.resolve() for p in ROOT.glob('docs/**/*.md')} - {index.resolve()}
  assert pages <= linked, f'not in docs/index.md: {sorted(str(p) for p in pages - linked)}'
