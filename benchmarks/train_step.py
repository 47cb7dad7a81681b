"""CPU seconds of a training step of the reference model (forward, backward, Adafactor), one thread.

The state, the step and the metrics are those of train.py. The floor is the time of the matrix
products at the rate of the calibration.
"""

from collections.abc import Mapping
import dataclasses
import time
from typing import Any

import measure
import reference_model

# CPU seconds on the machine of the reference, whose calibration is `measure.REFERENCE`.
OTHERS = {
  "PyTorch port of the original's authors (AdamW)": 2.75,
  'Hugging Face T5 of the same sizes (AdamW)': 2.66,
  'original Unified-IO 2 (Adafactor)': 4.17,
}


def measured(cfg: Any, examples: Mapping[str, Any], repeats: int) -> dict[str, float]:
  """CPU seconds of a step, and of compiling it."""
  import jax

  trainer = reference_model.trainer(reference_model.model(cfg), examples)
  state = trainer.plan.init()
  start = time.process_time()
  trainer.compile()
  compiled = time.process_time() - start

  def step():
    nonlocal state
    state, metrics = trainer.step(state, examples)
    jax.block_until_ready((state, metrics))

  return {'step, CPU s': measure.best(step, repeats=repeats), 'compile, CPU s': compiled}


def main() -> None:
  args = measure.arguments(__doc__)
  measure.one_thread()
  layers, repeats, shrink = (1, 1, 8) if args.quick else (4, 8, 1)
  cfg = reference_model.config(num_encoder_layers=layers, num_decoder_layers=layers)
  examples = reference_model.batch(shrink=shrink)
  calibration = measure.calibrate(args.quick)
  rows = [
    {'what': f'ours, {name} layers'}
    | measured(dataclasses.replace(cfg, scan_layers=scan), examples, repeats)
    for name, scan in (('scanned', True), ('unrolled', False))
  ]
  calibration = min(calibration, measure.calibrate(args.quick))
  slower = calibration / measure.REFERENCE
  rows += [
    {'what': f'{name}, scaled', 'step, CPU s': seconds * slower, 'compile, CPU s': None}
    for name, seconds in OTHERS.items()
  ]
  flops = reference_model.FORWARD_AND_BACKWARD * reference_model.forward_flops(cfg, examples)
  floor = calibration * flops / (2 * measure.SIZE**3)
  for row in rows:
    row['times the floor'] = row['step, CPU s'] / floor
  measure.report(
    'Training step, one thread', rows, calibration=calibration, GFLOP=flops / 1e9, floor=floor
  )


if __name__ == '__main__':
  main()
