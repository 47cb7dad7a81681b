"""Pictures of users: every kind that Pillow reads becomes 8-bit RGB, every broken one is named."""

import base64
import io
import struct
import zlib

import numpy as np
from PIL import Image
import pytest

from t5x.examples.unified_io.data.own import media
from t5x.examples.unified_io.data.own.media import Media, MediaError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
RAMP = np.linspace(0, 255, 6 * 5, dtype=np.uint8).reshape(6, 5)


def encoded(picture, kind, **options):
  file = io.BytesIO()
  picture.save(file, kind, **options)
  return file.getvalue()


def jpeg(mode='RGB'):
  return encoded(Image.fromarray(RAMP).resize((50, 60)).convert(mode), 'JPEG', quality=95)


# ---- Values --------------------------------------------------------------------------------------
def test_a_relative_path_starts_in_the_folder():
  assert media.of_value('a/b.jpg', '/data') == Media(path='/data/a/b.jpg')
  assert media.of_value('/a/b.jpg', '/data') == Media(path='/a/b.jpg')


@pytest.mark.parametrize(
  'value',
  [
    b'abc',
    {'bytes': b'abc', 'path': None},
    {'bytes': base64.b64encode(b'abc').decode()},
    'data:image/png;base64,' + base64.b64encode(b'abc').decode(),
  ],
)
def test_bytes_come_in_four_ways(value):
  assert media.of_value(value, '/data') == Media(data=b'abc')


def test_a_picture_of_hugging_face_may_be_a_path_alone():
  assert media.of_value({'bytes': None, 'path': '/a.jpg'}, '/data') == Media(path='/a.jpg')


@pytest.mark.parametrize(
  ('value', 'fault'),
  [
    ('', 'not nothing'), (b'', 'not nothing'), (3, 'not a int'), ({'bytes': '%'}, 'no base64'),
    ({'data': 'x'}, 'not a dict'), ('http://a/b', 'is an address'),
    ('data:image/png;base64,', 'has no bytes'),
  ],
)  # fmt: skip
def test_another_value_is_refused(value, fault):
  with pytest.raises(MediaError, match=fault):
    media.of_value(value, '/data')


# ---- Pictures ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
  ('mode', 'kind'),
  [
    ('L', 'PNG'), ('1', 'PNG'), ('P', 'PNG'), ('RGB', 'BMP'), ('RGBA', 'PNG'), ('LA', 'PNG'),
    ('RGB', 'WEBP'), ('P', 'GIF'), ('RGB', 'TIFF'),
  ],
)  # fmt: skip
def test_every_kind_becomes_rgb(mode, kind):
  picture = Image.fromarray(np.where(RAMP < 128, 0, 255).astype(np.uint8)).convert(mode)
  data = encoded(picture, kind, **({'lossless': True} if kind == 'WEBP' else {}))
  pixels = media.decode_picture(Media(data=data))
  np.testing.assert_array_equal(pixels, np.repeat(np.where(RAMP < 128, 0, 255)[..., None], 3, -1))
  assert pixels.dtype == np.uint8
  assert media.check_picture(Media(data=data)) == (6, 5)


def test_a_cmyk_jpeg_has_the_colours_of_its_rgb_one():
  rgb, cmyk = (media.decode_picture(Media(data=jpeg(mode))) for mode in ('RGB', 'CMYK'))
  assert np.abs(rgb.astype(int) - cmyk).max() <= 4


def test_16_bits_keep_their_upper_8():
  data = encoded(Image.fromarray(RAMP.astype(np.uint16) * 257), 'PNG')
  pixels = media.decode_picture(Media(data=data))
  np.testing.assert_array_equal(pixels[..., 0], RAMP)


def test_transparency_is_dropped():
  picture = Image.fromarray(np.dstack([RAMP, RAMP, RAMP, RAMP // 2]), 'RGBA')
  pixels = media.decode_picture(Media(data=encoded(picture, 'PNG')))
  np.testing.assert_array_equal(pixels[..., 1], RAMP)


def test_floating_point_pixels_are_refused():
  data = encoded(Image.fromarray(RAMP.astype(np.float32)), 'TIFF')
  with pytest.raises(MediaError, match='floating point'):
    media.decode_picture(Media(data=data))


def chunk(kind, content):
  checked = kind + content
  return struct.pack('>I', len(content)) + checked + struct.pack('>I', zlib.crc32(checked))


def huge_png():
  header = chunk(b'IHDR', struct.pack('>IIBBBBB', 60_000, 60_000, 8, 2, 0, 0, 0))
  return b'\x89PNG\r\n\x1a\n' + header + chunk(b'IDAT', b'') + chunk(b'IEND', b'')


BROKEN = {
  'text': (b'not a picture', 'no picture that can be read'),
  'half a jpeg': (jpeg()[:-400], 'truncated'),
  'half a png': (encoded(Image.fromarray(NOISE), 'PNG')[:-80], 'truncated'),
  'huge': (huge_png(), 'pixels; at most'),
}


@pytest.mark.parametrize('check', [media.check_picture, media.decode_picture])
@pytest.mark.parametrize('name', BROKEN)
def test_broken_and_huge_pictures_are_named_by_the_header_check_too(check, name):
  data, fault = BROKEN[name]
  with pytest.raises(MediaError, match=fault):
    check(Media(data=data))


def test_more_pixels_than_are_taken(monkeypatch):
  monkeypatch.setattr(media, 'MAX_PIXELS', 29)
  with pytest.raises(MediaError, match='has 5 x 6 pixels; at most 29'):
    media.check_picture(Media(data=encoded(Image.fromarray(RAMP), 'PNG')))


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(MediaError, match=f'there is no file {tmp_path}/a.jpg'):
    media.check_picture(Media(path=str(tmp_path / 'a.jpg')))


def test_damage_in_the_middle_is_found_by_decoding_alone():
  data = bytearray(encoded(Image.fromarray(NOISE), 'PNG'))
  data[600:700] = bytes(100)
  assert media.check_picture(Media(data=bytes(data))) == (40, 40)
  with pytest.raises(MediaError, match='cannot be read'):
    media.check_picture(Media(data=bytes(data)), decode=True)
