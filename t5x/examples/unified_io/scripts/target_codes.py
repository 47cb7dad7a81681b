"""Codes of target pictures and spectrograms, made with the tokenizers of a checkpoint."""

from collections.abc import Iterable, Iterator, Mapping
import hashlib
import itertools
from typing import Any

import jax
import numpy as np

from t5x import checkpoint_config, checkpoints, prediction, state_transforms
from t5x.array_types import Batch, PyTree
from t5x.bindings import UserError
from t5x.checkpoint_config import CheckpointError, RestoreCheckpointConfig, Tokenizer
from t5x.examples.unified_io import modality_specs, models, network
from t5x.examples.unified_io.config import ModelConfig
from t5x.partitioning import PjitPartitioner

Example = Mapping[str, np.ndarray]


def with_pixels(
  targets: Mapping[str, modality_specs.ModalitySpec],
) -> dict[str, modality_specs.DenseTargetSpec]:
  """Those of the targets that have pixels to encode.

  Raises:
    UserError: none has.
  """
  found = {
    name: spec
    for name, spec in targets.items()
    if isinstance(spec, modality_specs.DenseTargetSpec) and not spec.use_codes
  }
  if not found:
    raise UserError(
      'no target has pixels to encode; set get_target_modalities.target_modality to those of the '
      'task, and leave use_codes empty'
    )
  return found


class TargetCodes:
  """Puts codes in the place of target pixels, a batch at a time, in one compiled call.

  Attributes:
    fields: name -> (shape, dtype) of an example with codes.
    fingerprints: name of each tokenizer -> a checksum of its parameters.
  """

  def __init__(
    self,
    config: ModelConfig,
    targets: Mapping[str, modality_specs.DenseTargetSpec],
    spec: Mapping[str, Any],
    batch_size: int,
    *,
    restore: RestoreCheckpointConfig,
    partitioner: PjitPartitioner,
    tokenizer: Tokenizer,
  ):
    """Loads the tokenizers, and nothing else of the checkpoint.

    Args:
      config: of the network.
      targets: that are encoded, see `with_pixels`.
      spec: name -> the TensorSpec of the fields of an example.
      batch_size: examples encoded at once.
      restore: names the checkpoint.
      partitioner: the mesh.
      tokenizer: of the text; a checkpoint made with another one is refused.

    Raises:
      CheckpointError: no checkpoint, or one without the tokenizers.
    """
    partitioner.check_batch_size(batch_size)
    self._batch_size, self._names = batch_size, tuple(targets)
    model = models.TargetTokenizers(network.Tokenizers(config, targets))
    pixels = {
      name: jax.ShapeDtypeStruct((batch_size, *spec[name].shape), np.float32)
      for name in map(_pixels, targets)
    }
    self._params = _load(model, pixels, restore, partitioner, tokenizer)
    self.fields = {
      name: (tuple(field.shape), field.dtype.as_numpy_dtype)
      for name, field in spec.items()
      if name not in pixels and name.startswith(('inputs/', 'targets/'))
    } | {_tokens(name): ((target.grid.count,), np.int32) for name, target in targets.items()}
    self.fingerprints = {name: _checksum(part) for name, part in self._params.items()}
    no_outputs = [None] * batch_size
    self._predictor = prediction.Predictor(model, partitioner, lambda aux: no_outputs)

  def in_place_of_pixels(self, examples: Iterable[Example]) -> Iterator[dict[str, np.ndarray]]:
    """The examples with codes; where a target is not there at all, they are 0."""
    for row in self._predictor(self._params, self._batches(iter(examples))):
      made = {name: array for name, array in row.example.items() if name in self.fields}
      for name in self._names:
        is_there = row.example[f'targets/{name}/mask'].any()
        made[_tokens(name)] = row.aux[f'{name}-tokens'] * np.int32(is_there)
      yield made

  def _batches(self, examples: Iterator[Example]) -> Iterator[tuple[Batch, list[Example]]]:
    """Pixels of so many examples, filled up with the first one, and the examples."""
    while chunk := list(itertools.islice(examples, self._batch_size)):
      filled = chunk + chunk[:1] * (self._batch_size - len(chunk))
      yield {n: np.stack([row[n] for row in filled]) for n in map(_pixels, self._names)}, chunk


def _pixels(name: str) -> str:
  return f'targets/{name}/{name}'


def _tokens(name: str) -> str:
  return f'targets/{name}/tokens'


def _load(model, batch, restore, partitioner, tokenizer) -> PyTree:
  paths = checkpoint_config.find(restore)
  if len(paths) != 1:
    raise CheckpointError(f'name one checkpoint with the tokenizers (CHECKPOINT_PATH), not {paths}')
  params, _ = checkpoints.load_params(
    paths[0], model, batch, partitioner=partitioner, config=restore, tokenizer=tokenizer
  )
  return params


def _checksum(params: PyTree) -> str:
  """SHA-256 of names and values."""
  digest = hashlib.sha256()
  for path, array in sorted(state_transforms.flatten(params).items()):
    digest.update(path.encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()
