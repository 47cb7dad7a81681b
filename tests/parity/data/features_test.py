"""Stages 2 and 3: raw dicts in, features and batches of the original out."""

import fnmatch
import functools
import hashlib

import numpy as np
import pytest
import tensorflow as tf

from t5x.examples.unified_io import config, modality_processing
from t5x.examples.unified_io.data import data_utils
from t5x.examples.unified_io.data.features import text
from tests.parity import harness
from tests.parity.data import raw

# Inputs of other cases, cases of another form, and a part of the network (its own parity tests).
OTHER = ('inputs', '*_raw', 'autoregressive_shift', 'feature_spec', 'pattern_masks')
SETTINGS = (
  'raw', 'raw_expr', 'sequence_length', 'converter_lengths', 'shuffle_pinned_to', 'tokenizer',
  'input_modalities', 'target_modalities',
)  # fmt: skip


def switch_on(monkeypatch, inputs, targets):
  monkeypatch.setattr(
    modality_processing,
    'get_input_modalities',
    functools.partial(modality_processing.get_input_modalities, inputs),
  )
  monkeypatch.setattr(
    modality_processing,
    'get_target_modalities',
    functools.partial(modality_processing.get_target_modalities, targets),
  )


def pin_order(monkeypatch, order):
  step = {'identity': 1, 'reverse': -1}[order]
  monkeypatch.setattr(data_utils, 'draw_order', lambda seed, n: tf.range(n)[::step])


def shape_of(spec):
  if isinstance(spec, tf.RaggedTensorSpec):
    return {'ragged': True, 'shape': spec.shape.as_list()}
  return {'shape': list(spec.shape), 'dtype': spec.dtype.name}


def described(value):
  """Shape and dtype of a value, as the cases tell them."""
  if isinstance(value, tf.RaggedTensor):
    return {'ragged': True, 'shape': value.shape.as_list()}
  value = value.numpy() if hasattr(value, 'numpy') else np.asarray(value)
  return {'shape': list(np.shape(value)), 'dtype': tf.as_dtype(np.asarray(value).dtype).name}


def tolerance_of(case, name):
  rules = case.config['tolerance'].get('applies_to', {})
  for rule, globs in rules.items():
    if any(fnmatch.fnmatch(name, glob) for glob in globs):
      return case.config['tolerance'][rule]
  return 0


def compare_tensor(case, name, got, want):
  """Everything that a case says about one tensor, in `tensors` and in its arrays."""
  atol, at = tolerance_of(case, name), f'tensors/{name}'
  got64 = got.astype(np.float64)
  case.exact(f'{at}/shape', list(got.shape), want['shape'])
  case.exact(f'{at}/dtype', got.dtype.name, want['dtype'])
  n = got.size
  eps = 1e-9  # of float64 sums in another order
  stats = {
    'sum': (got64.sum(), atol * n), 'mean': (got64.mean(), atol), 'std': (got64.std(), atol),
    'min': (got64.min(), atol), 'max': (got64.max(), atol),
    'abs_sum': (np.abs(got64).sum(), atol * n),
    'l2': (np.sqrt((got64**2).sum()), atol * n**0.5),
  }  # fmt: skip
  for stat, (value, within) in stats.items():
    case.equal(f'{at}/{stat}', value, want[stat], atol=within + eps * max(1, abs(value)))
  if 'sha256_16' in want:
    digest = hashlib.sha256(np.ascontiguousarray(got).tobytes()).hexdigest()[:16]
    case.exact(f'{at}/sha256_16', digest, want['sha256_16'])
  if want['stored'].startswith('all zero'):
    case.equal(f'{at}/stored', got, np.zeros(want['shape']))
  case.given(f'{at}/stored')
  stored = case.outputs
  if name in stored:
    case.equal(name, got, stored[name], atol=atol)
  if f'{name}.sample_ix' in stored:
    case.given(f'{name}.sample_ix')
    sample = got.ravel()[stored[f'{name}.sample_ix']]
    case.equal(f'{name}.sample_val', sample, stored[f'{name}.sample_val'], atol=atol)
  if f'{name}.row_mean' in stored:
    case.equal(f'{name}.row_mean', got64.mean(-1), stored[f'{name}.row_mean'], atol=atol)


@pytest.mark.parametrize('path', harness.cases('data/d_features', exclude=OTHER))
def test_features_are_those_of_the_original(path, monkeypatch):
  with harness.case(path) as c:
    c.given(*SETTINGS)
    monkeypatch.setattr(config, 'LLAMA_TOKENIZER_PATH', raw.tokenizer(c))
    switch_on(monkeypatch, c.config['input_modalities'], c.config['target_modalities'])
    pin_order(monkeypatch, c.config['shuffle_pinned_to'])
    lengths = c.config['sequence_length']
    source = tf.data.Dataset.from_tensors(raw.example(c.config['raw_expr']))

    stage2 = modality_processing.unified_io_preprocessor(source, sequence_length=lengths)
    example = next(iter(stage2))
    got = {name: described(value) for name, value in example.items()}
    c.exact('preprocessed_shapes', got, c.config['preprocessed_shapes'])
    for name, want in c.config['preprocessed_tokens'].items():
      c.exact(f'preprocessed_tokens/{name}', example[name].numpy().tolist(), want)

    converter = modality_processing.UnifiedIOFeatureConverter()
    lengths = c.config.get('converter_lengths', lengths)
    if c.config.get('raises', {}).get('stage') == 'convert':
      c.given('raises')
      with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        list(converter(stage2, lengths))
      return
    stage3 = converter(stage2, lengths)
    got = {name: shape_of(spec) for name, spec in stage3.element_spec.items()}
    c.exact('element_spec', got, c.config['element_spec'])
    batch = next(stage3.as_numpy_iterator())
    assert set(batch) == set(c.config['tensors'])
    for name, want in c.config['tensors'].items():
      compare_tensor(c, name, batch[name], want)


@pytest.mark.parametrize('path', harness.cases('data/d_features', 'autoregressive_shift'))
def test_decoder_inputs_are_those_of_the_original(path):
  with harness.case(path) as c:
    for i, row in enumerate(c.config['rows']):
      c.given(*(f'rows/{i}/{name}' for name in ('targets', 'segments', 'bos')))
      segments = None if row['segments'] is None else tf.constant(row['segments'])
      got = text.shift_right(tf.constant(row['targets']), segments, row['bos'])
      c.exact(f'rows/{i}/inputs', got.numpy().tolist(), row['inputs'])


@pytest.mark.parametrize('path', harness.cases('data/d_features', 'feature_spec'))
def test_declared_features_are_those_of_the_original(path, monkeypatch):
  with harness.case(path) as c:
    c.given('variants', 'dummy_input_spec_arguments')
    registered = modality_processing.OUTPUT_FEATURES()
    for variant, modalities in c.config['variants'].items():
      wanted = {
        *(f'inputs/{name}' for name in modalities['input_modalities']),
        *(f'targets/{name}' for name in modalities['target_modalities']),
      }
      chosen = {name for name in registered if name.rsplit('/', 1)[0] in wanted}
      # We register once for all choices, targets given as codes included.
      assert set(c.config[variant]) == {
        name for name in chosen if name not in ('targets/image/tokens', 'targets/audio/tokens')
      }
      for name, want in c.config[variant].items():
        feature = registered[name]
        got = {
          'kind': type(feature).__name__, 'dtype': str(feature.dtype), 'rank': str(feature.rank),
          'add_eos': str(feature.add_eos),
        }  # fmt: skip
        c.exact(f'{variant}/{name}', {key: got[key] for key in want}, want)
    arguments = c.config['dummy_input_spec_arguments']
    switch_on(monkeypatch, arguments['input_modalities'], arguments['target_modalities'])
    spec = modality_processing.get_input_spec(arguments['batch_size'], arguments['sequence_length'])
    got = {k: {'shape': list(s), 'dtype': np.dtype(t).name} for k, (s, t) in spec.items()}
    c.exact('dummy_input_spec', got, c.config['dummy_input_spec'])


@pytest.mark.parametrize('path', harness.cases('data/d_features', 'inputs'))
def test_raw_arrays_belong_to_the_other_cases(path):
  with harness.case(path) as c:
    c.given('*')


@pytest.mark.parametrize('path', harness.cases('data/d_features', '*_raw'))
def test_raw_patches_belong_to_the_other_cases(path):
  with harness.case(path) as c:
    c.given('*')
