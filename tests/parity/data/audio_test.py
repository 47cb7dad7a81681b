"""Waveforms to spectrograms, sound files, and the path of the demo from raw inputs to a batch."""

import numpy as np
import pytest

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import spectrogram
from tests.parity import harness
from tests.parity.data import compare

FOLDER = 'data/g_audio'


def wave_of(c):
  return c.outputs['wave'].astype(np.float32) / np.float32(32768)


def compare_mel(c, mel, name='mel'):
  """Everything stored about mel spectrograms [segments, mel, time]."""
  rule = compare.tolerance(c, f'tensors.{name}')
  atol = rule * float(np.abs(mel).max(initial=0))
  compare.summary(c, f'tensors/{name}', name, mel, c.config['tensors'][name], atol)
  for array, axis in (('band_mean', 2), ('frame_mean', 1)):
    if f'{name}.{array}' in c.outputs:
      got = mel.astype(np.float64).mean(axis)
      c.equal(f'{name}.{array}', got, c.outputs[f'{name}.{array}'], atol=atol)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'mel_*', exclude=('mel_details',)))
def test_spectrograms_are_those_of_the_original(path):
  with harness.case(path) as c:
    c.given('wave')
    wave = wave_of(c)
    c.exact('samples', len(wave), c.config['samples'])
    c.exact('seconds', len(wave) / config.AUDIO_SAMPLE_RATE, c.config['seconds'])
    mel = spectrogram.spectrograms_of(wave)
    compare_mel(c, mel)
    c.exact('exact_zeros', int((mel == 0).sum()), c.config['exact_zeros'])
    tiny = compare.tolerance(c, 'tiny_below_1e-5')
    c.equal('tiny_below_1e-5', (mel < 1e-5).sum(), c.config['tiny_below_1e-5'], rtol=tiny)
    compare_settings(c)


def compare_settings(c):
  ours, settings = config.MEL, c.config['settings']
  names = {
    'sample_rate': ours.sample_rate, 'n_fft': ours.n_fft, 'hop': ours.hop, 'n_mels': ours.num_mels,
    'fmin': ours.fmin, 'fmax': ours.fmax,
  }  # fmt: skip
  for name, value in names.items():
    c.exact(f'settings/{name}', value, settings[name])
  # Told by the numbers: no other window, padding or scale gives them.
  c.given(*(f'settings/{name}' for name in set(settings) - set(names)))
