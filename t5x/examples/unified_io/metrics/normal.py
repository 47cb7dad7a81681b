"""GRIT's metric of surface normals: the share of pixels whose normal is right within 11.25 degrees.

Normals are unit vectors [..., 3] in float64, pictures of them are RGB uint8 [height, width, 3].
"""

import numpy as np

RIGHT = 11.25  # degrees
SHARP_EDGE = 40.0  # degrees between neighbours: the pixels at such an edge are not judged
# PARITY: the benchmark's centre; the middle of 0..255 would be 127.5.
_CENTRE = 122.5
_NO_NORMAL = (0, 128, 201)  # grey levels that mark pixels without a normal
_TRIALS = 500
_JURY = 500  # pixels that judge a trial


def normals_from_rgb(rgb: np.ndarray) -> np.ndarray:
  """A picture of normals -> normals."""
  return _unit((np.asarray(rgb, np.float64) - _CENTRE) / _CENTRE)


def _unit(vectors):
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def angular_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Degrees between vectors of any length, [...]."""
  cosine = (_unit(a) * _unit(b)).sum(-1)
  return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def sharp_edges(normals: np.ndarray, degrees: float = SHARP_EDGE) -> np.ndarray:
  """Pixels with a neighbour whose normal is turned by more than `degrees`, bool [height, width]."""
  across = _turns(normals[:, :-1], normals[:, 1:], degrees)
  down = _turns(normals[:-1], normals[1:], degrees)
  edges = np.zeros(normals.shape[:2], bool)
  edges[:, :-1] |= across
  edges[:, 1:] |= across
  edges[:-1] |= down
  edges[1:] |= down
  return edges


def _turns(a, b, degrees):
  # PARITY: only the upper end is clipped, so that opposite normals whose product rounds to less
  # than -1 have no angle and are no edge (RGB 0 beside 128, at the border of valid pixels).
  with np.errstate(invalid='ignore'):
    return np.degrees(np.arccos(np.minimum((a * b).sum(-1), 1))) > degrees


def valid_pixels(rgb: np.ndarray) -> np.ndarray:
  """Pixels that are judged: with a normal and not at a sharp edge, bool [height, width]."""
  rgb = np.asarray(rgb)
  marked = np.any([(rgb == level).all(-1) for level in _NO_NORMAL], axis=0)
  return ~marked & ~sharp_edges(normals_from_rgb(rgb))


def best_rotation(source: np.ndarray, target: np.ndarray) -> np.ndarray:
  """The rotation R [..., 3, 3] with the least squared error of R @ source - target (Kabsch).

  Args:
    source: [..., n, 3].
    target: [..., n, 3].
  """
  u, _, vt = np.linalg.svd(np.swapaxes(source, -1, -2) @ target)
  u[..., -1] *= np.linalg.det(u @ vt)[..., None]  # a rotation, no reflection
  return np.swapaxes(u @ vt, -1, -2)


def robust_rotation(
  source: np.ndarray, target: np.ndarray, *, num_first: int, seed: int = 0
) -> np.ndarray:
  """The rotation [3, 3] under which most normals are right (RANSAC); the identity is tried, too.

  Args:
    source: [n, 3].
    target: [n, 3].
    num_first: each trial is the rotation of two of the first `num_first` normals.
    seed: of the draws.
  """
  rng = np.random.default_rng(seed)
  jury = rng.choice(len(source), min(_JURY, len(source)), replace=False)
  num_first = min(num_first, len(source))
  first = rng.integers(num_first, size=_TRIALS - 1)
  second = (first + rng.integers(1, max(2, num_first), size=_TRIALS - 1)) % num_first
  two = np.stack([first, second], 1)
  trials = np.concatenate([np.eye(3)[None], best_rotation(source[two], target[two])])
  cosines = np.einsum('Tij,Nj,Ni->TN', trials, source[jury], target[jury], optimize=True)
  return trials[np.argmax((cosines > np.cos(np.radians(RIGHT))).sum(1))]


def normal_statistics(
  prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray
) -> dict[str, float]:
  """Mean and median error in degrees, and the percentages of pixels below three thresholds.

  Args:
    prediction: normals [height, width, 3].
    truth: likewise.
    mask: [height, width], not zero on the pixels that are judged.
  """
  errors = angular_error(prediction, truth)[np.asarray(mask) != 0]
  below = {
    f'below_{name}': float((errors < degrees).mean() * 100)
    for name, degrees in (('11_25', RIGHT), ('22_5', 22.5), ('30', 30.0))
  }
  return {'mean': float(errors.mean()), 'median': float(np.median(errors)), **below}


def normal_score(
  prediction: np.ndarray,
  truth: np.ndarray,
  mask: np.ndarray | None = None,
  *,
  rotate: bool = True,
  ransac: bool = True,
  seed: int = 0,
) -> float:
  """The share in [0, 1] of judged pixels that are right, up to one rotation of the whole picture.

  Args:
    prediction: a picture of normals.
    truth: likewise.
    mask: [height, width], not zero on the pixels that are judged; `valid_pixels(truth)` if None.
    rotate: turn the prediction towards the truth first.
    ransac: find the rotation by trials, else by least squares.
    seed: of the trials.

  Returns:
    The share; 1.0 without a judged pixel.

  Raises:
    ValueError: `ransac` has no judged pixel to draw, or nothing to rotate.
  """
  mask = valid_pixels(truth) if mask is None else np.asarray(mask) != 0
  source, target = (normals_from_rgb(picture)[mask] for picture in (prediction, truth))
  if not mask.any():
    if rotate and ransac:
      raise ValueError('no pixel is valid, RANSAC has nothing to draw; leave the picture out')
    return 1.0
  if ransac and not rotate:
    raise ValueError('RANSAC looks for a rotation, but rotate is off; switch ransac off, too')
  if ransac:
    source = source @ robust_rotation(source, target, num_first=len(truth), seed=seed).T
  elif rotate:
    source = source @ best_rotation(source, target).T
  return float((angular_error(source, target) < RIGHT).mean())
