"""The page that the quickstart leaves: what was measured, what the model said of which picture."""

import base64
from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import html

Box = Sequence[float]  # top, left, bottom, right, as fractions of the picture

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; background: #f5f6f8; margin: 0; }
main { max-width: 1180px; margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 10px; }
p.lead { color: #56657a; margin: 0 0 18px; max-width: 75ch; }
table { border-collapse: collapse; background: #fff; box-shadow: 0 1px 2px #0002; }
th, td { padding: 6px 14px; border-bottom: 1px solid #e6e9ee; text-align: right; }
th { color: #56657a; font-weight: 600; } th:first-child, td:first-child { text-align: left; }
.tables { display: flex; flex-wrap: wrap; gap: 24px; align-items: flex-start; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(350px, 1fr)); gap: 18px; }
.card { background: #fff; border-radius: 8px; box-shadow: 0 1px 2px #0002; padding: 14px; }
.picture { position: relative; width: 100%; margin-bottom: 10px; line-height: 0; }
.picture img { width: 100%; border-radius: 4px; }
.drawn img { image-rendering: pixelated; }
.box { position: absolute; box-sizing: border-box; border: 3px solid; border-radius: 3px; }
.truth { border-color: #1a9850; } .guess { border-color: #d7301f; border-style: dashed; }
dl { margin: 8px 0 0; } dt { color: #56657a; font-size: 13px; }
dd { margin: 0 0 2px; } .right { color: #1a7f42; } .wrong { color: #b3261e; }
.key { display: inline-block; width: 14px; height: 10px; border-width: 3px; border-style: solid;
  margin: 0 4px 0 12px; } .key.guess { border-style: dashed; }
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
  """What the model was asked of one picture, and what it said. `right` is None where unscored."""

  task: str
  question: str
  truth: str
  prediction: str
  right: bool | None = None
  true_box: Box | None = None
  predicted_box: Box | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
  """One picture (encoded bytes) with its answers."""

  title: str
  picture: bytes
  mime: str
  answers: Sequence[Answer]
  drawn: bool = True


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
  """An HTML table; numbers are rounded to three places, None is a dash."""
  head = ''.join(f'<th>{html.escape(name)}</th>' for name in header)
  body = ''.join('<tr>' + ''.join(f'<td>{_cell(c)}</td>' for c in row) + '</tr>' for row in rows)
  return f'<table><tr>{head}</tr>{body}</table>'


def page(
  *,
  lead: str,
  summary: str,
  groups: Mapping[str, str],
  curve_png: bytes,
  scenes: Sequence[Card],
  photographs: Sequence[Card],
) -> str:
  """The whole page as one file: pictures are embedded, nothing is loaded from elsewhere."""
  tables = ''.join(
    f'<div><h2>{html.escape(title)}</h2>{content}</div>' for title, content in groups.items()
  )
  curve = f'<img alt="loss" src="{_data_url(curve_png, "image/png")}" width="720">'
  key = '<span class="key truth"></span>truth <span class="key guess"></span>prediction'
  sections = (
    f'<h1>Unified-IO 2 quickstart</h1><p class="lead">{html.escape(lead)}</p>{summary}'
    f'<div class="tables">{tables}</div><h2>Loss</h2>{curve}'
    f'<h2>Test scenes {key}</h2><div class="cards">{"".join(map(_card, scenes))}</div>'
    '<h2>Photographs</h2><p class="lead">Shown, not scored: the model has seen drawn scenes only.'
    f'</p><div class="cards">{"".join(map(_card, photographs))}</div>'
  )
  return (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Unified-IO 2 quickstart</title>'
    f'<style>{STYLE}</style><main>{sections}</main></html>\n'
  )


def _cell(value: object) -> str:
  if value is None:
    return '–'
  return f'{value:.3f}' if isinstance(value, float) else html.escape(str(value))


def _data_url(data: bytes, mime: str) -> str:
  return f'data:{mime};base64,{base64.b64encode(data).decode()}'


def _card(card: Card) -> str:
  boxes = ''.join(
    _box(box, kind)
    for answer in card.answers
    for box, kind in ((answer.true_box, 'truth'), (answer.predicted_box, 'guess'))
    if box is not None
  )
  image = f'<img alt="{html.escape(card.title)}" src="{_data_url(card.picture, card.mime)}">'
  kind = 'picture drawn' if card.drawn else 'picture'
  answers = ''.join(map(_answer, card.answers))
  return f'<div class="card"><div class="{kind}">{image}{boxes}</div>{answers}</div>'


def _box(box: Box, kind: str) -> str:
  top, left, bottom, right = (100 * min(max(value, 0.0), 1.0) for value in box)
  style = f'top:{top:.2f}%;left:{left:.2f}%;height:{bottom - top:.2f}%;width:{right - left:.2f}%'
  return f'<div class="box {kind}" style="{style}"></div>'


def _answer(answer: Answer) -> str:
  verdict = {True: 'right', False: 'wrong', None: ''}[answer.right]
  said = html.escape(answer.prediction) or '<i>nothing</i>'
  truth = f' <small>(truth: {html.escape(answer.truth)})</small>' if not answer.right else ''
  return (
    f'<dl><dt>{html.escape(answer.task)}: {html.escape(answer.question)}</dt>'
    f'<dd class="{verdict}">{said}{truth}</dd></dl>'
  )
