"""CPU seconds of a training step of the reference model (forward, backward, Adafactor), one thread.

The state, the step and the metrics are those of train.py. The floor is the time of the matrix
products at the rate of the calibration.
"""

import time

import measure
import reference_model

# CPU seconds on the machine of the reference, whose calibration is `measure.REFERENCE`.
OTHERS = {
  "PyTorch port of the original's authors (AdamW)": 2.75,
  'Hugging Face T5 of the same sizes (AdamW)': 2.66,
  'original Unified-IO 2 (Adafactor)': 4.17,
}


def measured(scan: bool, *, repeats: int, shrink: int, layers: int) -> dict[str, float]:
  """CPU seconds of compiling and of a step."""
  import jax

  changes = {'num_encoder_layers': layers, 'num_decoder_layers': layers, 'scan_layers': scan}
  examples = reference_model.batch(shrink=shrink)
  trainer = reference_model.trainer(examples, **changes)
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
  sizes = (
    {'repeats': 1, 'shrink': 8, 'layers': 1} if args.quick
    else {'repeats': 8, 'shrink': 1, 'layers': 4}
  )  # fmt: skip
  calibration = measure.calibrate(args.quick)
  flops = reference_model.FORWARD_AND_BACKWARD * reference_model.forward_flops(
    shrink=sizes['shrink'], num_encoder_layers=sizes['layers'], num_decoder_layers=sizes['layers']
  )
  floor = calibration * flops / (2 * measure.SIZE**3)
  ours = {
    'ours, scanned layers': measured(True, **sizes),
    'ours, unrolled layers': measured(False, **sizes),
  }
  calibration = min(calibration, measure.calibrate(args.quick))
  slower = calibration / measure.REFERENCE
  rows = [
    {'what': 'floor: matrix products alone', 'step, CPU s': floor, 'compile, CPU s': None},
    *({'what': name, **row} for name, row in ours.items()),
    *({'what': f'{name}, scaled', 'step, CPU s': seconds * slower, 'compile, CPU s': None}
      for name, seconds in OTHERS.items()),
  ]  # fmt: skip
  for row in rows:
    row['times the floor'] = row['step, CPU s'] / floor
  measure.report('Training step, one thread', rows, calibration=calibration, GFLOP=flops / 1e9)


if __name__ == '__main__':
  main()
