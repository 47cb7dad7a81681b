"""Input modalities to sequences: one embedder a modality, looked up by the name of its spec.

An embedder is a module with the attributes of `InputEmbedder`. A modality from outside is added by
`register_input('name', InputEntry(...))`; nothing here changes.
Shapes: B batch, L length, P patches, C values of a patch, D model width.
"""

from collections.abc import Callable, Mapping
import dataclasses
import difflib
from typing import Any

import flax.linen as nn
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float

from t5x.examples.unified_io import modality_specs
from t5x.examples.unified_io.config import ModelConfig, ResamplerConfig
from t5x.examples.unified_io.modules import dense, frames, positions, resampler, sequences, vit

Fields = Mapping[str, Array]  # of one modality in a batch: 'tokens', 'mask', ...

BACKBONES: dict[str, Callable[[ModelConfig], nn.Module]] = {
  'image_vit': lambda config: vit.VisionTransformer(
    config.image_vit, vit.IMAGE, config.scan_layers, config.attention, name='image_vit'
  ),
  'audio_vit': lambda config: vit.VisionTransformer(
    config.audio_vit, vit.AUDIO, config.scan_layers, config.attention, name='audio_vit'
  ),
}


class InputEmbedder(nn.Module):
  """Base of all input embedders.

  Attributes:
    config: of the network.
    spec: of the modality.
    shared: modules that several embedders use, by name: token tables and backbones.
    backbone: name of the backbone that this embedder uses; None without one.
  """

  config: ModelConfig
  spec: Any
  shared: Mapping[str, nn.Module]
  backbone: str | None = None

  def __call__(self, fields: Fields, *, deterministic: bool = True) -> sequences.InputSequence:
    """The sequence of this modality."""
    raise NotImplementedError

  def modality_embedding(self) -> Float[Array, '1 1 D']:
    """The learned vector that is added to every token; to be called in a compact `__call__`."""
    return modality_embedding(self)


def modality_embedding(module: nn.Module) -> Float[Array, '1 1 D']:
  """Declares the vector that tells a modality's tokens from others'."""
  init = dense.with_axes(initializers.normal(0.02), ('embed',))
  width = module.config.emb_dim
  vector = module.param('modality_embedding', init, (width,), jnp.float32)
  return vector.astype(module.config.dtype)[None, None]


class TextEmbedder(InputEmbedder):
  """Token ids; positions default to 0, 1, 2 ..., the mask to ids that are not padding."""

  spec: modality_specs.TextInputSpec

  @nn.compact
  def __call__(self, fields: Fields, *, deterministic: bool = True) -> sequences.InputSequence:
    del deterministic
    tokens = fields['tokens']
    table = positions.rotary_1d(self.spec.max_length, self.config.head_dim)
    pos_ids = fields.get('pos_ids', jnp.arange(tokens.shape[1])[None])
    return sequences.InputSequence(
      embed=self.shared['text'](tokens) + self.modality_embedding(),
      mask=fields.get('mask', (tokens > 0).astype(jnp.int32)),
      rotary=positions.lookup(table, pos_ids, self.config.dtype),
    )


class PatchEmbedder(InputEmbedder):
  """One image or spectrogram, cut into patches, through a backbone or as raw values."""

  spec: modality_specs.PatchInputSpec

  @nn.compact
  def __call__(self, fields: Fields, *, deterministic: bool = True) -> sequences.InputSequence:
    del deterministic
    spec, config = self.spec, self.config
    patches = fields['input']
    mask = fields.get('mask', jnp.ones(patches.shape[:2], jnp.int32))
    pos_ids = fields.get('pos_ids', jnp.arange(patches.shape[1])[None])
    features = patches
    if spec.use_vit:
      ids = jnp.broadcast_to(pos_ids, mask.shape)
      found = self.shared[self.backbone](patches, mask, ids, (spec.grid.rows, spec.grid.cols))
      # PARITY: in this order.
      features = jnp.concatenate([found.last, found.second], axis=-1)
    project = dense.Dense(config.emb_dim, ('image_patch', 'embed'), config.dtype, name='projection')
    rows, cols = spec.position_grid or (spec.grid.rows, spec.grid.cols)
    table = positions.rotary_2d(rows, cols, config.head_dim, spec.position_scale)
    return sequences.InputSequence(
      embed=project(features) + self.modality_embedding(),
      mask=mask,
      rotary=positions.lookup(table, pos_ids, config.dtype),
    )


class HistoryEmbedder(InputEmbedder):
  """Frames of a video, or earlier audio segments: each becomes a few latents."""

  spec: modality_specs.HistoryInputSpec

  def resampler_config(self) -> ResamplerConfig:
    """Of the resampler that this modality uses."""
    return self.config.image_resampler

  @nn.compact
  def __call__(self, fields: Fields, *, deterministic: bool = True) -> sequences.InputSequence:
    del deterministic
    config, spec = self.resampler_config(), self.spec
    batch, count = fields['input'].shape[:2]
    if count > config.max_frames:
      raise ValueError(
        f'{spec.name} has {count} frames; the resampler has positions for {config.max_frames}'
      )
    x, mask, pos_ids = (
      fields[name].reshape(batch * count, *fields[name].shape[2:])
      for name in ('input', 'mask', 'pos_ids')
    )
    plan = None
    if spec.max_per_example is not None:
      slots = frames.slot_count(spec.max_per_example, batch)
      x, mask, pos_ids, plan = frames.compact_frames(x, mask, pos_ids, slots)
    latents = self._latents(x, mask, pos_ids, config)
    shown = jnp.any(mask.astype(bool), axis=1)
    if plan is not None:
      latents, shown = plan.unpack(latents), plan.unpack(shown)
    tokens = count * config.latents
    table = positions.rotary_2d(config.max_frames, config.latents, self.config.head_dim)
    return sequences.InputSequence(
      embed=latents.reshape(batch, tokens, -1) + self.modality_embedding(),
      mask=jnp.repeat(shown.reshape(batch, count), config.latents, axis=1).astype(jnp.int32),
      rotary=jnp.asarray(table[:tokens], self.config.dtype)[None],
    )

  def _latents(
    self, x: Array, mask: Array, pos_ids: Array, config: ResamplerConfig
  ) -> Float[Array, 'F N D']:
    """Latents of each frame, as wide as the model."""
    grid = (self.spec.grid.rows, self.spec.grid.cols)
    if self.spec.use_vit:
      x = self.shared[self.backbone](x, mask, pos_ids, grid).last
    project = lambda width, name: dense.Dense(
      width, ('image_patch', 'embed'), self.config.dtype, name=name
    )
    x = project(config.emb_dim, 'pre_projection')(x)
    x = resampler.Resampler(config, self.config.attention, name='resampler')(x, mask)
    return project(self.config.emb_dim, 'post_projection')(x)


class AudioHistoryEmbedder(HistoryEmbedder):
  """Earlier audio segments."""

  def resampler_config(self) -> ResamplerConfig:
    return self.config.audio_resampler


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputEntry:
  """How a modality is embedded: the class, and the name of the backbone that it needs."""

  embedder: type[InputEmbedder]
  backbone: str | None = None


_ENTRIES: dict[str, InputEntry] = {
  'text': InputEntry(embedder=TextEmbedder),
  'image': InputEntry(embedder=PatchEmbedder, backbone='image_vit'),
  'image_history': InputEntry(embedder=HistoryEmbedder, backbone='image_vit'),
  'audio': InputEntry(embedder=PatchEmbedder, backbone='audio_vit'),
  'audio_history': InputEntry(embedder=AudioHistoryEmbedder, backbone='audio_vit'),
}


def register_input(name: str, entry: InputEntry) -> None:
  """Adds an input modality from outside this package.

  Raises:
    ValueError: if the name is taken by another entry.
  """
  if _ENTRIES.setdefault(name, entry) != entry:
    raise ValueError(f'input modality {name!r} exists already; give yours another name')


def input_entry(name: str) -> InputEntry:
  """The entry of an input modality.

  Raises:
    ValueError: for an unknown name; the near ones are offered.
  """
  if name not in _ENTRIES:
    near = difflib.get_close_matches(name, _ENTRIES) or sorted(_ENTRIES)
    raise ValueError(
      f'no embedder for input modality {name!r}; did you mean one of {near}? '
      'Others are added by input_embedders.register_input.'
    )
  return _ENTRIES[name]
