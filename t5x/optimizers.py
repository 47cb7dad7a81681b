"""Optimizers as plain descriptions that the trainer builds once it knows the parameters.

Which parameters are trained is a list of path patterns: the others get no state and zero updates.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from t5x import adafactor as adafactor_lib
from t5x import schedules, state_transforms
from t5x.array_types import Array, AxisNames, PyTree

ALL = ('.*',)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerDef:
  """How to make an optimizer, and the learning rate for the log.

  `make` takes the tree of axis names of the trained parameters.
  """

  make: Callable[[PyTree], optax.GradientTransformation]
  learning_rate_fn: schedules.Schedule

  def build(
    self, param_axes: PyTree, trainable: Sequence[str] = ALL
  ) -> optax.GradientTransformation:
    """The transformation for parameters with these axes.

    Args:
      param_axes: nested dict whose leaves are tuples of axis names.
      trainable: regular expressions; a parameter is trained if one matches its whole path
        ('decoder/.*'). All others get no state and zero updates.

    Raises:
      ValueError: for a pattern that matches no parameter.
    """
    axes = state_transforms.flatten(param_axes)
    chosen = state_transforms.matching(tuple(axes), trainable)
    inner = self.make(state_transforms.unflatten({path: axes[path] for path in chosen}))
    return _only(inner, chosen)


def adamw(
  learning_rate: schedules.Schedule | float | None = None,
  b1: float = 0.9,
  b2: float = 0.98,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  clip: float | None = 1.0,
) -> OptimizerDef:
  """AdamW. Gradients are clipped to a global norm of `clip` first.

  Args:
    learning_rate: schedule or constant; None takes `create_learning_rate_scheduler()`.
    b1: forgetting of the mean.
    b2: forgetting of the second moment.
    eps: added to the root of the second moment.
    weight_decay: times learning rate, taken off matrices each step (see `is_decayed`).
    clip: largest norm of all trained gradients together; None for none.
  """
  rate = _schedule(learning_rate)

  def make(param_axes: PyTree) -> optax.GradientTransformation:
    axes = state_transforms.flatten(param_axes)
    mask = state_transforms.unflatten({p: is_decayed(p, names) for p, names in axes.items()})
    return optax.chain(
      optax.identity() if clip is None else optax.clip_by_global_norm(clip),
      _with_free_promotion(optax.scale_by_adam(b1=b1, b2=b2, eps=eps)),
      optax.add_decayed_weights(weight_decay, mask) if weight_decay else optax.identity(),
      _scale_by_schedule(rate),
    )

  return OptimizerDef(make=make, learning_rate_fn=rate)


def adafactor(
  learning_rate: schedules.Schedule | float | None = None, **settings: Any
) -> OptimizerDef:
  """Adafactor; `settings` are those of `adafactor.adafactor`.

  Weight decay, if any, leaves out what `is_decayed` leaves out.
  """
  rate = _schedule(learning_rate)

  def make(param_axes: PyTree) -> optax.GradientTransformation:
    chosen = {'decays': is_decayed, **settings}
    return adafactor_lib.adafactor(rate, param_axes=param_axes, **chosen)

  return OptimizerDef(make=make, learning_rate_fn=rate)


def is_decayed(path: str, axes: AxisNames) -> bool:
  """Whether weight decay acts: on matrices that are no embedding; never on scales and biases."""
  rank = sum(name != adafactor_lib.LAYERS_AXIS for name in axes)
  return rank > 1 and 'embedding' not in path.rsplit('/', 1)[-1]


class ScheduleState(NamedTuple):
  """`step` counts updates from 0."""

  step: Array


def at_step(opt_state: PyTree, step: int | Array) -> PyTree:
  """The state as if `step` updates had been made: for weights that come without their state.

  Learning rate and Adafactor's forgetting go on from `step`; Adam's own count stays, since it
  corrects for moments that started at zero.
  """
  return optax.tree_utils.tree_set(opt_state, step=jnp.asarray(step, jnp.int32))


def state_axes(opt_state: PyTree, params: PyTree, param_axes: PyTree) -> PyTree:
  """Logical axes of an optimizer state: moments have their parameter's, the rest none.

  Args:
    opt_state: result of `init`, arrays or ShapeDtypeStructs.
    params: the parameters, arrays or ShapeDtypeStructs.
    param_axes: their axis names.

  Returns:
    The tree of `opt_state` with tuples as leaves; () means replicated.
  """
  shapes = {path: leaf.shape for path, leaf in state_transforms.flatten(params).items()}
  names = state_transforms.flatten(param_axes)

  def axes(keys: tuple[Any, ...], leaf: Any) -> AxisNames:
    path = '/'.join(str(key.key) for key in keys if isinstance(key, jax.tree_util.DictKey))
    return names[path] if shapes.get(path) == leaf.shape and leaf.shape else ()

  return jax.tree_util.tree_map_with_path(axes, opt_state)


def _schedule(learning_rate: schedules.Schedule | float | None) -> schedules.Schedule:
  if learning_rate is None:
    return schedules.create_learning_rate_scheduler()
  if callable(learning_rate):
    return learning_rate
  return lambda step: jnp.float32(learning_rate)


def _with_free_promotion(inner: optax.GradientTransformation) -> optax.GradientTransformation:
  """`inner` as it is: optax multiplies ints and floats, which our strict tests would refuse."""

  def update(updates, state, params=None):
    with jax.numpy_dtype_promotion('standard'):
      return inner.update(updates, state, params)

  return optax.GradientTransformation(inner.init, update)


def _scale_by_schedule(rate: schedules.Schedule) -> optax.GradientTransformation:
  """Multiplies by minus the learning rate of the step."""

  def update(updates, state, params=None):
    del params
    scale = -rate(state.step)
    scaled = jax.tree.map(lambda u: u * scale.astype(u.dtype), updates)
    return scaled, ScheduleState(state.step + 1)

  return optax.GradientTransformation(lambda _: ScheduleState(jnp.zeros([], jnp.int32)), update)


def _only(
  inner: optax.GradientTransformation, chosen: Sequence[str]
) -> optax.GradientTransformation:
  """Lets `inner` see the chosen paths alone; everything else stays as it is."""

  def pick(tree: Mapping[str, Any]) -> PyTree:
    flat = state_transforms.flatten(tree)
    return state_transforms.unflatten({path: flat[path] for path in chosen})

  def update(grads, state, params=None):
    picked, state = inner.update(pick(grads), state, None if params is None else pick(params))
    zeros = jax.tree.map(jnp.zeros_like, state_transforms.flatten(grads))
    return state_transforms.unflatten({**zeros, **state_transforms.flatten(picked)}), state

  return optax.GradientTransformation(lambda params: inner.init(pick(params)), update)
