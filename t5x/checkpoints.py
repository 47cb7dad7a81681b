"""Checkpoints of a run (Orbax: asynchronous, atomic) and what a run starts from.

A checkpoint is a folder `RUN/checkpoint_STEP` with three items: `state` (arrays, named
`target/PARAMETER`, `state/step`, `state/optimizer/...` as in T5X), `data` (where the stream of
examples stands) and `manifest` (tokenizer, versions, commit). A folder bears its final name only
once all of it is written.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import os
import time
from typing import Any, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

from t5x import legacy_checkpoints, optimizers, state_transforms
from t5x.array_types import PyTree
from t5x.checkpoint_config import (
  PREFIX,
  CheckpointConfig,
  CheckpointError,
  RestoreCheckpointConfig,
  SaveCheckpointConfig,
  Tokenizer,
  find,
  kind_of,
  refuse_random,
  steps_in,
)  # fmt: skip
from t5x.models import BaseModel
from t5x.partitioning import PjitPartitioner, path_names
from t5x.train_state import StatePlan, TrainState, plan_state

_ALLOW = (
  'set RestoreCheckpointConfig.fallback_to_scratch = True to initialise them, with '
  'state_transformation_fns = @state_transforms.remove_optimizer_state() to take the parameters '
  'alone and count steps from 0'
)
_CHOOSE_TOKENIZER = 'set config.LLAMA_TOKENIZER_PATH or UIO2_TOKENIZER to its file'


def _is_worth_reading(record: Any) -> bool:
  """Orbax tells forty inner steps of each save; a run says it in one line."""
  if 'orbax' not in record.pathname:
    return True
  return record.levelname != 'INFO' and 'Metadata file does not exist' not in str(record.msg)


# ---- Saving --------------------------------------------------------------------------------------
class CheckpointStore:
  """The checkpoints of one run folder. Use as a context: leaving it waits for the last save."""

  def __init__(self, folder: str, save: SaveCheckpointConfig, manifest: Mapping[str, Any]):
    """Opens a folder, made if need be.

    Args:
      folder: of the run.
      save: how to save.
      manifest: goes into each checkpoint, see `run_manifest`.
    """
    self.folder, self.config, self.manifest = os.path.abspath(folder), save, dict(manifest)
    logging.get_absl_logger().addFilter(_is_worth_reading)
    self._manager = ocp.CheckpointManager(
      self.folder,
      item_names=('state', 'data', 'manifest'),
      options=ocp.CheckpointManagerOptions(
        step_prefix=PREFIX,
        max_to_keep=save.keep,
        cleanup_tmp_directories=True,  # left by a run that was killed while it saved
        save_root_metadata=False,
      ),
    )

  def __enter__(self) -> 'CheckpointStore':
    return self

  def __exit__(self, *error: Any) -> None:
    self._manager.wait_until_finished()
    self._manager.close()

  def is_due(self, step: int) -> bool:
    """Whether the period asks for a checkpoint after `step` updates."""
    return bool(self.config.period) and step % self.config.period == 0

  def save(self, step: int, state: TrainState, cursor: Mapping[str, Any]) -> float:
    """Copies the state to the host and returns; it is written in the background.

    Args:
      step: updates made.
      state: after them.
      cursor: of the batches handed out so far, anything JSON can hold.

    Returns:
      The seconds for which training stood still.
    """
    start = time.monotonic()
    leaves = dict(zip(_names(state), jax.tree.leaves(state), strict=True))
    if self.config.dtype:
      dtype = jnp.dtype(self.config.dtype)
      leaves = {n: x.astype(dtype) if _is_param(n) else x for n, x in leaves.items()}
    args = ocp.args.Composite(
      state=ocp.args.PyTreeSave(state_transforms.unflatten(leaves)),
      data=ocp.args.JsonSave(dict(cursor)),
      manifest=ocp.args.JsonSave(self.manifest),
    )
    self._manager.save(step, args=args, force=True)
    logging.info('Saving %s/%s_%d.', self.folder, PREFIX, step)
    return time.monotonic() - start


def _names(state: TrainState) -> list[str]:
  """The stored name of every leaf, in the order of `jax.tree.leaves`."""
  names = []
  for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]:
    field, *rest = path_names(path)
    places = {'step': 'state/step', 'params': 'target', 'opt_state': 'state/optimizer'}
    names.append('/'.join([places[field], *rest]))
  return names


def _is_param(name: str) -> bool:
  return name.startswith('target/')


# ---- Restoring -----------------------------------------------------------------------------------
class Restored(NamedTuple):
  """What a run starts from. `cursor` is None for a new stream."""

  state: TrainState
  cursor: dict[str, Any] | None
  origin: str  # path of a checkpoint, or 'scratch'
  seconds: float  # that it took


class _Stored(NamedTuple):
  """An array of a checkpoint that has not been read."""

  name: str
  shape: tuple[int, ...]
  dtype: Any


def restore_or_init(
  config: CheckpointConfig,
  folder: str,
  plan: StatePlan,
  tokenizer: Tokenizer | None = None,
  needed: Sequence[str] = (),
) -> Restored:
  """The state to start from: the run folder's newest, else the given checkpoint, else scratch.

  Args:
    config: may name a checkpoint to start from.
    folder: of the run.
    plan: of the state.
    tokenizer: of the run's text; a checkpoint made with another one is refused.
    needed: paths of parameters that may not start at random, see `checkpoint_config.frozen_paths`.

  Raises:
    CheckpointError: when the checkpoint to take cannot be taken, or lacks what is needed.
  """
  began, folder = time.monotonic(), os.path.abspath(folder)
  restore = config.restore or RestoreCheckpointConfig()
  if steps := steps_in(folder):
    path = os.path.join(folder, f'{PREFIX}_{steps[-1]}')
    logging.info('Resuming this run from %s.', path)
    exactly = RestoreCheckpointConfig(restore_dataset=True, legacy=restore.legacy)
    cure = 'the run has another model, optimizer or trainable; choose another MODEL_DIR'
    return Restored(*_restore(path, plan, exactly, tokenizer, cure), path, time.monotonic() - began)
  given = find(restore)
  if not given:
    refuse_random(needed, 'no checkpoint')
    logging.info('%s has no checkpoint and none is given: starting from scratch.', folder)
    return Restored(plan.init(), None, 'scratch', time.monotonic() - began)
  if len(given) > 1:
    raise CheckpointError(f'a run starts from one checkpoint, but {len(given)} are given: {given}')
  logging.info('%s has no checkpoint: starting from %s.', folder, given[0])
  found = _restore(given[0], plan, restore, tokenizer, needed=needed)
  return Restored(*found, given[0], time.monotonic() - began)


def _restore(path, plan, config, tokenizer, cure=_ALLOW, needed=()):
  """The state and the cursor; `cure` says what to do where an array is missing."""
  names, kind = _names(plan.abstract), kind_of(path)
  wanted = dict(zip(names, jax.tree.leaves(plan.abstract), strict=True))
  found = _read(path, wanted, config, tokenizer)
  missing = [name for name in names if name not in found]
  fresh_optimizer = kind == 'legacy' and all(name.startswith('state/opt') for name in missing)
  some = ', '.join(missing[:5]) + (' ...' if len(missing) > 5 else '')
  if missing and not fresh_optimizer and not config.fallback_to_scratch:
    raise CheckpointError(f'{path} lacks {len(missing)} arrays: {some}; {cure}')
  refuse_random([name for name in needed if f'target/{name}' in missing], path)
  if missing:
    logging.warning('%s lacks %d arrays, which START ANEW: %s.', path, len(missing), some)
    found = dict(zip(names, jax.tree.leaves(plan.init()), strict=True)) | found
  state = jax.tree.unflatten(jax.tree.structure(plan.abstract), [found[name] for name in names])
  if missing and fresh_optimizer:  # T5X counts steps in one place, we also where they are used
    started = optimizers.at_step(state.opt_state, int(state.step))
    # Each counter gets a buffer of its own: the step gives all buffers of the state away.
    place = lambda x, planned: x if x.ndim else jax.device_put(np.array(x), planned.sharding)
    state = dataclasses.replace(
      state, opt_state=jax.tree.map(place, started, plan.abstract.opt_state)
    )
  cursor = _json(path, 'data') if config.restore_dataset and kind == 'ours' else None
  return state, cursor


def load_params(
  path: str,
  model: BaseModel,
  input_spec: Mapping[str, jax.ShapeDtypeStruct],
  *,
  partitioner: PjitPartitioner,
  config: RestoreCheckpointConfig | None = None,
  tokenizer: Tokenizer | None = None,
) -> tuple[PyTree, int]:
  """The parameters of one checkpoint, on the mesh, for evaluation and inference.

  Args:
    path: of one checkpoint, see `find`.
    model: whose parameters to fill.
    input_spec: name -> shape and dtype of a batch.
    partitioner: the mesh.
    config: dtype, renames, format of the original; the plain way when None.
    tokenizer: of the text to come; a checkpoint made with another one is refused.

  Returns:
    The parameters, and the step at which they were saved.

  Raises:
    CheckpointError: when something is missing; nothing is ever made up, unless
      `config.fallback_to_scratch` says so.
  """
  config = config or RestoreCheckpointConfig()
  axes, key = model.param_axes(input_spec), jax.random.key(0)
  plan = plan_state(model, optax.identity(), partitioner, input_spec, axes, key)
  state, _ = _restore(path, plan, config, tokenizer)
  logging.info('Loaded the parameters of %s.', path)
  params = jax.tree.map(lambda x: x.astype(config.dtype or x.dtype), state.params)
  return params, int(state.step)


def steps_after(path: str | None, steps: int) -> int:
  """`total_steps` of a run that makes `steps` updates after those that its checkpoint has made.

  Args:
    path: of the checkpoint that the run starts from, or None.
    steps: updates to make.

  Raises:
    CheckpointError: there is no such checkpoint.
  """
  if not path:
    return steps
  (found,) = find(RestoreCheckpointConfig(path=path, mode='specific'))
  if kind_of(found) == 'legacy':
    return legacy_checkpoints.load(found).step + steps
  _, _, done = os.path.basename(found).rpartition('_')
  if not done.isdecimal():
    raise CheckpointError(f'the name of {found} tells no step ({PREFIX}_STEP); set TRAIN_STEPS')
  return int(done) + steps


# ---- Reading -------------------------------------------------------------------------------------
def _read(
  path: str,
  wanted: Mapping[str, jax.ShapeDtypeStruct],
  config: RestoreCheckpointConfig,
  tokenizer: Tokenizer | None,
) -> dict[str, jax.Array]:
  """Those of the wanted arrays that the checkpoint has, in the dtype and sharding wanted."""
  open_it = _open_legacy if kind_of(path) == 'legacy' else _open
  source = _transform(open_it(path, config, tokenizer), wanted, config)
  chosen = {name: source[name] for name in wanted if name in source}
  for name, leaf in chosen.items():
    if tuple(leaf.shape) != tuple(wanted[name].shape):
      raise CheckpointError(
        f'{name} has shape {tuple(leaf.shape)} in {path}, but {tuple(wanted[name].shape)} in this '
        'model; build the model with the sizes and the vocabulary of the checkpoint'
      )
  stored = {name: leaf for name, leaf in chosen.items() if isinstance(leaf, _Stored)}
  arrays = {
    name: jax.device_put(jnp.asarray(leaf, wanted[name].dtype), wanted[name].sharding)
    for name, leaf in chosen.items()
    if name not in stored
  }
  return arrays | _read_stored(path, stored, wanted)


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
  """Turns what Orbax and TensorStore say about a broken file into a sentence."""
  logging.get_absl_logger().addFilter(_is_worth_reading)
  try:
    yield
  except Exception as e:
    why = str(e).split('\n')[0][:200] or type(e).__name__
    raise CheckpointError(
      f'checkpoint {path} is damaged or incomplete ({why}); remove it to go on from the one '
      'before, or name another one'
    ) from e


def _open(path, config, tokenizer):
  """What one of our checkpoints holds, by name; arrays are not read yet."""
  stored = _json(path, 'manifest').get('tokenizer')
  with _reading(path):
    state = ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).metadata(os.path.join(path, 'state'))
    leaves = state_transforms.flatten(state.item_metadata.tree)
  if tokenizer and stored and stored != tokenizer.fingerprint:
    raise CheckpointError(
      f'{path} was trained with another tokenizer (fingerprint {stored}) than this run has '
      f'({tokenizer.fingerprint}); {_CHOOSE_TOKENIZER}'
    )
  return {name: _Stored(name, tuple(x.shape), x.dtype) for name, x in leaves.items()}


def _open_legacy(path, config, tokenizer):
  """What a T5X checkpoint holds, by the names of our checkpoints; no optimizer state."""
  if config.legacy is None:
    raise CheckpointError(
      f"{path} is in the original's format; bind RestoreCheckpointConfig.legacy to say how its "
      'parameters are named here'
    )
  if tokenizer and tokenizer.num_base_pieces != config.legacy.base_pieces:
    raise CheckpointError(
      f'{path} needs a tokenizer of {config.legacy.base_pieces} pieces, but this run has '
      f'{tokenizer.num_base_pieces}; {_CHOOSE_TOKENIZER}'
    )
  try:
    stored = legacy_checkpoints.load(path)
    params = config.legacy.translate(stored.read('target'))
  except ValueError as e:
    raise CheckpointError(str(e)) from e
  return state_transforms.flatten({'target': params, 'state': {'step': np.int32(stored.step)}})


def _transform(source, wanted, config):
  """Renames, as configured."""
  steps = [config.assignment_map] if config.assignment_map else []
  fns = config.state_transformation_fns
  steps += [fns] if fns and not callable(fns[0]) else list(fns)
  tree, target = state_transforms.unflatten(source), state_transforms.unflatten(wanted)
  for step in steps:
    if callable(step):
      tree = step(tree, target)
    else:
      tree = state_transforms.apply_assignment_map(
        tree, target, step, require_all_rules_match=False
      )
  return state_transforms.flatten(tree)


def _read_stored(path, chosen, wanted):
  """Reads arrays under the names they have in the checkpoint; only those are touched."""
  if not chosen:
    return {}
  targets = {leaf.name: wanted[name] for name, leaf in chosen.items()}
  args = {
    name: ocp.ArrayRestoreArgs(sharding=x.sharding, global_shape=x.shape, dtype=x.dtype)
    for name, x in targets.items()
  }
  with _reading(path):
    tree = ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).restore(
      os.path.join(path, 'state'),
      args=ocp.args.PyTreeRestore(
        item=state_transforms.unflatten(targets),
        restore_args=state_transforms.unflatten(args),
        partial_restore=True,
      ),
    )
  read = state_transforms.flatten(tree)
  return {name: read[leaf.name] for name, leaf in chosen.items()}


def _json(path: str, item: str) -> dict[str, Any]:
  with _reading(path):
    return ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(os.path.join(path, item))
