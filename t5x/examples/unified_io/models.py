"""The encoder-decoder as the framework sees it: losses, metrics and predictions of all modalities.

Letters: B batch, L length, V vocabulary, N options of an example.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from t5x import losses
from t5x.array_types import Array, AxisNames, Batch, Metrics, PyTree
from t5x.decoding import sampling, state
from t5x.examples.unified_io import config, network
from t5x.metrics import Mean
from t5x.models import BaseModel

_ABSENT = 1e9  # added to the score of an option that is not there


# How examples share rows, in arguments of `network.Transformer`: here each has its own.
_ALONE = {'pack_inputs': None, 'pack_targets': None, 'fold': 1, 'rows_together': 1}


class RowPacking(Protocol):
  """What the model asks of `packing.PackingStrategy`, see there."""

  pack_max_len: tuple[int, int] | None
  max_to_pack: int
  rows_together: int


class _ModuleModel(BaseModel):
  """What is made of a Linen module `self.module` that takes a batch."""

  def init(self, key: Array, input_spec: Mapping[str, jax.ShapeDtypeStruct]) -> PyTree:
    """New parameters of the module for batches of `input_spec`, float32."""
    batch = {name: jnp.zeros(x.shape, x.dtype) for name, x in _one_row(input_spec).items()}
    return _open_boxes(self.module.init(key, batch)['params'], lambda box: box.value)

  def param_axes(self, input_spec: Mapping[str, jax.ShapeDtypeStruct]) -> PyTree:
    """Logical axis names of every parameter; computes nothing."""
    shapes = jax.eval_shape(self.module.init, jax.random.key(0), _one_row(input_spec))
    return _open_boxes(shapes['params'], lambda box: tuple(box.names))

  def _apply(self, params: PyTree, *inputs: Any, **options: Any) -> Any:
    return self.module.apply({'params': params}, *inputs, **options)


class EncoderDecoderModel(_ModuleModel):
  """Any inputs to any targets."""

  def __init__(
    self,
    module: network.Transformer,
    *,
    z_loss: float = 1e-4,
    label_smoothing: float = 0.0,
    loss_normalizing_factor: float | None = None,
    loss_normalizing_by_weight_sum: bool = True,
    packing: RowPacking | None = None,
  ):
    """Holds settings; nothing is computed.

    Args:
      module: the network.
      z_loss: coefficient that keeps the logits' normalizer near 1.
      label_smoothing: share of the target that goes to all other ids.
      loss_normalizing_factor: divides the sum of the token losses; used only if the next is off.
      loss_normalizing_by_weight_sum: divide each modality by its number of valid tokens.
      packing: how examples of training share rows, as the data's batcher arranged them; None: each
        has its own.
    """
    self.module = module
    self.rows = dict(_ALONE)
    if packing is not None and packing.pack_max_len is not None:
      numbers = (*packing.pack_max_len, packing.max_to_pack, packing.rows_together)
      self.rows = dict(zip(_ALONE, numbers, strict=True))
    self._loss_settings = {
      'z_loss': z_loss,
      'label_smoothing': label_smoothing,
      'normalizing_factor': loss_normalizing_factor,
      'by_weight_sum': loss_normalizing_by_weight_sum,
    }

  def loss_fn(
    self,
    params: PyTree,
    batch: Batch,
    key: Array | None = None,
    **rows: int | None,
  ) -> tuple[Array, Metrics]:
    """The sum of the losses of the target modalities, each over its own valid tokens.

    Args:
      params: parameters.
      batch: 'inputs/...' and 'targets/...'.
      key: of the dropout; None for none.
      **rows: `pack_inputs`, `pack_targets`, `fold`, `rows_together` of `network.Transformer`, where
        they are not to be as the model's `packing` says, and `unpack`, which is False.

    Returns:
      The loss, and metrics: `loss` and, of every modality m, `m/loss`, `m/cross_ent_loss`,
      `m/z_loss`, `m/accuracy`, `m/nonpadding_fraction`, `m/outside_vocabulary` (the share of ids
      that the token table lacks: more than 0 means another tokenizer; such ids count in no loss);
      and `packing/...`.
    """
    output = self._apply(
      params,
      batch,
      deterministic=key is None,
      rngs=None if key is None else {'dropout': key},
      **{'unpack': False, **self.rows, **rows},
    )
    total, metrics = jnp.float32(0.0), {}
    for name, target in output.targets.items():
      known = _known(target)
      parts = losses.weighted_cross_entropy(
        known.logits, known.tokens, known.loss_mask, **self._loss_settings
      )
      total += parts.loss
      metrics |= {f'{name}/{kind}': metric for kind, metric in _report(target, parts).items()}
    metrics |= {name: Mean(*pair) for name, pair in output.stats.items()}
    return total, {'loss': Mean.of(total), **metrics}

  def eval_fn(self, params: PyTree, batch: Batch) -> Metrics:
    """The metrics of the loss, without dropout, an example a row."""
    return self.loss_fn(params, batch, None, **_ALONE)[1]

  def predict_batch_with_aux(
    self,
    params: PyTree,
    batch: Batch,
    key: Array | None = None,
    *,
    length: int = 64,
    modality: str = 'text',
    top_k: int = 0,
    top_p: float = 0.0,
    temperature: float = 0.0,
    num_decodes: int = 1,
    return_all_decodes: bool = False,
    pack_inputs: int | None = None,
    logits_fn: state.LogitsFn | None = None,
    max_options: int = 100,
    normalize_by_len: bool = False,
  ) -> tuple[Array, dict[str, Array]]:
    """Writes a target, or chooses among the options where the batch has `choices` [B, N, L].

    Args:
      params: parameters.
      batch: 'inputs/...', and `choices` where there are options: ids that end with EOS, 0 after
        it, all 0 for an option that an example does not have.
      key: of the draws; needed where the temperature is above 0.
      length: largest number of tokens written.
      modality: which target is written.
      top_k: draw among this many ids; 0 for all.
      top_p: draw among the ids that together have this probability; 0 for all.
      temperature: 0 takes the most probable id.
      num_decodes: draws of each example; the one of the best score counts.
      return_all_decodes: give all draws, the best one last, and their log-probabilities.
      pack_inputs: length that the valid input tokens are packed into; None packs nothing.
      logits_fn: changes the logits of each step.
      max_options: options scored at a time; bounds the memory, changes no score.
      normalize_by_len: divide scores of options by the number of ids of all options of the batch.

    Returns:
      The ids [B, L], 0 after EOS, and a dict. Written: `<modality>-tokens` [B, length], what else
      its embedder reads in the ids, and `<modality>-scores` [B], the log-probability up to and
      including EOS; with all decodes all of them [B, num_decodes, ...], and with them
      `<modality>-logprobs` [B, num_decodes, length]. Chosen: `text-tokens` [B, L], `scores` [B],
      `all_scores` [B, N] (negative log-probabilities, an option that is not there has 1e9 more) and
      `choice_ix` [B].

    Raises:
      ValueError: for a modality that the network does not write, or options of one that is no text.
    """
    if 'choices' in batch and modality != 'text':
      raise ValueError(f'the batch has choices, which are texts; modality is {modality!r}')
    encoded = self._apply(params, batch, pack_inputs=pack_inputs, method='encode')
    if 'choices' in batch:
      return self._choose(params, encoded, batch['choices'], max_options, normalize_by_len)
    sampler = sampling.Sampler(top_k=top_k, top_p=top_p, temperature=temperature)
    cache = self._apply(params, encoded, target=modality, length=length, method='init_cache')
    axis = network.CACHE_BATCH_AXIS
    decoded = sampling.decode(
      lambda ids, cache: self._apply(params, ids, cache, target=modality, method='decode_step'),
      jax.tree.map(lambda x: jnp.repeat(x, num_decodes, axis) if x.ndim > axis else x, cache),
      batch=encoded.hidden.shape[0] * num_decodes,
      length=length,
      eos_id=config.EOS_ID,
      sampler=sampler,
      key=key,
      logits_fn=logits_fn,
    )
    decoded = state.best_last(decoded, num_decodes)
    best = decoded.tokens[:, -1]
    if return_all_decodes:
      said = self._read(params, decoded.tokens, modality)
      said |= {'scores': decoded.scores, 'logprobs': decoded.logprobs}
    else:
      said = self._read(params, best, modality) | {'scores': decoded.scores[:, -1]}
    return best, {f'{modality}-{name}': x for name, x in said.items()}

  def _read(self, params: PyTree, ids: Array, modality: str) -> dict[str, Array]:
    """What ids [..., L] say, with the same leading axes."""
    flat = ids.reshape(-1, ids.shape[-1])
    read = self._apply(params, flat, target=modality, method='read')
    return {name: x.reshape(*ids.shape[:-1], *x.shape[1:]) for name, x in read.items()}

  def score_batch(self, params: PyTree, batch: Batch) -> Array:
    """Log-probability of each example's valid target tokens, all modalities together, [B]."""
    output = self._apply(params, batch)
    return -sum(_negative_log_probability(target) for target in output.targets.values())

  def _choose(
    self, params: PyTree, encoded: network.Encoded, choices: Array, group: int, by_length: bool
  ) -> tuple[Array, dict[str, Array]]:
    """Scores all options of all examples; the inputs stay encoded once."""
    batch, options, length = choices.shape
    group = min(group, options)
    filled = jnp.pad(choices, ((0, 0), (0, -options % group), (0, 0)))
    groups = jnp.moveaxis(filled.reshape(batch, -1, group, length), 1, 0)
    scores = jax.lax.map(lambda some: self._score_options(params, encoded, some), groups)
    scores = jnp.moveaxis(scores, 0, 1).reshape(batch, -1)[:, :options]
    if by_length:
      scores /= jnp.sum(choices > 0).astype(jnp.float32)
    scores += jnp.where(jnp.any(choices > 0, axis=-1), 0.0, _ABSENT)
    best = jnp.argmin(scores, axis=1)
    tokens = jnp.take_along_axis(choices, best[:, None, None], axis=1)[:, 0]
    aux = {
      'text-tokens': tokens,
      'scores': jnp.take_along_axis(scores, best[:, None], axis=1)[:, 0],
      'all_scores': scores,
      'choice_ix': best.astype(jnp.int32),
    }
    return tokens, aux

  def _score_options(self, params: PyTree, encoded: network.Encoded, options: Array) -> Array:
    """Negative log-probabilities [B, N] of options [B, N, L].

    The options of an example stand in one row as answers that do not see each other, so that the
    row attends to its inputs without a copy of them for each option.
    """
    batch, count, length = options.shape
    places = jnp.broadcast_to(jnp.arange(length), options.shape)
    answers = jnp.broadcast_to(jnp.arange(1, count + 1)[:, None], (count, length))
    fields = {
      'inputs': jnp.pad(options[..., :-1], ((0, 0), (0, 0), (1, 0))),
      'targets': options,
      'mask': (options > 0).astype(jnp.int32),
      'pos_ids': places,
      'segment_ids': jnp.broadcast_to(answers[None], options.shape),
    }
    rows = {
      f'targets/text/{name}': field.reshape(batch, count * length).astype(jnp.int32)
      for name, field in fields.items()
    }
    target = self._apply(params, encoded, rows, method='score').targets['text']
    losses_of = _token_losses(target).reshape(batch, count, length)
    return jnp.sum(losses_of, axis=-1)


class TargetTokenizers(_ModuleModel):
  """What it predicts are the codes of target pictures and spectrograms; it is not trained."""

  def __init__(self, module: network.Tokenizers):
    """Holds the module; nothing is computed."""
    self.module = module

  def loss_fn(self, params: PyTree, batch: Batch, key: Array | None) -> tuple[Array, Metrics]:
    raise NotImplementedError('tokenizers alone have no loss; tokenizer_training makes them')

  def predict_batch_with_aux(
    self, params: PyTree, batch: Batch, key: Array | None = None, **options: Any
  ) -> tuple[Array, dict[str, Array]]:
    """`<modality>-tokens`, codes [B, L] in the order in which the network writes them."""
    del key, options
    codes = {f'{name}-tokens': x for name, x in self._apply(params, batch).items()}
    return next(iter(codes.values())), codes


def _unknown(target: network.TargetOutput) -> Array:
  """Where a token has no logit, [B, L]."""
  return (target.tokens < 0) | (target.tokens >= target.logits.shape[-1])


def _known(target: network.TargetOutput) -> network.TargetOutput:
  """The same without unknown tokens, whose loss would be no number."""
  unknown = _unknown(target)
  return target.replace(
    tokens=jnp.where(unknown, 0, target.tokens), loss_mask=jnp.where(unknown, 0, target.loss_mask)
  )


def _token_losses(target: network.TargetOutput) -> Array:
  """Negative log-probability of each valid token [B, L], 0 elsewhere."""
  target = _known(target)
  nll, _ = losses.cross_entropy_with_logits(target.logits, target.tokens)
  return jnp.where(target.loss_mask != 0, nll, 0.0)


def _negative_log_probability(target: network.TargetOutput) -> Array:
  return jnp.sum(_token_losses(target), axis=-1)


def _most_probable(logits: Array) -> Array:
  """argmax over the last axis, by two reductions that vectorise: XLA's own does not on CPUs."""
  ids = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
  highest = jnp.max(logits, axis=-1, keepdims=True)
  return jnp.min(jnp.where(logits == highest, ids, logits.shape[-1]), axis=-1)


def _report(target: network.TargetOutput, parts: losses.LossParts) -> dict[str, Mean]:
  counted = target.loss_mask.astype(jnp.float32)
  right = _most_probable(target.logits) == target.tokens
  return {
    'loss': Mean.of(parts.loss),
    'cross_ent_loss': Mean.of(parts.loss - parts.z_loss),
    'z_loss': Mean.of(parts.z_loss),
    'accuracy': Mean.of(right, counted),
    'nonpadding_fraction': Mean(jnp.sum(counted), jnp.float32(target.places)),
    'outside_vocabulary': Mean.of(_unknown(target), counted),
  }


def _one_row(spec: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.ShapeDtypeStruct]:
  return {name: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for name, x in spec.items()}


def _open_boxes(params: PyTree, take: Callable[[Any], Array | AxisNames]) -> PyTree:
  """Takes the value or the axis names out of the box that Linen puts each parameter in."""
  return jax.tree.map(take, params, is_leaf=lambda leaf: hasattr(leaf, 'names'))
