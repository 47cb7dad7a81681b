"""Surface normals: angles, rotations, pixels that are judged."""

import numpy as np
import pytest
from scipy.spatial import transform

from t5x.examples.unified_io.metrics import normal

TURN = transform.Rotation.from_euler('xyz', [40, -25, 10], degrees=True).as_matrix()


def unit_vectors(*shape):
  vectors = np.random.default_rng(0).normal(size=(*shape, 3))
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def picture(vectors):
  return np.round(vectors * 122.5 + 122.5).astype(np.uint8)


def smooth(height=6, width=7):
  """Neighbours differ by a few degrees."""
  y, x = np.mgrid[:height, :width]
  vectors = np.stack([0.1 * x - 0.3, 0.1 * y - 0.2, np.ones((height, width))], -1)
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_pixels_are_read_around_the_benchmarks_centre():
  got = normal.normals_from_rgb(np.array([[245, 122, 122], [0, 123, 122]], np.uint8))
  np.testing.assert_allclose(got, [[1, -0.004, -0.004], [-1, 0.004, -0.004]], atol=1e-4)


def test_the_angle_does_not_depend_on_length():
  a, b = np.array([[1.0, 0, 0], [2, 0, 0]]), np.array([[3.0, 3, 0], [-5, 0, 0]])
  np.testing.assert_allclose(normal.angular_error(a, b), [45, 180])


def test_both_sides_of_a_sharp_edge_are_left_out():
  vectors = np.zeros((4, 5, 3))
  vectors[:, :2], vectors[:, 2:] = (0, 0, 1), (1, 0, 0)
  want = np.zeros((4, 5), bool)
  want[:, 1:3] = True
  np.testing.assert_array_equal(normal.sharp_edges(vectors), want)
  np.testing.assert_array_equal(normal.sharp_edges(vectors.transpose(1, 0, 2)), want.T)
  assert not normal.sharp_edges(vectors, 91).any()


def test_opposite_normals_whose_product_rounds_below_minus_one_are_no_edge():
  grey = np.repeat(np.array([[0, 128]], np.uint8)[..., None], 3, -1)
  vectors = normal.normals_from_rgb(grey)
  assert (vectors[0, 0] * vectors[0, 1]).sum() < -1
  assert not normal.sharp_edges(vectors).any()


@pytest.mark.parametrize('level', [0, 128, 201])
def test_grey_marks_pixels_without_a_normal(level):
  rgb = picture(smooth())
  assert normal.valid_pixels(rgb).all()
  rgb[0, 0] = level
  assert not normal.valid_pixels(rgb)[0, 0]
  assert normal.valid_pixels(rgb)[2:, 2:].all()


def test_least_squares_find_the_rotation():
  source = unit_vectors(20)
  np.testing.assert_allclose(normal.best_rotation(source, source @ TURN.T), TURN, atol=1e-12)
  mirrored = source * [1, 1, -1]
  assert np.linalg.det(normal.best_rotation(source, mirrored)) == pytest.approx(1)


def test_trials_find_the_rotation_of_the_majority():
  source = unit_vectors(300)
  target = source @ TURN.T
  target[200:] = unit_vectors(500)[400:]
  found = normal.robust_rotation(source, target, num_first=30)
  np.testing.assert_allclose(found, TURN, atol=1e-9)
  assert np.abs(normal.best_rotation(source, target) - TURN).max() > 1e-3
  again = normal.robust_rotation(source, target, num_first=30)
  np.testing.assert_array_equal(found, again)


def test_a_turned_picture_is_right_only_after_the_rotation():
  truth, turned = picture(smooth()), picture(smooth() @ TURN.T)
  assert normal.normal_score(turned, truth, rotate=False, ransac=False) == 0
  assert normal.normal_score(turned, truth, rotate=True, ransac=False) == 1
  assert normal.normal_score(turned, truth) == 1


def test_only_masked_pixels_are_judged():
  truth, wrong = picture(smooth()), picture(smooth())
  wrong[:3] = picture(np.array([1.0, 0, 0]))
  plain = {'rotate': False, 'ransac': False}
  mask = np.arange(6)[:, None].repeat(7, 1)
  assert normal.normal_score(wrong, truth, **plain) == 0.5
  assert normal.normal_score(wrong, truth, mask >= 3, **plain) == 1
  assert normal.normal_score(wrong, truth, mask >= 2, **plain) == 0.75


def test_without_a_judged_pixel_nothing_is_wrong_and_ransac_says_why_it_cannot():
  truth, none = picture(smooth()), np.zeros((6, 7))
  assert normal.normal_score(truth, truth, none, ransac=False) == 1
  with pytest.raises(ValueError, match='no pixel is valid'):
    normal.normal_score(truth, truth, none)
  with pytest.raises(ValueError, match='switch ransac off'):
    normal.normal_score(truth, truth, rotate=False)


def test_statistics_are_of_the_masked_errors():
  truth = np.tile([0.0, 0, 1], (1, 4, 1))
  angles = np.radians([0, 10, 20, 90])
  tilted = np.stack([np.sin(angles), np.zeros(4), np.cos(angles)], -1)[None]
  got = normal.normal_statistics(tilted, truth, np.array([[1, 1, 1, 0]]))
  assert got == pytest.approx(
    {'mean': 10, 'median': 10, 'below_11_25': 200 / 3, 'below_22_5': 100, 'below_30': 100}
  )
