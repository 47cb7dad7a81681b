"""Where sounds and videos come from: a path, or the bytes of a file."""

import io
import os
import pathlib

Source = str | os.PathLike | bytes  # text is a path; bytes are the content of a file


class MediaError(ValueError):
  """A sound or video that cannot be used; the message says which and why."""


def name_of(source: Source) -> str:
  """What messages call a source."""
  return f'{len(source):,} bytes' if isinstance(source, bytes) else os.fspath(source)


def open_source(source: Source) -> str | io.BytesIO:
  """What the decoding libraries open.

  Raises:
    MediaError: there is no such file, or it is empty.
  """
  if isinstance(source, bytes):
    if not source:
      raise MediaError('no bytes of a sound or video were given')
    return io.BytesIO(source)
  path = pathlib.Path(source)
  if not path.is_file():
    raise MediaError(f'there is no file {os.fspath(source)!r}; check the path')
  if not path.stat().st_size:
    raise MediaError(f'the file {os.fspath(source)!r} is empty')
  return str(path)
