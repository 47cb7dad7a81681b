"""What a model receives of one example, as HTML: pictures, plots, decoded text, masks."""

from collections.abc import Callable, Mapping, Sequence
import html
import itertools
import re
from typing import Any

import numpy as np

from t5x.examples.unified_io import modality_processing, modality_specs
from t5x.examples.unified_io.data import visualization as draw
from t5x.examples.unified_io.data import vocabulary
from t5x.examples.unified_io.inference import evaluator
from t5x.examples.unified_io.metrics import coordinates
from t5x.examples.unified_io.scripts import dataset_page

Fields = Mapping[str, np.ndarray]
Cells = dict[str, str]  # column -> HTML
Spec = modality_specs.ModalitySpec
_LOCATIONS = re.compile(r'(?:<extra_id_(?:[2-9]\d\d|1[01]\d\d)> ?){2,}')
_LARGEST_META = 12  # numbers of a field that are shown
_LOWEST = 192  # pixels; lower pictures are enlarged


def cells_of(batch: Fields, meta: Mapping[str, Any], *, masks: bool = True) -> Cells:
  """What the model receives of one example, column by column; a missing modality has no cell.

  Args:
    batch: fields of the example after stage 3, without the batch axis.
    meta: its `meta/...` fields after stage 2.
    masks: show masks, too.
  """
  inputs = modality_processing.get_input_modalities()
  targets = modality_processing.get_target_modalities()
  asked, answers = _texts(batch)
  cells: Cells = {}
  if meta:
    cells['example'] = _meta(meta)
  for side, specs in (('inputs', inputs), ('targets', targets)):
    for name, spec in specs.items():
      fields = _of(batch, f'{side}/{name}')
      cells |= {
        f'{side}/{name}{column}': cell
        for column, cell in _renderer(spec)(spec, fields, asked, answers).items()
        if masks or 'mask' not in column
      }
  if 'choices' in batch:
    cells['choices'] = _choices(batch['choices'])
  return cells


def _of(batch: Fields, prefix: str) -> dict[str, np.ndarray]:
  start = f'{prefix}/'
  return {k.removeprefix(start): v for k, v in batch.items() if k.startswith(start)}


# ---- Text ----------------------------------------------------------------------------------------
def _decode(ids: np.ndarray) -> str:
  return evaluator.decode_text(ids, vocabulary.get_default_vocabulary()).strip()


def _answers(fields: Fields) -> list[str]:
  """The texts of the target's segments."""
  segments = fields['segment_ids']
  return [_decode(fields['targets'][segments == i]) for i in range(1, segments.max(initial=0) + 1)]


def _texts(batch: Fields) -> tuple[str, list[str]]:
  """(input text, target texts), whatever modalities are on."""
  asked = _decode(batch['inputs/text/tokens']) if 'inputs/text/tokens' in batch else ''
  target = _of(batch, 'targets/text')
  return asked, _answers(target) if target else []


def _text(text: str, kind: str) -> str:
  """Escaped, with location text set apart."""
  parts, end = [], 0
  for match in _LOCATIONS.finditer(text):
    parts += [
      html.escape(text[end : match.start()]),
      f'<span class="{kind}">{html.escape(match.group().strip())}</span> ',
    ]
    end = match.end()
  return ''.join([*parts, html.escape(text[end:])])


def _count(mask: np.ndarray, what: str) -> str:
  return f'<small>{int(mask.sum())} of {mask.size} {what}</small>'


def _text_input(spec: Spec, fields: Fields, asked: str, answers: Sequence[str]) -> Cells:
  del spec, answers
  if not fields['mask'].any():
    return {}
  return {'': f'<p>{_text(asked, "asked")}</p>{_count(fields["mask"], "tokens")}'}


def _text_target(spec: Spec, fields: Fields, asked: str, answers: Sequence[str]) -> Cells:
  del spec, asked
  if not fields['mask'].any():
    return {}
  groups = [(answer, len(list(same))) for answer, same in itertools.groupby(answers)]
  texts = ''.join(
    f'<p>{_text(answer, "answer") or "<i>empty</i>"}{f" × {count}" if count > 1 else ""}</p>'
    for answer, count in groups
  )
  return {'': texts + _count(fields['mask'], 'tokens with a loss')}


def _choices(choices: np.ndarray) -> str:
  options = [_decode(option) for option in choices if option.any()]
  listed = ', '.join(html.escape(option) for option in options)
  return f'<details><summary>{len(options)} options</summary>{listed}</details>'


def _meta(meta: Mapping[str, Any]) -> str:
  """Names and texts; rows of numbers only on a click."""
  open_rows, closed_rows = [], []
  for name, value in meta.items():
    told = _plain(value)
    if told:
      name = html.escape(name.removeprefix('meta/'))
      rows = closed_rows if np.asarray(value).dtype.kind == 'f' else open_rows
      rows.append(f'<dt>{name}</dt><dd>{html.escape(told)}</dd>')
  closed = f'<details><summary>numbers</summary><dl>{"".join(closed_rows)}</dl></details>'
  return f'<dl>{"".join(open_rows)}</dl>' + (closed if closed_rows else '')


def _plain(value: Any) -> str | None:
  """A small value as text; None for what is too large to show."""
  if isinstance(value, bytes):
    return value.decode('utf-8', 'replace')
  value = np.asarray(value)
  if value.dtype == object:
    return ', '.join(_plain(item) or '' for item in value.ravel())
  if value.size > _LARGEST_META:
    return None
  return np.array2string(value, precision=4, suppress_small=True, separator=', ')


# ---- Pictures ------------------------------------------------------------------------------------
def _image(picture: np.ndarray, title: str) -> str:
  """An <img> with the picture (RGB in [0, 1]) in it."""
  return dataset_page.image_tag(draw.to_uint8(_enlarged(picture)), title)


def _images(pictures: Sequence[np.ndarray], title: str) -> str:
  """Several in a row, as far as there is room."""
  return f'<div class="frames">{"".join(_image(picture, title) for picture in pictures)}</div>'


def _enlarged(picture: np.ndarray) -> np.ndarray:
  """A small picture several times as large, each pixel a square."""
  times = -(-_LOWEST // picture.shape[0])
  return np.repeat(np.repeat(picture, times, 0), times, 1)


def _with_boxes(picture: np.ndarray, asked: str, answers: Sequence[str]) -> np.ndarray:
  """The picture, enlarged, with the boxes of the input text in red, of the target text in green."""
  picture = _enlarged(picture)
  height, width = picture.shape[:2]
  for text, color in ((asked, draw.RED), (' '.join(answers), draw.GREEN)):
    boxes, _ = coordinates.extract_bboxes_from_text(text, (height, width), use_label=False)
    # Wider in large pictures, and white inside, to be seen on any ground.
    lines = [color] * (1 + height // 200) + [draw.WHITE]
    for inset, line in enumerate(lines):
      inner = np.asarray(boxes) + inset * np.array([1, 1, -1, -1])
      picture = draw.draw_boxes(picture, draw.clipped(inner, height, width), line)
  return picture


def _patch_input(spec: Spec, fields: Fields, asked: str, answers: Sequence[str]) -> Cells:
  if not fields['mask'].any():
    return {}
  placed = draw.place(fields['input'], fields['pos_ids'], fields['mask'], spec)
  picture = placed.picture()
  if spec.channels == 3:
    picture = _with_boxes(picture, asked, answers)
  told = _count(placed.seen, 'patches seen')
  return {'': _image(picture, spec.name) + told, '/mask': _mask([placed])}


def _history(spec: Spec, fields: Fields, asked: str, answers: Sequence[str]) -> Cells:
  del asked, answers
  used = np.flatnonzero(fields['mask'].any(-1))
  if not used.size:
    return {}
  placed = [draw.place(*(fields[f][i] for f in ('input', 'pos_ids', 'mask')), spec) for i in used]
  numbers = ', '.join(str(i + 1) for i in used)
  told = f'<small>frames {numbers} of {len(fields["mask"])}</small>'
  frames = _images([frame.picture() for frame in placed], spec.name)
  return {'': frames + told, '/mask': _mask(placed)}


def _mask(placed: Sequence[draw.Placed]) -> str:
  """A picture for each frame with masked patches magenta; words alone where none is masked."""
  masked = sum(int((frame.arrived > frame.seen).sum()) for frame in placed)
  absent = sum(int((frame.arrived == 0).sum()) for frame in placed)
  told = f'<small>{masked} patches masked, {absent} left out</small>'
  if not masked:
    return told
  return _images([frame.picture_of_mask() for frame in placed], 'mask') + told


def _dense_target(spec: Spec, fields: Fields, asked: str, answers: Sequence[str]) -> Cells:
  del asked
  if not fields['mask'].any():
    return {}
  if spec.use_codes:
    blank = np.full((spec.grid.height, spec.grid.width, spec.channels), 0.5)
    picture = draw.picture(blank)
    cells = {'': f'<small>{fields["tokens"].size} codes</small>'}
  else:
    values = fields[spec.name].astype(np.float64)
    picture = draw.picture(draw.target_values(values, spec.channels))
    boxed = _with_boxes(picture, '', answers) if spec.channels == 3 else picture
    cells = {'': _image(boxed, spec.name)}
  cells['/mask'] = _target_mask(picture, fields['mask'], spec)
  same = (fields['loss_mask'] == fields['mask']).all()
  cells['/loss_mask'] = (
    '<small>as mask</small>' if same else _target_mask(picture, fields['loss_mask'], spec)
  )
  # Magenta is what is to be restored.
  cells['/task_mask'] = _target_mask(picture, 1 - fields['task_mask'], spec)
  return cells


def _target_mask(picture: np.ndarray, mask: np.ndarray, spec: Spec) -> str:
  told = f'<small>{int((mask == 0).sum())} masked</small>'
  if mask.all():
    return told
  mask = draw.as_drawn(mask.reshape(spec.grid.rows, spec.grid.cols), spec.channels)
  return _image(draw.paint_masked(picture, mask, spec.grid.patch), 'mask') + told


def _other(spec: Spec, fields: Fields, asked: str, answers: Sequence[str]) -> Cells:
  """Numbers of a modality that is not known here."""
  del spec, asked, answers
  told = [
    f'{html.escape(name)}: {value.dtype} {list(value.shape)} from {value.min():.4g} '
    f'to {value.max():.4g}'
    for name, value in fields.items()
    if value.size
  ]
  return {'': f'<small>{"<br>".join(told)}</small>'} if told else {}


Renderer = Callable[[Spec, Fields, str, Sequence[str]], Cells]
_RENDERERS: dict[type[Spec], Renderer] = {
  modality_specs.TextInputSpec: _text_input,
  modality_specs.PatchInputSpec: _patch_input,
  modality_specs.HistoryInputSpec: _history,
  modality_specs.TextTargetSpec: _text_target,
  modality_specs.DenseTargetSpec: _dense_target,
}


def _renderer(spec: Spec) -> Renderer:
  return next((_RENDERERS[kind] for kind in type(spec).__mro__ if kind in _RENDERERS), _other)
