"""Drawn scenes: exact boxes, exact repetition, the tones that a model needs."""

import dataclasses
import hashlib

import numpy as np
import pytest

from create_data.demo_world import scenes

CONFIG = scenes.SceneConfig()
CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
CLIP_STD = np.array([0.26862954, 0.26130258, 0.27577711])


def make(count: int, name: str = 'a', config: scenes.SceneConfig = CONFIG, **options):
  return scenes.make_scene(config, seed=name, count=count, **options)


def extent(changed: np.ndarray) -> tuple[int, int, int, int]:
  """x, y, width and height of the True pixels."""
  rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
  return columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('index', range(30))
def test_taking_an_object_away_changes_exactly_the_pixels_of_its_box(index, aligned):
  config = scenes.SceneConfig(aligned=aligned)
  scene = make(1 + index % 5, f'{index}', config)
  picture = scenes.draw(scene).astype(int)
  for i, item in enumerate(scene.objects):
    without = dataclasses.replace(
      scene,
      objects=scene.objects[:i] + scene.objects[i + 1 :],
      paints=scene.paints[:i] + scene.paints[i + 1 :],
    )
    changed = (picture != scenes.draw(without)).any(-1)
    assert extent(changed) == (item.x, item.y, item.side, item.side)


@pytest.mark.parametrize('shape', scenes.SHAPES)
@pytest.mark.parametrize('side', [12, 13, 16, 28])
def test_a_shape_touches_all_four_edges_of_its_box(shape, side):
  seen = scenes.coverage(shape, side) > 0
  assert extent(seen) == (0, 0, side, side)
  assert 0.3 < seen.mean() <= 1


def test_shapes_of_one_size_differ_in_many_pixels():
  masks = [scenes.coverage(shape, 12) for shape in scenes.SHAPES]
  gaps = [np.abs(a - b).sum() for i, a in enumerate(masks) for b in masks[:i]]
  assert min(gaps) > 25


def test_outlines_lie_in_the_box_and_have_the_area_of_the_drawn_shape():
  for shape in scenes.SHAPES:
    item = scenes.SceneObject(shape=shape, color='red', size='large', x=4, y=8, side=24)
    points = np.array(scenes.outline(item)).reshape(-1, 2)
    assert points.min(0).tolist() == [4, 8]
    assert points.max(0).tolist() == [28, 32]
    x, y = points.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == pytest.approx(scenes.coverage(shape, 24).sum(), rel=0.05)


def test_the_same_seed_gives_the_same_pixels_on_every_machine():
  picture = scenes.draw(make(5, '0/train/0'))
  assert picture.shape == (64, 64, 3)
  assert hashlib.sha256(picture.tobytes()).hexdigest()[:16] == '411c9e3ee8cdafe6'
  assert np.array_equal(picture, scenes.draw(make(5, '0/train/0')))
  assert not np.array_equal(picture, scenes.draw(make(5, '0/train/1')))


@pytest.mark.parametrize('count', [1, 2, 3, 4, 5])
def test_scenes_have_the_asked_number_of_different_hardly_overlapping_objects(count):
  for index in range(40):
    objects = make(count, f'{index}').objects
    assert len({item.name for item in objects}) == count
    for i, a in enumerate(objects):
      assert all(scenes.overlap(a, b) <= 0.15 for b in objects[:i])
      assert all(value % 4 == 0 for value in (a.x, a.y, a.side))
      assert a.side in ((12, 16) if a.size == 'small' else (24, 28))


def test_some_objects_hide_a_part_of_others():
  hidden = 0
  for index in range(60):
    scene = make(5, f'{index}')
    drawn = sum((scenes.coverage(o.shape, o.side) > 0).sum() for o in scene.objects)
    hidden += scenes.visible_masks(scene.objects, 64).sum() < drawn
  assert hidden > 5


def test_a_taken_scene_does_not_come_out_again():
  first = make(1)
  second = make(1, taken={first.signature})
  assert first.signature != second.signature


def test_the_background_is_near_zero_and_shapes_stand_out_after_normalisation():
  pictures = np.stack([scenes.draw(make(1 + i % 5, f'{i}')) for i in range(50)])
  values = (pictures / 255 - CLIP_MEAN) / CLIP_STD
  corner = np.median(values, axis=(1, 2))
  assert np.abs(corner).max() < 0.06
  shapes = values[np.abs(values - corner[:, None, None]).max(-1) > 0.3]
  assert 0.8 < shapes.std() < 1.5


def test_a_random_background_spreads():
  config = scenes.SceneConfig(plain_background=False)
  tones = [make(1, f'{i}', config).background[0] for i in range(50)]
  assert np.std(tones) > 20


def test_bigger_pictures_have_bigger_objects():
  objects = make(3, config=scenes.SceneConfig(image_size=128)).objects
  assert all(item.side in (24, 32, 48, 56) and item.x % 8 == 0 for item in objects)


@pytest.mark.parametrize(
  ('options', 'words'),
  [
    ({'image_size': 60}, 'multiple of 16'),
    ({'max_objects': 9}, '1 to 6'),
    ({'small': (20, 10)}, 'ascending'),
    ({'large': (25, 27)}, 'no large side'),
  ],
)
def test_an_impossible_configuration_is_refused_with_words(options, words):
  with pytest.raises(ValueError, match=words):
    scenes.SceneConfig(**options)


def test_too_many_objects_are_refused():
  with pytest.raises(ValueError, match='6 objects asked for'):
    make(6)
