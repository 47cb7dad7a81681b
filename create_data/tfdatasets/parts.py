"""Cuts a source into parts; each becomes one shard."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

from create_data.tfdatasets import records

PICTURES_PER_SHARD = 1024  # about 170 MB of COCO
# A part's inputs and where to complain about what is left out -> its examples.
Make = Callable[[Any, Callable[[str], None]], Iterable[dict[str, Any]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
  """What one shard is made of.

  Attributes:
    split: in TFDS's words.
    inputs: JSON; what `Make` gets.
    identity: JSON; changes whenever the shard would.
    count: how many examples it may give.
  """

  split: str
  inputs: Any
  identity: Any
  count: int


def picture_parts(
  split: str, pictures: Sequence[Mapping[str, Any]], folder: pathlib.Path
) -> Iterator[Part]:
  """Cuts the pictures of a split, each with its 'file_name' in `folder`, into parts.

  `Make` gets {'folder': ..., 'records': [...]}. An empty split is an empty part, to be refused.
  """
  for start in range(0, max(1, len(pictures)), PICTURES_PER_SHARD):
    chunk = pictures[start : start + PICTURES_PER_SHARD]
    yield Part(
      split=records.TFDS_SPLITS.get(split, split),
      inputs={'folder': str(folder.absolute()), 'records': chunk},
      identity=[chunk, [_state_of(folder / picture['file_name']) for picture in chunk]],
      count=len(chunk),
    )


def _state_of(path):
  """What stands for the content of a file: its size and last change."""
  try:
    stat = path.stat()
  except OSError:
    return None
  return [stat.st_size, stat.st_mtime_ns]
