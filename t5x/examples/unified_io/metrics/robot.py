"""Actions of a tabletop robot arm (VIMA) read from generated text.

  1: pick from ( <extra_id_300> <extra_id_400> <extra_id_500> ) and place to ( ... )

The three bins of a side are x and y on the table and a turn, each a part of its range.
"""

import re
from typing import NamedTuple

import numpy as np
from scipy.spatial import transform

from t5x.examples.unified_io import config

X_RANGE = (0.25, 0.75)  # metres
Y_RANGE = (-0.5, 0.5)
_BINS = r'\( ?' + ' ?'.join([r'<extra_id_(\d+)>'] * 3) + r' ?\)'
_ACTION = re.compile(rf'(\d+): (push|pick) from {_BINS} and (?:push|place) to {_BINS}')


class RobotActions(NamedTuple):
  """The actions of a text.

  Attributes:
    steps: the number before each, as written.
    actions: float64 [n, 7]: x, y as parts of their ranges and the turn in degrees, where it starts
      and where it ends; then 0.0 for picking and 1.0 for pushing.
  """

  steps: list[str]
  actions: np.ndarray


def read_actions(text: str) -> RobotActions | None:
  """All actions of a text, None where it has none."""
  steps, actions = [], []
  for match in _ACTION.finditer(text):
    step, verb, *bins = match.groups()
    shares = [(int(i) - config.VOCAB_START) / config.NUM_DETECTION_BINS for i in bins]
    x0, y0, turn0, x1, y1, turn1 = shares
    steps.append(step)
    actions.append([x0, y0, turn0 * 360, x1, y1, turn1 * 360, float(verb == 'push')])
  return RobotActions(steps, np.array(actions, np.float64)) if steps else None


def poses(actions: np.ndarray) -> dict[str, np.ndarray]:
  """What the simulator takes, for actions as `read_actions` gives them.

  Returns:
    pose0_position and pose1_position, float32 [n, 2] in metres, and pose0_rotation and
    pose1_rotation, float32 [n, 4]: quaternions x, y, z, w of the turn about the vertical.

  Raises:
    ValueError: A position lies off the table.
  """
  actions = np.asarray(actions, np.float64)
  found = {}
  for pose, start in (('pose0', 0), ('pose1', 3)):
    shares, turns = actions[:, start : start + 2], actions[:, start + 2]
    if ((shares < 0) | (shares > 1)).any():
      raise ValueError(
        f'{pose} lies off the table: {shares.tolist()} of its ranges; bins go from '
        f'{config.VOCAB_START} to {config.VOCAB_START + config.NUM_DETECTION_BINS - 1}'
      )
    low, high = np.array([X_RANGE, Y_RANGE]).T
    found[f'{pose}_position'] = (low + shares * (high - low)).astype(np.float32)
    rotations = [quaternion([0.0, 0.0, turn], degrees=True) for turn in turns]
    found[f'{pose}_rotation'] = np.array(rotations, np.float32).reshape(-1, 4)
  return found


def quaternion(angles: list[float], *, degrees: bool) -> np.ndarray:
  """Turns about x, y and z -> the quaternion x, y, z, w, float64; first z, then x, then y.

  Args:
    angles: [about x, about y, about z].
    degrees: their unit; radians otherwise.
  """
  x, y, z = angles
  return transform.Rotation.from_euler('zxy', (z, x, y), degrees=degrees).as_quat()
