"""The network that the benchmarks run, and its batch: small, with all parts of the full one.

Run alone, it prints how much work a step of it is.
"""

from typing import Any

import measure
import numpy as np

TEXT, PATCHES, ANSWER = 256, 576, 64  # lengths
FORWARD_AND_BACKWARD = 3  # a product's two gradients cost as much as two products


def config(**changes: Any) -> Any:
  """4 + 4 layers of width 256, float32, the released vocabulary."""
  from t5x.examples.unified_io.config import ModelConfig

  fields = {
    'emb_dim': 256, 'num_heads': 4, 'head_dim': 64, 'mlp_dim': 1024, 'num_encoder_layers': 4,
    'num_decoder_layers': 4, 'dtype': 'float32',
  }  # fmt: skip
  return ModelConfig(**{**fields, **changes})


def model(**changes: Any) -> Any:
  """Text and raw patches of an image in, text out; `changes` are those of the configuration."""
  import dataclasses

  from t5x.examples.unified_io import modality_specs, models, network

  image = dataclasses.replace(modality_specs.input_spec('image'), use_vit=False)
  inputs = {'text': modality_specs.input_spec('text'), 'image': image}
  targets = {'text': modality_specs.target_spec('text')}
  return models.EncoderDecoderModel(network.Transformer(config(**changes), inputs, targets))


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


def trainer(examples: dict[str, np.ndarray], **changes: Any) -> Any:
  """What trains it with Adafactor; compiles nothing yet."""
  from t5x import optimizers, partitioning
  from t5x import trainer as trainer_lib

  return trainer_lib.Trainer(
    model(**changes),
    optimizers.adafactor(learning_rate=1e-3, decay_rate=0.8, beta1=None),
    partitioning.PjitPartitioner(),
    examples,
    seed=0,
  )


def forward_flops(size: int = 4, shrink: int = 1, **changes: Any) -> int:
  """Operations of the matrix products of a forward pass; a multiplication and an addition are 2."""
  cfg = config(**changes)
  width, inner, hidden = cfg.emb_dim, cfg.num_heads * cfg.head_dim, cfg.mlp_dim
  text, patches, answer = (length // shrink for length in (TEXT, PATCHES, ANSWER))
  sources, projection, mlp = text + patches, width * inner, 3 * width * hidden
  encoder = sources * (4 * projection + mlp + 2 * sources * inner)
  decoder = answer * (6 * projection + mlp + 2 * (answer + sources) * inner)
  decoder += sources * 2 * projection  # keys and values of the inputs
  ends = patches * 768 * width + answer * width * cfg.vocab_size
  layers = cfg.num_encoder_layers * encoder + cfg.num_decoder_layers * decoder
  return 2 * size * (layers + ends)


def main() -> None:
  measure.arguments(__doc__)
  forward = forward_flops() / 1e9
  row = {'forward, GFLOP': forward, 'with backward, GFLOP': FORWARD_AND_BACKWARD * forward}
  measure.report('Work of the reference model', [row])


if __name__ == '__main__':
  main()
