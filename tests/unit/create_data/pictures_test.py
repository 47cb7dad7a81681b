"""Encoded pictures: whole ones pass or become RGB, all others are refused with words."""

import io
import struct
import zlib

import numpy as np
from PIL import Image
import pytest

from create_data import common, pictures

HEIGHT, WIDTH = 40, 60
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3), np.uint8)
RGB = Image.fromarray(PIXELS.repeat(4, 0).repeat(4, 1))
WIDE = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 27).astype(np.uint16)


def encoded(picture, form, **options):
  buffer = io.BytesIO()
  picture.save(buffer, form, **options)
  return buffer.getvalue()


@pytest.fixture
def read(tmp_path):
  def read(content):
    path = tmp_path / 'picture'
    path.write_bytes(content)
    return pictures.read(path, 'image 7')

  return read


def decoded(content):
  return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(
  'content',
  [
    encoded(RGB, 'JPEG'),
    encoded(RGB, 'JPEG', progressive=True),
    encoded(RGB.convert('L'), 'JPEG'),
    encoded(RGB, 'PNG'),
    encoded(RGB.convert('L'), 'PNG'),
  ],
  ids=['jpeg', 'progressive', 'grey jpeg', 'png', 'grey png'],
)
def test_what_every_reader_decodes_stays_as_it_is(read, content):
  assert read(content) == (content, HEIGHT, WIDTH)


@pytest.mark.parametrize(
  ('content', 'want'),
  [
    (encoded(RGB.convert('CMYK'), 'TIFF'), RGB.convert('CMYK').convert('RGB')),
    (encoded(RGB.convert('P'), 'PNG'), RGB.convert('P').convert('RGB')),
    (encoded(RGB.convert('P'), 'PNG', transparency=3), RGB.convert('P').convert('RGB')),
    (encoded(RGB.convert('RGBA'), 'PNG'), RGB),
    (encoded(RGB.convert('LA'), 'PNG'), RGB.convert('L').convert('RGB')),
    (encoded(RGB.convert('1'), 'PNG'), RGB.convert('1').convert('RGB')),
    (encoded(RGB.convert('P'), 'GIF'), RGB.convert('P').convert('RGB')),
    (encoded(RGB, 'BMP'), RGB),
    (encoded(RGB, 'WEBP', lossless=True), RGB),
  ],
  ids=['cmyk', 'palette', 'clear palette', 'rgba', 'la', 'one bit', 'gif', 'bmp', 'webp'],
)
def test_other_modes_and_formats_become_rgb(read, content, want):
  made, height, width = read(content)
  assert (height, width) == (HEIGHT, WIDTH)
  assert (decoded(made).format, decoded(made).mode) == ('PNG', 'RGB')
  np.testing.assert_array_equal(np.asarray(decoded(made)), np.asarray(want))


def test_a_cmyk_jpeg_keeps_its_colours(read):
  flat = Image.new('RGB', (WIDTH, HEIGHT), (200, 60, 30))
  made, *_ = read(encoded(flat.convert('CMYK'), 'JPEG', quality=95))
  assert np.abs(np.asarray(decoded(made)).astype(int) - [200, 60, 30]).max() < 6


@pytest.mark.parametrize('form', ['PNG', 'TIFF'])
def test_sixteen_bits_of_grey_lose_the_low_ones(read, form):
  made, *_ = read(encoded(Image.fromarray(WIDE), form))
  want = np.repeat((WIDE >> 8)[..., None], 3, -1)
  np.testing.assert_array_equal(np.asarray(decoded(made)), want)


JPEG = encoded(RGB, 'JPEG')


@pytest.mark.parametrize(
  ('content', 'words'),
  [
    (b'', 'is no picture'),
    (b'no picture at all', 'is no picture'),
    (JPEG[:100], 'Truncated'),
    (JPEG[: len(JPEG) // 2], 'truncated'),
    (JPEG[:-2], 'truncated'),
    (encoded(RGB, 'JPEG', progressive=True)[:-300], 'truncated'),
    (encoded(RGB, 'PNG')[:-40], 'truncated'),
    (encoded(Image.fromarray(WIDE.astype(np.float32)), 'TIFF'), '32 bits and no known range'),
    (encoded(Image.fromarray(WIDE.astype(np.int32)), 'TIFF'), '32 bits and no known range'),
  ],
  ids=[
    'empty', 'words', 'head', 'half', 'no end', 'progressive', 'png', 'float', 'int32',
  ],
)  # fmt: skip
def test_what_is_no_whole_picture_is_refused_by_name(read, content, words):
  with pytest.raises(common.BrokenRecordError, match=f'^image 7: .*/picture.*{words}'):
    read(content)


def png_of_size(width, height):
  """A PNG that claims a size and has hardly any data."""

  def chunk(kind, data):
    body = kind + data
    return struct.pack('>I', len(data)) + body + struct.pack('>I', zlib.crc32(body))

  head = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
  return b'\x89PNG\r\n\x1a\n' + head + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')


@pytest.mark.parametrize('size', [(8192, 8193), (12_000, 9_000), (60_000, 60_000)])
def test_a_huge_picture_is_refused_before_it_is_decoded(read, size):
  with pytest.raises(common.BrokenRecordError, match=r'image 7: .*pixels'):
    read(png_of_size(*size))


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(common.BrokenRecordError, match=r'image 7: .*absent\.jpg.*No such file'):
    pictures.read(tmp_path / 'absent.jpg', 'image 7')
