"""CPU seconds from sound and video files to the raw fields of tasks, on one thread.

Beside each stands what others take for the same work: a mel spectrogram in the authors' PyTorch
port (scaled by the calibration), a frame resized by scikit-image as in the original (measured).
"""

from collections.abc import Callable
from fractions import Fraction
import io
from typing import Any

import measure
import numpy as np

HEIGHT, WIDTH, FPS = 480, 640, 25
SOUND_RATE, SOUND_SECONDS = 44_100, 9
NUM_FRAMES = 4
PORT_MEL = 0.0024  # CPU seconds of the PyTorch port on the machine of the reference


def picture(number: int) -> np.ndarray:
  """uint8 [480, 640, 3]: waves that move with the frame's number."""
  y, x = np.mgrid[:HEIGHT, :WIDTH] / 40
  waves = [np.sin(x + number / 9), np.sin(y - number / 7), np.sin(x + y + number / 5)]
  return (127 + 60 * np.stack(waves, -1) + 40 * np.sin(3 * x * y / 9)[..., None]).astype(np.uint8)


def video(seconds: float) -> bytes:
  """An mp4 (H.264, a key frame every 2 s) with sound (AAC)."""
  import av

  file = io.BytesIO()
  with av.open(file, 'w', format='mp4') as made:
    frames = made.add_stream('libx264', rate=FPS)
    frames.width, frames.height, frames.pix_fmt = WIDTH, HEIGHT, 'yuv420p'
    frames.codec_context.gop_size = 2 * FPS
    sounds = made.add_stream('aac', rate=SOUND_RATE, layout='mono')
    for number in range(int(seconds * FPS)):
      frame = av.VideoFrame.from_ndarray(picture(number), format='rgb24')
      made.mux(frames.encode(frame))
    made.mux(frames.encode(None))
    part = av.AudioFrame.from_ndarray(noise(int(seconds * SOUND_RATE))[None], 'fltp', 'mono')
    part.sample_rate, part.time_base, part.pts = SOUND_RATE, Fraction(1, SOUND_RATE), 0
    made.mux(sounds.encode(part))
    made.mux(sounds.encode(None))
  return file.getvalue()


def noise(samples: int) -> np.ndarray:
  return np.random.default_rng(0).uniform(-0.3, 0.3, samples).astype(np.float32)


def sound(container: str) -> bytes:
  """A stereo file of 9 seconds."""
  import soundfile

  wave = np.stack([noise(SOUND_SECONDS * SOUND_RATE)] * 2, 1)
  file = io.BytesIO()
  soundfile.write(file, wave, SOUND_RATE, format=container)
  return file.getvalue()


def works(seconds: float) -> dict[str, tuple[Callable[[], Any], int, str | None]]:
  """name -> (what to run, units of work in it, with what it is compared)."""
  import skimage.transform

  from t5x.examples.unified_io.data import spectrogram
  from t5x.examples.unified_io.media import audio, resize
  from t5x.examples.unified_io.media import video as video_lib

  wave, frame, clip = noise(65_280), picture(0), video(seconds)
  size, smooth = (256, 256), {'order': 1, 'anti_aliasing': True, 'preserve_range': True}
  wav, mp3 = sound('WAV'), sound('MP3')
  fields = lambda **options: video_lib.fields_from_video(clip, NUM_FRAMES, **options)
  return {
    'mel of 4.08 s': (lambda: spectrogram.mel_spectrogram(wave), 1, 'port'),
    'wav of 9 s, 44.1 kHz stereo': (lambda: audio.fields_from_audio(wav, 2), 1, None),
    'mp3 of 9 s, 44.1 kHz stereo': (lambda: audio.fields_from_audio(mp3, 2), 1, None),
    'frame resized by scikit-image': (
      lambda: skimage.transform.resize(frame, size, **smooth).astype(np.uint8), 1, None,
    ),
    'frame resized, exact': (lambda: resize.to_size(frame, size), 1, 'scikit-image'),
    'frame resized, faster': (
      lambda: resize.to_size(frame, size, exact=False), 1, 'scikit-image',
    ),
    'a frame of a video': (lambda: fields(use_audio=False), NUM_FRAMES, None),
    'a frame of a video, faster': (
      lambda: fields(use_audio=False, exact=False), NUM_FRAMES, None,
    ),
    'a frame of a video and its sound': (fields, NUM_FRAMES, None),
  }  # fmt: skip


def main() -> None:
  args = measure.arguments(__doc__)
  measure.one_thread()
  repeats = 2 if args.quick else 12
  measured = {
    name: (measure.best(run, repeats=repeats) / units, peer)
    for name, (run, units, peer) in works(4 if args.quick else 16).items()
  }
  calibration = measure.calibrate(args.quick)
  peers = {
    'port': PORT_MEL * calibration / measure.REFERENCE,
    'scikit-image': measured['frame resized by scikit-image'][0],
  }
  rows = [
    {
      'what': name, 'CPU ms': 1000 * seconds, 'calibrations': seconds / calibration,
      'peer': peer, 'peer / ours': peers[peer] / seconds if peer else None,
    }
    for name, (seconds, peer) in measured.items()
  ]  # fmt: skip
  measure.report('Files to raw fields, one thread', rows, calibration=calibration)


if __name__ == '__main__':
  main()
