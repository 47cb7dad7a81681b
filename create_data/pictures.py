"""Encoded pictures as training wants them: whole, three channels of 8 bits, of a sane size."""

import io
import pathlib
import warnings

import numpy as np
import PIL
from PIL import Image

from create_data import common
from t5x.examples.unified_io import config

_KEPT = {'JPEG', 'MPO', 'PNG'}  # what every reader decodes; MPO is a JPEG with another behind it
_WIDE = ('I;16', 'I;16B', 'I;16L')  # 16 bits a pixel


def read(path: pathlib.Path, name: str) -> tuple[bytes, int, int]:
  """The encoded bytes of a picture with its height and width in pixels.

  The picture is decoded once to know that it is whole. JPEG and PNG in grey or RGB stay as they
  are, all else (CMYK, palette, transparency, 16-bit grey, other formats) becomes RGB PNG.

  Args:
    path: the file.
    name: of the record, for the message.

  Raises:
    BrokenRecordError: The file is missing, cannot be decoded, or is too large.
  """
  try:
    encoded = path.read_bytes()
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # Pillow's own limit is above ours
      return _checked(encoded)
  except PIL.UnidentifiedImageError as error:
    raise common.BrokenRecordError(f'{name}: {path} is no picture that can be read') from error
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
    raise common.BrokenRecordError(f'{name}: picture {path} cannot be read ({error})') from error


def _checked(encoded):
  with Image.open(io.BytesIO(encoded)) as picture:
    width, height = picture.size
    if width * height > config.MAX_PICTURE_PIXELS:
      raise ValueError(
        f'it has {width}x{height} pixels; at most {config.MAX_PICTURE_PIXELS:,} are taken'
      )
    if picture.format in _KEPT and picture.mode in ('RGB', 'L'):
      picture.draft(picture.mode, (1, 1))  # JPEG: an eighth of the work, a cut file shows the same
      picture.load()
      return encoded, height, width
    buffer = io.BytesIO()
    _rgb(picture).save(buffer, 'PNG')
    return buffer.getvalue(), height, width


def _rgb(picture):
  if picture.mode in ('F', 'I'):
    raise ValueError('its pixels have 32 bits and no known range; save it with 8 bits a channel')
  if picture.mode in _WIDE:  # Pillow would clip to 255 instead of dropping the low bits
    picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
  return picture.convert('RGB')
