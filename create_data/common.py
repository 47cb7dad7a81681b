"""What everything that makes data shares: JSON files, pictures, boxes and worker processes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import io
import json
import multiprocessing
import os
import pathlib
import sys
from typing import Any

from PIL import Image
import tqdm


class BrokenRecordError(ValueError):
  """A record that cannot be used; its message names the record and says why."""


@dataclasses.dataclass
class Problems:
  """Counts and prints what was skipped."""

  count: int = 0

  def report(self, message: str) -> None:
    self.count += 1
    tqdm.tqdm.write(f'skipped: {message}', file=sys.stderr)


def read_json(path: pathlib.Path) -> Any:
  """The content of a JSON file; a missing or broken file is named in the error."""
  if not path.is_file():
    beside = sorted(p.name for p in path.parent.glob('*.json')) if path.parent.is_dir() else []
    raise FileNotFoundError(
      f'{path} does not exist; JSON files beside it: {beside or "none"}. Check the folders given.'
    )
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except json.JSONDecodeError as error:
    raise ValueError(f'{path} is no valid JSON ({error}); download or write it again') from error


def write_json(path: pathlib.Path, content: Any, *, indent: int | None = None) -> None:
  """Writes a JSON file whole or not at all, its folder included."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
  partial.write_text(
    json.dumps(content, ensure_ascii=False, indent=indent) + '\n', encoding='utf-8'
  )
  partial.replace(path)


def read_picture(path: pathlib.Path, name: str) -> tuple[bytes, int, int]:
  """The encoded bytes of a picture with its height and width in pixels.

  The picture is decoded once to know that it is whole. Grey and RGB files stay as they are, other
  modes become RGB PNG, because readers ask for three channels.

  Raises:
    BrokenRecordError: The file is missing or cannot be decoded.
  """
  try:
    encoded = path.read_bytes()
    with Image.open(io.BytesIO(encoded)) as picture:
      mode, (width, height) = picture.mode, picture.size
      if mode in ('RGB', 'L'):
        picture.draft(mode, (1, 1))  # JPEG: an eighth of the work, a cut file shows all the same
        picture.load()
      else:
        buffer = io.BytesIO()
        picture.convert('RGB').save(buffer, 'PNG')
        encoded = buffer.getvalue()
  except (OSError, SyntaxError, ValueError) as error:
    raise BrokenRecordError(f'{name}: picture {path} cannot be read ({error})') from error
  return encoded, height, width


def normalised_box(annotation: Mapping[str, Any], height: int, width: int) -> list[float]:
  """COCO's [x, y, width, height] in pixels -> (y1, x1, y2, x2) as shares of the picture.

  {'bbox': [10, 20, 30, 40], 'area': 900} in a 100 x 200 picture -> [0.2, 0.05, 0.6, 0.2]

  Raises:
    BrokenRecordError: Box or area are malformed, or the box is empty or leaves the picture by more
      than a pixel.
  """
  name = f'annotation {annotation.get("id")} of image {annotation.get("image_id")}'
  try:
    x, y, w, h = (float(value) for value in annotation['bbox'])
    float(annotation['area'])
  except (KeyError, TypeError, ValueError) as error:
    raise BrokenRecordError(f'{name}: no area or no box of four numbers ({error!r})') from error
  right, bottom = x + w, y + h
  if not (w > 0 and h > 0 and x >= -1 and y >= -1 and right <= width + 1 and bottom <= height + 1):
    raise BrokenRecordError(
      f'{name}: box {annotation["bbox"]} (x, y, width, height) is empty or outside the picture of '
      f'{width}x{height} pixels'
    )
  shares = (y / height, x / width, bottom / height, right / width)
  return [min(max(share, 0.0), 1.0) for share in shares]


def add_categories(
  classes: dict[int, str], categories: Sequence[Mapping] | None, name: str
) -> None:
  """Adds a file's categories (official COCO's where it has none) to category id -> name, in order.

  Raises:
    ValueError: A category id has another name than before.
  """
  if categories is None:
    path = pathlib.Path(__file__).parent / 'tfdatasets' / 'coco_all' / 'coco_categories.json'
    categories = read_json(path)
  for category in categories:
    known = classes.setdefault(category['id'], category['name'])
    if known != category['name']:
      raise ValueError(
        f'{name}: category {category["id"]} is {category["name"]!r}, but {known!r} in another '
        'split; give the splits one list of categories'
      )


class Workers:
  """`with Workers(2) as run:` -> run(function, items), in order, in that many processes."""

  def __init__(self, workers: int):
    if workers < 1:
      raise ValueError(f'{workers} worker processes asked for; give 1 or more')
    # Spawned, because a forked child of a process with threads (TensorFlow, JAX) may hang.
    self._pool = multiprocessing.get_context('spawn').Pool(workers) if workers > 1 else None

  def __enter__(self) -> Callable[[Callable, Iterable], Iterator]:
    return self._pool.imap if self._pool else map

  def __exit__(self, kind: type | None, *_: object) -> None:
    if self._pool:
      self._pool.terminate() if kind else self._pool.close()
      self._pool.join()
