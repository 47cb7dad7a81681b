"""The training step as a pure function, and its compilation for one model, optimizer and mesh."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
import functools
import time
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import optax

from t5x import metrics as metrics_lib
from t5x import state_transforms
from t5x.array_types import Array, Batch, Metrics, PyTree
from t5x.models import BaseModel
from t5x.optimizers import OptimizerDef
from t5x.partitioning import PjitPartitioner, constrain
from t5x.train_state import StatePlan, TrainState, batch_spec, plan_state

# Metric: steps whose loss or gradient was not finite. Read by hooks.StatsHook, never logged.
NOT_FINITE = 'steps_not_finite'
_IN_FLIGHT = 2  # steps handed to the device before the host waits for the oldest

LossFn = Callable[[PyTree, Batch, Array | None], tuple[Array, Metrics]]


# ---- The step ------------------------------------------------------------------------------------
def train_step(
  state: TrainState,
  batch: Batch,
  key: Array,
  *,
  loss_fn: LossFn,
  optimizer: optax.GradientTransformation,
  trainable: Sequence[str] = ('.*',),
  learning_rate_fn: Callable[[Array], Array] | None = None,
  num_microbatches: int = 1,
  sum_microbatches: bool = False,
) -> tuple[TrainState, Metrics]:
  """One update. Pure: `Trainer` compiles it.

  Args:
    state: before the update.
    batch: global batch, rows first.
    key: of the run; the step's own key is folded from it, so a resumed run draws the same.
    loss_fn: (params, batch, key) -> (loss, metrics).
    optimizer: makes updates from gradients.
    trainable: path patterns of the parameters that gradients are taken of.
    learning_rate_fn: step -> learning rate, for the log.
    num_microbatches: equal slices of the batch whose gradients are made one after the other.
    sum_microbatches: add the gradients of the slices instead of averaging them.

  Returns:
    The state after the update, and the metrics of this step.
  """
  key = jax.random.fold_in(key, state.step)
  flat = state_transforms.flatten(state.params)
  chosen = {path: flat[path] for path in state_transforms.matching(tuple(flat), trainable)}

  def loss_of(chosen: PyTree, batch: Batch, key: Array) -> tuple[Array, Metrics]:
    return loss_fn(state_transforms.unflatten({**flat, **chosen}), batch, key)

  grad_fn = jax.value_and_grad(loss_of, has_aux=True)
  if num_microbatches == 1:
    (loss, metrics), grads = grad_fn(chosen, batch, key)
  else:
    loss, metrics, grads = _accumulate(grad_fn, chosen, batch, key, num_microbatches)
    if sum_microbatches:  # PARITY: the original adds, so its learning rates mean another thing
      grads = jax.tree.map(lambda g: g * num_microbatches, grads)
  norm = optax.tree.norm(grads)
  # The optimizer drops what is frozen, and with it these zeros vanish from the compiled step.
  frozen = {path: jnp.zeros_like(leaf) for path, leaf in flat.items() if path not in chosen}
  updates, opt_state = optimizer.update(
    state_transforms.unflatten({**frozen, **grads}), state.opt_state, state.params
  )
  report = {
    **metrics,
    'loss': metrics_lib.Mean.of(loss),
    'weight_gradient_norm': metrics_lib.Mean.of(norm),
    NOT_FINITE: metrics_lib.Sum(1.0 - jnp.isfinite(loss + norm).astype(jnp.float32)),
  }
  if learning_rate_fn is not None:
    rate = learning_rate_fn(state.step)
    report |= {
      'learning_rate_avg': metrics_lib.Mean.of(rate),
      'learning_rate_current': metrics_lib.Last(rate),
    }
  params = optax.apply_updates(state.params, updates)
  return TrainState(state.step + 1, params, opt_state), report


def _accumulate(grad_fn, params, batch, key, count):
  """Averages loss and gradients over `count` slices of the batch; metrics are merged."""

  def cut(name: str, x: Array) -> Array:
    if x.shape[0] % count:
      raise ValueError(f'{x.shape[0]} rows of {name!r} are no multiple of {count} microbatches')
    sliced = x.reshape(count, x.shape[0] // count, *x.shape[1:])
    return constrain(sliced, (None, 'batch', *[None] * (x.ndim - 1)))

  def one(total: PyTree, inputs: tuple[Array, Batch]) -> tuple[PyTree, tuple[Array, Metrics]]:
    index, rows = inputs
    (loss, metrics), grads = grad_fn(params, rows, jax.random.fold_in(key, index))
    return jax.tree.map(lambda t, g: t + g.astype(t.dtype) / count, total, grads), (loss, metrics)

  zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), params)
  slices = {name: cut(name, value) for name, value in batch.items()}
  grads, (losses, stacked) = jax.lax.scan(one, zeros, (jnp.arange(count), slices))
  each = [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(count)]
  return jnp.mean(losses), metrics_lib.merge_all(each), grads


# ---- Compilation ---------------------------------------------------------------------------------
class Trainer:
  """One model, optimizer and mesh: plans the state, compiles the step once, runs it."""

  def __init__(
    self,
    model: BaseModel,
    optimizer: OptimizerDef,
    partitioner: PjitPartitioner,
    spec: Mapping[str, Any],
    *,
    seed: int,
    trainable: Sequence[str] = ('.*',),
    num_microbatches: int = 1,
    sum_microbatches: bool = False,
  ):
    """Plans; nothing is computed.

    Args:
      model: what is trained.
      optimizer: built here, for the parameters that are trained.
      partitioner: the mesh.
      spec: name -> anything with the shape and dtype of a global batch.
      seed: of the initial parameters and of dropout.
      trainable: path patterns; a parameter that none matches stays as it is and costs no gradient.
      num_microbatches: slices of a batch that are computed one after the other to save memory.
      sum_microbatches: add their gradients, as the original does, instead of averaging.
    """
    if num_microbatches < 1:
      raise ValueError(f'num_microbatches={num_microbatches}; 1 means the batch in one piece')
    self.model, self.partitioner = model, partitioner
    self.input_spec = batch_spec(spec)
    self.batch_size = next(iter(self.input_spec.values())).shape[0]
    partitioner.check_batch_size(self.batch_size)
    init_key, self.key = jax.random.split(jax.random.key(seed))
    param_axes = model.param_axes(self.input_spec)
    transformation = optimizer.build(param_axes, trainable)
    self.plan: StatePlan = plan_state(
      model, transformation, partitioner, self.input_spec, param_axes, init_key
    )
    self._step = functools.partial(
      train_step,
      loss_fn=model.loss_fn,
      optimizer=transformation,
      learning_rate_fn=optimizer.learning_rate_fn,
      trainable=trainable,
      num_microbatches=num_microbatches,
      sum_microbatches=sum_microbatches,
    )
    self._compiled: Callable[..., tuple[TrainState, Metrics]] | None = None
    self._in_flight: deque[Metrics] = deque()
    self.eval_step = self._with_scope(jax.jit(model.eval_fn))

  def lower(self) -> jax.stages.Lowered:
    """The step, traced and lowered for this mesh, ready to be looked at or compiled."""
    replicated, rows = self.partitioner.replicated, self.partitioner.batch_sharding
    step = jax.jit(
      self._step,
      donate_argnums=0,
      in_shardings=(self.plan.shardings, rows, replicated),
      out_shardings=(self.plan.shardings, replicated),
    )
    with self.partitioner.scope():
      return step.lower(self.plan.abstract, self.input_spec, self.key)

  def compile(self) -> float:
    """Compiles the step ahead of time; returns the seconds it took."""
    start = time.monotonic()
    self._compiled = self.lower().compile()
    replicate = jax.jit(lambda key: key, out_shardings=self.partitioner.replicated)
    self.key = replicate(self.key)  # unlike device_put also over the devices of other processes
    seconds = time.monotonic() - start
    logging.info('Compiled the training step in %.1f s.', seconds)
    return seconds

  def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update; returns before the device is done. `state` is used up.

    Args:
      state: before the update.
      batch: this host's rows, numpy; bookkeeping fields ('stream/...') are left out.
    """
    if self._compiled is None:
      self.compile()
    state, metrics = self._compiled(state, self.to_device(batch), self.key)
    self._in_flight.append(metrics)
    if len(self._in_flight) > _IN_FLIGHT:  # bounds the batches that wait in device memory
      jax.block_until_ready(self._in_flight.popleft())
    return state, metrics

  def evaluate(self, params: PyTree, batches: Iterable[Batch]) -> dict[str, float]:
    """The metrics of all batches together, targets given, without dropout."""
    total: Metrics | None = None
    for batch in batches:
      result = self.eval_step(params, self.to_device(batch))
      total = result if total is None else metrics_lib.merge(total, result)
    return {} if total is None else metrics_lib.compute(total)

  def to_device(self, batch: Batch) -> dict[str, jax.Array]:
    """This host's rows as global arrays, without the bookkeeping."""
    return self.partitioner.to_global(
      {name: value for name, value in batch.items() if not name.startswith('stream/')}
    )

  def _with_scope(self, fn: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
      with self.partitioner.scope():
        return fn(*args)

    return call
