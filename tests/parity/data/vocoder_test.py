"""The vocoder's configuration, its parameters, and what it is fed."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io import config
from t5x.examples.unified_io.data import spectrogram
from t5x.examples.unified_io.modules import vocoder
from tests.parity import harness
from tests.parity.data import compare


def as_lists(value):
  return [as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def as_tuples(value):
  return tuple(as_tuples(item) for item in value) if isinstance(value, list) else value


def released_shapes(params):
  """{'ups.0.weight': [in, out, width]} and so on: names and order of axes of the released file."""
  shapes = {}
  for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
    *layers, name = (key.key for key in keys)
    shape = list(leaf.shape)
    if name == 'kernel':
      width, before, after = shape
      is_stretching = layers[0].startswith('ups_')
      shape = [before, after, width] if is_stretching else [after, before, width]
    name = {'kernel': 'weight'}.get(name, name)
    shapes['.'.join([*layers, name]).replace('s_', 's.')] = shape
  return shapes


@pytest.mark.parametrize('path', harness.cases('data/g_audio', 'vocoder'))
def test_the_vocoder_has_the_parameters_and_the_inputs_of_the_original(path):
  with harness.case(path) as c:
    c.given('generated', 'output_axes', 'weights_file_in_snapshot')
    ours = {k: as_lists(v) for k, v in dataclasses.asdict(config.VocoderConfig()).items()}
    c.exact('config', ours, c.config['config'])

    settings = config.VocoderConfig(**{k: as_tuples(v) for k, v in c.config['config'].items()})
    network = vocoder.Vocoder(settings)
    generated = c.outputs['generated']
    log_mel = spectrogram.generated_log_mel(generated)
    c.equal('logmel', log_mel, c.outputs['logmel'], atol=compare.tolerance(c, 'logmel'))
    frames = jnp.asarray(log_mel.T[None])
    wave, boxed = jax.eval_shape(network.init_with_output, jax.random.key(0), frames)
    params = nn.unbox(boxed['params'])
    samples = c.config['output_samples_for_256_frames']
    c.exact('output_samples_for_256_frames', wave.shape[-1], samples)
    c.exact('parameter_shapes', released_shapes(params), c.config['parameter_shapes'])
    total = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
    c.exact('total_parameters', total, c.config['total_parameters'])
