"""A model of two matrices with dropout and a stream of batches in memory, for tests of training."""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5x import metrics, models, optimizers, partitioning, trainer

ROWS, LENGTH, VOCAB, EMBED, MLP = 8, 3, 16, 4, 8


class TinyModel(models.BaseModel):
  """Says each token of the target from the token of the input at its place."""

  def __init__(self, dropout: float = 0.5):
    self.dropout = dropout

  def init(self, key, input_spec):
    numbers = jax.random.normal(key, [VOCAB + MLP, EMBED + MLP])  # one draw compiles fastest
    params = {
      'embedding': numbers[:VOCAB, :EMBED],
      'mlp': {'wi': numbers[VOCAB:, :EMBED].T, 'wo': numbers[:VOCAB, EMBED:].T},
    }
    return params

  def param_axes(self, input_spec):
    axes = {
      'embedding': ('vocab', 'embed'),
      'mlp': {'wi': ('embed', 'mlp'), 'wo': ('mlp', None)},
    }
    return axes

  def loss_fn(self, params, batch, key):
    x = params['embedding'][batch['inputs/text/tokens']]
    x = jnp.tanh(partitioning.constrain(x @ params['mlp']['wi'], ('batch', 'length', 'mlp')))
    if key is not None and self.dropout:
      kept = jax.random.bernoulli(key, 1 - self.dropout, x.shape)
      x = jnp.where(kept, x / (1 - self.dropout), 0.0)
    logits = x @ params['mlp']['wo']
    at_target = jax.nn.log_softmax(logits) * jax.nn.one_hot(batch['targets/text/targets'], VOCAB)
    loss = -jnp.mean(jnp.sum(at_target, axis=-1))
    return loss, {'text/loss': metrics.Mean.of(loss)}

  def predict_batch_with_aux(self, params, batch, key=None, **options):
    raise NotImplementedError


class RicherModel(TinyModel):
  """Has one parameter more."""

  def init(self, key, input_spec):
    return {**super().init(key, input_spec), 'scale': jnp.ones([EMBED])}

  def param_axes(self, input_spec):
    return {**super().param_axes(input_spec), 'scale': ('embed',)}


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
  """Stands for a DatasetConfig."""

  seed: int | None = 0
  batch_size: int = ROWS


class MemoryBatches:
  """Batch n is a function of (seed, n) alone; the cursor is n."""

  def __init__(self, seed: int = 0, poison: int | None = None):
    self.seed, self.poison, self.position = seed, poison, 0
    self.spec = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in self.at(0).items()}

  @classmethod
  def open(cls, cfg: MemoryConfig, host: tuple[int, int]) -> 'MemoryBatches':
    assert host == (0, 1)
    return cls(cfg.seed)

  def at(self, n: int) -> dict[str, np.ndarray]:
    tokens = np.random.default_rng((self.seed, n)).integers(0, VOCAB, (ROWS, LENGTH), np.int32)
    weights = np.full([ROWS], np.nan if n == self.poison else 1, np.float32)
    return {
      'inputs/text/tokens': tokens,
      'targets/text/targets': (tokens * 3 + 1) % VOCAB,
      'weights': weights,
      'stream/example': np.arange(ROWS),
    }

  def __next__(self) -> dict[str, np.ndarray]:
    batch = self.at(self.position)
    self.position += 1
    return batch

  def state(self) -> dict[str, Any]:
    return {'position': self.position}

  def restore(self, cursor: Mapping[str, Any]) -> None:
    self.position = cursor['position']

  def close(self) -> None:
    self.closed = True


class PoisonedModel(TinyModel):
  """Its loss is nan where the weights of the batch are."""

  def loss_fn(self, params, batch, key):
    loss, report = super().loss_fn(params, batch, key)
    return loss * jnp.mean(batch['weights']), report


@functools.cache  # compiling is most of the time of these tests
def make_trainer(
  kind: type = TinyModel,
  *,
  dropout: float = 0.5,
  mesh: tuple[int, int] = (1, 1),
  seed: int = 0,
  learning_rate: float = 0.1,
  **settings: Any,
) -> trainer.Trainer:
  """A trainer of the tiny model on the first devices, `mesh` = (data, model)."""
  data, model_size = mesh
  return trainer.Trainer(
    kind(dropout),
    optimizers.adamw(learning_rate),
    partitioning.PjitPartitioner(model_size, devices=jax.devices()[: data * model_size]),
    MemoryBatches().spec,
    seed=seed,
    **settings,
  )


def run(
  steps: int, batches: MemoryBatches, made: trainer.Trainer, state=None
) -> tuple[Any, list[float]]:
  """`steps` updates; the state after them, and the loss before each."""
  state = made.plan.init() if state is None else state
  losses = []
  for _ in range(steps):
    state, report = made.step(state, next(batches))
    losses.append(metrics.compute(report)['loss'])
  return state, losses


def leaves(tree: Any) -> list[np.ndarray]:
  """All arrays of a tree on the host."""
  return [np.asarray(x) for x in jax.tree.leaves(tree)]
