"""The choice of modalities, stage 2 as a seqio preprocessor and stage 3 as a feature converter.

Tasks register every feature once (`OUTPUT_FEATURES`, none required); which modalities are on is
asked when a dataset is built, so gin may change it at any time before.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import difflib
from typing import Any

import gin
import numpy as np
import seqio
import tensorflow as tf

from t5x.examples.unified_io import config, modality_specs
from t5x.examples.unified_io.data import data_utils, features, vocabulary

Spec = modality_specs.ModalitySpec
PASSED_ON = 'stream/'  # bookkeeping of the stream: through all stages as it is


# ---- The choice ----------------------------------------------------------------------------------
@gin.configurable
def get_input_modalities(
  input_modality: Iterable[str] = modality_specs.INPUT_ORDER,
  use_image_vit: bool = True,
  use_audio_vit: bool = True,
  use_image_history_vit: bool = True,
  use_audio_history_vit: bool = True,
  max_img_history: float | None = None,
  max_audio_history: float | None = None,
  image_patch: int = config.IMAGE_INPUT_PATCH,
) -> dict[str, Spec]:
  """The input modalities that are on, by name, in the encoder's order.

  Args:
    input_modality: their names.
    use_image_vit, use_audio_vit, use_image_history_vit, use_audio_history_vit: through the frozen
      encoder; False sends raw patches through a projection.
    max_img_history, max_audio_history: frames an example may bring on average over a batch.
    image_patch: side of an image patch in pixels; sizes come from `data_utils.image_sizes`.

  Raises:
    ValueError: for an unknown name.
  """
  sizes = data_utils.image_sizes()
  changes = {
    'image': {'use_vit': use_image_vit, 'grid': _grid(sizes.input, image_patch)},
    'image_history': {
      'use_vit': use_image_history_vit,
      'grid': _grid(sizes.history, image_patch),
      'max_per_example': max_img_history,
    },
    'audio': {'use_vit': use_audio_vit},
    'audio_history': {'use_vit': use_audio_history_vit, 'max_per_example': max_audio_history},
  }
  return _choose(input_modality, features.input_specs(), changes)


@gin.configurable
def get_target_modalities(
  target_modality: Iterable[str] = modality_specs.TARGET_ORDER,
  image_patch: int = config.IMAGE_TARGET_PATCH,
  use_codes: Iterable[str] = (),
) -> dict[str, Spec]:
  """The target modalities that are on, by name, in order.

  Args:
    target_modality: their names.
    image_patch: width of an image code in pixels.
    use_codes: names of those that bring codes (`targets/image/tokens`) in place of pixels, as a
      tokenized dataset does; the network then has no tokenizer for them.

  Raises:
    ValueError: for an unknown name, or one in `use_codes` that has no codes.
  """
  changes = {'image': {'grid': _grid(data_utils.image_sizes().target, image_patch)}}
  chosen = _choose(target_modality, features.target_specs(), changes)
  with_codes = [n for n, s in chosen.items() if isinstance(s, modality_specs.DenseTargetSpec)]
  for name in _names(use_codes):
    if name not in with_codes:
      raise ValueError(f'use_codes names {name!r}; the targets with codes here are {with_codes}')
    chosen[name] = dataclasses.replace(chosen[name], use_codes=True)
  return chosen


def _grid(size: tuple[int, int], patch: int) -> modality_specs.PatchGrid:
  return modality_specs.PatchGrid(height=size[0], width=size[1], patch=patch)


def _names(names: Iterable[str] | str) -> list[str]:
  return [names] if isinstance(names, str) else list(names)


def _choose(names, specs, changes):
  names = _names(names)
  for name in names:
    if name not in specs:
      near = difflib.get_close_matches(name, specs) or list(specs)
      raise ValueError(f'unknown modality {name!r}; did you mean one of {near}?')
  chosen = {name: spec for name, spec in specs.items() if name in names}
  return {n: dataclasses.replace(spec, **changes.get(n, {})) for n, spec in chosen.items()}


# ---- Features of tasks ---------------------------------------------------------------------------
def OUTPUT_FEATURES() -> dict[str, seqio.Feature]:
  """Every feature of every modality, none required: what each task registers with.

  'inputs/text/tokens' and 'targets/text/tokens' carry the vocabulary.
  """
  codes = [
    dataclasses.replace(spec, use_codes=True)
    for spec in features.target_specs().values()
    if isinstance(spec, modality_specs.DenseTargetSpec)
  ]
  return {
    **_features_of('inputs', features.input_specs().values()),
    **_features_of('targets', [*features.target_specs().values(), *codes]),
  }


def _features_of(side, specs):
  made = {}
  for spec in specs:
    for name, field in spec.stage2.items():
      dtype = tf.as_dtype(field.dtype)
      if (spec.name, name) == ('text', 'tokens'):
        feature = seqio.Feature(vocabulary.get_default_vocabulary(), required=False, dtype=dtype)
      else:
        feature = seqio.ContinuousFeature(required=False, dtype=dtype, rank=field.rank)
      made[f'{side}/{spec.name}/{name}'] = feature
  return made


def _enabled() -> list[tuple[str, features.Features]]:
  """('inputs/text', its features) and so on, for the modalities that are on."""
  inputs, targets = get_input_modalities(), get_target_modalities()
  return [
    *((f'inputs/{name}', features.for_input(spec)) for name, spec in inputs.items()),
    *((f'targets/{name}', features.for_target(spec)) for name, spec in targets.items()),
  ]


# ---- Stage 2 -------------------------------------------------------------------------------------
def make_features(
  example: Mapping[str, Any], sequence_length: Mapping[str, Any] | None, seed: tf.Tensor
) -> dict[str, Any]:
  """Stage 2 of one example: raw fields -> a flat dict of the enabled modalities' features.

  {'text_inputs': '[Text] [S] What is this?', 'text_targets': 'a cat', 'meta': {'id': 7}} ->
  {'inputs/text/tokens': [...], 'targets/text/tokens': [...], ..., 'meta/id': 7}

  `choices`, `meta` and `meta/...` are passed on; what no modality knows is dropped.
  """
  made = {}
  for prefix, modality in _enabled():
    fields = modality.preprocess(example, sequence_length or {}, seed)
    made |= {f'{prefix}/{name}': value for name, value in fields.items()}
  made |= _flat_meta(example.get('meta', {}), 'meta')
  kept = ('meta/', PASSED_ON)
  return made | {k: v for k, v in example.items() if k == 'choices' or k.startswith(kept)}


def _flat_meta(tree, prefix):
  if not isinstance(tree, Mapping):
    return {prefix: tree}
  flat = {}
  for name, child in tree.items():
    flat |= _flat_meta(child, f'{prefix}/{name}')
  return flat


@data_utils.map_example(num_seeds=1)
def unified_io_preprocessor(example, seed, *, output_features=None, sequence_length=None):
  """Stage 2 as the last preprocessor of every task; see `make_features`."""
  del output_features  # all modalities; those that are on decide
  return make_features(example, sequence_length, seed)


# ---- Stage 3 -------------------------------------------------------------------------------------
@gin.configurable
class UnifiedIOFeatureConverter(seqio.FeatureConverter):
  """Stage 2 features -> what the network reads, in fixed shapes, modality by modality.

  Metadata is dropped; `choices` become ids; keys below 'stream/' are passed on. The lengths may be
  named as the tasks name them or as an evaluator does ('inputs/text/tokens').
  """

  TASK_FEATURES: Mapping[str, Any] = {}
  MODEL_FEATURES: Mapping[str, Any] = {}
  PACKING_FEATURE_DTYPES: Mapping[str, Any] = {}

  def __init__(self, pack: bool = False, use_custom_packing_ops: bool = False):
    """Makes a converter; packing is no matter of single examples.

    Raises:
      ValueError: for `pack` or `use_custom_packing_ops`.
    """
    if pack or use_custom_packing_ops:
      raise ValueError(
        'the feature converter does not pack (pack and use_custom_packing_ops must be False); '
        'bind PackingStrategy.pack_max_len instead'
      )
    super().__init__(pack=False, use_custom_packing_ops=False)

  def convert(
    self, example: Mapping[str, Any], task_feature_lengths: Mapping[str, Any] | None
  ) -> dict[str, tf.Tensor]:
    """One example."""
    lengths, made = task_feature_lengths or {}, {}
    for prefix, modality in _enabled():
      start = f'{prefix}/'
      fields = {k.removeprefix(start): v for k, v in example.items() if k.startswith(start)}
      made |= {start + name: value for name, value in modality.convert(fields, lengths).items()}
    if 'choices' in example:
      made['choices'] = features.text.convert_choices(example['choices'], lengths)
    return made | {k: v for k, v in example.items() if k.startswith(PASSED_ON)}

  @tf.autograph.experimental.do_not_convert
  def __call__(
    self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, Any] | None
  ) -> tf.data.Dataset:
    """A dataset, example by example."""
    return ds.map(
      lambda example: self.convert(example, task_feature_lengths),
      num_parallel_calls=tf.data.AUTOTUNE,
    )

  def _convert_features(self, ds, task_feature_lengths):
    return self(ds, task_feature_lengths)

  def get_model_feature_lengths(self, task_feature_lengths):
    return task_feature_lengths


# t5x.input_pipeline asks the preprocessors of a task for their converter.
unified_io_preprocessor.feature_converter = UnifiedIOFeatureConverter


def get_input_spec(
  batch_size: int = 1, seq_lens: Mapping[str, Any] | None = None
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
  """Shape and dtype of every field of a batch, without any data.

  Args:
    batch_size: rows.
    seq_lens: sequence lengths; all 1 where not given.
  """
  if seq_lens is None:
    names = ('text_inputs', 'text_targets', 'num_frames')
    samples = [f'{name}_input_samples' for name in features.input_specs() if name != 'text']
    seq_lens = dict.fromkeys((*names, *samples), 1)
  dummy = {'text_inputs': tf.constant('a'), 'text_targets': tf.constant('b')}
  made = make_features(dummy, seq_lens, tf.zeros([2], tf.int32))
  made = UnifiedIOFeatureConverter().convert(made, seq_lens)
  return {k: ((batch_size, *v.shape), v.dtype.as_numpy_dtype) for k, v in made.items()}
