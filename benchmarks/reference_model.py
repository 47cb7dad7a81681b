"""The network that the benchmarks run, and its batch: small, with all parts of the full one.

Run alone, it prints how much work a step of it is.
"""

import dataclasses
from typing import Any

import measure
import numpy as np

TEXT, PATCHES, ANSWER = 256, 576, 64  # lengths
LENGTHS_OF = ('inputs/text/tokens', 'inputs/image/input', 'targets/text/targets')
FORWARD_AND_BACKWARD = 3  # a product's two gradients cost as much as two products


def config(**changes: Any) -> Any:
  """4 + 4 layers of width 256, float32, the released vocabulary."""
  from t5x.examples.unified_io.config import ModelConfig

  fields = {
    'emb_dim': 256, 'num_heads': 4, 'head_dim': 64, 'mlp_dim': 1024, 'num_encoder_layers': 4,
    'num_decoder_layers': 4, 'dtype': 'float32',
  }  # fmt: skip
  return ModelConfig(**{**fields, **changes})


def model(cfg: Any, *, use_vit: bool = False) -> Any:
  """Text and an image in, text out; the image as raw patches, or through the frozen ViT."""
  from t5x.examples.unified_io import modality_specs, models, network

  image = dataclasses.replace(modality_specs.input_spec('image'), use_vit=use_vit)
  inputs = {'text': modality_specs.input_spec('text'), 'image': image}
  targets = {'text': modality_specs.target_spec('text')}
  return models.EncoderDecoderModel(network.Transformer(cfg, inputs, targets))


def parameters(of: Any, examples: dict[str, np.ndarray]) -> Any:
  """Drawn parameters of a model, without compiling its own way of drawing them."""
  import jax

  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(lambda key: of.init(key, examples), jax.random.key(0))

  def draw(leaf):
    if leaf.ndim < 2:
      return np.ones(leaf.shape, np.float32)
    return rng.standard_normal(leaf.shape, np.float32) * leaf.shape[-2] ** -0.5

  return jax.device_put(jax.tree.map(draw, shapes))


def batch(size: int = 4, vocab: int = 33_280, shrink: int = 1) -> dict[str, np.ndarray]:
  """Examples of full length; `shrink` divides the lengths."""
  rng = np.random.default_rng(0)
  text, patches, answer = (length // shrink for length in (TEXT, PATCHES, ANSWER))
  targets = rng.integers(2, vocab, (size, answer)).astype(np.int32)
  places = lambda length: np.tile(np.arange(length, dtype=np.int32), (size, 1))
  ones = lambda length: np.ones((size, length), np.int32)
  return {
    'inputs/text/tokens': rng.integers(2, vocab, (size, text)).astype(np.int32),
    'inputs/text/pos_ids': places(text),
    'inputs/text/mask': ones(text),
    'inputs/image/input': rng.standard_normal((size, patches, 768)).astype(np.float32),
    'inputs/image/pos_ids': places(patches),
    'inputs/image/mask': ones(patches),
    'targets/text/inputs': np.pad(targets[:, :-1], ((0, 0), (1, 0))),
    'targets/text/targets': targets,
    'targets/text/pos_ids': places(answer),
    'targets/text/segment_ids': ones(answer),
    'targets/text/mask': ones(answer),
  }


def trainer(of: Any, examples: dict[str, np.ndarray]) -> Any:
  """What trains a model with Adafactor, frozen parts left out; compiles nothing yet."""
  from t5x import optimizers, partitioning
  from t5x import trainer as trainer_lib

  return trainer_lib.Trainer(
    of,
    optimizers.adafactor(learning_rate=1e-3, decay_rate=0.8),
    partitioning.PjitPartitioner(),
    examples,
    seed=0,
    trainable=['(?!image_vit/).*'],
  )


def forward_flops(cfg: Any, examples: dict[str, np.ndarray]) -> int:
  """Operations of the matrix products of a forward pass, without those of the ViT.

  A multiplication and an addition are two.
  """
  size, patches, channels = examples['inputs/image/input'].shape
  sources = examples['inputs/text/tokens'].shape[1] + patches
  answer = examples['targets/text/targets'].shape[1]
  width, inner = cfg.emb_dim, cfg.num_heads * cfg.head_dim
  projection, mlp = width * inner, 3 * width * cfg.mlp_dim
  encoder = sources * (4 * projection + mlp + 2 * sources * inner)
  decoder = answer * (6 * projection + mlp + 2 * (answer + sources) * inner)
  decoder += sources * 2 * projection  # keys and values of the inputs
  ends = patches * channels * width + answer * width * cfg.vocab_size
  layers = cfg.num_encoder_layers * encoder + cfg.num_decoder_layers * decoder
  return 2 * size * (layers + ends)


def main() -> None:
  measure.arguments(__doc__)
  forward = forward_flops(config(), batch()) / 1e9
  row = {'forward, GFLOP': forward, 'with backward, GFLOP': FORWARD_AND_BACKWARD * forward}
  measure.report('Work of the reference model', [row])


if __name__ == '__main__':
  main()
