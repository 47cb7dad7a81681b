"""What the model receives, back as pictures, and what is drawn on them. numpy only.

Letters of shapes: n patches, d values of a patch, rows x cols patches of a grid, H x W pixels, C
channels. Pictures are float RGB in [0, 1] unless said otherwise; boxes are [top, left, bottom,
right] in pixels.
"""

from collections.abc import Sequence
import dataclasses
import io

import numpy as np
from PIL import Image

from t5x.examples.unified_io import config, modality_specs

Color = tuple[float, float, float]
RED, GREEN, MAGENTA = (1.0, 0.0, 0.0), (0.0, 0.8, 0.2), (1.0, 0.0, 1.0)
BLACK, WHITE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
LOUDEST = np.log(1e5)  # log-mel values lie within +- this
DECIBELS = 80  # below the loudest, a spectrogram is black


# ---- Features back to values ---------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, kw_only=True)
class Placed:
  """The patches of one picture or spectrogram in their places.

  Attributes:
    values: float64 [H, W, C] in the units of the raw field, 0 where no patch arrived.
    arrived: int32 [rows, cols], 1 where a patch arrived.
    seen: the same, 1 where it is not masked.
    patch: its side in pixels.
  """

  values: np.ndarray
  arrived: np.ndarray
  seen: np.ndarray
  patch: int

  def seen_values(self) -> np.ndarray:
    """The values that attention can reach; 0 elsewhere."""
    return self.values * by_pixel(self.seen, self.patch)[..., None]

  def picture(self) -> np.ndarray:
    """What is seen, as RGB; the rest black."""
    channels = self.values.shape[-1]
    quiet = 0.0 if channels == 3 else -LOUDEST  # what is hidden takes no part in a plot's scale
    values = np.where(by_pixel(self.seen, self.patch)[..., None] > 0, self.values, quiet)
    return paint_masked(picture(values), as_drawn(self.seen, channels), self.patch, BLACK)

  def picture_of_mask(self) -> np.ndarray:
    """The same with masked patches magenta; those that did not arrive stay black."""
    not_masked = as_drawn(self.seen | (self.arrived == 0), self.values.shape[-1])
    return paint_masked(self.picture(), not_masked, self.patch)


def place(
  patches: np.ndarray, pos_ids: np.ndarray, mask: np.ndarray, spec: modality_specs.ModalitySpec
) -> Placed:
  """Puts patches back by their positions and undoes the normalisation.

  Args:
    patches: [n, d].
    pos_ids: [n], numbers of grid cells, row by row.
    mask: [n], 1 for patches that are seen.
    spec: of the modality: its grid and channels.
  """
  grid, channels = spec.grid, spec.channels
  values = np.zeros((grid.count, spec.patch_dim))
  arrived, seen = np.zeros((2, grid.count), np.int32)
  order = np.argsort(mask, kind='stable')  # where two share a place, the one that is seen stays
  values[pos_ids[order]] = denormalise(patches[order], channels)
  arrived[pos_ids], seen[pos_ids[mask > 0]] = 1, 1
  values = values.reshape(grid.rows, grid.cols, grid.patch, grid.patch, channels).swapaxes(1, 2)
  return Placed(
    values=values.reshape(grid.height, grid.width, channels),
    arrived=arrived.reshape(grid.rows, grid.cols),
    seen=seen.reshape(grid.rows, grid.cols),
    patch=grid.patch,
  )


def denormalise(values: np.ndarray, channels: int) -> np.ndarray:
  """Undoes the normalisation of input patches [n, d], of RGB (3 channels) or log-mel (1)."""
  values = np.asarray(values, np.float64)
  if channels == 3:
    count = values.shape[-1] // channels  # a patch at once is far faster than its pixels one by one
    return values * np.tile(config.IMAGE_VIT_STD, count) + np.tile(config.IMAGE_VIT_MEAN, count)
  return values * config.AUDIO_VIT_STD + config.AUDIO_VIT_MEAN


def target_values(values: np.ndarray, channels: int) -> np.ndarray:
  """Undoes the normalisation of targets: [-1, 1] to RGB (3 channels), or to log-mel (1)."""
  if channels == 3:
    return (values + 1) / 2
  return values * config.AUDIOSET_STD + config.AUDIOSET_MEAN


def by_pixel(mask: np.ndarray, patch: int) -> np.ndarray:
  """[..., rows, cols] of patches -> [..., H, W] of pixels."""
  return np.repeat(np.repeat(mask, patch, -2), patch, -1)


# ---- Values to pictures --------------------------------------------------------------------------
def spectrogram(log_mel: np.ndarray) -> np.ndarray:
  """A spectrogram as a picture: time to the right, pitch upwards, bright is loud.

  Args:
    log_mel: [time, mel, 1] or [time, mel], natural logarithms of power.

  Returns:
    RGB [mel, time, 3]; black is 80 dB below the loudest place, or less.
  """
  import matplotlib  # takes half a second, and most pages show no sound

  power = np.exp(np.clip(log_mel.reshape(log_mel.shape[:2]), -LOUDEST, LOUDEST))
  decibels = 10 * np.log10(power / power.max())
  brightness = np.clip(1 + decibels / DECIBELS, 0, 1)
  return matplotlib.colormaps['magma'](brightness.T[::-1])[..., :3]


def picture(values: np.ndarray) -> np.ndarray:
  """[H, W, C] values of a raw field as an RGB picture: pixels as they are, log-mel as a plot."""
  return spectrogram(values) if values.shape[-1] == 1 else np.clip(values, 0, 1)


def as_drawn(mask: np.ndarray, channels: int) -> np.ndarray:
  """A mask of patches [rows, cols] as `picture` shows them: plots lie on their side."""
  return mask.T[::-1] if channels == 1 else mask


# ---- Drawing -------------------------------------------------------------------------------------
def draw_boxes(
  picture: np.ndarray, boxes: Sequence[Sequence[float]], color: Color = RED
) -> np.ndarray:
  """A copy with the outlines of boxes, a pixel wide: rows top to bottom, columns left to right - 1.

  Raises:
    IndexError: a box ends below the last row; see `clipped`.
  """
  drawn = picture.copy()
  for top, left, bottom, right in np.asarray(boxes, np.float64).astype(int).tolist():
    if bottom >= len(drawn):
      raise IndexError(f'a box ends at row {bottom} of a picture of {len(drawn)} rows; clip it')
    drawn[[top, bottom], left:right] = color
    drawn[top:bottom, [left, right - 1]] = color
  return drawn


def clipped(boxes: Sequence[Sequence[float]], height: int, width: int) -> np.ndarray:
  """Boxes [n, 4] moved as little as lets them be drawn, a pixel high and wide at least."""
  boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
  top, left = np.clip(boxes[:, 0], 0, height - 2), np.clip(boxes[:, 1], 0, width - 1)
  bottom = np.clip(boxes[:, 2], top + 1, height - 1)
  right = np.clip(boxes[:, 3], left + 1, width)
  return np.stack([top, left, bottom, right], -1)


def paint_masked(
  picture: np.ndarray, mask: np.ndarray, patch: int, color: Color = MAGENTA
) -> np.ndarray:
  """A copy with the patches in `color` whose mask is 0.

  Args:
    picture: [H, W, 3].
    mask: [rows, cols] or [rows * cols].
    patch: side of a patch in pixels.
    color: of what is masked.
  """
  height, width = picture.shape[:2]
  mask = by_pixel(np.asarray(mask).reshape(height // patch, width // patch), patch)
  return np.where(mask[..., None] == 0, np.asarray(color, picture.dtype), picture)


# ---- Files ---------------------------------------------------------------------------------------
def to_uint8(picture: np.ndarray) -> np.ndarray:
  """[0, 1] -> 0..255, to the nearest; what is outside is clipped."""
  return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def shrink(picture: np.ndarray, shorter: int) -> np.ndarray:
  """uint8 [H, W, 3] -> the shorter side at most `shorter` pixels, bicubic."""
  height, width = picture.shape[:2]
  if min(height, width) <= shorter:
    return picture
  scale = shorter / min(height, width)
  size = int(width * scale), int(height * scale)
  return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def encode(picture: np.ndarray) -> tuple[bytes, str]:
  """(bytes, MIME type) of a uint8 picture: JPEG, or PNG where it is small and pixels count."""
  as_png = picture.shape[0] * picture.shape[1] <= 200 * 200
  kind, options = ('PNG', {}) if as_png else ('JPEG', {'quality': 92, 'subsampling': 0})
  buffer = io.BytesIO()
  Image.fromarray(picture).save(buffer, kind, **options)
  return buffer.getvalue(), f'image/{kind.lower()}'
