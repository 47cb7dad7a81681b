"""Antialiased resizing of frames: a Gaussian, then linear interpolation, as scikit-image does it.

Both steps are linear and work on each axis alone, so that an axis is resized by one sparse matrix.
"""

import functools

import numpy as np
from scipy import ndimage, sparse

TRUNCATE = 4  # the Gaussian ends at so many deviations


def to_size(frame: np.ndarray, size: tuple[int, int], *, exact: bool = True) -> np.ndarray:
  """Stretches a frame to (height, width); the aspect ratio may change.

  Args:
    frame: uint8 [h, w, channels].
    size: (height, width).
    exact: every bit as scikit-image gives it. Without, about three times faster: where a colour is
      even, so that the exact result is a whole grey level, it may come out one level lower.

  Returns:
    uint8 [height, width, channels]. PARITY: fractions of grey levels are cut off.
  """
  if frame.shape[:2] == tuple(size):
    return frame
  return _exactly_resized(frame, size) if exact else _resized(frame, size).astype(np.uint8)


def _exactly_resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The same sums in the same order as in scikit-image, whose rounding decides grey levels."""
  deviations = [_deviation(old, new) for old, new in zip(frame.shape, size, strict=False)]
  blurred = ndimage.gaussian_filter(frame.astype(np.float64), [*deviations, 0], mode='mirror')
  factors = [new / old for old, new in zip(frame.shape, size, strict=False)]
  channels = [
    ndimage.zoom(blurred[..., i], factors, order=1, mode='mirror', grid_mode=True)
    for i in range(frame.shape[-1])
  ]
  return np.clip(np.stack(channels, -1), frame.min(), frame.max()).astype(np.uint8)


def to_shorter_side(frame: np.ndarray, length: int) -> np.ndarray:
  """Shrinks a frame so that the shorter side has `length` pixels; a smaller one stays as it is.

  Args:
    frame: uint8 [h, w, channels].
    length: of the shorter side; the other is cut to whole pixels.

  Returns:
    [height, width, channels], grey levels 0 to 255: float64, or the frame itself.
  """
  sides = frame.shape[:2]
  shorter = min(sides)
  if shorter <= length:
    return frame
  return _resized(frame, tuple(int(side / shorter * length) for side in sides))


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  values = frame.astype(np.float64)
  for axis, wanted in enumerate(size):
    values = np.moveaxis(values, axis, 0)
    shape = values.shape[1:]
    values = _weights(len(values), wanted) @ values.reshape(len(values), -1)
    values = np.moveaxis(values.reshape(wanted, *shape), 0, axis)
  return values


def _deviation(length: int, wanted: int) -> float:
  """Of the Gaussian, in old pixels; none where an axis grows."""
  return max(0, (length / wanted - 1) / 2)


@functools.lru_cache(maxsize=64)
def _weights(length: int, wanted: int) -> sparse.csr_array:
  """[wanted, length]: how much of every old pixel is in every new one. Borders are mirrors."""
  factor = length / wanted
  deviation = _deviation(length, wanted)
  radius = int(TRUNCATE * deviation + 0.5)
  offsets = np.arange(-radius, radius + 1)
  bell = np.exp(-0.5 * (offsets / deviation) ** 2) if radius else np.ones(1)
  bell /= bell.sum()

  centres = _mirrored((np.arange(wanted) + 0.5) * factor - 0.5, length)
  left = np.floor(centres).astype(int)
  share = centres - left
  pixels = np.stack([left, left + 1], 1)[..., None] + offsets  # [wanted, 2, offsets]
  values = np.stack([1 - share, share], 1)[..., None] * bell
  rows = np.broadcast_to(np.arange(wanted)[:, None, None], pixels.shape)
  places = rows.ravel(), _mirrored(pixels, length).ravel()
  return sparse.coo_array((values.ravel(), places), (wanted, length)).tocsr()


def _mirrored(places: np.ndarray, length: int) -> np.ndarray:
  """Places outside of 0 .. length - 1, mirrored at the first and the last pixel."""
  period = max(2 * (length - 1), 1)
  places = places % period
  return np.minimum(places, period - places) if length > 1 else np.zeros_like(places)
