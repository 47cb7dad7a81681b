"""The tasks on text alone, a row each; importing this module registers them with seqio."""

import functools

import seqio

from t5x import stream
from t5x.examples.unified_io import config, modality_processing
from t5x.examples.unified_io.data import data_utils
from t5x.examples.unified_io.data.preprocessing import nlp

_FLAN = ('Flan2021', 'T0', 'NIv2', 'CoT', 'Dialog')


def _add_task(name, tfds_name, build_command, held_out, preprocessors):
  """The first `held_out` records are the validation split."""
  return seqio.TaskRegistry.add(
    name,
    source=stream.TfdsSource(
      tfds_name,
      splits={'train': f'train[{held_out}:]', 'validation': f'train[:{held_out}]'},
      data_dir=lambda: config.MULTITASK_TFDS_DATA_DIR,
      build_command=f'python create_data/tfdatasets/{build_command}',
    ),
    preprocessors=[*preprocessors, modality_processing.unified_io_preprocessor],
    output_features=modality_processing.OUTPUT_FEATURES(),
  )


for _kind in _FLAN:
  _name = f'flan2_{_kind.lower()}'
  _add_task(
    _name,
    f'{_name}:1.0.0',
    f'flan/build.py {_kind}',
    2000,
    [
      functools.partial(nlp.filter_non_english, source=_kind),
      functools.partial(nlp.preprocess_flan, name=_name),
      nlp.filter_by_len,
    ],
  )

_add_task(
  'dolly',
  'dolly:1.0.0',
  'dolly/build.py',
  1000,
  [
    functools.partial(nlp.preprocess_instruction_context, dataset_name='dolly'),
    nlp.tokenize_with_truncate,
  ],
)

_add_task(
  'alpaca',
  'alpaca:1.0.0',
  'alpaca/build.py',
  2000,
  [
    functools.partial(
      data_utils.rekey,
      key_map={
        'example_num': ['example_num'],
        'instruction': ['instruction'],
        'context': ['input'],
        'response': ['output'],
      },
    ),
    functools.partial(nlp.preprocess_instruction_context, dataset_name='alpaca'),
    nlp.tokenize_with_truncate,
  ],
)
