"""A modality of another project: the angles of a robot's joints, in and out.

The code blocks of docs/modalities.md are taken from here.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import tensorflow as tf

from t5x.examples.unified_io import config, modality_specs
from t5x.examples.unified_io.data import features
from t5x.examples.unified_io.modules import (
  dense,
  input_embedders,
  positions,
  sequences,
  target_embedders,
)


# ---- What it is ----------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, kw_only=True)
class JointSpec(modality_specs.ModalitySpec):
  """Angles in (-pi, pi], one for each joint; as a target, each is one of `bins` codes."""

  name: str = 'joints'
  joints: int = 3
  bins: int = 16

  @property
  def stage2(self) -> Mapping[str, modality_specs.Feature]:
    sizes = (self.joints,)
    return {
      'angles': modality_specs.Feature(dtype='float32', rank=1, sizes=sizes),
      'mask': modality_specs.Feature(dtype='int32', rank=1, sizes=sizes),
    }

  @property
  def model(self) -> Mapping[str, modality_specs.Feature]:
    return self.stage2


# ---- From a task's fields to a batch (TensorFlow) ------------------------------------------------
class JointFeatures:
  """Raw fields: `joints_inputs` and `joints_targets`, [joints] radians."""

  raw: str

  def __init__(self, spec: JointSpec):
    self.spec = spec

  def preprocess(
    self, example: Mapping[str, Any], lengths: Mapping[str, Any], seed: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    """Stage 2: `angles` and `mask`; zeros where the example has no angles."""
    del lengths, seed
    angles = example.get(self.raw)
    if angles is None:
      count = self.spec.joints
      return {'angles': tf.zeros([count]), 'mask': tf.zeros([count], tf.int32)}
    angles = tf.ensure_shape(tf.cast(angles, tf.float32), [self.spec.joints])
    return {'angles': angles, 'mask': tf.ones_like(angles, tf.int32)}

  def convert(self, fields: Mapping[str, Any], lengths: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Stage 3: shapes are fixed already."""
    del lengths
    return dict(fields)


class JointInput(JointFeatures):
  raw = 'joints_inputs'


class JointTarget(JointFeatures):
  raw = 'joints_targets'


# ---- From a batch to tokens (JAX) ----------------------------------------------------------------
class JointEmbedder(input_embedders.InputEmbedder):
  """Each joint is a token: a projection of its sine and cosine."""

  spec: JointSpec

  @nn.compact
  def __call__(
    self, fields: Mapping[str, Array], *, deterministic: bool = True
  ) -> sequences.InputSequence:
    del deterministic
    angles, width = fields['angles'], self.config.emb_dim
    on_circle = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    project = dense.Dense(width, ('image_patch', 'embed'), self.config.dtype, name='projection')
    table = positions.rotary_1d(self.spec.joints, self.config.head_dim)
    return sequences.InputSequence(
      embed=project(on_circle) + self.modality_embedding(),
      mask=fields['mask'],
      rotary=jnp.asarray(table, self.config.dtype)[None],
    )


# ---- To tokens and back (JAX) --------------------------------------------------------------------
class JointTargetEmbedder(target_embedders.TargetEmbedder):
  """Angles as codes, joint after joint. As of pictures, 0 starts and code c has the id c + 2."""

  spec: JointSpec

  def __call__(self, fields: Mapping[str, Array]) -> sequences.TargetSequence:
    tokens = self.codes(fields['angles']) + config.FIRST_CODE_ID
    return sequences.TargetSequence(
      embed=self.embed(jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)))),
      mask=fields['mask'],
      rotary=jnp.asarray(self.rotary_table(), self.config.dtype)[None],
      answers=None,
      tokens=tokens,
      loss_mask=fields['mask'],
    )

  def codes(self, angles: Float[Array, 'B L']) -> Int[Array, 'B L']:
    """The bin of each angle."""
    turns = (angles + math.pi) / (2 * math.pi)
    return jnp.clip(jnp.floor(turns * self.spec.bins), 0, self.spec.bins - 1).astype(jnp.int32)

  def rotary_table(self) -> Float[np.ndarray, 'R H']:
    return positions.rotary_1d(self.spec.joints, self.config.head_dim)

  def read(self, ids: Int[Array, 'B L']) -> dict[str, Array]:
    """The codes, and the angles in the middle of their bins."""
    codes = ids - config.FIRST_CODE_ID
    turns = (codes.astype(jnp.float32) + 0.5) / self.spec.bins
    return {'tokens': codes, 'angles': turns * (2 * math.pi) - math.pi}


# ---- Making it known -----------------------------------------------------------------------------
def register() -> None:
  """Makes the modality known to both lanes, under its name."""
  features.register_input('joints', JointSpec, JointInput)
  features.register_target('joints', JointSpec, JointTarget)
  input_embedders.register_input('joints', input_embedders.InputEntry(embedder=JointEmbedder))
  entry = target_embedders.TargetEntry(
    embedder=JointTargetEmbedder,
    vocab_size=lambda model_config: JointSpec().bins + config.FIRST_CODE_ID,
  )
  target_embedders.register_target('joints', entry)
