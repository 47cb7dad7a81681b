"""What to save, what to start from, and where that lies on disk; the code is `t5x.checkpoints`."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import difflib
import functools
import importlib.metadata
import os
import pathlib
import re
import subprocess
from typing import Any, Protocol

from t5x import state_transforms
from t5x.array_types import Array, PyTree

PREFIX = 'checkpoint'
_STEP_FOLDER = re.compile(rf'{PREFIX}_(\d+)')
_VERSIONS_OF = (
  'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy', 'tensorflow', 'seqio',
)  # fmt: skip
_MODES = ('latest', 'specific', 'all')
_DTYPES = ('float32', 'bfloat16', None)


class CheckpointError(Exception):
  """A checkpoint is missing, damaged or of another kind; the message says what to do."""


class Tokenizer(Protocol):
  """What a checkpoint has to know of the tokenizer that its text went through."""

  fingerprint: str
  num_base_pieces: int


# ---- Configuration -------------------------------------------------------------------------------
def _require(condition: bool, message: str) -> None:
  if not condition:
    raise ValueError(message)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaveCheckpointConfig:
  """When and how a run is saved. It is always saved at its end.

  Attributes:
    dtype: of saved parameters; None as they are. 'bfloat16' halves them but ends exact resuming.
    period: steps between saves; None for none but the last.
    keep: newest checkpoints to keep; None keeps all.
  """

  dtype: str | None = 'float32'
  period: int | None = None
  keep: int | None = None

  def __post_init__(self):
    _require(self.dtype in _DTYPES, f'dtype={self.dtype!r}; choose one of {_DTYPES}')
    _require(self.period is None or self.period >= 0, f'period={self.period}; give steps, or None')
    _require(self.keep is None or self.keep > 0, f'keep={self.keep}; keep at least 1, or None: all')


@dataclasses.dataclass(frozen=True, kw_only=True)
class LegacyFormat:
  """How a folder in the original's T5X format is read, given by the example that knows it.

  Attributes:
    translate: {T5X path below 'target/': array} -> nested dict of this model's parameters.
    base_pieces: pieces the tokenizer must have, extra ids not counted.
  """

  translate: Callable[[Mapping[str, Array]], PyTree]
  base_pieces: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class RestoreCheckpointConfig:
  """What to start from.

  Attributes:
    path: a checkpoint ('specific') or a folder of checkpoints ('latest', 'all'), or nothing.
    mode: which one; 'all' serves evaluation only.
    assignment_map: (regex of a wanted name, template of the stored name or None to leave it out).
    strict: of T5X, where it spoke of TensorFlow checkpoints; those are not read here.
    fallback_to_scratch: initialise what the checkpoint lacks, instead of refusing it.
    dtype: of parameters loaded for evaluation; None as the model makes them, as in training.
    restore_dataset: go on with the examples where that run stood, too.
    state_transformation_fns: rules as in `assignment_map`, or functions (stored tree, wanted tree)
      -> stored tree; applied in order, after `assignment_map`.
    legacy: needed to read a folder of the original's format.
  """

  path: str | Sequence[str] | None = None
  mode: str = 'latest'
  assignment_map: Sequence[state_transforms.Rule] | None = None
  strict: bool = True
  fallback_to_scratch: bool = False
  dtype: str | None = None
  restore_dataset: bool = False
  state_transformation_fns: Sequence[Any] = ()
  legacy: LegacyFormat | None = None

  def __post_init__(self):
    _require(self.mode in _MODES, f'mode={self.mode!r}; choose one of {_MODES}')
    _require(self.dtype in _DTYPES, f'dtype={self.dtype!r}; choose one of {_DTYPES}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
  """Saving and restoring of a training run."""

  save: SaveCheckpointConfig = SaveCheckpointConfig()
  restore: RestoreCheckpointConfig | None = None


# ---- Finding -------------------------------------------------------------------------------------
def steps_in(folder: str) -> list[int]:
  """Steps of the complete checkpoints in a folder, ascending."""
  if not os.path.isdir(folder):
    return []
  found = (_STEP_FOLDER.fullmatch(name) for name in os.listdir(folder))
  return sorted(int(m[1]) for m in found if m and kind_of(os.path.join(folder, m[0])))


def kind_of(path: str) -> str | None:
  """'ours', 'legacy' (the original's T5X folder, or the file in it), or None."""
  if os.path.isdir(os.path.join(path, 'state')) and os.path.isdir(os.path.join(path, 'manifest')):
    return 'ours'
  is_legacy = '://' in path or os.path.isfile(path) or os.path.isfile(f'{path}/checkpoint')
  return 'legacy' if is_legacy else None


def find(config: RestoreCheckpointConfig) -> list[str]:
  """Absolute paths of the checkpoints that `config` names, ascending; [] if it names none.

  Raises:
    CheckpointError: when a path does not exist or holds no checkpoint.
  """
  paths = [config.path] if isinstance(config.path, str) else list(config.path or ())
  return [found for path in paths if path for found in _find(path, config.mode)]


def _find(path: str, mode: str) -> list[str]:
  if '://' in path and mode == 'specific':
    return [path]  # the original's checkpoints are read from buckets too
  path = os.path.abspath(os.path.expanduser(path))
  if not os.path.exists(path):
    folder = os.path.dirname(path)
    steps = [f'{PREFIX}_{step}' for step in steps_in(folder)]
    there = f'{folder} has {_listed(steps)}' if os.path.isdir(folder) else f'nor does {folder}'
    raise CheckpointError(f'checkpoint {path} does not exist; {there}')
  kind, steps = kind_of(path), steps_in(path)
  if mode == 'specific' and kind:
    return [path]
  if mode != 'specific' and steps:
    return [f'{path}/{PREFIX}_{step}' for step in (steps if mode == 'all' else steps[-1:])]
  if steps:
    cure = "name one of them, or set RestoreCheckpointConfig.mode = 'latest'"
  elif kind:
    cure = "it is a checkpoint itself: set RestoreCheckpointConfig.mode = 'specific'"
  else:
    cure = 'name a folder that training or a download has filled'
  raise CheckpointError(
    f'{path} is no {"checkpoint" if mode == "specific" else "folder of checkpoints"} but has '
    f'{_listed([f"{PREFIX}_{step}" for step in steps])}; {cure}'
  )


def _listed(names: Sequence[str]) -> str:
  return 'no checkpoint' if not names else ', '.join(names[-5:])


# ---- What must not be random ---------------------------------------------------------------------
def frozen_paths(
  paths: Sequence[str], trainable: Sequence[str], allow_random: Sequence[str] = ()
) -> tuple[str, ...]:
  """Parameters that stay as they start, and so have to come from a checkpoint.

  Args:
    paths: of all parameters.
    trainable: patterns of those that are trained.
    allow_random: parts (first names of paths, 'image_vit') that may be random all the same.

  Raises:
    ValueError: for a part that does not exist, or a pattern that matches nothing.
  """
  parts = {path: path.split('/')[0] for path in paths}
  for name in allow_random:
    if name not in parts.values():
      near = difflib.get_close_matches(name, parts.values()) or sorted(set(parts.values()))
      raise ValueError(f'allow_random_frozen: there is no part {name!r}; there are {near}')
  trained = set(state_transforms.matching(tuple(paths), trainable))
  return tuple(p for p, part in parts.items() if p not in trained and part not in allow_random)


def refuse_random(paths: Sequence[str], origin: str) -> None:
  """Refuses to begin with random parameters that will never be trained.

  Args:
    paths: of those that would be.
    origin: what does not bring them.

  Raises:
    CheckpointError: if there are any.
  """
  if paths:
    parts = list(dict.fromkeys(path.split('/')[0] for path in paths))
    raise CheckpointError(
      f'{", ".join(parts)}: not trained, and {origin} brings {len(paths)} of their arrays, so they '
      'would stay random; name a checkpoint that has them (INITIAL_CHECKPOINT_PATH), train them '
      f'(TRAINABLE), or allow it with train.allow_random_frozen = {tuple(parts)}'
    )


# ---- Manifest ------------------------------------------------------------------------------------
def run_manifest(tokenizer: Tokenizer | None = None, **further: Any) -> dict[str, Any]:
  """What a run was made with: tokenizer, versions of the libraries, commit of this code.

  Args:
    tokenizer: of the text; None where the model reads none.
    **further: anything JSON can hold.
  """
  versions = {}
  for name in _VERSIONS_OF:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return {
    'format': 1,
    'tokenizer': tokenizer.fingerprint if tokenizer else None,
    'versions': versions,
    'commit': _commit(),
    **further,
  }


@functools.cache
def _commit() -> str | None:
  root = pathlib.Path(__file__).resolve().parents[1]
  if not (root / '.git').exists():
    return None  # installed, not checked out
  command = ['git', '-C', str(root), 'rev-parse', 'HEAD']
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  return done.stdout.strip() or None
