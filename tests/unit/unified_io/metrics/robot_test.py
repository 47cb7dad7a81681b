"""Robot actions read from text."""

import numpy as np
import pytest

from t5x.examples.unified_io.metrics import robot


def bins(*numbers):
  return ' '.join(f'<extra_id_{200 + n}>' for n in numbers)


TEXT = (
  f'0: pick from ( {bins(100, 200, 250)} ) and place to ( {bins(400, 500, 500)} ) '
  f'1: push from ( {bins(0, 999, 0)} ) and push to ( {bins(1, 2, 3)} )'
)


def test_actions_are_read_with_their_steps():
  steps, actions = robot.read_actions(TEXT)
  assert steps == ['0', '1']
  want = [[0.1, 0.2, 90, 0.4, 0.5, 180, 0], [0, 0.999, 0, 0.001, 0.002, 1.08, 1]]
  np.testing.assert_allclose(actions, want, rtol=1e-12)


@pytest.mark.parametrize('text', ['', 'pick it up', TEXT.replace('pick', 'take')[:90]])
def test_text_without_an_action_gives_none(text):
  assert robot.read_actions(text) is None


def test_turns_are_degrees_about_the_vertical():
  found = robot.poses(robot.read_actions(TEXT).actions)
  np.testing.assert_allclose(found['pose0_position'], [[0.3, -0.3], [0.25, 0.499]], atol=1e-6)
  quarter = [0, 0, 0.5**0.5, 0.5**0.5]
  np.testing.assert_allclose(found['pose0_rotation'], [quarter, [0, 0, 0, 1]], atol=1e-6)
  np.testing.assert_allclose(found['pose1_rotation'][0], [0, 0, 1, 0], atol=1e-6)
  assert found['pose1_rotation'].dtype == np.float32


def test_the_unit_of_an_angle_is_said():
  np.testing.assert_allclose(
    robot.quaternion([30, -40, 100], degrees=True),
    robot.quaternion(np.radians([30, -40, 100]).tolist(), degrees=False),
  )


def test_a_position_off_the_table_is_read_but_not_reached():
  read = robot.read_actions(TEXT.replace('<extra_id_300>', '<extra_id_100>'))
  assert read.actions[0, 0] == -0.1
  with pytest.raises(ValueError, match='pose0 lies off the table'):
    robot.poses(read.actions)
