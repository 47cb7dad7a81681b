"""A model and its parameters in two calls, for notebooks and scripts."""

from collections.abc import Sequence
import os

import gin
import jax

from t5x import checkpoint_config, checkpoints, gin_utils
from t5x.array_types import Array, PyTree
from t5x.examples.unified_io import config, modality_processing, models
from t5x.examples.unified_io.data import vocabulary
from t5x.examples.unified_io.interop import legacy_names
from t5x.partitioning import PjitPartitioner

_SIZE_FILE = 't5x/examples/unified_io/t5_1_1/{}.gin'


def get_model(
  size: str,
  input_modalities: Sequence[str] | None = None,
  target_modalities: Sequence[str] | None = None,
  gin_bindings: Sequence[str] | None = None,
  dtype: str = 'bfloat16',
) -> models.EncoderDecoderModel:
  """The model of a size file. Gin is left as that file and the arguments set it.

  Args:
    size: 'tiny', 'base', 'large', 'xl' or 'xxl'.
    input_modalities: those that are on; every one when None.
    target_modalities: likewise.
    gin_bindings: further bindings, 'NAME = VALUE'.
    dtype: of the computation; parameters are float32.

  Raises:
    ValueError: for an unknown size.
    UserError: for a binding that cannot be.
  """
  config.model_config(size)  # refuses an unknown size
  bindings = [f"model_config.dtype = '{dtype}'"]
  if input_modalities is not None:
    bindings.append(f'get_input_modalities.input_modality = {list(input_modalities)}')
  if target_modalities is not None:
    bindings.append(f'get_target_modalities.target_modality = {list(target_modalities)}')
  with gin.unlock_config():
    gin_utils.parse([_SIZE_FILE.format(size)], [*bindings, *(gin_bindings or ())])
  return gin.get_configurable(models.EncoderDecoderModel)()


def get_parameters(
  model: models.EncoderDecoderModel,
  checkpoint: str | None = None,
  partitioner: PjitPartitioner | None = None,
  rng: Array | None = None,
) -> tuple[PyTree, PyTree | None]:
  """Parameters of a checkpoint, ours or the original's, or new ones where none is named.

  Args:
    model: whose parameters.
    checkpoint: its folder; None draws new parameters from `rng`.
    partitioner: puts them on its mesh; None on the first device.
    rng: key of new parameters; that of seed 0 when None.

  Returns:
    The parameters, and with a partitioner their logical axis names, else None.

  Raises:
    CheckpointError: when the folder is no checkpoint of such a model.
  """
  mesh = partitioner or PjitPartitioner(devices=jax.devices()[:1])
  spec = {
    name: jax.ShapeDtypeStruct(shape, dtype)
    for name, (shape, dtype) in modality_processing.get_input_spec().items()
  }
  axes = model.param_axes(spec)
  if checkpoint is None:
    key = jax.random.key(0) if rng is None else rng
    shapes = jax.eval_shape(lambda key: model.init(key, spec), key)
    init = jax.jit(lambda key: model.init(key, spec), out_shardings=mesh.shardings(axes, shapes))
    with mesh.scope():
      params = init(key)
  else:
    restore = checkpoint_config.RestoreCheckpointConfig(
      path=os.fspath(checkpoint),
      mode='specific',
      legacy=checkpoint_config.LegacyFormat(
        translate=lambda flat: legacy_names.tree_from_legacy(flat, model.module.config),
        base_pieces=config.RELEASED_BASE_PIECES,
      ),
    )
    (path,) = checkpoint_config.find(restore)
    params, _ = checkpoints.load_params(
      path,
      model,
      spec,
      partitioner=mesh,
      config=restore,
      tokenizer=vocabulary.get_default_vocabulary(),
    )
  return params, axes if partitioner else None
