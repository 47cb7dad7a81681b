"""The metrics of GRIT, run lengths, robot actions, and generated pictures back at source size."""

import numpy as np
import pytest

from t5x.examples.unified_io.metrics import (
  keypoint,
  localization,
  normal,
  rle,
  robot,
  segmentation,
  target_image,
)  # fmt: skip
from tests.parity import harness
from tests.parity.data import compare


def outcome_of(compute):
  """(result, whether it was refused)."""
  try:
    return compute(), False
  except ValueError:
    return None, True


def compare_assignments(case, score):
  """`rows` of predictions, truths, score and pairs; the score's other fields are the caller's."""
  for i, row in enumerate(case.config['rows']):
    at = f'rows/{i}'
    case.given(f'{at}/pred', f'{at}/gt', f'{at}/stuff')
    found, refused = outcome_of(lambda row=row: score(row))
    if 'raises' in row:
      case.exact(f'{at}/raises', refused, row['raises'] is not None)
    if refused:
      assert row['score'] is row['pair_ids'] is None
      case.exact(f'{at}/score', found, row['score'])
      case.exact(f'{at}/pair_ids', found, row['pair_ids'])
      continue
    compare.number(case, f'{at}/score', found.score, row['score'])
    if 'pair_ids' in row:
      pairs = np.array(found.pairs, int).reshape(-1, 2)
      case.exact(f'{at}/pair_ids', pairs, np.array(row['pair_ids'], int).reshape(-1, 2))
    if 'pair_ious' in row:
      compare.number(case, f'{at}/pair_ious', found.similarities, row['pair_ious'])


@pytest.mark.parametrize('path', harness.cases('data/f_metrics', 'grit_localization'))
def test_boxes_are_scored_as_by_the_benchmark(path):
  with harness.case(path) as c:
    compare_assignments(c, lambda row: localization.localization_score(row['pred'], row['gt']))
    for i, row in enumerate(c.config['iou']):
      c.given(f'iou/{i}/a', f'iou/{i}/b')
      got = localization.box_overlap(row['a'], row['b'])
      compare.number(c, f'iou/{i}/iou_inter_union', got, row['iou_inter_union'])
    c.given('area_invalid_input')
    for name, call in c.config['area_invalid_input'].items():
      got = localization.box_area(call['box'], call['invalid'])
      c.exact(f'area_invalid/{name}', got, c.config['area_invalid'][name])


@pytest.mark.parametrize('path', harness.cases('data/f_metrics', 'grit_keypoint'))
def test_keypoints_are_scored_as_by_the_benchmark(path):
  with harness.case(path) as c:
    compare_assignments(c, lambda row: keypoint.keypoint_score(row['pred'], row['gt']))
    for i, row in enumerate(c.config['rows']):
      if row['oks'] is None:
        c.given(f'rows/{i}/oks')
      else:
        compare.number(
          c, f'rows/{i}/oks', keypoint.similarity_matrix(row['pred'], row['gt']), row['oks']
        )
    c.given('*_input')
    box = keypoint.keypoint_box(c.config['bbox_from_kp_input'])
    compare.number(c, 'bbox_from_kp', box, c.config['bbox_from_kp'])
    for name in ('wrapper', 'wrapper_wrong_id'):
      call, want = c.config[f'{name}_input'], c.config[name]
      got, refused = outcome_of(
        lambda call=call: keypoint.example_score(call['prediction'], call['ground_truth'])
      )
      if isinstance(want, str):
        c.exact(name, refused, True)
      else:
        compare.number(c, name, got, want)


@pytest.mark.parametrize('path', harness.cases('data/f_metrics', 'grit_segmentation'))
def test_masks_are_scored_as_by_the_benchmark(path):
  with harness.case(path) as c:
    calls = c.config['calls']
    c.given('calls', *(name for name in c.outputs if name not in calls))

    def score(row):
      predictions, truths = ([c.outputs[name] for name in row[side]] for side in ('pred', 'gt'))
      return segmentation.segmentation_score(predictions, truths, stuff=row['stuff'])

    compare_assignments(c, score)
    c.given('shape_mismatch_input')
    refused = outcome_of(lambda: score(c.config['shape_mismatch_input']))[1]
    c.exact('shape_mismatch', refused, c.config['shape_mismatch'] is not None)
    for name, call in calls.items():
      if 'mask' in call:
        got = segmentation.boundary(c.outputs[call['mask']], call['ratio'])
        c.exact(name, got, c.outputs[name])
      else:
        got = segmentation.mask_overlap(c.outputs[call['a']], c.outputs[call['b']])
        compare.number(c, name, got, c.config[name])


@pytest.mark.parametrize('path', harness.cases('data/f_metrics', 'grit_normal'))
def test_normals_are_scored_as_by_the_benchmark(path):
  with harness.case(path) as c:
    calls, z = c.config['calls'], c.outputs
    results = ('rgb2normal', 'sharp', 'mask', 'align_R')
    c.given('calls', 'pred_arrays', '*_array', *(name for name in z if name not in results))
    c.exact('mask_true', int(z['mask'].sum()), c.config['mask_true'])
    got = normal.normals_from_rgb(z[calls['rgb2normal']['of']])
    compare.number(c, 'rgb2normal', got, z['rgb2normal'])
    call = calls['sharp']
    edges = normal.sharp_edges(normal.normals_from_rgb(z[call['of']]), call['angle'])
    c.exact('sharp', edges, z['sharp'])
    c.exact('mask', normal.valid_pixels(z[calls['mask']['of']]), z['mask'])
    call = calls['align_R']
    source, target = (
      normal.normals_from_rgb(z[call[side]])[z[call['mask']] > 0] for side in ('from', 'to')
    )
    compare.number(c, 'align_R', normal.best_rotation(source, target), z['align_R'])

    for i, row in enumerate(c.config['rows']):
      c.given(*(f'rows/{i}/{name}' for name in ('pred', 'name', 'kw')))
      got, refused = outcome_of(
        lambda row=row: normal.normal_score(
          z[c.config['pred_arrays'][row['pred']]], z[c.config['gt_array']],
          z[c.config['mask_array']], **switches(row),
        )
      )  # fmt: skip
      c.exact(f'rows/{i}/raises', refused, row['raises'] is not None)
      compare.number(c, f'rows/{i}/score', got, row['score'])
    call = calls['empty_mask']
    assert call['mask'] == 'all zero'
    for i, row in enumerate(c.config['empty_mask']):
      c.given(f'empty_mask/{i}/kw')
      prediction, truth = z[call['pred']], z[call['gt']]
      got, refused = outcome_of(
        lambda p=prediction, t=truth, row=row: normal.normal_score(
          p, t, np.zeros(t.shape[:2]), **switches(row)
        )
      )
      if isinstance(row['value'], str):
        c.exact(f'empty_mask/{i}/value', refused, True)
      else:
        compare.number(c, f'empty_mask/{i}/value', got, row['value'])

    call = calls['ang_error']
    assert call['mask'] is None
    errors = normal.angular_error(z[call['a']], z[call['b']]).ravel()
    first = c.config['ang_error_first']
    compare.number(c, 'ang_error_first', errors[: len(first)], first)
    compare.number(c, 'ang_error_mean', errors.mean(), c.config['ang_error_mean'])
    call = calls['evaluate_normal']
    got = normal.normal_statistics(z[call['a']], z[call['b']], z[call['mask']])
    for name, want in c.config['evaluate_normal'].items():
      compare.number(c, f'evaluate_normal/{name}', got[name], want)
    call = calls['evaluate_normal_fast']
    a, b = z[call['a']], z[call['b']]
    if call['as_normals']:
      a, b = normal.normals_from_rgb(a), normal.normals_from_rgb(b)
    share = normal.normal_statistics(a, b, z[call['mask']])['below_11_25']
    compare.number(c, 'evaluate_normal_fast', share, c.config['evaluate_normal_fast'])


def switches(row):
  # `mode` chooses the original's generator of random numbers; ours is always seeded.
  return {name: value for name, value in row['kw'].items() if name != 'mode'}


# pycocotools hands NumPy an array in a way that NumPy 2 calls outdated.
@pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')
@pytest.mark.parametrize('path', harness.cases('data/f_metrics', 'rle'))
def test_run_lengths_are_those_of_coco(path):
  with harness.case(path) as c:
    encoded = {}
    for i, row in enumerate(c.config['rows']):
      at, mask = f'rows/{i}', c.outputs[row['name']]
      c.given(f'{at}/name', row['name'])
      c.exact(f'{at}/uncompressed', rle.run_lengths(mask), row['uncompressed'])
      encoded[row['name']] = rle.encode(mask)
      c.exact(f'{at}/encoded', encoded[row['name']], row['encoded'])
      got, refused = outcome_of(lambda row=row: rle.compress(row['uncompressed']))
      c.exact(f'{at}/compress_raises', refused, row['compress_raises'] is not None)
      c.exact(f'{at}/compressed_bytes_equal', got == row['encoded'], row['compressed_bytes_equal'])
      same = np.array_equal(rle.decode(row['encoded']), mask)
      c.exact(f'{at}/decode_equal', same, row['decode_equal'])
    c.given('decode_list_input')
    masks = rle.decode([encoded[name] for name in c.config['decode_list_input']])
    c.exact('decode_list_shapes', [list(m.shape) for m in masks], c.config['decode_list_shapes'])


@pytest.mark.parametrize('path', harness.cases('data/f_metrics', 'robot_actions'))
def test_robot_actions_are_those_of_the_original_but_turn_by_degrees(path):
  with harness.case(path) as c:
    for i, row in enumerate(c.config['rows']):
      at = f'rows/{i}'
      c.given(f'{at}/text')
      read = robot.read_actions(row['text'])
      c.exact(f'{at}/steps', read and read.steps, row['steps'])
      compare.number(c, f'{at}/actions', read and read.actions, row['actions'])
      poses, refused = outcome_of(lambda read=read: read and robot.poses(read.actions))
      c.exact(f'{at}/raises', refused, row['raises'] is not None)
      if row['reconstructed'] is None:
        c.exact(f'{at}/reconstructed', poses, None)
        continue
      for name, want in row['reconstructed'].items():
        if name.endswith('_rotation'):
          c.fixed(f'{at}/reconstructed/{name}', 'data-35')
        else:
          compare.number(c, f'{at}/reconstructed/{name}', poses[name], want)
    for i, row in enumerate(c.config['euler_to_quat']):
      c.given(f'euler_to_quat/{i}/rot')
      got = robot.quaternion(row['rot'], degrees=False)
      compare.number(c, f'euler_to_quat/{i}/quat_xyzw', got, row['quat_xyzw'])


@pytest.mark.parametrize('path', harness.cases('data/f_metrics', 'target_image_back'))
def test_generated_pictures_come_back_at_source_size(path):
  with harness.case(path) as c:
    image = c.outputs['image']
    c.given('image')
    for i, row in enumerate(c.config['rows']):
      settings = ('size', 'image_info', 'variant', 'method', 'gray', 'uint8', 'arrays')
      c.given(*(f'rows/{i}/{name}' for name in settings))
      got = target_image.build_target_image(
        image, row['image_info'], method=row['method'], gray=row['gray'], as_uint8=row['uint8']
      )
      assert list(got.shape[:2]) == row['size']
      at, prefix = f'rows/{i}/summary', row['arrays'].removesuffix('.*')
      compare.summary(c, at, prefix, got, row['summary'], compare.tolerance(c, at))
    depth = c.config['depth']
    c.given(*(f'depth/{name}' for name in depth if name != 'summary'))
    assert (depth['method'], depth['gray']) == ('bilinear', True)
    got = target_image.build_depth(image, depth['image_info'], max_depth=depth['max_depth'])
    prefix = depth['arrays'].removesuffix('.*')
    atol = compare.tolerance(c, 'depth.summary')
    compare.summary(c, 'depth/summary', prefix, got, depth['summary'], atol)
    c.given('with_offset_input')
    info = c.config['with_offset_input']['image_info']
    refused = outcome_of(lambda: target_image.build_target_image(image, info))[1]
    c.exact('with_offset', refused, c.config['with_offset'] is not None)
