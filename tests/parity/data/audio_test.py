"""Waveforms to spectrograms, sound files, and the path of the demo from raw inputs to a batch."""

import warnings

import numpy as np
import pytest
import soundfile

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import spectrogram
from t5x.examples.unified_io.inference import inputs
from t5x.examples.unified_io.media import audio
from tests.parity import harness
from tests.parity.data import compare, raw

FOLDER = 'data/g_audio'
BIG = config.SIZES['large']  # every released size has as many latents a frame


def to_float(samples):
  return samples.astype(np.float32) / np.float32(32768)


def compare_mel(c, mel):
  """Everything stored about mel spectrograms [segments, mel, time]."""
  atol = compare.tolerance(c, 'tensors.mel') * float(mel.max())
  compare.summary(c, 'tensors/mel', 'mel', mel, c.config['tensors']['mel'], atol)


# ---- Spectrograms --------------------------------------------------------------------------------
@pytest.mark.parametrize('path', harness.cases(FOLDER, 'mel_*', exclude=('mel_details',)))
def test_spectrograms_are_those_of_the_original(path):
  with harness.case(path) as c:
    c.given('wave')
    wave = to_float(c.outputs['wave'])
    c.exact('samples', len(wave), c.config['samples'])
    c.exact('seconds', len(wave) / config.AUDIO_SAMPLE_RATE, c.config['seconds'])
    mel = spectrogram.spectrograms_of(wave)
    compare_mel(c, mel)
    c.exact('exact_zeros', int((mel == 0).sum()), c.config['exact_zeros'])
    rtol = compare.tolerance(c, 'tiny_below_1e-5')
    c.equal('tiny_below_1e-5', (mel < 1e-5).sum(), c.config['tiny_below_1e-5'], rtol=rtol)
    settings = {
      'sample_rate': config.MEL.sample_rate, 'n_fft': config.MEL.n_fft, 'hop': config.MEL.hop,
      'n_mels': config.MEL.num_mels, 'fmin': config.MEL.fmin, 'fmax': config.MEL.fmax,
    }  # fmt: skip
    for name, value in settings.items():
      c.exact(f'settings/{name}', value, c.config['settings'][name])
    # The others are words; with another window, padding or scale the numbers would differ.
    c.given(*(f'settings/{name}' for name in c.config['settings'] if name not in settings))


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'mel_details'))
def test_filters_and_other_frame_lengths_are_those_of_the_original(path):
  with harness.case(path) as c:
    c.given('wave', 'max_rel_diff_vs_periodic', 'other_fft/n_fft', 'other_fft/hop')
    bank = spectrogram.mel_filterbank()
    c.exact('filterbank_shape', list(bank.shape), c.config['filterbank_shape'])
    atol = compare.tolerance(c, 'filterbank') * float(bank.max())
    c.equal('filterbank', bank, c.outputs['filterbank'], atol=atol)
    compare.number(c, 'filterbank_sum', bank.sum(dtype=np.float64), c.config['filterbank_sum'])

    other = c.config['other_fft']
    settings = config.MelConfig(n_fft=other['n_fft'], hop=other['hop'])
    mel = spectrogram.mel_spectrogram(to_float(c.outputs['wave']), settings)
    prefix = f'mel{other["n_fft"]}'
    atol = compare.tolerance(c, 'other_fft.summary') * float(mel.max())
    compare.summary(c, 'other_fft/summary', prefix, mel, other['summary'], atol)

    for samples, frames in c.config['frames_for_samples'].items():
      mel = spectrogram.mel_spectrogram(np.ones(int(samples), np.float32))
      c.exact(f'frames_for_samples/{samples}', mel.shape[-1], frames)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'num_segments'))
def test_sounds_have_as_many_segments_as_in_the_original(path):
  with harness.case(path) as c:
    for i, row in enumerate(c.config['rows']):
      c.given(f'rows/{i}/seconds')
      got = spectrogram.count_segments(row['seconds'])
      c.exact(f'rows/{i}/segments', got, row['segments'])
      got = spectrogram.count_segments(row['seconds'], 2.0)
      c.exact(f'rows/{i}/segments_2s', got, row['segments_2s'])


def described(segment):
  """Where the samples 1, 2, 3, ... of a wave lie in a segment."""
  places = np.flatnonzero(segment)
  return {
    'samples': len(segment),
    'lead_zeros': int(places[0]),
    'tail_zeros': len(segment) - 1 - int(places[-1]),
    'first_sample': int(segment[places[0]]) - 1,
    'last_sample': int(segment[places[-1]]) - 1,
  }


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'segment_bounds'))
def test_segments_hold_the_samples_of_the_original(path, monkeypatch):
  time, bands = config.AUDIO_INPUT_SIZE
  seen = []

  def transform(segments):  # the original's rows were made without the transform, too
    seen.extend(segments)
    return np.zeros((len(segments), bands, time), np.float32)

  monkeypatch.setattr(spectrogram, 'mel_spectrogram', transform)
  names = {'audio_segment_length': 'segment_seconds', 'spectrogram_length': 'spectrogram_seconds'}
  with harness.case(path) as c:
    c.given('wave_expr')
    assert c.config['wave_expr']['formula'] == 'i + 1'
    for i, row in enumerate(c.config['rows']):
      seen.clear()
      c.given(*(f'rows/{i}/{name}' for name in ('seconds', 'samples', 'options')))
      wave = np.arange(1, row['samples'] + 1, dtype=c.config['wave_expr']['dtype'])
      options = {names[name]: value for name, value in row['options'].items()}
      mels = spectrogram.spectrograms_of(wave, row['seconds'], **options)
      c.exact(f'rows/{i}/segments', [described(segment) for segment in seen], row['segments'])
      c.exact(f'rows/{i}/output', list(mels.shape), row['output'])
      c.exact(f'rows/{i}/raises', None, row['raises'])


# ---- Files ---------------------------------------------------------------------------------------
@pytest.mark.parametrize('path', harness.cases(FOLDER, 'file_*', exclude=('file_missing',)))
def test_sound_files_are_read_as_in_the_original(path, tmp_path):
  with harness.case(path) as c:
    rate, container = c.config['sample_rate'], c.config['file_format']['container']
    c.given('librosa', 'synthesised_text', 'sample_rate', 'file_format', 'file_samples')
    c.given('capped/max_audio_length')
    samples = c.outputs['file_samples']
    c.exact('channels', 1 if samples.ndim == 1 else samples.shape[1], c.config['channels'])
    file = str(tmp_path / f'sound.{container}')
    soundfile.write(file, samples, rate, subtype=c.config['file_format']['subtype'])

    sound = audio.read(file)
    c.exact('duration', sound.seconds, c.config['duration'])
    c.exact('resampled_samples', len(sound.wave), c.config['resampled_samples'])
    atol = compare.tolerance(c, 'tensors.resampled')
    want = c.config['tensors']['resampled']
    compare.summary(c, 'tensors/resampled', 'resampled', sound.wave, want, atol)
    compare_mel(c, audio.spectrograms(file))
    with warnings.catch_warnings(record=True) as told:
      warnings.simplefilter('always')
      mels = audio.spectrograms(file, c.config['capped']['max_audio_length'])
    c.exact('capped/segments', len(mels), c.config['capped']['segments'])
    c.given('capped/warnings')  # names of classes: only how many there are is compared
    assert len(told) == len(c.config['capped']['warnings'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'file_missing'))
def test_a_missing_sound_file_is_told_as_in_the_original(path, tmp_path):
  with harness.case(path) as c:
    c.given('arguments')
    with pytest.warns(UserWarning, match='no sound file'):
      got = audio.load_spectrograms(str(tmp_path / c.config['arguments']['path']))
    c.exact('value', got, c.config['value'])
    c.exact('ok', True, c.config['ok'])
    c.exact('error', None, c.config['error'])


# ---- From raw inputs to a batch ------------------------------------------------------------------
def argument(expression):
  """A raw input of the demo."""
  if expression is None:
    return None
  if 'value' in expression:
    return expression['value']
  if 'list' in expression:
    return [argument(part) for part in expression['list']]
  if 'mel_of_case' in expression:
    wave = raw.arrays_of(expression['mel_of_case'])['wave']
    return spectrogram.spectrograms_of(to_float(wave))[raw.index(expression['index'])]
  return raw.array(expression)


ARGUMENTS = {'input_text': 'text', 'input_image': 'image', 'input_audio': 'audio'}


@pytest.mark.parametrize(
  'path',
  [
    *harness.cases(FOLDER, 'features_*'),
    *harness.cases(FOLDER, 'demo_*', exclude=('demo_misc',)),
  ],
)
def test_raw_inputs_become_the_batch_of_the_original(path, monkeypatch):
  with harness.case(path) as c:
    c.given('arguments', 'arguments_expr', 'sequence_length', 'tokenizer')
    monkeypatch.setattr(config, 'LLAMA_TOKENIZER_PATH', raw.tokenizer(c))
    handed_in = {
      ARGUMENTS.get(name, name): argument(expression)
      for name, expression in c.config['arguments_expr'].items()
    }
    fields = inputs.raw_fields(**handed_in)
    assert set(fields) == set(c.config['stage1'])
    for name, want in c.config['stage1'].items():
      got, at = np.asarray(fields[name]), f'stage1/{name}'
      if isinstance(want, str):
        c.exact(at, got.item().decode(), want)
      else:
        compare.summary(c, at, at, got, want, compare.tolerance(c, at))

    batch = inputs.batch_of_one(fields, c.config['sequence_length'])
    assert set(batch) == set(c.config['tensors'])
    for name, want in c.config['tensors'].items():
      atol = compare.tolerance(c, name)
      compare.summary(c, f'tensors/{name}', name, batch[name], want, atol)
    count = inputs.count_tokens(batch, BIG)
    c.exact('non_masked_input_tokens', count, c.config['non_masked_input_tokens'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'demo_misc'))
def test_pictures_shrink_and_lengths_are_chosen_as_in_the_original(path):
  with harness.case(path) as c:
    c.given('sequence_length')
    c.exact('input_len_buckets', list(inputs.LENGTH_BUCKETS), c.config['input_len_buckets'])
    shapes = {}
    for i, row in enumerate(c.config['scale_resize']):
      c.given(f'scale_resize/{i}/size', f'scale_resize/{i}/long_side')
      picture = np.zeros((*row['size'], 3), np.uint8)
      shape = list(inputs.shrink(picture, row['long_side']).shape)
      c.exact(f'scale_resize/{i}/out', shape, row['out'])
      shapes[str(tuple(row['size']))] = shape
    c.exact('scale_resize_shapes', shapes, c.config['scale_resize_shapes'])
