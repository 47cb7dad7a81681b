"""The HTML around the examples of a task, and the page that lists all pages of a folder."""

import base64
from collections.abc import Mapping, Sequence
import dataclasses
import html
import io
import json
import os
import pathlib
import re
from typing import Any

import numpy as np
from PIL import Image

from t5x.examples.unified_io.data import visualization

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; background: #f5f6f8; margin: 0; }
main { padding: 20px 24px; } a { color: #0b62a8; }
h1 { font-size: 24px; margin: 0 0 6px; }
p.lead { color: #56657a; margin: 0 0 4px; max-width: 110ch; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 1px 14px; }
.facts dt, dl dt { color: #56657a; } .facts dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; background: #fff; box-shadow: 0 1px 2px #0003; }
th, td { padding: 10px 12px; border: 1px solid #e3e7ec; text-align: left; vertical-align: top; }
th { position: sticky; top: 0; background: #eef1f5; z-index: 1; font-weight: 600; }
td.number { color: #56657a; text-align: right; }
td p { margin: 0 0 6px; min-width: 20ch; max-width: 46ch; overflow-wrap: anywhere; }
td dl { margin: 0; min-width: 16ch; max-width: 26ch; overflow-wrap: anywhere; }
td dd { margin: 0 0 6px; }
.frames { display: flex; flex-wrap: wrap; gap: 4px; width: max-content; max-width: 1060px; }
td small { color: #56657a; display: block; } td img { display: block; margin-bottom: 4px; }
img { image-rendering: pixelated; } tr.bad td { background: #fdecea; color: #8c1d18; }
.asked, .answer { font-size: 12px; border-radius: 3px; padding: 1px 4px; }
.asked { background: #fde4e1; color: #a01b10; } .answer { background: #dcf3e1; color: #14662c; }
.key { display: inline-block; width: 12px; height: 12px; margin: 0 5px 0 14px; }
"""
_FACTS = re.compile(r'<script type="application/json" id="facts">(.*?)</script>', re.DOTALL)
_KEY = (
  ('#ff0000', 'box of the input text'), ('#00cc33', 'box of the target text'),
  ('#000000', 'not seen: padded, masked or left out'),
  ('#ff00ff', 'masked, in the columns of masks'),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One example: its cells, or the error that it ended in."""

  number: int
  cells: Mapping[str, str] = dataclasses.field(default_factory=dict)
  error: str | None = None


def page(title: str, lead: str, facts: Mapping[str, str], rows: Sequence[Row]) -> str:
  """A whole page: nothing is loaded from elsewhere.

  Args:
    title: the task.
    lead: what is to be seen.
    facts: settings, name -> value.
    rows: of the table; its columns stand in the order in which they are first used.
  """
  columns = list(dict.fromkeys(name for row in rows for name in row.cells))
  head = ''.join(f'<th>{html.escape(name)}</th>' for name in ('#', *columns))
  body = ''.join(_row(row, columns) for row in rows)
  key = ''.join(
    f'<span class="key" style="background:{color}"></span>{text}' for color, text in _KEY
  )
  listed = ''.join(
    f'<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>' for name, value in facts.items()
  )
  told = {'title': title, 'examples': sum(row.error is None for row in rows),
          'bad': sum(row.error is not None for row in rows), **facts}  # fmt: skip
  return _whole(
    title,
    f'<h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p>'
    f'<p class="lead">Colours: {key}</p><dl class="facts">{listed}</dl>'
    f'<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    f'<p><a href="index.html">all tasks</a></p>',
    told,
  )


def _whole(title: str, content: str, facts: Mapping[str, Any]) -> str:
  data = json.dumps(facts).replace('<', '\\u003c')  # no text can end the element
  return (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    f'<title>{html.escape(title)}</title><style>{STYLE}</style>'
    f'<script type="application/json" id="facts">{data}</script><main>{content}</main></html>\n'
  )


def _row(row: Row, columns: Sequence[str]) -> str:
  number = f'<td class="number">{row.number}</td>'
  if row.error is not None:
    error = html.escape(row.error)
    return f'<tr class="bad">{number}<td colspan="{max(len(columns), 1)}">{error}</td></tr>'
  cells = ''.join(f'<td>{row.cells.get(name, "")}</td>' for name in columns)
  return f'<tr>{number}{cells}</tr>'


def image_tag(picture: np.ndarray, title: str) -> str:
  """An <img> with the picture (uint8 RGB) in it."""
  data, mime = visualization.encode(picture)
  source = f'data:{mime};base64,{base64.b64encode(data).decode()}'
  return f'<img src="{source}" alt="{html.escape(title)}">'


def _thumbnail(encoded: str) -> str:
  picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert('RGB'))
  return image_tag(visualization.shrink(picture, 96), '')


def write_index(folder: pathlib.Path) -> pathlib.Path:
  """Writes index.html, a row for each page in the folder, whenever it was made."""
  rows = []
  for path in sorted(folder.glob('*.html')):
    found = _FACTS.search(text := path.read_text(encoding='utf-8'))
    if path.name == 'index.html' or not found:
      continue
    facts = json.loads(found[1])
    image = re.search(r'<img src="data:[^,]*,([^"]*)"', text)
    bad = f', {facts["bad"]} bad' if facts['bad'] else ''
    cells = (
      f'<a href="{html.escape(path.name)}">{html.escape(path.stem)}</a>',
      _thumbnail(image[1]) if image else '',
      f'{facts["examples"]} examples{bad}',
      html.escape(f'{facts.get("split", "")}, {facts.get("mode", "")}'),
      f'{os.path.getsize(path) / 1e6:.1f} MB',
    )
    rows.append('<tr>' + ''.join(f'<td>{cell}</td>' for cell in cells) + '</tr>')
  head = ''.join(f'<th>{name}</th>' for name in ('page', 'first picture', 'shown', 'of', 'size'))
  content = (
    '<h1>Datasets, as the model receives them</h1>'
    f'<table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
  )
  index = folder / 'index.html'
  index.write_text(_whole('Datasets', content, {}), encoding='utf-8')
  return index
