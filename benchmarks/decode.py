"""CPU seconds of writing text with the reference model: the first token, each further one; greedy.

The first token of a batch of 4 includes encoding 832 input tokens and the keys and values that the
decoder attends to.
"""

from typing import Any

import measure
import reference_model

# CPU seconds on the machine of the reference: of the first token, of each further token.
OTHERS = {
  "PyTorch port of the original's authors": (0.68, 0.085),
  'original Unified-IO 2': (1.06, 0.0586),
}
HUGGING_FACE = 1.46  # T5 of the same sizes, 32 tokens, encoding included


def seconds(model: Any, params: Any, batch: Any, length: int, repeats: int) -> float:
  """CPU seconds of a batch of answers of `length` tokens, compilation left out."""
  import jax
  import numpy as np

  from t5x.examples.unified_io import config

  predict = jax.jit(lambda params, batch: model.predict_batch(params, batch, length=length))
  tokens = np.asarray(predict(params, batch))
  if (tokens == config.EOS_ID).any():
    raise ValueError('an answer ended early; draw other parameters')
  return measure.best(lambda: jax.block_until_ready(predict(params, batch)), repeats=repeats)


def main() -> None:
  args = measure.arguments(__doc__)
  measure.one_thread()
  length, repeats, shrink = (3, 1, 8) if args.quick else (32, 6, 1)
  batch = reference_model.batch(shrink=shrink)
  calibration = measure.calibrate(args.quick)
  rows = []
  for name, scan in (('ours, scanned layers', True), ('ours, unrolled layers', False)):
    model = reference_model.model(reference_model.config(scan_layers=scan))
    params = reference_model.parameters(model, batch)
    first, all_of_them = (seconds(model, params, batch, n, repeats) for n in (1, length))
    further = (all_of_them - first) / (length - 1)
    rows.append(_row(name, first, further))
  slower = min(calibration, measure.calibrate(args.quick)) / measure.REFERENCE
  for name, (first, further) in OTHERS.items():
    rows.append(_row(f'{name}, scaled', first * slower, further * slower))
  rows.append(_row('Hugging Face T5, scaled', None, None) | {'32 tokens': HUGGING_FACE * slower})
  measure.report(
    'Greedy decoding, batch of 4, one thread', rows, calibration=slower * measure.REFERENCE
  )


def _row(name: str, first: float | None, further: float | None) -> dict[str, Any]:
  together = None if first is None else first + 31 * further
  return {'what': name, 'first token': first, 'each further': further, '32 tokens': together}


if __name__ == '__main__':
  main()
