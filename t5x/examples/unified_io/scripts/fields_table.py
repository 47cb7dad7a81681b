"""Writes docs/fields.md: which raw field becomes which field of a batch, with shapes and units.

  python -m t5x.examples.unified_io.scripts.fields_table > docs/fields.md

Shapes and dtypes are measured: an example with every field goes through stages 2 and 3 at sequence
lengths that are all different, so that each size in the result tells where it comes from.
"""

from collections.abc import Iterable, Mapping
import functools
from typing import Any

import seqio
import tensorflow as tf

from t5x import stream
from t5x.examples.unified_io import config, modality_processing, modality_specs
from t5x.examples.unified_io.data import features, mixtures  # noqa: F401  all tasks

Spec = modality_specs.ModalitySpec
# Sizes that occur nowhere else; the table has their names in their place.
LENGTHS = {
  'text_inputs': 61, 'text_targets': 43, 'image_input_samples': 101,
  'image_history_input_samples': 67, 'audio_input_samples': 53,
  'audio_history_input_samples': 37, 'num_frames': 7,
}  # fmt: skip
FRAMES, OPTIONS = 5, 11  # of the example
INPUT_TEXT, TARGET_TEXT = [3] * 16, [3] * 28  # ids; EOS follows
SIZES = {size: name for name, size in LENGTHS.items()} | {FRAMES: 'frames', OPTIONS: 'options'}
SIZES |= {len(INPUT_TEXT) + 1: 'tokens', len(TARGET_TEXT) + 1: 'tokens'}

_PATCHES = 'of patches [patches] or of pixels [height, width] of any size, each 1 (real) or 0'
_SEEN = '1: seen, 0: padding or hidden'
_PLACE = 'number of the patch in its grid, row by row'
_TARGET_MASKS = {
  'mask': 'as masks of inputs; all real without it',
  'loss_mask': 'of patches [patches], 1: counts in the loss; without it, the mask',
  'task_mask': 'as masks of inputs, 1: to be restored from a mask; without it, all 0',
}


# ---- One example with everything -----------------------------------------------------------------
def example() -> dict[str, Any]:
  """Every raw field of every modality, once."""
  made: dict[str, Any] = {
    'text_inputs': tf.constant(INPUT_TEXT),
    'text_targets': tf.constant(TARGET_TEXT),
    'use_text': tf.constant(True),
    'choices': tf.constant(['a'] * OPTIONS),
  }
  for side, specs in (('input', features.input_specs()), ('target', features.target_specs())):
    for name, spec in specs.items():
      if name != 'text':
        frames = [FRAMES] if isinstance(spec, modality_specs.HistoryInputSpec) else []
        shape = [*frames, spec.grid.height, spec.grid.width]
        made[f'{name}_{side}s'] = tf.zeros([*shape, spec.channels])
        made[f'{name}_{side}_masks'] = tf.ones(shape, tf.int32)
        if side == 'target':
          made[f'{name}_target_task_masks'] = tf.zeros(shape, tf.int32)
          made[f'{name}_target_loss_masks'] = tf.zeros([spec.grid.count], tf.int32)
  return made


@functools.cache
def measured() -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]:
  """The raw fields of the example, the same after stage 2, and after stage 3."""
  raw = example()
  stage2 = modality_processing.make_features(raw, LENGTHS, tf.zeros([2], tf.int32))
  return raw, stage2, modality_processing.UnifiedIOFeatureConverter().convert(stage2, LENGTHS)


def told(value: tf.Tensor | None) -> str:
  """Shape and dtype, sizes by name: 'int32 [text_inputs]'; nothing of what the example lacks."""
  if value is None:
    return ''
  sizes = ', '.join(str(SIZES.get(size, size)) for size in value.shape)
  return f'{value.dtype.name} [{sizes}]'


# ---- What the fields mean ------------------------------------------------------------------------
def raw_fields(side: str, spec: Spec) -> dict[str, tuple[str, str]]:
  """Field of stage 2 -> (raw field that it is made of, what stands there)."""
  name = spec.name
  if isinstance(spec, modality_specs.TextInputSpec):
    unit = 'text, the prompt and its prefix `[Text] [S]` included; or ids without EOS'
    return {'tokens': ('text_inputs', unit)}
  if isinstance(spec, modality_specs.TextTargetSpec):
    return {
      'tokens': ('text_targets', 'text, a vector of texts (answers, each on its own), or ids')
    }
  values = 'RGB in [0, 1]' if spec.channels == 3 else 'ln of mel power, time by mel'
  if side == 'inputs':
    return {
      'input': (f'{name}_inputs', values),
      'mask': (f'{name}_input_masks', _PATCHES),
      'pos_ids': (
        f'{name}_encoder_pos_ids',
        f'only where patches were chosen before: their numbers; `{name}_inputs` then holds patches',
      ),
    }
  masks = {key: (f'{name}_target_{key}s', unit) for key, unit in _TARGET_MASKS.items()}
  return {name: (f'{name}_targets', values), **masks}


def unit(side: str, spec: Spec, field: str) -> str:
  """What the numbers of a field of the model are."""
  if isinstance(spec, modality_specs.TextInputSpec | modality_specs.TextTargetSpec):
    return _TEXT_UNITS[side][field]
  if field in ('mask', 'pos_ids', 'loss_mask', 'task_mask'):
    return {
      'mask': _SEEN, 'pos_ids': _PLACE, 'loss_mask': '1: counts in the loss',
      'task_mask': '1: to be restored from a mask',
    }[field]  # fmt: skip
  if spec.channels == 3:
    return 'RGB, (x - mean) / deviation of CLIP' if side == 'inputs' else 'RGB in [-1, 1]'
  mean, deviation = (
    (config.AUDIO_VIT_MEAN, config.AUDIO_VIT_STD)
    if side == 'inputs'
    else (config.AUDIOSET_MEAN, config.AUDIOSET_STD)
  )
  return f'(ln of mel power + {-mean}) / {deviation}'


_TEXT_UNITS = {
  'inputs': {
    'tokens': 'ids, EOS (1) behind the last, then 0',
    'pos_ids': '0, 1, 2, ...',
    'mask': '1 on tokens',
  },
  'targets': {
    'inputs': 'the token before each target, 0 where an answer begins',
    'targets': 'ids, EOS (1) behind each answer, then 0',
    'mask': '1 on tokens; all 0 for an empty target',
    'pos_ids': '0, 1, 2, ..., from 0 again in each answer',
    'segment_ids': 'number of the answer, from 1; 0 on padding',
  },
}
_FROM = {('targets', 'text', 'targets'): 'tokens', ('targets', 'text', 'inputs'): 'tokens'}


# ---- The page ------------------------------------------------------------------------------------
def _line(cells: Iterable[str]) -> str:
  return f'| {" | ".join(cells)} |'


def _code(text: str) -> str:
  return f'`{text}`' if text else ''


def rows() -> list[tuple[str, ...]]:
  """(raw field, what stands there, after stage 2, field of the model, its shape, its unit)."""
  raw, stage2, model = measured()
  found = []
  sides = (('inputs', features.input_specs()), ('targets', features.target_specs()))
  for side, specs in sides:
    for name, spec in specs.items():
      origins, seen = raw_fields(side, spec), set()
      for field in spec.model:
        key = f'{side}/{name}/{field}'
        made_of = _FROM.get((side, name, field), field)
        before = f'{side}/{name}/{made_of}'
        origin, meaning = origins.get(made_of, ('', ''))
        shape = 'string, or int32 [ids]' if name == 'text' else told(raw.get(origin))
        given = f'{_code(origin)} {shape}'.strip() if origin else ''
        if made_of in seen:  # one field before, two after
          given, meaning = '', ''
        seen.add(made_of)
        between = f'{_code(before)} {told(stage2[before])}' if before in stage2 else ''
        found.append(
          (given, meaning, between, _code(key), told(model[key]), unit(side, spec, field))
        )
  options = raw['choices']
  found.append((
    f'`choices` string [{SIZES[options.shape[0]]}]', 'answer options, of which the model names one',
    '`choices` as they are', '`choices`', told(model['choices']), 'ids, EOS, then 0',
  ))  # fmt: skip
  return found


def records() -> list[tuple[str, ...]]:
  """(task, its dataset, field of a record, its name in stage 1) of the tasks that rename fields."""
  found = []
  for name in sorted(seqio.TaskRegistry.names()):
    task = seqio.TaskRegistry.get(name)
    first = task.preprocessors[0] if task.preprocessors else None
    key_map: Mapping[str, Any] = getattr(first, 'keywords', {}).get('key_map') or {}
    if isinstance(task.source, stream.TfdsSource) and key_map:
      moved = ', '.join(
        _code('/'.join(path)) + (f' as `{new}`' if [new] != list(path) else '')
        for new, path in key_map.items()
      )
      found.append((_code(name), _code(task.source.name), moved))
  return found


LENGTH_KEYS = {
  'text_inputs': 'tokens of the input, EOS included; longer text is cut',
  'text_targets': 'tokens of the target, EOS included, of each answer and of all together',
  'image_input_samples': 'patches kept of the picture: a number, a share (0.5), None for all; '
  'seen ones first, in random order',
  'image_history_input_samples': 'the same for each frame',
  'audio_input_samples': 'the same for the spectrogram',
  'audio_history_input_samples': 'the same for each segment',
  'num_frames': 'frames and segments; more are cut, fewer are filled up, masked',
  'is_training': 'stage 1 augments pictures and leaves out answer options',
}


def markdown() -> str:
  """The page."""
  head = ('raw field', 'what stands there', 'stage 2', 'stage 3: read by the model', 'as', 'unit')
  return '\n'.join([
    '# Which field goes where',
    '',
    'Made by `python -m t5x.examples.unified_io.scripts.fields_table > docs/fields.md`; a test',
    'holds it to the code. Shapes are those of the released sizes, without the axis of the batch;',
    'a name in a shape is a sequence length (below) or what varies with the example: tokens,',
    'frames, options. [data.md](data.md) tells the stages, and how to look at them.',
    '',
    'A preprocessor of your own (stage 1) writes raw fields, the first column. All of them are',
    'optional, but `..._inputs` that are no text need their `..._input_masks`; a missing modality',
    'becomes zeros under a mask of zeros. Besides, `use_text` (bool) switches the input text of an',
    'example off, and `meta/...` goes to postprocessors, metrics and files of predictions.',
    '',
    _line(head),
    _line(['---'] * len(head)),
    *(_line(row) for row in rows()),
    '',
    'With `targets` given as codes (`use_codes`), `image_target_tokens` and `audio_target_tokens`',
    'become `targets/image/tokens` and `targets/audio/tokens` in place of the values.',
    '',
    '## Sequence lengths',
    '',
    _line(('key', 'meaning')),
    _line(['---'] * 2),
    *(_line((_code(key), meaning)) for key, meaning in LENGTH_KEYS.items()),
    '',
    '## Records of the registered tasks',
    '',
    'What the first step of each task takes from a record, and under which name its preprocessor',
    '(stage 1) finds it.',
    '',
    _line(('task', 'dataset', 'fields of a record')),
    _line(['---'] * 3),
    *(_line(row) for row in records()),
    '',
  ])  # fmt: skip


if __name__ == '__main__':
  print(markdown(), end='')
