"""A model that echoes its input, its batches and its checkpoints, for tests of evaluation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5x import checkpoints, train_state
from t5x.checkpoint_config import SaveCheckpointConfig, run_manifest
from t5x.models import BaseModel
from t5x.partitioning import PjitPartitioner


class Echo(BaseModel):
  """Answers the number it was asked, plus the one parameter; counts its compilations."""

  def __init__(self):
    self.traced = 0

  def init(self, key, input_spec):
    return {'bias': jax.random.uniform(key, (), minval=100.0, maxval=200.0)}

  def param_axes(self, input_spec):
    return {'bias': ()}

  def loss_fn(self, params, batch, key):
    raise NotImplementedError

  def predict_batch_with_aux(self, params, batch, key=None, **options):
    self.traced += 1
    tokens = batch['inputs/text/tokens'] + params['bias'].astype(jnp.int32)
    picture = jnp.zeros((tokens.shape[0], 80, 80))
    return tokens, {'text-tokens': tokens, 'scores': batch['inputs/image/input'], 'image': picture}


class Said:
  """An output that has a text."""

  def __init__(self, text: str):
    self.text = text


def build_outputs(aux):
  """The numbers of each row as its text."""
  return [Said(' '.join(str(t) for t in row)) for row in aux['text-tokens']]


def bias(value: int) -> dict[str, Any]:
  """Parameters."""
  return {'bias': jnp.float32(value)}


def batches(count, size=4):
  """`count` examples in batches of `size`, the last one padded with its first row."""
  for start in range(0, count, size):
    rows = list(range(start, min(start + size, count)))
    filled = rows + rows[:1] * (size - len(rows))
    examples = [{'meta/answer': f'{n}', 'text_inputs': f'ask {n}'} for n in rows]
    yield (
      {
        'inputs/text/tokens': np.array(filled, np.int32)[:, None],
        'inputs/image/input': np.array(filled, np.float32),
        'stream/position': np.array(filled, object),
      },
      examples,
    )


def save(folder: str, *steps: int) -> None:
  """Checkpoints whose parameter is the step."""
  with checkpoints.CheckpointStore(folder, SaveCheckpointConfig(), run_manifest()) as store:
    for step in steps:
      state = train_state.TrainState(jnp.int32(step), bias(step), ())
      store.save(step, jax.device_put(state, PjitPartitioner().replicated), {})
