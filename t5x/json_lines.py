"""Files of one JSON object a line: written through, readable while they grow, resumable."""

import base64
from collections.abc import Mapping
import json
import os
from typing import Any

import jax
import numpy as np

_LONGEST = 32  # numbers of an array that are written out


class JsonLines:
  """A file of JSON objects, used as a context; no file where the path is None or on later hosts."""

  def __init__(self, path: str | None, mode: str):
    """Names the file; `mode` is 'w' for a new one, 'a' to append."""
    self._path, self._mode, self._file = path, mode, None

  def __enter__(self) -> 'JsonLines':
    if self._path and jax.process_index() == 0:
      os.makedirs(os.path.dirname(self._path), exist_ok=True)
      self._file = open(self._path, self._mode, encoding='utf-8')
    return self

  def write(self, value: Mapping[str, Any]) -> None:
    """Writes one line, through to the file."""
    if self._file:
      self._file.write(json.dumps(value, ensure_ascii=False) + '\n')
      self._file.flush()

  def __exit__(self, *error: Any) -> None:
    if self._file:
      self._file.close()


def complete_lines(path: str) -> int:
  """Number of whole lines in a file, 0 where there is none; a last line cut short is removed."""
  if not os.path.exists(path):
    return 0
  with open(path, 'r+b') as file:
    text = file.read()
    file.truncate(text.rfind(b'\n') + 1)
  return text.count(b'\n')


def to_json(value: Any) -> Any:
  """`value` as JSON can hold it; long arrays become a line about them, bytes become text."""
  if isinstance(value, Mapping):
    return {str(key): to_json(v) for key, v in value.items()}
  if isinstance(value, bytes):
    try:
      return value.decode('utf-8')
    except UnicodeDecodeError:
      return base64.b64encode(value).decode('ascii')
  if isinstance(value, (list, tuple)):
    return [to_json(v) for v in value]
  if isinstance(value, np.ndarray | np.generic | jax.Array):
    array = np.asarray(value)
    if array.size > _LONGEST and array.dtype != object:
      first = ', '.join(str(x) for x in array.ravel()[:5])
      return f'array of shape {array.shape}, {array.dtype}: {first}, ...'
    if array.dtype.name == 'bfloat16':
      array = array.astype(np.float32)
    return to_json(array.tolist())
  if isinstance(value, float) and not np.isfinite(value):
    return None
  return value if value is None or isinstance(value, (str, int, float, bool)) else repr(value)
