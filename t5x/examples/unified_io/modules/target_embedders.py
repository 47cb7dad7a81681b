"""Target modalities: to decoder inputs, step by step, and decoder states to logits.

An embedder is a module with the attributes of `TargetEmbedder`, looked up by the name of its spec.
A modality from outside is added by `register_target('name', TargetEntry(...))`.
Shapes: B batch, L length, D model width, H width of a head, V vocabulary.
"""

from collections.abc import Callable, Mapping
import dataclasses
import difflib
from typing import Any

import flax.linen as nn
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from t5x.examples.unified_io import config as constants
from t5x.examples.unified_io import modality_specs
from t5x.examples.unified_io.config import ModelConfig
from t5x.examples.unified_io.modules import (
  audio_vqgan,
  dense,
  image_vqgan,
  masks,
  positions,
  sequences,
)

Fields = Mapping[str, Array]  # of one modality in a batch: 'targets', 'mask', ...


class TargetEmbedder(nn.Module):
  """Base of all target embedders.

  Attributes:
    config: of the network.
    spec: of the modality.
    table: the token table, for inputs and logits.
    tokenizer: turns pixels or spectrograms into codes; None where the batch brings codes.
  """

  config: ModelConfig
  spec: Any
  table: dense.Embed
  tokenizer: nn.Module | None = None

  def setup(self):
    init = dense.with_axes(initializers.normal(0.02), ('embed',))
    shape = (self.config.emb_dim,)
    self.modality_embedding = self.param('modality_embedding', init, shape, jnp.float32)

  def __call__(self, fields: Fields) -> sequences.TargetSequence:
    """The sequence of this modality for training and scoring."""
    raise NotImplementedError

  def rotary_table(self) -> Float[np.ndarray, 'R H']:
    """The rotary row of every position."""
    raise NotImplementedError

  def cells(self) -> Int[np.ndarray, 'S 2'] | None:
    """Row and column of each token, for layers with grid patterns; None where there are none."""
    return None

  def embed(self, ids: Int[Array, 'B L']) -> Float[Array, 'B L D']:
    """Embeddings of decoder inputs."""
    return self.table(ids) + self.modality_embedding.astype(self.config.dtype)[None, None]

  def step(
    self, ids: Int[Array, 'B'], index: Int[Array, '']
  ) -> tuple[Float[Array, 'B 1 D'], Float[Array, '1 1 H']]:
    """Embedding and rotary row of one token at position `index`."""
    row = positions.lookup(self.rotary_table(), index[None, None], self.config.dtype)
    return self.embed(ids[:, None]), row

  def logits(self, hidden: Float[Array, 'B L D']) -> Float[Array, 'B L V']:
    """Scores of the next token."""
    return self.table.logits(hidden)

  def read(self, ids: Int[Array, 'B L']) -> dict[str, Array]:
    """What decoded ids say: `tokens` as batches bring them, and whatever is made of them."""
    return {'tokens': ids}


class TextTarget(TargetEmbedder):
  """Text; several answers in a row start anew from id 0 and do not see each other."""

  spec: modality_specs.TextTargetSpec

  def __call__(self, fields: Fields) -> sequences.TargetSequence:
    inputs = fields['inputs']
    pos_ids = fields.get('pos_ids', jnp.arange(inputs.shape[1])[None])
    mask = fields.get('mask', (inputs > 0).astype(jnp.int32))
    return sequences.TargetSequence(
      embed=self.embed(inputs),
      mask=mask,
      rotary=positions.lookup(self.rotary_table(), pos_ids, self.config.dtype),
      answers=fields.get('segment_ids'),
      tokens=fields['targets'],
      loss_mask=mask,
    )

  def rotary_table(self) -> Float[np.ndarray, 'R H']:
    return positions.rotary_1d(self.spec.max_length, self.config.head_dim)


class DenseTarget(TargetEmbedder):
  """Codes of an image or a spectrogram, in the order of its grid."""

  spec: modality_specs.DenseTargetSpec

  def __call__(self, fields: Fields) -> sequences.TargetSequence:
    codes = fields['tokens'] if self.spec.use_codes else self._tokenize(fields[self.spec.name])
    # Else a negative code would be a start or a mask; one that is too large the table lacks.
    tokens = jnp.where(codes < 0, constants.OUTSIDE_ID, codes + constants.FIRST_CODE_ID)
    mask = fields.get('mask', jnp.ones(tokens.shape, jnp.int32))
    task_mask = fields.get('task_mask', jnp.zeros(tokens.shape, jnp.int32))
    inputs, masked = decoder_inputs(tokens, task_mask, self.config)
    cells = self.cells()
    return sequences.TargetSequence(
      embed=self.embed(inputs),
      mask=mask,
      rotary=jnp.asarray(self.rotary_table(), self.config.dtype)[None],
      answers=masks.alone(masked) if self.config.dynamic_mask else None,
      tokens=tokens,
      loss_mask=fields.get('loss_mask', mask),
      cells=None if cells is None else jnp.asarray(cells)[None],
    )

  def rotary_table(self) -> Float[np.ndarray, 'R H']:
    return positions.rotary_2d(self.spec.grid.rows, self.spec.grid.cols, self.config.head_dim)

  def cells(self) -> Int[np.ndarray, 'S 2'] | None:
    grid = self.spec.grid
    return masks.grid_cells(grid.rows, grid.cols) if self.config.pattern_masks else None

  def read(self, ids: Int[Array, 'B L']) -> dict[str, Array]:
    # PARITY: the ids 0 and 1, which are no codes, become negative ones.
    return {'tokens': ids - constants.FIRST_CODE_ID}

  def _tokenize(self, pixels: Array) -> Int[Array, 'B L']:
    if self.tokenizer is None:
      raise ValueError(
        f'target {self.spec.name!r} brings pixels but its tokenizer is not part of the network; '
        'give codes (a spec with use_codes=True)'
      )
    codes = self.tokenizer.encode(pixels)
    if codes.shape[1] != self.spec.grid.count:
      raise ValueError(
        f'the tokenizer of {self.spec.name!r} makes {codes.shape[1]} codes and the grid of the '
        f'spec has {self.spec.grid.count}; a code must stand for as many pixels in both (here '
        f'{self.spec.grid.patch} wide)'
      )
    codebook, ids = self.tokenizer.config.codebook_size, self.table.vocab_size
    if codebook + constants.FIRST_CODE_ID > ids:
      raise ValueError(
        f'the tokenizer of {self.spec.name!r} has {codebook} codes, which with the start and the '
        f'mask need {codebook + constants.FIRST_CODE_ID} ids; the network has {ids} '
        f'(ModelConfig.{self.spec.name}_vocab_size)'
      )
    if self.is_initializing():
      self.tokenizer.decode(codes)  # so that its parameters exist, too
    return codes


def decoder_inputs(
  tokens: Int[Array, 'B L'], task_mask: Int[Array, 'B L'], config: ModelConfig
) -> tuple[Int[Array, 'B L'], Bool[Array, 'B L']]:
  """What the decoder reads in order to write `tokens`, and where it reads a masked token.

  Args:
    tokens: ids to write.
    task_mask: not 0 where the token is masked, that is, to be restored.
    config: `unk_mask_token` replaces masked tokens; `shift_back_input_token` reads each token of a
      target with masked ones in its own place, else each stands one place later, after a 0.
  """
  masked = task_mask.astype(bool)
  read = jnp.where(masked, constants.MASK_CODE_ID, tokens) if config.unk_mask_token else tokens
  later, masked_later = (jnp.pad(x[:, :-1], ((0, 0), (1, 0))) for x in (read, masked))
  if not config.shift_back_input_token:
    return later, masked_later
  some = jnp.broadcast_to(jnp.any(masked, axis=1, keepdims=True), masked.shape)
  return jnp.where(some, read, later), jnp.where(some, masked, masked_later)


class AudioTarget(DenseTarget):
  """A spectrogram: its codes follow time, then frequency."""

  def rotary_table(self) -> Float[np.ndarray, 'R H']:
    # PARITY: laid out frequency by time although the codes are ordered time by frequency.
    grid = self.spec.grid
    return positions.rotary_2d(grid.cols, grid.rows, self.config.head_dim)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetEntry:
  """How a target is embedded: the class, the size of its token table, and its tokenizer."""

  embedder: type[TargetEmbedder]
  vocab_size: Callable[[ModelConfig], int]
  tokenizer: Callable[[ModelConfig], nn.Module] | None = None


_ENTRIES: dict[str, TargetEntry] = {
  'text': TargetEntry(embedder=TextTarget, vocab_size=lambda config: config.vocab_size),
  'image': TargetEntry(
    embedder=DenseTarget,
    vocab_size=lambda config: config.image_vocab_size,
    tokenizer=lambda config: image_vqgan.ImageVqgan(
      config.image_vqgan, config.attention, name='image_vqgan'
    ),
  ),
  'audio': TargetEntry(
    embedder=AudioTarget,
    vocab_size=lambda config: config.audio_vocab_size,
    tokenizer=lambda config: audio_vqgan.AudioVqgan(
      config.audio_vqgan, config.attention, name='audio_vqgan'
    ),
  ),
}


def register_target(name: str, entry: TargetEntry) -> None:
  """Adds a target modality from outside this package.

  Raises:
    ValueError: if the name is taken by another entry.
  """
  if _ENTRIES.setdefault(name, entry) != entry:
    raise ValueError(f'target modality {name!r} exists already; give yours another name')


def target_entry(name: str) -> TargetEntry:
  """The entry of a target modality.

  Raises:
    ValueError: for an unknown name; the near ones are offered.
  """
  if name not in _ENTRIES:
    near = difflib.get_close_matches(name, _ENTRIES) or sorted(_ENTRIES)
    raise ValueError(
      f'no embedder for target modality {name!r}; did you mean one of {near}? '
      'Others are added by target_embedders.register_target.'
    )
  return _ENTRIES[name]
