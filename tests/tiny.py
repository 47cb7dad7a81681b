"""A network so small that a test of it takes seconds, and batches for it."""

from collections.abc import Callable
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from t5x.array_types import Batch, PyTree
from t5x.examples.unified_io import config, modality_specs, network

BATCH, TEXT, PATCHES, ANSWER = 2, 7, 5, 6


def model_config(**overrides: Any) -> config.ModelConfig:
  """Width 32, heads of 8, two layers, float32."""
  vit = config.VitConfig(emb_dim=16, num_heads=2, head_dim=8, num_layers=3, mlp_dim=24, patch=4)
  fields = {
    'emb_dim': 32, 'num_heads': 4, 'head_dim': 8, 'mlp_dim': 48, 'num_encoder_layers': 2,
    'num_decoder_layers': 2, 'vocab_size': 40, 'image_vocab_size': 24, 'audio_vocab_size': 20,
    'dtype': 'float32', 'image_vit': vit, 'audio_vit': vit,
  }  # fmt: skip
  return config.ModelConfig(**{**fields, **overrides})


def input_specs(use_vit: bool = True) -> dict[str, modality_specs.ModalitySpec]:
  """Text, and a picture of 3 x 4 patches of 4 x 4 pixels."""
  grid = modality_specs.PatchGrid(height=12, width=16, patch=4)
  image = modality_specs.PatchInputSpec(name='image', channels=3, grid=grid, use_vit=use_vit)
  return {'text': modality_specs.TextInputSpec(max_length=16), 'image': image}


def target_specs() -> dict[str, modality_specs.ModalitySpec]:
  """Text of up to 16 tokens."""
  return {'text': modality_specs.TextTargetSpec(max_length=16)}


def transformer(use_vit: bool = True, **overrides: Any) -> network.Transformer:
  """Text and image to text."""
  return network.Transformer(model_config(**overrides), input_specs(use_vit), target_specs())


def batch(size: int = BATCH, seed: int = 0, vocab: int = 40) -> Batch:
  """Random examples; lengths differ, and each target ends with the end of sequence."""
  rng = np.random.default_rng(seed)
  text = rng.integers(2, vocab, (size, TEXT)).astype(np.int32)
  text_mask = (np.arange(TEXT) < rng.integers(3, TEXT + 1, (size, 1))).astype(np.int32)
  targets = rng.integers(2, vocab, (size, ANSWER)).astype(np.int32)
  lengths = rng.integers(2, ANSWER + 1, (size, 1))
  places = np.broadcast_to(np.arange(ANSWER), (size, ANSWER))
  targets = np.where(places == lengths - 1, 1, targets) * (places < lengths)
  return {
    'inputs/text/tokens': text * text_mask,
    'inputs/text/mask': text_mask,
    'inputs/text/pos_ids': np.tile(np.arange(TEXT, dtype=np.int32), (size, 1)),
    'inputs/image/input': rng.standard_normal((size, PATCHES, 48)).astype(np.float32),
    'inputs/image/mask': (np.arange(PATCHES) < rng.integers(1, PATCHES + 1, (size, 1))).astype(
      np.int32
    ),
    'inputs/image/pos_ids': rng.integers(0, 12, (size, PATCHES)).astype(np.int32),
    'targets/text/inputs': np.pad(targets[:, :-1], ((0, 0), (1, 0))).astype(np.int32),
    'targets/text/targets': targets.astype(np.int32),
    'targets/text/mask': (targets > 0).astype(np.int32),
    'targets/text/pos_ids': places.astype(np.int32),
    'targets/text/segment_ids': (targets > 0).astype(np.int32),
  }


def init(module: nn.Module, features: Batch, seed: int = 0) -> PyTree:
  """Parameters of a network as a plain nested dict, drawn without compiling its init."""
  return draw(jax.eval_shape(module.init, jax.random.key(0), features)['params'], seed)


def draw(shapes: PyTree, seed: int = 0) -> PyTree:
  """Values for a tree of parameters; no scale is 1 and no bias 0, so that they all matter."""
  rng = np.random.default_rng(seed)

  def value(path, leaf):
    noise = rng.standard_normal(leaf.shape).astype(np.float32)
    kind = path[-1].key
    if kind == 'kernel':
      return jnp.asarray(noise * leaf.shape[-2] ** -0.5)
    return jnp.asarray({'scale': 1 + 0.1 * noise, 'embedding': noise}.get(kind, 0.2 * noise))

  return jax.tree.map_with_path(value, nn.unbox(shapes))


def loss(output: network.TargetOutput) -> jax.Array:
  """Sum of the cross entropies of all tokens that count."""
  scores = jax.nn.log_softmax(output.logits)
  picked = jnp.take_along_axis(scores, output.tokens[..., None], axis=-1)[..., 0]
  return -jnp.sum(picked * output.loss_mask.astype(jnp.float32))


def applied(module: nn.Module, params: PyTree) -> Callable[..., Any]:
  """`module.apply` compiled: (*arrays, method=..., **settings)."""

  @functools.partial(jax.jit, static_argnames=('method', 'settings'))
  def call(params, args, method, settings):
    return module.apply({'params': params}, *args, method=method, **dict(settings))

  return lambda *args, method='__call__', **settings: call(
    params, args, method, tuple(settings.items())
  )
