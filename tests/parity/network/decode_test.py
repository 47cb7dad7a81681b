"""Writing and choosing: tokens, scores and log-probabilities of all runs of a decoding case."""

from collections.abc import Mapping
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io import models
from tests.parity import harness
from tests.parity.network import support

_SETTINGS = ('batch_size', 'checkpoint', 'config', 'eos_id', 'init', 'length', 'runs', 'seed')
_PROSE = (
  *('array_steps', 'facts', 'inputs_in_outputs', 'methods', 'optimizer_state'),
  *('sequence_lengths', 'use_image_vit_note'),
)
_OPTIONS = ('length', 'top_k', 'top_p', 'temperature', 'num_decodes')


def missing_part(settings: Mapping[str, Any]) -> str | None:
  """The part that a run waits for, if any."""
  if settings['modality'] != 'text':
    return f'{settings["modality"]}_targets'
  if settings['method'] == 'beam':
    return 'beam_search'
  return 'guidance' if 'negative_prompt' in settings else None


class Writer:
  """The model of a case and its inputs."""

  def __init__(self, case: harness.Case):
    stored = case.config
    self.case = case
    self.module = support.transformer(stored['config'])
    self.model = models.EncoderDecoderModel(self.module)
    weights = support.weights(case, stored['checkpoint'], self.module.config)
    self.params = jax.tree.map(jnp.asarray, weights)

  def batch(self, rows: int) -> dict[str, jax.Array]:
    """The first rows of the inputs."""
    return {name: array[:rows] for name, array in support.batch(self.case).items()}

  @functools.cache  # noqa: B019 (a writer lives as long as its test)
  def predictor(self, **options: Any) -> Any:
    """The compiled prediction with these options."""
    predict = lambda params, batch: self.model.predict_batch_with_aux(
      params, batch, jax.random.key(0), return_all_decodes=True, **options
    )
    return jax.jit(predict)

  @functools.cached_property
  def forward(self) -> Any:
    """The compiled network."""
    return jax.jit(lambda params, batch: self.module.apply({'params': params}, batch))

  def write(self, settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """All that a run that draws gives, every decode of it."""
    options = {name: settings[name] for name in _OPTIONS}
    options['pack_inputs'] = settings.get('horizontally_pack_inputs')
    batch = self.batch(settings['batch_rows'])
    return jax.device_get(self.predictor(**options)(self.params, batch)[1])

  def choose(self, settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """All that a run that chooses gives."""
    choices = jnp.asarray(self.case.outputs[settings['choices']])
    batch = {**self.batch(settings['batch_rows']), 'choices': choices}
    options = {name: settings[name] for name in ('max_options', 'normalize_by_len')}
    return jax.device_get(self.predictor(**options)(self.params, batch)[1])

  def teacher_forced(self, tokens: np.ndarray) -> np.ndarray:
    """Logits of one pass over tokens that are given, [B, L, V]."""
    inputs = jnp.pad(jnp.asarray(tokens[:, :-1]), ((0, 0), (1, 0)))
    batch = self.batch(len(tokens)) | {
      'targets/text/inputs': inputs,
      'targets/text/targets': jnp.asarray(tokens),
      'targets/text/mask': jnp.ones_like(inputs),
    }
    return self.forward(self.params, batch).targets['text'].logits


def check_written(writer: Writer, name: str, settings: Mapping[str, Any]) -> None:
  """Tokens while the choices are clear, scores and log-probabilities."""
  case, tolerance = writer.case, writer.case.config['tolerance']
  got = writer.write(settings)
  stored = case.outputs[f'{name}/text-tokens']
  each = stored if settings['return_all_decodes'] else stored[:, None]  # [B, decodes, L]
  logits = writer.teacher_forced(each[:, -1])
  ordered = np.sort(logits, axis=-1)
  margins = ordered[..., -1] - ordered[..., -2]
  # Once two ids were about as probable, another rounding may have gone on with the other one.
  clear = np.cumprod(margins > tolerance['tokens_margin'], axis=1)[:, None]
  ours = got['text-tokens'] if settings['return_all_decodes'] else got['text-tokens'][:, -1]
  places, rows = np.broadcast_to(clear, each.shape), np.broadcast_to(clear.all(-1), each.shape[:2])
  case.equal(f'{name}/text-tokens', ours, stored, mask=places.reshape(stored.shape))
  compared = {
    'text-scores': (got['text-scores'], {'rtol': tolerance['scores_rtol'], 'mask': rows}),
    'text-logprobs': (got['text-logprobs'], {**support.floats(case), 'mask': places}),
    'teacher_forced_logits': (logits, support.floats(case)),
    'step_margin': (margins, {'atol': tolerance['step_margin_atol']}),
  }
  for kind, (array, how) in compared.items():
    if f'{name}/{kind}' in case.outputs:
      case.equal(f'{name}/{kind}', array, case.outputs[f'{name}/{kind}'], **how)


def check_chosen(writer: Writer, name: str, settings: Mapping[str, Any]) -> None:
  """The chosen option and the scores of all."""
  case, tolerance = writer.case, writer.case.config['tolerance']
  got = writer.choose(settings)
  for kind in ('scores', 'all_scores'):
    field = f'{name}/{kind}'
    case.equal(field, got[kind], case.outputs[field], rtol=tolerance['scores_rtol'])
  for kind in ('choice_ix', 'text-tokens'):
    case.exact(f'{name}/{kind}', got[kind], case.outputs[f'{name}/{kind}'])


@pytest.mark.parametrize('path', harness.cases('network', 'h_*'))
def test_decoding_goes_as_stored(path):
  with harness.case(path) as case:
    case.given(*_SETTINGS, *_PROSE, *case.config['inputs_in_outputs'])
    writer = Writer(case)
    sizes = [leaf.size for leaf in jax.tree.leaves(writer.params)]
    case.exact('param_count', sum(sizes), case.config['param_count'])
    for name, settings in case.config['runs'].items():
      if part := missing_part(settings):
        case.skip(f'{name}/*', part)
      elif settings['method'] == 'choices':
        check_chosen(writer, name, settings)
      else:
        check_written(writer, name, settings)
