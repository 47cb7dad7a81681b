"""Compaction of a batch's frames, so that a backbone does not work on empty ones.

Every example has room for as many frames as any may have, yet most have fewer or none. Up to a
number of frames that show something move to the front, over the borders of examples; what the
backbone made of them moves back. Shapes: F frames of the whole batch (examples times frames),
M slots, P patches, D width.
"""

from flax import struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from t5x.examples.unified_io.modules import compaction


class FramePlan(struct.PyTreeNode):
  """Which frame stands in which slot, and how many found none."""

  packing: compaction.Packing  # of one row, whose tokens are frames
  dropped: Int[Array, '']

  def pack(self, frames: Shaped[Array, 'F ...']) -> Shaped[Array, 'M ...']:
    """The frames in their slots; empty slots are zero."""
    return self.packing.pack(frames[None])[0]

  def unpack(self, slots: Shaped[Array, 'M ...']) -> Shaped[Array, 'F ...']:
    """Each frame back in its place; those that are empty or were dropped are zero."""
    return self.packing.unpack(slots[None])[0]


def slot_count(max_per_example: float | int, batch_size: int) -> int:
  """Frames that a batch may bring; a half is rounded to the even neighbour.

  Raises:
    ValueError: if that is none.
  """
  slots = round(max_per_example * batch_size)
  if slots < 1:
    raise ValueError(
      f'{max_per_example} frames an example are none for a batch of {batch_size}; raise the limit, '
      'or leave the modality out'
    )
  return slots


def compact_frames(
  x: Float[Array, 'F P D'], mask: Int[Array, 'F P'], pos_ids: Int[Array, 'F P'], slots: int
) -> tuple[Float[Array, 'M P D'], Int[Array, 'M P'], Int[Array, 'M P'], FramePlan]:
  """Moves the first `slots` frames with a valid patch to the front, and says how to move back."""
  shown = (mask != 0).any(-1).astype(jnp.int32)
  packing = compaction.plan(shown[None], slots)
  plan = FramePlan(packing=packing, dropped=jnp.maximum(shown.sum() - slots, 0))
  return plan.pack(x), plan.pack(mask), plan.pack(pos_ids), plan
