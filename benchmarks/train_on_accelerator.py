"""Training steps of a released size on one accelerator: attention kernels, recomputed layers.

Needs the JAX lane's packages alone. Text and an image (through the frozen ViT) in, text out, in
bfloat16, every position valid.

  python benchmarks/train_on_accelerator.py --size large --batch 16
"""

import argparse
import time
from typing import Any

import measure

SETTINGS = ({'attention': 'cudnn', 'remat': 'full'}, {'attention': 'cudnn'}, {'attention': 'xla'})
STEPS = 10
FROZEN = 'image_vit/'


def trainer(size: str, examples: Any, **settings: str) -> Any:
  """What trains a model of `size`, its ViT frozen."""
  from t5x import optimizers, partitioning
  from t5x import trainer as trainer_lib
  from t5x.examples.unified_io import config, modality_specs, models, network

  inputs = {name: modality_specs.input_spec(name) for name in ('text', 'image')}
  targets = {'text': modality_specs.target_spec('text')}
  module = network.Transformer(config.model_config(size, **settings), inputs, targets)
  return trainer_lib.Trainer(
    models.EncoderDecoderModel(module),
    optimizers.adafactor(learning_rate=1e-3, decay_rate=0.8, beta1=None),
    partitioning.PjitPartitioner(),
    examples,
    seed=0,
    trainable=(f'(?!{FROZEN}).*',),
  )


def measured(size: str, batch: int, settings: dict[str, str]) -> dict[str, Any]:
  """Seconds, tokens and memory of one setting; what does not fit is said so."""
  import jax
  import reference_model

  examples = reference_model.batch(batch)
  lengths = (reference_model.TEXT, reference_model.PATCHES, reference_model.ANSWER)
  row = {'attention': settings['attention'], 'remat': settings.get('remat', 'none')}
  device = jax.devices()[0]
  try:
    run = trainer(size, examples, **settings)
    state = run.plan.init()
    compiling = run.compile()
    for step in range(STEPS + 2):
      if step == 2:  # the first steps warm up
        jax.block_until_ready(state)
        start = time.monotonic()
      state, metrics = run.step(state, examples)
    jax.block_until_ready((state, metrics))
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    return {**row, 'step, s': None, 'tokens/s': None, 'compile, s': None, 'peak, GiB': 'too small'}
  seconds = (time.monotonic() - start) / STEPS
  peak = (device.memory_stats() or {}).get('peak_bytes_in_use')
  return {
    **row, 'step, s': seconds, 'tokens/s': batch * sum(lengths) / seconds, 'compile, s': compiling,
    'peak, GiB': peak and peak / 2**30,
  }  # fmt: skip


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('--size', default='large')
  parser.add_argument('--batch', type=int, default=16)
  args = measure.arguments(__doc__, parser)
  if args.quick:
    args.size, args.batch = 'tiny', 1
  import jax

  on_gpu = jax.default_backend() == 'gpu'
  settings = SETTINGS if on_gpu else ({'attention': 'xla'},)
  # The peak is that of the process so far, so that the settings come in order of memory.
  rows = [measured(args.size, args.batch, setting) for setting in settings]
  device = jax.devices()[0].device_kind
  measure.report('Training steps', rows, device=device, size=args.size, batch=args.batch)


if __name__ == '__main__':
  main()
