"""Parameters of every size with all modalities, part by part; nothing is computed or allocated."""

import collections
import functools

import measure

# Of the original Unified-IO 2, counted in its own parameter trees.
ORIGINAL = {
  'tiny': 276_786_911, 'base': 551_701_967, 'large': 1_080_595_919, 'xl': 3_175_415_247,
  'xxl': 6_864_176_143,
}  # fmt: skip
PARTS = ('encoder', 'decoder', 'token tables', 'image_vit', 'audio_vit', 'tokenizers', 'rest')


def part_of(path: str) -> str:
  """The part that a parameter belongs to."""
  first = path.partition('/')[0]
  if first.endswith('_token_embedder'):
    return 'token tables'
  if 'vqgan' in path:
    return 'tokenizers'
  return first if first in PARTS else 'rest'


def counts(size: str) -> dict[str, int]:
  """Part -> number of parameters."""
  import jax

  from t5x import state_transforms
  from t5x.examples.unified_io import config, modality_processing, models, network

  inputs = modality_processing.get_input_modalities()
  targets = modality_processing.get_target_modalities()
  module = network.Transformer(config.model_config(size), inputs, targets)
  spec = {
    name: jax.ShapeDtypeStruct(shape, dtype)
    for name, (shape, dtype) in modality_processing.get_input_spec().items()
  }
  init = functools.partial(models.EncoderDecoderModel(module).init, input_spec=spec)
  shapes = jax.eval_shape(init, jax.random.key(0))
  found = collections.Counter(dict.fromkeys(PARTS, 0))
  for path, leaf in state_transforms.flatten(shapes).items():
    found[part_of(path)] += leaf.size
  return dict(found)


def main() -> None:
  args = measure.arguments(__doc__)
  measure.one_thread()
  rows = []
  for size in ['tiny'] if args.quick else ORIGINAL:
    found = counts(size)
    total = sum(found.values())
    rows.append({'size': size, 'total': f'{total:,}', 'as the original': total == ORIGINAL[size]})
    rows[-1] |= {part: f'{count:,}' for part, count in found.items()}
  measure.report('Parameters', rows)


if __name__ == '__main__':
  main()
