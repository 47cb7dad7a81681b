"""Small sound and video files for tests."""

from fractions import Fraction
import io

import numpy as np
import soundfile


def sound(wave: np.ndarray, rate: int = 16_000, container: str = 'WAV', **options) -> bytes:
  """The bytes of a sound file; `wave` is [samples] or [samples, channels]."""
  file = io.BytesIO()
  soundfile.write(file, wave, rate, format=container, **options)
  return file.getvalue()


def numbered_frame(number: int) -> np.ndarray:
  """[48, 64, 3]: eight stripes, dark or bright, spell the number, its lowest bit at the left."""
  bits = number >> np.arange(8) & 1
  return np.tile(np.repeat(bits * 255, 8).astype(np.uint8)[None, :, None], (48, 1, 3))


def number_of(frame: np.ndarray) -> int:
  """What `numbered_frame` wrote, after coding and resizing."""
  stripes = frame[len(frame) // 4 : 3 * len(frame) // 4].mean((0, 2)).reshape(8, -1).mean(1)
  return int(((stripes > 128) << np.arange(8)).sum())


def video(
  frames: int = 60,
  fps: int = 10,
  *,
  container: str = 'mp4',
  codec: str = 'libx264',
  options: dict[str, str] | None = None,
  rotation: int = 0,
  wave: np.ndarray | None = None,
) -> bytes:
  """The bytes of a video whose frames spell their number, with key frames every 12 frames."""
  import av

  file = io.BytesIO()
  with av.open(file, 'w', format=container) as made:
    pictures = made.add_stream(codec, rate=fps, options=options)
    pictures.width, pictures.height, pictures.pix_fmt = 64, 48, 'yuv420p'
    pictures.codec_context.gop_size = 12
    if rotation:
      pictures.set_display_rotation(rotation)
    sounds = None if wave is None else made.add_stream('aac', rate=16_000, layout='mono')
    for number in range(frames):
      picture = av.VideoFrame.from_ndarray(numbered_frame(number), format='rgb24')
      made.mux(pictures.encode(picture))
    made.mux(pictures.encode(None))
    if sounds is not None:
      part = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), 'fltp', 'mono')
      part.sample_rate, part.time_base, part.pts = 16_000, Fraction(1, 16_000), 0
      made.mux(sounds.encode(part))
      made.mux(sounds.encode(None))
  return file.getvalue()
