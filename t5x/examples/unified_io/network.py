"""The encoder-decoder: any input modalities in, any target modalities out.

Outside this file and `modules/` a model is `init(key) -> params` and `apply(params, ...)`: plain
nested dicts, explicit caches. Shapes: B batch, L length, D model width, K input length, N heads,
H width of a head, V vocabulary.
"""

from collections.abc import Mapping

from flax import struct
import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from t5x.array_types import Batch
from t5x.examples.unified_io.config import ModelConfig
from t5x.examples.unified_io.modality_specs import (
  INPUT_ORDER,
  TARGET_ORDER,
  HistoryInputSpec,
  ModalitySpec,
)
from t5x.examples.unified_io.modules import (
  compaction,
  dense,
  fields,
  input_embedders,
  sequences,
  target_embedders,
)
from t5x.examples.unified_io.modules.contexts import CACHE_BATCH_AXIS, Cache, Encoded
from t5x.examples.unified_io.modules.transformer import Decoder, Encoder

__all__ = (
  'CACHE_BATCH_AXIS', 'Cache', 'Encoded', 'NetworkOutput', 'TargetOutput', 'Tokenizers',
  'Transformer',
)  # fmt: skip


class TargetOutput(struct.PyTreeNode):
  """Logits of a modality, the ids they should give, and where that counts.

  [B, L] are the places of the batch or, where that was asked for, those of packed rows, where a
  mask may count one several times; `places` is how many the batch has for the modality.
  """

  logits: Float[Array, 'B L V']
  tokens: Int[Array, 'B L']
  loss_mask: Int[Array, 'B L']
  places: int = struct.field(pytree_node=False)


class NetworkOutput(struct.PyTreeNode):
  """Outputs by target modality; `stats` are (total, count) pairs by the metric's name."""

  targets: dict[str, TargetOutput]
  stats: dict[str, tuple[Array, Array]]


def _ordered(specs: Mapping[str, ModalitySpec], order: tuple[str, ...]) -> list[str]:
  """Names in the released models' order, then modalities of others by name."""
  return [n for n in order if n in specs] + sorted(n for n in specs if n not in order)


class Transformer(nn.Module):
  """The whole network.

  Attributes:
    config: widths and depths.
    inputs: specs of the input modalities by name; each must be in the batch.
    targets: specs of the target modalities by name; a batch may lack some.
  """

  config: ModelConfig
  inputs: Mapping[str, ModalitySpec]
  targets: Mapping[str, ModalitySpec]

  def setup(self):
    config = self.config
    self.tables = {
      name: dense.Embed(size, config.emb_dim, config.dtype, name=f'{name}_token_embedder')
      for name, size in self._vocab_sizes().items()
    }
    entries = {n: input_embedders.input_entry(n) for n in _ordered(self.inputs, INPUT_ORDER)}
    needed = [e.backbone for n, e in entries.items() if getattr(self.inputs[n], 'use_vit', True)]
    self.backbones = {
      name: input_embedders.BACKBONES[name](config)
      for name in dict.fromkeys(needed)
      if name is not None
    }
    self.input_embedders = {
      name: entry.embedder(
        config, self.inputs[name], {**self.tables, **self.backbones}, entry.backbone,
        name=f'input_{name}',
      )
      for name, entry in entries.items()
    }  # fmt: skip
    self.target_embedders = {
      name: self._target_embedder(name) for name in _ordered(self.targets, TARGET_ORDER)
    }
    self.encoder = Encoder(config)
    self.decoder = Decoder(config)

  def _vocab_sizes(self) -> dict[str, int]:
    """Size of each token table; text always has one, since inputs use it too."""
    names = dict.fromkeys(['text', *_ordered(self.targets, TARGET_ORDER)])
    return {n: target_embedders.target_entry(n).vocab_size(self.config) for n in names}

  def _target_embedder(self, name: str) -> target_embedders.TargetEmbedder:
    entry, spec = target_embedders.target_entry(name), self.targets[name]
    tokenizer = None
    if entry.tokenizer is not None and not getattr(spec, 'use_codes', False):
      tokenizer = entry.tokenizer(self.config)
    return entry.embedder(self.config, spec, self.tables[name], tokenizer, name=f'target_{name}')

  def __call__(
    self,
    batch: Batch,
    *,
    deterministic: bool = True,
    pack_inputs: int | None = None,
    pack_targets: int | None = None,
    fold: int = 1,
    rows_together: int = 1,
    unpack: bool = True,
  ) -> NetworkOutput:
    """Logits of every target in the batch.

    Args:
      batch: 'inputs/<name>/<field>' and 'targets/<name>/<field>'.
      deterministic: False draws dropout from the key 'dropout'.
      pack_inputs: pack the valid input tokens of each row into this many places.
      pack_targets: likewise for target tokens.
      fold: number of neighbouring examples that share a row, or `rows_together` rows.
      rows_together: where it is above 1, 'packing/row' [B] of the batch tells which of these rows
        an example goes to.
      unpack: give each target the places that it has in the batch; else those of the packed rows
        where these are fewer, which is all that a loss needs.

    Raises:
      ValueError: if an input modality or all targets are missing, a field is not as its spec says,
        or `fold` does not divide B.
    """
    inputs = self.input_parts(batch, deterministic=deterministic)
    targets = self.target_parts(batch)
    sharing = compaction.Sharing(fold, rows_together, batch.get('packing/row'))
    _, packed_inputs = compaction.arrange(inputs, sequences.join_inputs, pack_inputs, sharing)
    encoded = self.encoder(packed_inputs.sequence, deterministic=deterministic)
    outputs, packed_targets = self._decode(
      targets, encoded, pack_targets, sharing, deterministic=deterministic, unpack=unpack
    )
    stats = compaction.example_stats(targets, batch.get('packing/age'))
    stats |= self._history_stats(batch, inputs)
    rows = jnp.float32(packed_targets.sequence.mask.shape[0])
    stats['packing/examples_per_row'] = (stats['packing/n-valid'][0], rows)
    stats |= packed_inputs.stats('input') | packed_targets.stats('target')
    return NetworkOutput(targets=outputs, stats=stats)

  def encode(self, batch: Batch, *, pack_inputs: int | None = None) -> Encoded:
    """The inputs of a batch, ready to decode from."""
    parts = self.input_parts(batch)
    _, packed = compaction.arrange(parts, sequences.join_inputs, pack_inputs, compaction.Sharing())
    return self.encoder(packed.sequence)

  def score(self, encoded: Encoded, batch: Batch) -> NetworkOutput:
    """As `__call__` for inputs that are encoded already; without dropout."""
    targets = self.target_parts(batch)
    alone = compaction.Sharing()
    outputs, packed = self._decode(targets, encoded, None, alone, deterministic=True)
    return NetworkOutput(
      targets=outputs, stats=compaction.example_stats(targets) | packed.stats('target')
    )

  def init_cache(self, encoded: Encoded, *, target: str, length: int) -> Cache:
    """A cache for decoding up to `length` tokens of one target modality."""
    self._check_target(target)
    return self.decoder.init_cache(encoded, length)

  def decode_step(
    self, ids: Int[Array, 'B'], cache: Cache, *, target: str
  ) -> tuple[Float[Array, 'B V'], Cache]:
    """Scores of the token after `ids`; the first call gets the start id 0."""
    self._check_target(target)
    embedder = self.target_embedders[target]
    x, rotary = embedder.step(ids, cache.index)
    hidden, cache = self.decoder.step(x, rotary, cache, embedder.cells())
    return embedder.logits(hidden)[:, 0], cache

  def read(self, ids: Int[Array, 'B L'], *, target: str) -> dict[str, Array]:
    """What decoded ids of a target say, as its embedder reads them; the batch comes first."""
    self._check_target(target)
    return self.target_embedders[target].read(ids)

  def input_parts(
    self, batch: Batch, *, deterministic: bool = True
  ) -> dict[str, sequences.InputSequence]:
    """The sequence of every input modality."""
    fields.check_rows(batch)
    parts = {}
    for name, embedder in self.input_embedders.items():
      given = fields.take(batch, 'inputs', self.inputs[name])
      if not given:
        raise ValueError(
          f'the batch has no inputs/{name}/...; give masked dummies or leave the modality out of '
          f'the network, whose inputs are {sorted(self.inputs)}'
        )
      parts[name] = embedder(given, deterministic=deterministic)
    return parts

  def target_parts(self, batch: Batch) -> dict[str, sequences.TargetSequence]:
    """The sequence of every target modality that is in the batch."""
    fields.check_rows(batch)
    found = {
      name: fields.take(batch, 'targets', self.targets[name]) for name in self.target_embedders
    }
    if not any(found.values()):
      raise ValueError(f'the batch has none of the targets {sorted(self.targets)}')
    return {name: self.target_embedders[name](given) for name, given in found.items() if given}

  def _decode(self, targets, encoded, pack_length, sharing, *, deterministic, unpack=True):
    folded, packed = compaction.arrange(targets, sequences.join_targets, pack_length, sharing)
    hidden = self.decoder(packed.sequence, encoded, deterministic=deterministic)
    joined = packed.unpack(hidden)
    states = sequences.split(joined, {n: part.mask.shape[1] for n, part in folded.items()})
    outputs = {}
    for number, (name, part) in enumerate(targets.items()):
      places, tokens, loss_mask = part.mask.size, part.tokens, part.loss_mask
      state = compaction.unfold(states[name], sharing.examples)
      if not unpack and packed.sequence.mask.size < places:
        state, tokens, loss_mask = packed.predictions(hidden, folded[name], number, len(folded))
      logits = self.target_embedders[name].logits(state)
      outputs[name] = TargetOutput(logits=logits, tokens=tokens, loss_mask=loss_mask, places=places)
    return outputs, packed

  def _history_stats(
    self, batch: Batch, parts: Mapping[str, sequences.InputSequence]
  ) -> dict[str, tuple[Array, Array]]:
    """Frames that show something, and those that found no room, as (total, count)."""
    stats = {}
    for name, spec in self.inputs.items():
      if isinstance(spec, HistoryInputSpec):
        frames = batch[f'inputs/{name}/mask'].astype(bool).any(axis=-1)
        part = parts[name].mask.reshape(*frames.shape, -1)[..., 0].astype(bool)
        examples = jnp.float32(frames.shape[0])
        shown, kept = (jnp.sum(x).astype(jnp.float32) for x in (frames, part))
        stats[f'packing/{name}_per_example'] = (shown, examples)
        stats[f'packing/{name}_dropped'] = (shown - kept, examples)
    return stats

  def _check_target(self, target: str) -> None:
    if target not in self.targets:
      raise ValueError(f'unknown target {target!r}; this network has {sorted(self.targets)}')


class Tokenizers(nn.Module):
  """The tokenizers of targets alone, under the names that they have in the whole network.

  Attributes:
    config: of the network.
    targets: specs of the targets; those that have no tokenizer are left aside.
  """

  config: ModelConfig
  targets: Mapping[str, ModalitySpec]

  def setup(self):
    makers = {name: target_embedders.target_entry(name).tokenizer for name in self.targets}
    self.tokenizers = {name: make(self.config) for name, make in makers.items() if make}

  def __call__(self, batch: Batch) -> dict[str, Int[Array, 'B L']]:
    """Codes of every picture or spectrogram of the batch, by target modality."""
    codes = {}
    for name, tokenizer in self.tokenizers.items():
      codes[name] = tokenizer.encode(fields.take(batch, 'targets', self.targets[name])[name])
      if self.is_initializing():
        tokenizer.decode(codes[name])  # so that its parameters exist, too
    return codes
