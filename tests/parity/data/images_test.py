"""Pictures on their canvas, boxes and points as text, and the helpers of all tasks."""

import json

import numpy as np
import pytest
import tensorflow as tf

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import data_utils, geometry, prompt_slots, regions
from t5x.examples.unified_io.data.features import image as image_features
from t5x.examples.unified_io.data.features import patches
from tests.parity import harness
from tests.parity.data import compare, raw

FOLDER = 'data/b_images'
NOTHING = -1  # stands for the NaN of rows that are refused
ENDS_IN_ERROR = (ValueError, tf.errors.InvalidArgumentError)


def outcome_of(compute):
  """(result, whether it was refused)."""
  try:
    return compute(), False
  except ENDS_IN_ERROR:
    return None, True


def pictures():
  return raw.arrays_of('b_images/inputs')


def set_size(monkeypatch, size):
  sizes = data_utils.ImageSizes(input=tuple(size), target=tuple(size), history=tuple(size))
  monkeypatch.setattr(data_utils, 'image_sizes', lambda: sizes)


def picture_of(c):
  """The input of a resize case."""
  image = pictures()[c.config['image']]
  if transform := c.config.get('transform_expr'):
    return (image / np.float32(transform['scale']) + np.float32(transform['offset'])).astype('f4')
  if frames := c.config.get('frames_expr'):
    axis = {'left-right': 1, 'up-down': 0}
    flipped = [np.flip(image, axis[f['flip']]) if f['flip'] else image for f in frames]
    return np.stack([255 - x if f['invert'] else x for f, x in zip(frames, flipped, strict=True)])
  return image


def compare_mask(c, mask):
  want = c.config['mask']
  c.exact('mask/shape', list(mask.shape), want['shape'])
  c.exact('mask/dtype', mask.dtype.name, want['dtype'])
  c.exact('mask/ones', int(mask.sum()), want['ones'])
  frame = mask if mask.ndim == 2 else mask[0]
  box = compare.box_of(frame)
  c.exact('mask/bbox_y0x0y1x1', box, want['bbox_y0x0y1x1'])
  filled = np.zeros_like(frame)
  filled[box[0] : box[2], box[1] : box[3]] = 1
  c.exact('mask/is_filled_box', bool((mask == filled).all()), want['is_filled_box'])
  c.exact('mask/sha256_16', compare.digest(mask), want['sha256_16'])


def compare_picture(c, image, mask, info):
  compare.summary(
    c, 'tensors/image', 'image', image.numpy(), c.config['tensors']['image'],
    compare.tolerance(c, 'tensors.image'),
  )  # fmt: skip
  compare_mask(c, mask.numpy())
  for stored in (c.config, c.outputs):
    if 'image_info' in stored:
      c.exact('image_info', info.numpy(), np.asarray(stored['image_info'], np.float32))
  assert len(c.config.get('info_fields', info)) == len(info)
  c.given('info_fields')


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'resize_*'))
def test_pictures_lie_on_the_canvas_as_in_evaluation_of_the_original(path, monkeypatch):
  with harness.case(path) as c:
    c.given('image', 'kind', 'transform', 'transform_expr', 'frames_expr', 'pad_one_side')
    c.given('output_size')
    set_size(monkeypatch, c.config['output_size'])
    monkeypatch.setattr(config, 'PAD_ONE_SIDE', c.config.get('pad_one_side', False))
    kind = c.config.get('kind', 'input')
    image, mask, (info, masks, boxes, _, indices) = data_utils.resize_and_pad_default(
      picture_of(c), False, is_input=kind != 'target', is_history=kind == 'history'
    )
    compare_picture(c, image, mask, info)
    for name, value in (('masks', masks), ('boxes', boxes), ('indices', indices)):
      if name in c.config:
        c.exact(name, value, c.config[name])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'train_pinned_*'))
def test_pictures_lie_on_the_canvas_as_in_training_of_the_original(path, monkeypatch):
  with harness.case(path) as c:
    c.given('image', 'unit_draws', 'ranges', 'is_input', 'output_size', 'boxes_in', 'labels_in')
    set_size(monkeypatch, c.config['output_size'])
    draws, asked = iter(c.config['unit_draws']), []

    def draw(seed, low, high):
      asked.append([low, high])
      return tf.constant(low + (high - low) * next(draws), tf.float32)

    monkeypatch.setattr(data_utils, 'draw_float', draw)
    image, mask, (info, _, boxes, labels, indices) = data_utils.resize_and_pad_default(
      pictures()[c.config['image']], True, tf.constant([0, 0]), is_input=c.config['is_input'],
      resize_method='bilinear', boxes=c.outputs['boxes_in'], box_labels=c.outputs['labels_in'],
    )  # fmt: skip
    assert asked == c.config['ranges']
    compare_picture(c, image, mask, info)
    compare_boxes(c, boxes, labels, indices)


def compare_boxes(c, boxes, labels, indices):
  for name, value in (('boxes_out', boxes), ('labels_out', labels), ('indices', indices)):
    assert value.dtype.name == c.outputs[name].dtype.name
    c.exact(name, value.numpy(), c.outputs[name])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'boxes_*'))
def test_boxes_move_with_their_picture(path):
  with harness.case(path) as c:
    c.given('image', 'filter_box', 'output_size', 'boxes_in', 'labels_in')
    image = pictures()[c.config['image']]
    c.exact('image_shape', list(image.shape), c.config['image_shape'])
    _, _, (info, _, boxes, labels, indices) = data_utils.resize_and_pad(
      image, tuple(c.config['output_size']), boxes=c.outputs['boxes_in'],
      box_labels=c.outputs['labels_in'], filter_box=c.config['filter_box'],
    )  # fmt: skip
    c.exact('image_info', info.numpy(), c.outputs['image_info'])
    compare_boxes(c, boxes, labels, indices)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'method_*'))
def test_every_kernel_resizes_as_in_the_original(path):
  with harness.case(path) as c:
    c.given('image', 'method', 'output_size')
    ours = {'NEAREST_NEIGHBOR': 'nearest'}
    order = [ours.get(name, name.lower()) for name in c.config['order']]
    c.exact('order', list(data_utils.RESIZE_METHODS), order)
    method = c.config['method'].upper()
    image, *_ = data_utils.resize_and_pad(
      pictures()[c.config['image']], tuple(c.config['output_size']),
      resize_method=ours.get(method, method.lower()),
    )  # fmt: skip
    atol = compare.tolerance(c, 'tensors.image')
    compare.summary(c, 'tensors/image', 'image', image.numpy(), c.config['tensors']['image'], atol)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'size_table'))
def test_geometry_is_that_of_the_original_for_all_sizes(path):
  with harness.case(path) as c:
    c.given('sizes', 'output_sizes', 'info_fields')
    refused = []
    for name, size in c.config['output_sizes'].items():
      rows = []
      for source in c.outputs['sizes']:
        place, is_refused = outcome_of(lambda s=source, z=size: geometry.fit(tf.constant(s), z))
        if is_refused:
          refused.append([*source.tolist(), size[0]])
          rows.append(np.full(c.outputs[name].shape[1], NOTHING))
        else:
          box = tf.cast(tf.concat([place.pad, place.pad + place.shown], 0), tf.float32)
          rows.append(tf.concat([place.info(), box], 0).numpy())
      c.exact(name, np.stack(rows), np.nan_to_num(c.outputs[name], nan=NOTHING))
    c.exact('raises', refused, c.config['raises'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'masks'))
def test_segments_lie_where_the_picture_lies(path):
  with harness.case(path) as c:
    c.given('calls', 'output_size', 'target_size', 'mask_in')
    for name, call in c.config['calls'].items():
      stored = [c.outputs[m['array']] for m in call['masks']]
      masks = [
        1 - m if spec['invert'] else m for m, spec in zip(stored, call['masks'], strict=True)
      ]
      masks = np.stack(masks)[..., None] if call['rank'] == 4 else masks[0][..., None]
      image = np.zeros((*masks.shape[-3:-1], 3), np.uint8)
      _, _, (_, out, *_) = data_utils.resize_and_pad(
        image, tuple(c.config['output_size']), masks=masks,
        desired_target_size=tuple(c.config['target_size']),
      )  # fmt: skip
      # One mask of rank 3 is given back as it came, so there is nothing to take it out of.
      assert call['result_index'] in (None, 0)
      c.exact(name, out.numpy(), c.outputs[name])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'box_helpers'))
def test_box_helpers_are_those_of_the_original(path):
  with harness.case(path) as c:
    c.given('calls', 'boxes')
    for name, call in c.config['calls'].items():
      boxes = tf.constant(c.outputs[call['of']])
      if call['op'] == 'denormalize':
        got = geometry.denormalize_boxes(boxes, tf.constant(call['size']))
      elif call['op'] == 'clip':
        got = geometry.clip_boxes(boxes, call['size'])
      elif call['op'] == 'resize and crop':
        got = geometry.shift_boxes(boxes, call['scale'], offset=call['offset'], pad=call['pad'])
        got = geometry.clip_boxes(got, call['clip_to'])
      else:
        assert call['op'].startswith('indices of boxes with positive height')
        got = geometry.non_empty_boxes(boxes)
      c.exact(name, got.numpy(), c.outputs[name])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'box_mask'))
def test_masks_of_boxes_are_those_of_the_original(path):
  with harness.case(path) as c:
    c.given('args', 'size')
    for i, (box, inclusive) in enumerate(c.config['args']):
      got = geometry.box_mask(tf.constant(box), tuple(c.config['size']), inclusive)
      c.exact(f'mask{i}', got.numpy(), c.outputs[f'mask{i}'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'normalize'))
def test_pixels_are_normalised_as_for_the_released_vit(path):
  with harness.case(path) as c:
    c.given('calls', 'x', 'video')
    c.exact('mean', list(config.IMAGE_VIT_MEAN), c.config['mean'])
    c.exact('std', list(config.IMAGE_VIT_STD), c.config['std'])
    ops = {
      'normalize': image_features.normalise_pixels,
      'unnormalize': data_utils.unnormalize_image,
    }
    for name, call in c.config['calls'].items():
      compare.number(c, name, ops[call['op']](c.outputs[call['of']]).numpy(), c.outputs[name])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'trim_pad'))
def test_axes_are_cut_and_filled_as_in_the_original(path):
  with harness.case(path) as c:
    c.given('calls')
    for name, call in c.config['calls'].items():
      c.given(call['of'])
      values = tf.constant(c.outputs[call['of']])
      got = data_utils.trim_or_pad(values, call['sizes'], call['pad'])
      c.exact(name, got.numpy(), c.outputs[name])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'sample_patches'))
def test_visible_patches_are_taken_first(path, monkeypatch):
  with harness.case(path) as c:
    c.given('calls')
    for name, call in c.config['calls'].items():
      c.given(call['mask'])
      mask, want = c.outputs[call['mask']], c.outputs[name]
      if call['shuffle'] == 'random':
        for row in range(call['rows']):
          picked = patches.sample_patches(tf.constant(mask), call['n'], tf.constant([row, 1]))
          assert mask[picked.numpy()].all() == (call['n'] <= mask.sum())
        c.given(name)  # an unpinned draw: only the property counts
        continue
      step = {'identity': 1, 'reverse': -1}[call['shuffle']]
      monkeypatch.setattr(data_utils, 'draw_order', lambda seed, n, s=step: tf.range(n)[::s])
      got = patches.sample_patches(tf.constant(mask), call['n'], tf.constant([0, 0]))
      c.exact(name, got.numpy(), want)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'quantise_values'))
def test_coordinates_become_the_pieces_of_the_original(path):
  with harness.case(path) as c:
    c.given('values', 'with_class_strings_input')
    texts = regions.values_to_tokens(c.outputs['values']).numpy()
    numbers = [int(text.decode().removeprefix('<extra_id_').removesuffix('>')) for text in texts]
    c.exact('extra_id', np.array(numbers), c.outputs['extra_id'])
    for value, want in c.config['out_of_range'].items():
      got, refused = outcome_of(lambda v=value: regions.values_to_tokens(tf.constant([float(v)])))
      if isinstance(want, str):
        c.exact(f'out_of_range/{value}', refused, True)
      else:
        c.exact(f'out_of_range/{value}', [t.decode() for t in got.numpy()], want)
    for i, row in enumerate(c.config['tokens_to_values']):
      c.given(f'tokens_to_values/{i}/tokens')
      got = regions.tokens_to_values(row['tokens'])
      compare.number(c, f'tokens_to_values/{i}/values', got, np.array(row['values'], np.float64))
    call = c.config['with_class_strings_input']
    rows = regions.values_to_tokens(tf.constant(call['boxes']), tf.constant(call['labels']))
    got = [[text.decode() for text in row] for row in rows.numpy()]
    c.exact('with_class_strings', got, c.config['with_class_strings'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'quantise_boxes'))
def test_regions_become_text_and_numbers_again_as_in_the_original(path):
  from t5x.examples.unified_io.metrics import coordinates

  with harness.case(path) as c:
    c.given('calls')
    for name, call in c.config['calls'].items():
      if 'text' in call:
        kind = 'point' if name.startswith('point') else 'box'
        text, size = c.config[call['text']], [call['size']] * 2
        if kind == 'point':
          values, labels = coordinates.extract_points_from_text(text, size)
          assert labels == c.config['point_labels_back']
          c.given('point_labels_back')
        else:
          values, labels = coordinates.extract_bboxes_from_text(text, size, call['labels'])
          if call['labels']:
            c.exact('labels_back', labels, c.config['labels_back'])
        compare.number(c, name, values, c.outputs[name])
        continue
      spec = call.get('boxes') or call['points']
      c.given(spec['array'])
      index = raw.index(spec['index'])
      got = regions.regions_to_str(
        tf.constant(c.outputs[spec['array']][index] / np.float32(spec['divide_by'])),
        None if call['labels'] is None else tf.constant(call['labels']),
        image_size=call['size'], separator=call['separator'],
      ).numpy()  # fmt: skip
      if call['separator'] is None:
        c.exact(name, [[text.decode() for text in row] for row in got], c.config[name])
      else:
        c.exact(name, got.decode(), c.config[name])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'prompt_filling'))
def test_slots_are_filled_as_in_the_original_whatever_the_values_hold(path):
  with harness.case(path) as c:
    for i, row in enumerate(c.config['fills']):
      at, names = f'fills/{i}', list(row['fill'])
      c.given(f'{at}/template', f'{at}/fill', f'{at}/allow_missing')
      if any(f'{{{later}}}' in row['fill'][n] for k, n in enumerate(names) for later in names[k:]):
        c.fixed(f'{at}/result', 'data-13')
        c.fixed(f'{at}/error', 'data-13')
        continue
      got, refused = outcome_of(
        lambda row=row: prompt_slots.fill(row['template'], row['fill'], row['allow_missing'])
      )
      c.exact(f'{at}/result', None if refused else got.numpy().decode(), row['result'])
      c.exact(f'{at}/error', refused, row['error'] is not None)
    for i, row in enumerate(c.config['keyword_validation']):
      at = f'keyword_validation/{i}'
      c.given(f'{at}/prompts')
      refused = outcome_of(lambda row=row: prompt_slots.check_slots(row['prompts']))[1]
      c.exact(f'{at}/ok', not refused, row['ok'])
      c.exact(f'{at}/error', refused, row['error'] is not None)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'class_names'))
def test_class_names_are_those_of_the_original(path, tmp_path):
  with harness.case(path) as c:
    for i, row in enumerate(c.config['cases']):
      file = tmp_path / f'{i}.json'
      file.write_text(json.dumps(row['file']))
      c.given(f'cases/{i}/file')
      got, refused = outcome_of(lambda file=file: data_utils.load_class_names(str(file)))
      c.exact(f'cases/{i}/result', got, row['result'])
      c.exact(f'cases/{i}/error', refused, row['error'] is not None)
    names = data_utils.load_class_names('metadata/coco/coco_class_name_2017.json')
    c.exact('coco', names, c.config['coco'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'random_element'))
def test_one_of_several_is_drawn_as_in_the_original(path):
  with harness.case(path) as c:
    c.given('list1_input', 'seed', 'vec')
    seed = tf.constant(c.config['seed'])
    c.exact('list1', data_utils.random_element(c.config['list1_input'], seed), c.config['list1'])
    got = data_utils.random_element(tf.constant(c.config['vec']), seed)
    c.exact('seeded_value', int(got), c.config['seeded_value'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'inputs'))
def test_pictures_are_those_that_the_case_tells(path):
  with harness.case(path) as c:
    for name, shape in c.config['images'].items():
      c.given(name)
      c.exact(f'images/{name}', list(c.outputs[name].shape), shape)
