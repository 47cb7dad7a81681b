"""The pictures and sounds of a user's own data: files or bytes, checked fast, decoded once."""

import base64
import binascii
import contextlib
import io
import os
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from t5x.examples.unified_io import config
from t5x.examples.unified_io.media.sources import MediaError

MAX_PIXELS = config.MAX_PICTURE_PIXELS
_TAIL = 4096  # bytes at the end of a file in which its end mark is looked for
_END_MARKS = {'JPEG': b'\xff\xd9', 'PNG': b'IEND'}
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class Media(NamedTuple):
  """A picture, sound or video: the path of a file, or its bytes."""

  path: str | None = None
  data: bytes | None = None

  def open(self) -> BinaryIO:
    """A file to read from."""
    return io.BytesIO(self.data) if self.path is None else open(self.path, 'rb')

  @property
  def name(self) -> str:
    """The path, or 'it', and a space, to begin a sentence with."""
    return f'{self.path or "it"} '

  @property
  def source(self) -> str | bytes:
    """The path, or the bytes."""
    return self.data if self.path is None else self.path


def of_value(value: Any, folder: str) -> Media:
  """What a field says: 'cat.jpg', 'data:image/png;base64,...', {'bytes': ..., 'path': ...}, bytes.

  Args:
    value: of the field; bytes in a dict may be base64 text.
    folder: where relative paths start.

  Raises:
    MediaError: it is nothing of these.
  """
  if isinstance(value, dict) and set(value) <= {'bytes', 'path'}:
    data = value.get('bytes')
    value = _from_base64(data) if isinstance(data, str) else data or value.get('path')
  if isinstance(value, bytes) and value:
    return Media(data=value)
  if isinstance(value, str) and value.startswith('data:'):
    return Media(data=_from_base64(value.partition('base64,')[2]))
  if isinstance(value, str) and '://' in value:
    raise MediaError(f'{value} is an address; download it and give the file')
  if isinstance(value, str) and value:
    return Media(path=os.path.join(folder, os.path.expanduser(value)))
  kind = f'a {type(value).__name__}' if value else 'nothing'
  raise MediaError(f'it must be a path, a data: URI or {{"bytes": base64}}, not {kind}')


def _from_base64(text: str) -> bytes:
  try:
    data = base64.b64decode(text, validate=True)
  except binascii.Error as e:
    raise MediaError(f'its bytes are no base64 ({e})') from e
  if not data:
    raise MediaError('it has no bytes')
  return data


# ---- Pictures ------------------------------------------------------------------------------------
@contextlib.contextmanager
def _picture(media: Media):
  """The picture, its header read.

  Raises:
    MediaError: there is none, it is no picture, cut off or too large.
  """
  try:
    with media.open() as file, Image.open(file) as picture:
      if picture.width * picture.height > MAX_PIXELS:
        raise MediaError(_too_large(f'{picture.width} x {picture.height}'))
      yield picture
  except FileNotFoundError as e:
    raise MediaError(f'there is no file {media.path}') from e
  except Image.UnidentifiedImageError as e:
    raise MediaError(f'{media.name}is no picture that can be read') from e
  except _TOO_LARGE as e:
    raise MediaError(_too_large('too many')) from e
  except (OSError, SyntaxError, EOFError) as e:  # Pillow's for broken files
    raise MediaError(f'{media.name}cannot be read: {e}') from e


def _too_large(size: str) -> str:
  return f'it has {size} pixels; at most {MAX_PIXELS:,} are taken, make it smaller'


def check_picture(media: Media, *, decode: bool = False) -> tuple[int, int]:
  """(height, width) of a picture, from its header; its last bytes must be there, too.

  Args:
    media: the picture.
    decode: decode all of it, which finds damage in the middle, and takes a hundred times as long.

  Raises:
    MediaError: it cannot be used.
  """
  with _picture(media) as picture:
    size = picture.height, picture.width
    mark = _END_MARKS.get(picture.format)
    if decode or mark is None or mark not in _tail(media):
      _pixels(picture)
  return size


def _tail(media: Media) -> bytes:
  with media.open() as file:
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - _TAIL))
    return file.read()


def decode_picture(media: Media) -> np.ndarray:
  """uint8 [height, width, 3] of any picture that Pillow reads, its first frame, without alpha.

  Raises:
    MediaError: it cannot be used.
  """
  with _picture(media) as picture:
    return _pixels(picture)


def _pixels(picture: Image.Image) -> np.ndarray:
  if picture.mode == 'F':
    raise MediaError('it has pixels of floating point; store 8 or 16 bits')
  if picture.mode.startswith('I'):  # 16 bits; 'I' has 32 and may hold 8 or 16 of them
    grey = np.asarray(picture, np.int64)
    grey = grey if picture.mode == 'I' and grey.max(initial=0) < 256 else grey >> 8
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, -1)
  return np.asarray(picture if picture.mode == 'RGB' else picture.convert('RGB'))
