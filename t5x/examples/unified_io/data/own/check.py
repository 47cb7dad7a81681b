"""What is to be known of a row before training: is it sound, what does it bring, how long is it?"""

from collections.abc import Collection, Mapping
import dataclasses
import functools
import hashlib
import os

from t5x.examples.unified_io.data import vocabulary
from t5x.examples.unified_io.data.own import files, media_fields
from t5x.examples.unified_io.data.own import media as media_lib
from t5x.examples.unified_io.data.own import rows as rows_lib

_OUTSIDE = 1.0  # pixels by which a rounded box may lie outside of its picture
_LOCATION = '<extra_id_200> ' * 4  # stands for a box


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
  """What is kept of a sound row.

  Attributes:
    brings: its pictures and sounds, see `media_fields.BRINGS`.
    family: of prompts.
    num_options: to choose from.
    has_target: whether there is something to learn.
    metric: how it is scored.
    group: equal for rows about the same picture, sound or video.
    input_tokens, target_tokens: ids of its text and of its longest answer, without prompt and EOS.
  """

  brings: tuple[str, ...]
  family: str
  num_options: int
  has_target: bool
  metric: str
  group: int
  input_tokens: int
  target_tokens: int


class Checker:
  """Checks rows of one file; may be called by several threads."""

  def __init__(self, rows: files.RowFile, rename: Mapping[str, str | None], decode: bool):
    """Reads nothing yet.

    Args:
      rows: the file.
      rename: name of a field in the file -> ours, or None to leave it out.
      decode: decode pictures instead of reading their headers.
    """
    self._rows, self._rename = rows, rename
    self._look = functools.partial(media_fields.check, decode=decode)
    # Many rows may be about one file.
    self._look_once = functools.lru_cache(maxsize=2**16)(self._look)

  def __call__(self, row: int) -> Summary:
    """Looks at one row.

    Raises:
      RowError: with all that is wrong in it.
    """
    stored = self._rows.read(row)
    parsed = parse(self._rows, stored, self._rename)
    faults, brings = [], set()
    for name, media in parsed.media.items():
      try:
        look = self._look if media.path is None else self._look_once
        brought, size = look(name, media)
      except media_lib.MediaError as e:
        faults.append(f'{name}: {e}')
        continue
      brings.update(brought)
      if name == 'image':
        boxes = enumerate(parsed.boxes)
        faults += [fault for i, box in boxes for fault in _box_faults(i, box, size)]
    if faults:
      raise rows_lib.RowError(faults)
    return _summary(parsed, stored, brings)


def parse(rows: files.RowFile, stored: bytes, rename: Mapping[str, str | None]) -> rows_lib.Row:
  """A stored row, read; relative paths start in the folder where its file lies.

  Raises:
    RowError: with all that is wrong in it.
  """
  try:
    fields = rows.fields(stored)
  except ValueError as e:
    raise rows_lib.RowError([str(e)]) from e
  renamed = {rename.get(name, name): value for name, value in fields.items()}
  renamed.pop(None, None)
  return rows_lib.parse(renamed, os.path.dirname(rows.path))


def _box_faults(number: int, box: tuple[float, ...], size: tuple[int, int]) -> list[str]:
  top, left, bottom, right = box
  shown = f'box {number} (left {left:g}, top {top:g}, right {right:g}, bottom {bottom:g})'
  if not (top < bottom and left < right):
    return [f'{shown} has no area; box_format says how its numbers are read']
  height, width = size
  inside = min(top, left) >= -_OUTSIDE and bottom <= height + _OUTSIDE and right <= width + _OUTSIDE
  return [] if inside else [f'{shown} lies outside of its image of {width} x {height} pixels']


def _summary(row: rows_lib.Row, stored: bytes, brings: Collection[str]) -> Summary:
  about = [str(m.path or hashlib.sha256(m.data).digest()) for m in row.media.values()]
  group = hashlib.sha256('\n'.join(sorted(about)).encode() or stored).digest()
  return Summary(
    brings=tuple(sorted(brings)), family=row.family, num_options=len(row.options),
    has_target=row.has_target, metric=row.metric, group=int.from_bytes(group[:8], 'little'),
    input_tokens=_length(row.text, row), target_tokens=max(
      (_length(text, row) for text in (*row.answers, *row.options)), default=0
    ),
  )  # fmt: skip


def _length(text: str, row: rows_lib.Row) -> int:
  """Ids of a text with its boxes written out."""
  boxes = {rows_lib.NO_BOX: '', rows_lib.ALL_BOXES: _LOCATION * len(row.boxes)}
  pieces, slots = rows_lib.pieces(text)
  written = ''.join(p + boxes.get(s, _LOCATION) for p, s in zip(pieces, slots, strict=True))
  return len(vocabulary.get_default_vocabulary().encode(written.rstrip()))
