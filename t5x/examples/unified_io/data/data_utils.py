"""What all tasks share: random draws, pictures at their sizes, and moving fields of examples.

Every draw is a function of a seed that belongs to the example (`map_example`), so that example n of
a run is the same whenever and wherever it is made. Boxes are [top, left, bottom, right].
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import inspect
import json
import pathlib
from typing import Any
import zlib

import gin
import seqio
import tensorflow as tf

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import geometry, resizing

Example = dict[str, Any]
Size = geometry.Size
STREAM = 'stream/'  # keys of the stream's bookkeeping: they pass through every preprocessor
SEED_KEY = 'stream/seed'  # int32 [2]
RESIZE_METHODS = resizing.METHODS


# ---- Random draws --------------------------------------------------------------------------------
def draw_index(seed: tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
  """One of 0 .. count - 1, each as likely. `seed` is int32 [2], here and below."""
  return tf.random.stateless_uniform([], seed, 0, count, tf.int32)


def draw_float(seed: tf.Tensor, low: float, high: float) -> tf.Tensor:
  """A number of [low, high), float32."""
  return tf.random.stateless_uniform([], seed, low, high)


def draw_order(seed: tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
  """The numbers 0 .. count - 1 in random order, int32 [count]."""
  return tf.random.experimental.stateless_shuffle(tf.range(count), seed)


def random_element(values: Sequence[Any] | tf.Tensor, seed: tf.Tensor) -> Any:
  """One of the values; the only one of a list is given back as it is."""
  if isinstance(values, Sequence) and len(values) == 1:
    return values[0]
  values = tf.convert_to_tensor(values)
  return values[draw_index(seed, tf.shape(values)[0])]


def split_seed(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
  """Independent seeds made from one."""
  return tf.unstack(tf.random.experimental.stateless_split(seed, count))


def map_example(num_seeds: int = 0) -> Callable[[Callable[..., Example]], Callable]:
  """Turns a function of one example (and `num_seeds` seeds) into a seqio preprocessor.

  f(example, seed, *, option) becomes f(dataset, option=...). The seeds are made from the example's
  own 'stream/seed' and the function's name; under plain seqio, which knows no such key, from
  seqio's. Keys below 'stream/' are carried over to the result.
  """

  def decorate(fn):
    salt = zlib.crc32(fn.__qualname__.encode()) >> 1

    def call(example, seed, kwargs):
      if not num_seeds:
        seeds = []
      else:
        seed = tf.random.experimental.stateless_fold_in(tf.cast(tf.stack(seed), tf.int32), salt)
        seeds = split_seed(seed, num_seeds) if num_seeds > 1 else [seed]
      return {**_of_stream(example), **fn(example, *seeds, **kwargs)}

    @functools.wraps(fn)
    def wrapped(ds: tf.data.Dataset, **kwargs: Any) -> tf.data.Dataset:
      if num_seeds and SEED_KEY not in ds.element_spec:
        by_seqio = seqio.map_over_dataset(lambda ex, seed: call(ex, seed, kwargs), num_seeds=1)
        return by_seqio(ds)
      return ds.map(
        lambda ex: call(ex, ex.get(SEED_KEY), kwargs), num_parallel_calls=tf.data.AUTOTUNE
      )

    first, *rest = inspect.signature(fn).parameters.values()
    first = first.replace(name='ds', annotation=tf.data.Dataset)
    wrapped.__signature__ = inspect.Signature([first, *rest[num_seeds:]])
    return wrapped

  return decorate


def _of_stream(example):
  return {key: value for key, value in example.items() if key.startswith(STREAM)}


# ---- Sizes of pictures ---------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSizes:
  """(height, width) in pixels of input pictures, target pictures and frames of the history."""

  input: Size
  target: Size
  history: Size


@gin.configurable
def image_sizes(
  input: Size = config.IMAGE_INPUT_SIZE,
  target: Size = config.IMAGE_TARGET_SIZE,
  history: Size = config.IMAGE_HISTORY_INPUT_SIZE,
) -> ImageSizes:
  """The sizes that all preprocessing uses where none is given; the one place to set them."""
  return ImageSizes(input=tuple(input), target=tuple(target), history=tuple(history))


# ---- Resizing ------------------------------------------------------------------------------------
def decode_image(image: tf.Tensor) -> tf.Tensor:
  """JPEG or PNG bytes -> uint8 [height, width, 3]; pixels stay as they are.

  Raises:
    tf.errors.InvalidArgumentError: when run on what is no whole picture, or too large a one.
  """
  if image.dtype != tf.string:
    return image
  size = _encoded_size(image)
  sane = tf.debugging.Assert(
    tf.reduce_prod(size) <= config.MAX_PICTURE_PIXELS,
    [f'at most {config.MAX_PICTURE_PIXELS:,} pixels of a picture are taken, it has', size],
  )
  with tf.control_dependencies([sane]):
    return tf.io.decode_image(image, channels=3, expand_animations=False)


def _encoded_size(image: tf.Tensor) -> tf.Tensor:
  """(height, width) as the head of a JPEG or PNG says, int64; of other forms (0, 0)."""

  def of_png():
    width_and_height = tf.strings.substr(image, 16, 8)
    return tf.reverse(tf.io.decode_raw(width_and_height, tf.int32, little_endian=False), [0])

  is_png = (tf.strings.substr(image, 0, 4) == b'\x89PNG') & (tf.strings.length(image) >= 24)
  return tf.cast(
    tf.case(
      [
        (tf.io.is_jpeg(image), lambda: tf.io.extract_jpeg_shape(image)[:2]),
        (is_png, of_png),
      ],
      default=lambda: tf.zeros([2], tf.int32),
    ),
    tf.int64,
  )


def resize_and_pad(
  image: tf.Tensor,
  output_size: Size,
  *,
  masks: tf.Tensor | None = None,
  boxes: tf.Tensor | None = None,
  box_labels: tf.Tensor | None = None,
  random_scale_min: float = 0.1,
  random_scale_max: float = 2.0,
  do_random_scale: bool = False,
  filter_box: bool = True,
  desired_target_size: Size | None = None,
  random_scale_ratio: float = 0.0,
  resize_method: str = 'bilinear',
  pad_value: float = 0,
  seed: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tuple]:
  """Brings a picture or a video onto a canvas, and its masks and boxes with it.

  Args:
    image: [h, w, 3] or [t, h, w, 3]; uint8, or float in [0, 1].
    output_size: the canvas.
    masks: integer [h, w, 1] or [n, h, w, 1].
    boxes: float32 [n, 4], normalised to the picture.
    box_labels: [n, ...].
    random_scale_min, random_scale_max, random_scale_ratio: the factor of the canvas is drawn from
      [min, max), and it is filled (and cut) with this probability, else fitted into.
    do_random_scale: scale and cut at random; needs `seed`.
    filter_box: leave out boxes without height or width on the canvas.
    desired_target_size: size of the masks given back; None is the canvas.
    resize_method: one of RESIZE_METHODS, or 'random': drawn where the scale is, else bilinear.
    pad_value: of the padding.
    seed: int32 [2].

  Returns:
    image float32 in [0, 1]; image mask int32, 1 on the picture; and (image info float32 [11],
    masks, boxes in pixels of the canvas, box labels, indices of the boxes that are left).
  """
  image = tf.convert_to_tensor(image)
  source = tf.shape(image)[-3:-1]
  if do_random_scale:
    seeds = split_seed(seed, 5)
    place = geometry.random_fit(
      source,
      output_size,
      factor=draw_float(seeds[0], random_scale_min, random_scale_max),
      fills=draw_float(seeds[1], 0.0, 1.0) < random_scale_ratio,
      cut=tf.stack([draw_float(seeds[2], 0.0, 1.0), draw_float(seeds[3], 0.0, 1.0)]),
    )
    window = {'offset': place.offset, 'shown': place.shown}
  else:
    place, window = geometry.fit(source, output_size), {}  # all of it is shown
  resize = functools.partial(resizing.resize, image, place.scaled, **window)
  if resize_method == 'random' and do_random_scale:
    one_of = [functools.partial(resize, method) for method in RESIZE_METHODS]
    resized = tf.switch_case(draw_index(seeds[4], len(one_of)), one_of)
  else:
    resized = resize('bilinear' if resize_method == 'random' else resize_method)
  resized.set_shape([*image.shape[:-3], None, None, image.shape[-1]])
  canvas = place.onto_canvas(resized, pad_value)
  canvas = tf.ensure_shape(canvas, [*image.shape[:-3], *output_size, image.shape[-1]])
  image_mask = tf.ensure_shape(place.mask(), output_size)
  if image.shape.rank == 4:
    image_mask = tf.repeat(image_mask[None], tf.shape(image)[0], 0)
  if masks is not None:
    masks = place.crop_and_pad(tf.image.resize(masks, place.scaled, 'nearest'))
    masks = tf.image.resize(masks, desired_target_size or output_size, 'nearest')
  indices = None
  if boxes is not None:
    boxes = place.move_boxes(geometry.denormalize_boxes(boxes, source))
    every = tf.range(tf.shape(boxes)[0])
    indices = geometry.non_empty_boxes(boxes) if filter_box else every
    boxes = tf.gather(boxes, indices)
    box_labels = None if box_labels is None else tf.gather(box_labels, indices)
  return canvas, image_mask, (place.info(), masks, boxes, box_labels, indices)


@gin.configurable
def resize_and_pad_default(
  image: tf.Tensor,
  is_training: bool,
  seed: tf.Tensor | None = None,
  *,
  is_input: bool = True,
  is_history: bool = False,
  masks: tf.Tensor | None = None,
  boxes: tf.Tensor | None = None,
  box_labels: tf.Tensor | None = None,
  random_scale_min: float = config.RANDOM_SCALE_MIN,
  random_scale_max: float = config.RANDOM_SCALE_MAX,
  random_scale_ratio: float = config.RANDOM_SCALE_RATIO,
  resize_method: str | None = None,
  augment: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, tuple]:
  """`resize_and_pad` to the size of `image_sizes`, augmented in training. Bytes are decoded.

  Args:
    image: a picture, a video (always of the history), or the bytes of a picture.
    is_training: scale and cut at random, and resize with a random kernel.
    seed: int32 [2]; needed in training.
    is_input: an input rather than a target picture.
    is_history: a frame of the history.
    masks, boxes, box_labels: see `resize_and_pad`.
    random_scale_min, random_scale_max, random_scale_ratio: see `resize_and_pad`.
    resize_method: None is 'random' in training and 'bilinear' else.
    augment: False makes training pictures as in evaluation.
  """
  image, sizes = decode_image(tf.convert_to_tensor(image)), image_sizes()
  if image.shape.rank == 4 or is_history:
    size = sizes.history
  else:
    size = sizes.input if is_input else sizes.target
  is_random = is_training and augment
  return resize_and_pad(
    image, size, masks=masks, boxes=boxes, box_labels=box_labels, do_random_scale=is_random,
    random_scale_min=random_scale_min, random_scale_max=random_scale_max,
    random_scale_ratio=random_scale_ratio, seed=seed,
    resize_method=resize_method or ('random' if is_random else 'bilinear'),
  )  # fmt: skip


# ---- Shapes and fields ---------------------------------------------------------------------------
def trim_or_pad(values: tf.Tensor, sizes: Sequence[int], pad_value: float = 0) -> tf.Tensor:
  """Cuts the leading axes to `sizes` or fills them up at the end.

  [1, 2, 3], sizes [2] -> [1, 2]; sizes [4], pad_value 9 -> [1, 2, 3, 9]
  """
  values = values[tuple(slice(size) for size in sizes)]
  missing = [[0, size - tf.shape(values)[axis]] for axis, size in enumerate(sizes)]
  rest = [[0, 0]] * (values.shape.rank - len(sizes))
  padded = tf.pad(values, missing + rest, constant_values=tf.cast(pad_value, values.dtype))
  return tf.ensure_shape(padded, [*sizes, *values.shape[len(sizes) :]])


def is_training(sequence_length: Mapping[str, Any] | None) -> bool:
  """Whether the sequence lengths are those of training; they are where they do not say."""
  return (sequence_length or {}).get('is_training', True)


def only_valid(ds: tf.data.Dataset) -> tf.data.Dataset:
  """Leaves out examples whose field 'valid' is False."""
  return ds.filter(lambda ex: ex['valid'])


@map_example()
def rekey(ex: Example, *, key_map: Mapping[str, Sequence[str]]) -> Example:
  """New fields from nested ones; an empty path gives ''. Other fields are dropped.

  {'a': {'b': 3}, 'c': 4} with {'x': ['a', 'b'], 'y': []} -> {'x': 3, 'y': ''}
  """
  return {
    new: functools.reduce(lambda tree, key: tree[key], path, ex) if path else tf.constant('')
    for new, path in key_map.items()
  }


def _one_for_each(ds, count_of, make):
  """An example for each part of an example; keeps the bookkeeping, gives each a seed of its own.

  `make(ex, i)` is part i of the `count_of(ex)` parts of an example. What is repeated is a scalar
  that refers to the example: faster than `flat_map`, which starts a dataset for each.
  """
  spec = ds.element_spec
  fields = tf.nest.flatten(spec, expand_composites=True)
  form = {
    'output_types': [field.dtype for field in fields],
    'output_shapes': [field.shape for field in fields],
  }

  def repeat(ex):
    values = tf.nest.flatten(ex, expand_composites=True)
    count = count_of(ex)
    return tf.fill([count], tf.raw_ops.OptionalFromValue(components=values)), tf.range(count)

  def one(held, i):
    values = tf.raw_ops.OptionalGetValue(optional=held, **form)
    ex = tf.nest.pack_sequence_as(spec, values, expand_composites=True)
    made = {**_of_stream(ex), **make(ex, i)}
    if SEED_KEY in ex:
      seed = tf.random.experimental.stateless_fold_in(ex[SEED_KEY], tf.cast(i, tf.int32))
      made[SEED_KEY] = seed
    return made

  together = {'num_parallel_calls': tf.data.AUTOTUNE}  # one call with the steps before or after
  return ds.map(repeat, **together).unbatch().map(one, **together)


def _length(values: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
  is_ragged = isinstance(values, tf.RaggedTensor)
  return values.nrows() if is_ragged else tf.shape(values, tf.int64)[0]


def _part(values: tf.Tensor | tf.RaggedTensor, i: tf.Tensor) -> tf.Tensor | tf.RaggedTensor:
  # A slice of a plain tensor takes three operations more.
  return values[i] if isinstance(values, tf.RaggedTensor) else tf.gather(values, i)


def flatten_parts(
  ds: tf.data.Dataset, parts: Sequence[str], add_index: bool = False
) -> tf.data.Dataset:
  """An example for each slice of the fields in `parts`; the other fields are repeated.

  {'box': [b0, b1], 'image': i} with parts ['box'] -> {'box': b0, 'image': i}, {'box': b1, ...}
  `add_index` adds the number of the slice as 'index', int32.
  """

  def make(ex, i):
    number = {'index': tf.cast(i, tf.int32)} if add_index else {}
    return {**ex, **{key: _part(ex[key], i) for key in parts}, **number}

  return _one_for_each(ds, lambda ex: _length(ex[parts[0]]), make)


def flatten_by_label(ds: tf.data.Dataset, target_keys: Sequence[str]) -> tf.data.Dataset:
  """An example for each distinct 'label', in order of appearance, with the rows of that label.

  {'label': [7, 3, 7], 'bbox': [a, b, c]} -> {'label': [7, 7], 'bbox': [a, c]}, {'label': [3], ...}
  """

  def make(ex, i):
    rows = ex['label'] == tf.unique(ex['label'])[0][i]
    shaped = {'bbox': tf.reshape(ex['bbox'], [-1, 4])} if 'bbox' in ex else {}
    of_label = {key: tf.boolean_mask(shaped.get(key, ex[key]), rows) for key in target_keys}
    return {**ex, **of_label}

  return _one_for_each(ds, lambda ex: _length(tf.unique(ex['label'])[0]), make)


def load_class_names(path: str) -> list[str]:
  """Class names from JSON: a list, or {"0": name, ...}. Relative paths start at this package.

  Raises:
    ValueError: the numbers of a dict are not 0, 1, 2, ...
  """
  names = json.loads((config.PACKAGE_DIR / pathlib.Path(path)).read_text(encoding='utf-8'))
  if isinstance(names, list):
    return names
  if sorted(names, key=int) != [str(i) for i in range(len(names))]:
    raise ValueError(f'{path}: class numbers must be 0 to {len(names) - 1}, each once')
  return [names[str(i)] for i in range(len(names))]


def unnormalize_image(image: Any) -> Any:
  """What the image ViT reads -> RGB; the inverse of features.image.normalise_pixels."""
  return image * tf.constant(config.IMAGE_VIT_STD) + tf.constant(config.IMAGE_VIT_MEAN)
