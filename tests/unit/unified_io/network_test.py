"""The network as a whole: sizes, modalities by name, frozen parts, words for mistakes."""

import dataclasses
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io import config, modality_specs, network
from t5x.examples.unified_io.modules import (
  dense,
  input_embedders,
  positions,
  sequences,
  target_embedders,
)
from tests import tiny, tiny_modalities


def _text_and_image(size: str, **overrides) -> network.Transformer:
  inputs = {name: modality_specs.input_spec(name) for name in ('text', 'image')}
  targets = {'text': modality_specs.target_spec('text')}
  return network.Transformer(config.model_config(size, **overrides), inputs, targets)


def _abstract_batch(length: int = 8) -> dict[str, jax.ShapeDtypeStruct]:
  ids = jax.ShapeDtypeStruct((1, length), jnp.int32)
  return {
    'inputs/text/tokens': ids,
    'inputs/image/input': jax.ShapeDtypeStruct((1, 576, 768), jnp.float32),
    'targets/text/inputs': ids,
    'targets/text/targets': ids,
  }


@pytest.mark.parametrize('size', sorted(config.SIZES))
def test_every_size_builds_for_text_and_image_in_text_out(size):
  module, batch = _text_and_image(size), _abstract_batch()
  variables = jax.eval_shape(module.init, jax.random.key(0), batch)
  shapes = nn.unbox(variables)['params']
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype('float32')}
  output = jax.eval_shape(module.apply, {'params': shapes}, batch)
  logits = output.targets['text'].logits
  assert (logits.shape, logits.dtype) == ((1, 8, 33_280), jnp.float32)


def test_large_has_the_released_number_of_parameters():
  module, batch = _text_and_image('large'), _abstract_batch()
  shapes = nn.unbox(jax.eval_shape(module.init, jax.random.key(0), batch))['params']
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 831_724_800


def test_modalities_go_by_name_whatever_their_order(tiny_network, tiny_params, tiny_batch):
  backwards = tiny_network.clone(inputs=dict(reversed(tiny_network.inputs.items())))
  want, got = (
    tiny.applied(module, tiny_params)(tiny_batch).targets['text'].logits
    for module in (tiny_network, backwards)
  )
  np.testing.assert_array_equal(got, want)


def _gradients(module, params, features):
  loss = lambda p: tiny.loss(module.apply({'params': p}, features).targets['text'])
  return jax.jit(jax.grad(loss))(params)


def test_missing_modalities_are_told_by_name(tiny_network, tiny_params, tiny_batch):
  no_image = {k: v for k, v in tiny_batch.items() if not k.startswith('inputs/image')}
  with pytest.raises(ValueError, match='no inputs/image'):
    tiny_network.apply({'params': tiny_params}, no_image)
  no_targets = {k: v for k, v in tiny_batch.items() if k.startswith('inputs')}
  with pytest.raises(ValueError, match=r"none of the targets \['text'\]"):
    tiny_network.apply({'params': tiny_params}, no_targets)


@pytest.mark.parametrize(
  ('changes', 'sentence'),
  [
    ({'inputs/image/input': None}, 'no inputs/image/input; of it there are .*mask'),
    ({'inputs/image/maks': np.ones((2, 5), np.int32)}, "no field 'maks'; did you mean .*'mask'"),
    (
      {'inputs/image/input': np.ones((2, 5, 27), np.float32)},
      r'float32\[2, 5, 27\]; .*patches, 48\]',
    ),
    (
      {'inputs/text/tokens': np.ones((2, 7), np.float32)},
      r'float32\[2, 7\]; .* int32\[batch, length',
    ),
    (
      {'inputs/text/tokens': np.ones((2, 7, 1), np.int32)},
      r'int32\[2, 7, 1\]; .*\[batch, length\]',
    ),
    ({'inputs/text/tokens': np.ones((1, 7), np.int32)}, 'different numbers of examples'),
    ({'targets/text/targets': np.ones((3, 6), np.int32)}, 'different numbers of examples'),
  ],
)
def test_a_batch_that_contradicts_the_specs_is_refused_while_tracing(
  tiny_network, tiny_params, tiny_batch, changes, sentence
):
  batch = {k: v for k, v in {**tiny_batch, **changes}.items() if v is not None}
  with pytest.raises(ValueError, match=sentence):
    jax.eval_shape(tiny_network.apply, {'params': tiny_params}, batch)


def test_targets_of_another_size_are_refused_while_tracing():
  module, batch = tiny_modalities.transformer(), tiny_modalities.batch(2)
  params = jax.eval_shape(module.init, jax.random.key(0), batch)
  for name, wrong in (('image/image', (2, 9, 8, 3)), ('audio/mask', (2, 7))):
    changed = {**batch, f'targets/{name}': np.zeros(wrong, batch[f'targets/{name}'].dtype)}
    with pytest.raises(ValueError, match=f'targets/{name} is .* this network wants'):
      jax.eval_shape(module.apply, params, changed)


def test_an_unknown_modality_is_refused_with_near_names(tiny_batch):
  spec = dataclasses.replace(modality_specs.input_spec('image'), name='imagee')
  inputs = {'text': modality_specs.TextInputSpec(), 'imagee': spec}
  module = network.Transformer(tiny.model_config(), inputs, tiny.target_specs())
  with pytest.raises(ValueError, match=r"did you mean one of \['image'"):
    module.init(jax.random.key(0), tiny_batch)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _NumberSpec(modality_specs.ModalitySpec):
  """A list of measured numbers, each a token."""

  name: str = 'numbers'

  @property
  def model(self):
    return {'values': modality_specs.Feature(dtype='float32', rank=1)}


class _NumberEmbedder(input_embedders.InputEmbedder):
  @nn.compact
  def __call__(self, fields, *, deterministic=True):
    values = fields['values']
    project = dense.Dense(self.config.emb_dim, ('image_patch', 'embed'), self.config.dtype)
    table = positions.rotary_1d(values.shape[1], self.config.head_dim)
    return sequences.InputSequence(
      embed=project(values[..., None]) + self.modality_embedding(),
      mask=jnp.ones(values.shape, jnp.int32),
      rotary=jnp.asarray(table)[None],
    )


def test_a_modality_from_outside_needs_no_change_here(monkeypatch, tiny_batch):
  monkeypatch.setattr(input_embedders, '_ENTRIES', dict(input_embedders._ENTRIES))
  entry = input_embedders.InputEntry(embedder=_NumberEmbedder)
  input_embedders.register_input('numbers', entry)
  inputs = {'text': modality_specs.TextInputSpec(), 'numbers': _NumberSpec()}
  module = network.Transformer(tiny.model_config(), inputs, tiny.target_specs())
  values = np.linspace(-1, 1, 2 * 3, dtype=np.float32).reshape(2, 3)
  features = {**tiny_batch, 'inputs/numbers/values': values}
  gradients = _gradients(module, tiny.init(module, features), features)
  assert np.any(gradients['input_numbers']['modality_embedding'])


def test_a_name_that_is_taken_is_refused():
  with pytest.raises(ValueError, match='exists already'):
    input_embedders.register_input('text', input_embedders.InputEntry(embedder=_NumberEmbedder))
  entry = target_embedders.TargetEntry(
    embedder=target_embedders.TextTarget, vocab_size=lambda config: 3
  )
  with pytest.raises(ValueError, match='exists already'):
    target_embedders.register_target('text', entry)


def test_codes_in_place_of_pixels_need_no_tokenizer():
  grid = modality_specs.PatchGrid(height=16, width=8, patch=4)
  targets = {
    name: modality_specs.DenseTargetSpec(name=name, grid=grid, channels=1, use_codes=True)
    for name in ('image', 'audio')
  }
  inputs = {'text': modality_specs.TextInputSpec()}
  module = network.Transformer(tiny.model_config(), inputs, targets)
  codes = np.arange(16, dtype=np.int32).reshape(2, 8)  # a grid of 4 x 2
  features = {
    'inputs/text/tokens': np.ones((2, 3), np.int32),
    'targets/image/tokens': codes,
    'targets/audio/tokens': codes,
  }
  output = tiny.applied(module, tiny.init(module, features))(features)
  assert {n: t.logits.shape for n, t in output.targets.items()} == {
    'image': (2, 8, 24), 'audio': (2, 8, 20),
  }  # fmt: skip
  np.testing.assert_array_equal(output.targets['audio'].tokens, codes + 2)


def test_importing_the_network_imports_no_tensorflow():
  code = (
    'import sys, t5x.examples.unified_io.network;'
    'assert not {"tensorflow", "seqio", "gin"} & set(sys.modules)'
  )
  subprocess.run([sys.executable, '-c', code], check=True, timeout=120)
