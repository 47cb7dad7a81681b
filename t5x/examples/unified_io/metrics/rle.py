"""COCO's run-length encoding of masks: column by column, the first run counts zeros.

pycocotools does the work; it comes with the extra `data`.
"""

from collections.abc import Mapping, Sequence
import itertools
from typing import Any

import numpy as np

Rle = dict[str, Any]  # {'size': [height, width], 'counts': text, or a list of run lengths}


def _coco():
  try:
    from pycocotools import mask
  except ImportError as error:
    raise ImportError(
      'run-length encoded masks need pycocotools; install this package with the extra [data]'
    ) from error
  return mask


def run_lengths(mask: np.ndarray) -> Rle:
  """The uncompressed form, which is plain JSON.

  [[0, 1], [0, 1]] -> {'size': [2, 2], 'counts': [2, 2]}
  """
  flat = (np.asarray(mask) != 0).flatten(order='F')
  runs = [(value, len(list(group))) for value, group in itertools.groupby(flat.tolist())]
  counts = [length for _, length in runs]
  starts_with_one = bool(runs) and runs[0][0]
  return {'size': list(np.shape(mask)), 'counts': [0, *counts] if starts_with_one else counts}


def encode(mask: np.ndarray) -> Rle:
  """The compressed form of a mask [height, width], its counts as text for JSON."""
  return _as_text(_coco().encode(np.asfortranarray(np.asarray(mask) != 0, np.uint8)))


def compress(uncompressed: Mapping[str, Any]) -> Rle:
  """The compressed form of `run_lengths`.

  Raises:
    ValueError: The counts do not add up to the size.
  """
  height, width = uncompressed['size']
  if sum(uncompressed['counts']) != height * width:
    raise ValueError(
      f'runs of {sum(uncompressed["counts"])} pixels in a mask of {height}x{width}; '
      'size is [height, width], counts begin with zeros'
    )
  return _as_text(_coco().frPyObjects(dict(uncompressed), height, width))


def decode(rle: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> np.ndarray | list[np.ndarray]:
  """Either form, or a list of them -> uint8 [height, width] of 0 and 1, or a list of those."""
  if not isinstance(rle, Mapping):
    return [decode(one) for one in rle]
  if not isinstance(rle['counts'], str | bytes):
    rle = compress(rle)
  return _coco().decode(dict(rle))


def _as_text(rle):
  return {'size': [int(side) for side in rle['size']], 'counts': rle['counts'].decode('ascii')}
