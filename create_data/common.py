"""What everything that makes data shares: files, boxes, classes and worker processes."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
import concurrent.futures
import contextlib
import dataclasses
import json
import math
import multiprocessing
import os
import pathlib
import signal
import sys
import threading
from typing import Any
import uuid

import tqdm

SHOWN = 100  # complaints on the screen; all of them are in the file beside the data


class BrokenRecordError(ValueError):
  """A record that cannot be used; its message names the record and says why."""


@dataclasses.dataclass
class Problems:
  """What was skipped: every message is kept, the first ones are printed."""

  messages: list[str] = dataclasses.field(default_factory=list)
  _shown: int = 0

  def report(self, message: str) -> None:
    """Keeps a message, and shows it."""
    self.messages.append(message)
    self.show(message)

  def show(self, message: str) -> None:
    """Prints a message, unless there were many."""
    self._shown += 1
    if self._shown <= SHOWN:
      tqdm.tqdm.write(f'skipped: {message}', file=sys.stderr)
    elif self._shown == SHOWN + 1:
      tqdm.tqdm.write('skipped: more; the list beside the data will have all', file=sys.stderr)


def read_json(path: pathlib.Path, without: Collection[str] = ()) -> Any:
  """The content of a JSON file; a missing or broken file is named in the error.

  Args:
    path: the file.
    without: keys that are left out wherever they stand, to save memory.
  """
  if not path.is_file():
    beside = sorted(p.name for p in path.parent.glob('*.json')) if path.parent.is_dir() else []
    raise FileNotFoundError(
      f'{path} does not exist; JSON files beside it: {beside or "none"}. Check the folders given.'
    )

  def kept(found: dict) -> dict:
    for key in without:
      found.pop(key, None)
    return found

  try:
    text = path.read_text(encoding='utf-8')
    return json.loads(text, object_hook=kept if without else None)
  except (UnicodeDecodeError, json.JSONDecodeError) as error:
    raise ValueError(f'{path} is no valid JSON ({error}); download or write it again') from error


def write_json(path: pathlib.Path, content: Any, *, indent: int | None = None) -> None:
  """Writes a JSON file whole or not at all, its folder included."""
  path.parent.mkdir(parents=True, exist_ok=True)
  text = json.dumps(content, ensure_ascii=False, indent=indent) + '\n'
  write_whole(path, text.encode())


def write_whole(path: pathlib.Path, content: bytes) -> None:
  """Writes a file whole or not at all, whatever stops the process or the machine."""
  partial = partial_name(path)
  partial.write_bytes(content)
  put_in_place(partial, path)


def partial_name(path: pathlib.Path) -> pathlib.Path:
  """A name beside `path` that no other process has."""
  return path.with_name(f'{path.name}.{uuid.uuid4().hex}.partial')


def put_in_place(partial: pathlib.Path, path: pathlib.Path) -> None:
  """Gives a file that is written to its end its name for good."""
  with partial.open('rb') as file:
    os.fsync(file.fileno())
  partial.replace(path)


def is_text(value: Any) -> bool:
  """Text that can be written: JSON may hold halves of characters."""
  try:
    return isinstance(value, str) and value.encode() is not None
  except UnicodeEncodeError:
    return False


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
    if not math.isfinite(float(annotation['area'])):
      raise ValueError(annotation['area'])
  except (KeyError, TypeError, ValueError) as error:
    raise BrokenRecordError(f'{name}: no area or no box of four numbers ({error!r})') from error
  right, bottom = x + w, y + h
  shares = [
    min(max(share, 0.0), 1.0) for share in (y / height, x / width, bottom / height, right / width)
  ]
  is_inside = x >= -1 and y >= -1 and right <= width + 1 and bottom <= height + 1
  if not (is_inside and shares[0] < shares[2] and shares[1] < shares[3]):
    raise BrokenRecordError(
      f'{name}: box {annotation["bbox"]} (x, y, width, height) is empty or outside the picture of '
      f'{width}x{height} pixels'
    )
  return shares


@contextlib.contextmanager
def workers(count: int) -> Iterator[Callable[[Callable, Iterable], Iterator]]:
  """`with workers(2) as run:` -> run(function, items), in order, in that many processes.

  Raises:
    ChildProcessError: One of them was killed.
    ValueError: Fewer than one are asked for.
  """
  if count < 1:
    raise ValueError(f'{count} worker processes asked for; give 1 or more')
  if count == 1:
    yield map
    return
  # Spawned, because a forked child of a process with threads (TensorFlow, JAX) may hang.
  context = multiprocessing.get_context('spawn')
  pool = concurrent.futures.ProcessPoolExecutor(count, context, _follow_parent)
  try:
    yield pool.map
  except concurrent.futures.BrokenExecutor as error:
    raise ChildProcessError(
      'a worker process was killed (out of memory?); what is finished is kept, so give the same '
      'command again, with fewer workers if memory is short'
    ) from error
  finally:
    pool.shutdown(cancel_futures=True)  # what has begun is finished


def _follow_parent() -> None:
  """A worker ends with the process that started it, and leaves Ctrl-C to it."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)

  def end() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=end, daemon=True).start()
