"""Draws scenes of coloured shapes with exact boxes; the same seed gives the same pixels.

Lengths are pixels; `x` counts columns and `y` rows, a box is the smallest one that holds every
drawn pixel. The background is close to the mean picture of CLIP's normalisation, so that after it
the background is near zero and the shapes spread about one: without that a small model does not
learn to localise in minutes (docs/training.md).
"""

import dataclasses
import functools
import math
import random

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ('circle', 'square', 'triangle', 'cross')
COLORS = {
  'red': (220, 40, 40),
  'green': (30, 175, 70),
  'blue': (45, 75, 220),
  'yellow': (240, 220, 50),
  'purple': (145, 50, 175),
  'orange': (245, 140, 30),
  'white': (246, 246, 246),
  'black': (14, 14, 14),
}
SIZES = ('small', 'large')
BACKGROUND = (123, 117, 104)  # 255 x CLIP's mean, hence zero after normalisation
BACKGROUND_JITTER, COLOR_JITTER = 3, 8
DRAWN_AT = 64  # the picture size that lengths are given for
MAX_OVERLAP = 0.15  # of the smaller box
SUPERSAMPLING = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneConfig:
  """What scenes look like. Lengths are for a 64-pixel picture and grow with `image_size`.

  aligned: corners and sides are multiples of a sixteenth of the picture.
  plain_background: near-constant, near zero after normalisation; else a random grey.
  """

  image_size: int = 64
  aligned: bool = True
  plain_background: bool = True
  max_objects: int = 5
  small: tuple[int, int] = (12, 16)
  large: tuple[int, int] = (22, 28)

  def __post_init__(self):
    if self.image_size < 32 or self.image_size % 16:
      raise ValueError(f'image_size is {self.image_size}; give a multiple of 16 from 32 on')
    if not 1 <= self.max_objects <= 6:
      raise ValueError(f'max_objects is {self.max_objects}; 1 to 6 fit into a picture')
    if not 4 <= self.small[0] <= self.small[1] < self.large[0] <= self.large[1] <= DRAWN_AT // 2:
      raise ValueError(
        f'sizes {self.small} and {self.large} must be ascending ranges, small below large, '
        f'within 4 to {DRAWN_AT // 2}'
      )
    for size in SIZES:
      self.sides(size)

  @property
  def grid(self) -> int:
    return self.image_size // 16 if self.aligned else 1

  def sides(self, size: str) -> tuple[int, ...]:
    """The sides, in pixels of this picture, that objects of a size may have."""
    low, high = (round(side * self.image_size / DRAWN_AT) for side in getattr(self, size))
    found = tuple(side for side in range(low, high + 1) if side % self.grid == 0)
    if not found:
      raise ValueError(f'no {size} side from {low} to {high} is a multiple of {self.grid} pixels')
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneObject:
  """A shape whose box begins at column `x` and row `y` and is `side` pixels wide and high."""

  shape: str
  color: str
  size: str
  x: int
  y: int
  side: int

  @property
  def name(self) -> str:
    return f'{self.color} {self.shape}'

  @property
  def center(self) -> tuple[float, float]:
    return self.x + self.side / 2, self.y + self.side / 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
  """Objects from back to front, no colour and shape twice, and what pixels need besides them."""

  image_size: int
  objects: tuple[SceneObject, ...]
  background: tuple[int, int, int]
  paints: tuple[tuple[int, int, int], ...]

  @property
  def signature(self) -> tuple[tuple, ...]:
    """Equal for two scenes with the same objects, whatever their order or tones."""
    return tuple(sorted(dataclasses.astuple(item) for item in self.objects))


@functools.cache
def coverage(shape: str, side: int) -> np.ndarray:
  """How much of each pixel the shape covers: float32 [side, side], 0 to 1, touching every edge."""
  n = side * SUPERSAMPLING
  mask = Image.new('L', (n, n))
  pen = ImageDraw.Draw(mask)
  if shape == 'circle':
    pen.ellipse((0, 0, n - 1, n - 1), fill=255)
  elif shape == 'square':
    pen.rectangle((0, 0, n - 1, n - 1), fill=255)
  elif shape == 'triangle':
    tip = SUPERSAMPLING // 2  # half a pixel either side, so that the top row shows
    pen.polygon(((n // 2 - tip, 0), (n // 2 + tip - 1, 0), (n - 1, n - 1), (0, n - 1)), fill=255)
  elif shape == 'cross':
    width = arm(side) * SUPERSAMPLING
    start = (n - width) // 2
    pen.rectangle((start, 0, start + width - 1, n - 1), fill=255)
    pen.rectangle((0, start, n - 1, start + width - 1), fill=255)
  else:
    raise ValueError(f'{shape!r} is no shape; there are {SHAPES}')
  fine = np.asarray(mask, np.float32).reshape(side, SUPERSAMPLING, side, SUPERSAMPLING)
  return fine.mean(axis=(1, 3)) / 255


def arm(side: int) -> int:
  """The width of a cross's arms: about a fifth, with whole pixels left on both sides."""
  return side // 5 + (side - side // 5) % 2


def outline(item: SceneObject) -> list[float]:
  """The polygon [x1, y1, x2, y2, ...] of a shape in pixels; of a circle, one with 24 corners."""
  half, thick = item.side / 2, arm(item.side) / 2
  if item.shape == 'circle':
    angles = [math.tau * i / 24 for i in range(24)]
    corners = [(half * math.cos(angle), half * math.sin(angle)) for angle in angles]
  elif item.shape == 'triangle':
    corners = [(0, -half), (half, half), (-half, half)]
  elif item.shape == 'square':
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
  else:
    quarter = [(thick, -half), (thick, -thick), (half, -thick)]
    corners = [*quarter]
    for _ in range(3):  # a quarter turn each
      quarter = [(-y, x) for x, y in quarter]
      corners.extend(quarter)
  x, y = item.center
  return [round(value, 2) for dx, dy in corners for value in (x + dx, y + dy)]


def overlap(a: SceneObject, b: SceneObject) -> float:
  """The common area of two boxes as a share of the smaller one."""
  width = min(a.x + a.side, b.x + b.side) - max(a.x, b.x)
  height = min(a.y + a.side, b.y + b.side) - max(a.y, b.y)
  return max(width, 0) * max(height, 0) / min(a.side, b.side) ** 2


def visible_masks(objects: tuple[SceneObject, ...], image_size: int) -> np.ndarray:
  """Which pixels show each object: bool [objects, image_size, image_size], back to front."""
  owner = np.full((image_size, image_size), -1)
  for i, item in enumerate(objects):
    window = owner[item.y : item.y + item.side, item.x : item.x + item.side]
    window[coverage(item.shape, item.side) > 0] = i
  return owner == np.arange(len(objects))[:, None, None]


def is_seen_whole(mask: np.ndarray, item: SceneObject) -> bool:
  """Whether the visible pixels of an object still reach all four edges of its box."""
  rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
  end = item.side - 1
  return (
    rows.size > 0
    and (rows[0], rows[-1]) == (item.y, item.y + end)
    and (columns[0], columns[-1]) == (item.x, item.x + end)
  )


def _place(config: SceneConfig, rng: random.Random, count: int) -> tuple[SceneObject, ...] | None:
  """One attempt at `count` objects; None where an object found no room or would be cut."""
  names = rng.sample([(color, shape) for color in COLORS for shape in SHAPES], count)
  placed: list[SceneObject] = []
  for color, shape in names:
    size = SIZES[rng.random() < 0.4]
    side = rng.choice(config.sides(size))
    steps = (config.image_size - side) // config.grid + 1
    for _ in range(20):
      x, y = rng.randrange(steps) * config.grid, rng.randrange(steps) * config.grid
      item = SceneObject(shape=shape, color=color, size=size, x=x, y=y, side=side)
      if all(overlap(item, other) <= MAX_OVERLAP for other in placed):
        placed.append(item)
        break
    else:
      return None
  objects = tuple(placed)
  if any(overlap(a, b) for i, a in enumerate(objects) for b in objects[:i]):
    masks = visible_masks(objects, config.image_size)
    if not all(is_seen_whole(mask, item) for mask, item in zip(masks, objects, strict=True)):
      return None
  return objects


def make_scene(
  config: SceneConfig,
  *,
  seed: str,
  count: int,
  taken: frozenset[tuple] | set[tuple] = frozenset(),
) -> Scene:
  """Makes the scene of a seed, with `count` objects.

  Args:
    config: What scenes look like.
    seed: Any text; equal texts give equal scenes.
    count: The number of objects, 1 to config.max_objects.
    taken: Signatures that may not come out (scenes of other splits).

  Raises:
    ValueError: `count` is out of range.
  """
  if not 1 <= count <= config.max_objects:
    raise ValueError(f'{count} objects asked for; the scenes have 1 to {config.max_objects}')
  rng = random.Random(seed)
  while True:
    objects = _place(config, rng, count)
    if objects is None:
      continue
    if config.plain_background:
      background = tuple(c + rng.randint(-BACKGROUND_JITTER, BACKGROUND_JITTER) for c in BACKGROUND)
    else:
      background = (rng.randint(70, 185),) * 3
    paints = tuple(
      tuple(min(255, max(0, c + rng.randint(-COLOR_JITTER, COLOR_JITTER))) for c in COLORS[o.color])
      for o in objects
    )
    scene = Scene(
      image_size=config.image_size, objects=objects, background=background, paints=paints
    )
    if scene.signature not in taken:
      return scene


def draw(scene: Scene) -> np.ndarray:
  """The picture of a scene: uint8 [image_size, image_size, 3]."""
  picture = np.empty((scene.image_size, scene.image_size, 3), np.float32)
  picture[:] = scene.background
  for item, paint in zip(scene.objects, scene.paints, strict=True):
    window = picture[item.y : item.y + item.side, item.x : item.x + item.side]
    alpha = coverage(item.shape, item.side)[..., None]
    window += alpha * (np.asarray(paint, np.float32) - window)
  return (picture + 0.5).astype(np.uint8)
