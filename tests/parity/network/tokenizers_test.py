"""The tokenizers alone: latents, codes, decoding, reconstruction, codes outside the codebook."""

from collections.abc import Callable, Mapping
import hashlib
import pathlib
from typing import Any
import zlib

from flax import traverse_util
from flax.core import meta
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x import legacy_checkpoints
from t5x.examples.unified_io.interop import legacy_names
from t5x.examples.unified_io.modules import audio_vqgan, image_vqgan
from tests.parity import harness
from tests.parity.network import support

_TOKENIZERS = {
  'image': lambda stored: image_vqgan.ImageVqgan(support.image_vqgan_config(stored)),
  'audio': lambda stored: audio_vqgan.AudioVqgan(support.audio_vqgan_config(stored)),
}
_GIVEN = (
  'kind', 'config', 'seed', 'init', 'checkpoint', 'checkpoint_note', 'recipe', 'recipe_paths',
  'inputs', 'outputs', 'array_steps', 'codes_used', 'min_margin', 'fraction_margin_*', 'margin',
  'out_of_range_codes',
)  # fmt: skip
_OUTSIDE = 'out_of_range_entries'
_STATISTICS = {
  'mean': np.mean,
  'std': np.std,
  'min': np.min,
  'max': np.max,
  'abs_sum': lambda x: np.abs(x).sum(),
}


class Tokenizer:
  """The tokenizer of a case; each method is compiled once."""

  def __init__(self, case: harness.Case):
    self._kind = case.config['kind']
    self._module = _TOKENIZERS[self._kind](case.config['config'])
    self._params: Any = None
    key, pixels = jax.random.key(0), jnp.asarray(case.inputs['x'])
    shapes = meta.unbox(jax.eval_shape(self._module.init, key, pixels)['params'])
    self.shapes = traverse_util.flatten_dict(shapes, sep='/')

    def compiled(method: str | Callable) -> Callable:
      return jax.jit(lambda params, x: self._module.apply({'params': params}, x, method=method))

    self._methods = {
      'latents': compiled('latents'),
      'codes': compiled(lambda t, latents: t.quantize.codes(latents)),
      'entries': compiled(lambda t, codes: t.quantize.lookup(codes)),
      'on_codes': compiled(lambda t, latents: t.quantize(latents).latents),
      'decode': compiled('decode_latents'),
    }

  def load(self, released: Mapping[str, np.ndarray]) -> None:
    """Takes the released weights by path below the tokenizer."""
    ours = {self.our_name(path): jnp.asarray(array) for path, array in released.items()}
    assert {p: x.shape for p, x in ours.items()} == {p: x.shape for p, x in self.shapes.items()}
    self._params = traverse_util.unflatten_dict(ours, sep='/')

  def __call__(self, method: str, x: Any) -> np.ndarray:
    return np.asarray(self._methods[method](self._params, jnp.asarray(x)))

  def our_name(self, path: str) -> str:
    """Our path of a released one, both below the tokenizer."""
    whole = legacy_names.from_legacy(f'target_encoders_{self._kind}/discrete_vae/{path}')
    return whole.removeprefix(f'{self._kind}_vqgan/')


def _recipe(path: str, shape: list[int], seed: int) -> np.ndarray:
  """Weights that are not stored (README of the goldens, 'Recipe')."""
  noise = np.random.RandomState((zlib.crc32(path.encode()) + seed) % 2**32)
  noise = noise.standard_normal(size=shape)
  *parents, name = path.split('/')
  value = {
    'scale': lambda: 1 + 0.1 * noise,
    'bias': lambda: 0.1 * noise,
    'kernel': lambda: noise / np.sqrt(np.prod(shape[:-1])),
    'embedding': lambda: 0.5 * noise if 'quantize' in parents else noise,
  }
  return value.get(name, lambda: 0.2 * noise)().astype(np.float32)


def _released_weights(c: harness.Case) -> dict[str, np.ndarray]:
  if 'checkpoint' in c.config:
    return dict(legacy_checkpoints.load(c.path / c.config['checkpoint']).read('target'))
  rows = c.config['params']
  return {row['path']: _recipe(row['path'], row['shape'], c.config['seed']) for row in rows}


def _check_parameters(c: harness.Case, tokenizer: Tokenizer) -> None:
  if 'params' in c.config:
    rows = c.config['params']
    listed = {tokenizer.our_name(row['path']): (row['shape'], row['dtype']) for row in rows}
    ours = {path: (list(x.shape), str(x.dtype)) for path, x in tokenizer.shapes.items()}
    c.exact('params', ours, listed)
  if 'param_count' in c.config:
    count = sum(int(np.prod(x.shape)) for x in tokenizer.shapes.values())
    c.exact('param_count', count, c.config['param_count'])


def _check_codes(c: harness.Case, codes: np.ndarray) -> None:
  want, margin = c.outputs['indices'], c.config['tolerance']['indices_margin']
  c.equal('indices', codes, want, mask=c.outputs['margin'] > margin)
  if 'code_sha256' in c.config:
    same = np.array_equal(codes, want)
    digest = hashlib.sha256(codes.astype('<i4').tobytes()).hexdigest()
    stored = c.config['code_sha256']
    c.exact('code_sha256', digest, stored) if same else c.given('code_sha256')


def _check_statistics(c: harness.Case, name: str, got: np.ndarray) -> None:
  """A large array of which only a few numbers and samples are stored."""
  stored, tolerance = c.config[name], c.config['tolerance']
  c.given(f'{name}/name', f'{name}/sample_flat_index')
  if got.ndim > len(stored['shape']):  # cells stored as one axis, without their grid
    got = got.reshape(got.shape[0], -1, got.shape[-1])
  c.exact(f'{name}/shape', list(got.shape), stored['shape'])
  samples = got.reshape(-1)[stored['sample_flat_index']]
  bounds = {'atol': tolerance['samples_atol'], 'rtol': tolerance['samples_rtol']}
  c.equal(f'{name}/sample_value', samples, stored['sample_value'], **bounds)
  for statistic, function in _STATISTICS.items():
    bounds = {'atol': tolerance['statistics_atol']}
    if statistic == 'abs_sum':
      bounds = {'rtol': tolerance['abs_sum_rtol']}
    c.equal(f'{name}/{statistic}', function(np.float64(got)), stored[statistic], **bounds)


def _check_array(c: harness.Case, name: str, got: np.ndarray) -> None:
  """A stored array, or a statistic of it; the batch may be stored in part."""
  if name not in c.outputs:
    _check_statistics(c, name, got[: c.config[name]['shape'][0]])
    return
  want = c.outputs[name]
  step = c.config.get('array_steps', {}).get(name)
  if step:
    got = got[:, ::step, ::step]
  c.equal(name, got[: len(want)].reshape(want.shape), want, **support.floats(c))


def _rows(c: harness.Case, name: str) -> int:
  return len(c.outputs[name]) if name in c.outputs else c.config[name]['shape'][0]


def _check_tokenizer(path: pathlib.Path) -> None:
  with harness.case(path) as c:
    c.given(*_GIVEN)
    tokenizer = Tokenizer(c)
    _check_parameters(c, tokenizer)
    tokenizer.load(_released_weights(c))

    latents = tokenizer('latents', c.inputs['x'])
    if 'latents' in c.outputs or 'latents' in c.config:
      _check_array(c, 'latents', latents)
    codes = tokenizer('codes', latents)
    _check_codes(c, codes.reshape(len(codes), -1))

    names = {*c.outputs, *c.config}
    if 'decoded' in names:
      stored = c.inputs['codes'].reshape(-1, *codes.shape[1:])[: _rows(c, 'decoded')]
      _check_array(c, 'decoded', tokenizer('decode', tokenizer('entries', stored)))
    for name in names:
      if name.startswith('reconstruction'):
        entries = tokenizer('on_codes', latents)[: _rows(c, name)]
        _check_array(c, name, tokenizer('decode', entries))
    if 'out_of_range_codes' in c.outputs:
      outside, want = tokenizer('entries', c.outputs['out_of_range_codes']), c.outputs[_OUTSIDE]
      c.exact(_OUTSIDE, np.isnan(outside), np.isnan(want))
      c.equal(_OUTSIDE, outside, want, mask=~np.isnan(want), **support.floats(c))


@pytest.mark.parametrize('path', harness.cases('network', 'f_vqgan_*', exclude=('*_default*',)))
def test_tokenizer_gives_the_codes_and_pixels_of_the_original(path):
  _check_tokenizer(path)


@pytest.mark.slow
@pytest.mark.parametrize('path', harness.cases('network', 'f_vqgan_*_default*'))
def test_full_size_tokenizer_gives_the_codes_and_pixels_of_the_original(path):
  _check_tokenizer(path)
