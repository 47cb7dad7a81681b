"""CPU seconds of compiling the training step, with looped (scanned) and with unrolled layers.

Of the deepest unrolled network only tracing and lowering are measured; pass --deep for all of it.
"""

import argparse
from collections.abc import Mapping
import time
from typing import Any

import measure
import reference_model

# The original Unified-IO 2 on the machine of the reference (compilation is not scaled by the
# calibration, which multiplies matrices): layers -> CPU seconds.
ORIGINAL = {1: 'all 48.7', 4: 'all > 700', 24: 'tracing 41.7, all > 230'}


def measured(layers: int, scan: bool, whole: bool, examples: Mapping[str, Any]) -> dict[str, Any]:
  """CPU seconds of tracing and lowering, and of compiling what came out."""
  import jax

  jax.clear_caches()
  cfg = reference_model.config(
    num_encoder_layers=layers, num_decoder_layers=layers, scan_layers=scan
  )
  trainer = reference_model.trainer(reference_model.model(cfg), examples)
  start = time.process_time()
  lowered = trainer.lower()
  traced, compiled = time.process_time() - start, None
  if whole:
    lowered.compile()
    compiled = time.process_time() - start - traced
  return {
    'layers': f'{layers} + {layers}', 'kind': 'scanned' if scan else 'unrolled',
    'trace and lower': traced, 'compile': compiled, 'original, unrolled': ORIGINAL.get(layers),
  }  # fmt: skip


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('--deep', action='store_true', help='compile 24 + 24 unrolled layers, too')
  args = measure.arguments(__doc__, parser)
  measure.one_thread()
  counts, shrink = ((1, 2), 8) if args.quick else ((1, 4, 24), 1)
  examples = reference_model.batch(shrink=shrink)
  rows = [
    measured(layers, scan, scan or layers < 24 or args.deep, examples)
    for layers in counts
    for scan in (True, False)
  ]
  measure.report('Compiling the training step, CPU seconds', rows)


if __name__ == '__main__':
  main()
