"""Checks of the small functions on fixed inputs: losses, schedules and the choice of tokens.

`CHECKS` maps a prefix of the fields of a `u_units` case to the function that looks at all of them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from t5x import losses, schedules
from t5x.decoding import logits as logits_lib
from t5x.decoding import sampling
from t5x.examples.unified_io.inference import guidance
from tests.parity import harness


def _floats(case: harness.Case) -> dict[str, float]:
  tolerance = case.config['tolerance']
  return {'atol': tolerance['float32_atol'], 'rtol': tolerance['float32_rtol']}


def _settings(case: harness.Case, prefix: str) -> dict[str, dict]:
  """{name: settings} of the fields below a prefix, which count as given."""
  case.given(*(f'params/{name}' for name in case.config['params'] if name.startswith(prefix)))
  return {k: v for k, v in case.config['params'].items() if k.startswith(prefix)}


def check_losses(case: harness.Case) -> None:
  """Loss, its parts and its gradient under all settings."""
  names = _settings(case, 'loss')['loss']
  case.given('notes/losses_note')
  targets, weights = case.inputs[names['targets']], case.inputs[names['weights']]
  logits = jnp.asarray(case.inputs[names['logits']])
  rtol = case.config['tolerance']['loss_rtol']
  for i, want in enumerate(case.config['notes']['losses']):

    def loss(x, want=want):
      parts = losses.weighted_cross_entropy(
        x,
        targets,
        weights,
        z_loss=want['z_loss'],
        label_smoothing=want['label_smoothing'],
        normalizing_factor=want['factor'],
        by_weight_sum=want['by_weight_sum'],
      )
      return parts.loss, parts

    (_, parts), grad = jax.value_and_grad(loss, has_aux=True)(logits)
    field = f'notes/losses/{i}'
    case.given(*(f'{field}/{k}' for k in ('z_loss', 'label_smoothing', 'factor', 'by_weight_sum')))
    case.equal(f'{field}/loss', parts.loss, want['loss'], rtol=rtol)
    case.equal(f'{field}/z', parts.z_loss, want['z'], rtol=rtol)
    case.equal(f'{field}/weight_sum', parts.weight_sum, want['weight_sum'], rtol=rtol)
    total = jnp.abs(grad).sum()
    case.equal(f'{field}/grad_abs_sum', total, want['grad_abs_sum'], rtol=rtol)
    first = grad[0, 0, : len(want['grad_000'])]
    case.equal(f'{field}/grad_000', first, want['grad_000'], **_floats(case))


def check_schedules(case: harness.Case) -> None:
  """Learning rates at all stored steps."""
  for name, stored in case.config['notes']['schedules'].items():
    settings = {k: v for k, v in stored.items() if k not in ('steps', 'lr')}
    case.given(*(f'notes/schedules/{name}/{k}' for k in (*settings, 'steps')))
    rate = schedules.create_learning_rate_scheduler(**settings)
    got = [float(rate(step)) for step in stored['steps']]
    rtol = case.config['tolerance']['schedules_rtol']
    case.equal(f'notes/schedules/{name}/lr', got, stored['lr'], rtol=rtol)


def check_guidance(case: harness.Case) -> None:
  """Guided logits of both halves, and the tokens that both halves are fed."""
  for name, settings in _settings(case, 'cfg').items():
    if 'next_token' in settings:
      fed = []
      ids = np.split(case.inputs[settings['next_token']], 2)[0]
      both = lambda x, cache, fed=fed: (fed.append(x) or jnp.zeros((len(x), 2)), cache)
      logits_lib.guided(both, 1.0)(ids, None)
      case.exact(name, fed[0], case.outputs[name])
    else:
      halves = np.split(case.inputs[settings['logits']], 2)
      guided = logits_lib.guide(*halves, settings['alpha'])
      got = np.concatenate([guided, guided])
      case.equal(name, got, case.outputs[name], **_floats(case))


def check_masks(case: harness.Case) -> None:
  """Forbidden and added logits."""
  case.given('notes/apply_mask')
  for name, settings in _settings(case, 'apply_mask').items():
    mask, index = case.inputs[settings['mask']], settings['index']
    apply = logits_lib.mask_logits(jnp.asarray(mask), length=index + 1)
    got = apply(jnp.asarray(case.inputs[settings['logits']]), jnp.int32(index))
    case.equal(name, got, case.outputs[name], **_floats(case))


def check_sampling(case: harness.Case) -> None:
  """What is drawn from, the most probable draw, and its reported log-probability."""
  case.given('notes/sampling')
  for name, settings in _settings(case, 'sampling').items():
    logits = jnp.asarray(case.inputs[settings['logits']])
    choices = ('top_k', 'top_p', 'temperature')
    sampler = sampling.Sampler(**{key: settings[key] for key in choices})
    filtered = sampler.filtered(logits)
    values, ids = sampler.candidates(filtered)
    token = jnp.argmax(values, -1)
    token = token if ids is None else jnp.take_along_axis(ids, token[:, None], -1)[:, 0]
    logprob = jnp.take_along_axis(jax.nn.log_softmax(filtered), token[:, None], -1)
    case.equal(
      f'{name}/to_categorical', values, case.outputs[f'{name}/to_categorical'], **_floats(case)
    )
    case.exact(f'{name}/argmax_token', token, case.outputs[f'{name}/argmax_token'])
    case.equal(f'{name}/logprob', logprob, case.outputs[f'{name}/logprob'], **_floats(case))


def check_locations(case: harness.Case) -> None:
  """The selector of location tokens on logits that the case describes."""
  params, stored = case.config['params']['non_loc_select'], case.config['notes']['non_loc_select']
  prose = ('logits', 'columns', 'rule', 'seed_note')
  case.given('params/non_loc_select', *(f'notes/non_loc_select/{name}' for name in prose))
  logits = np.random.RandomState(params['seed']).standard_normal(params['shape'])
  logits = logits.astype(params['dtype'])
  for part in params['additions']:
    logits[part['row'], part['from'] : part['to']] += np.float32(part['add'])
  first, end = params['location_ids']
  for name, settings in params['results'].items():
    select = guidance.prefer_locations(
      threshold=settings['threshold'],
      require_one_box=settings['require_one_box'],
      first_location=first,
      num_locations=end - first,
    )
    got = np.asarray(select(jnp.asarray(logits), jnp.int32(settings['index'])))
    field, want = f'notes/non_loc_select/results/{name}', stored['results'][name]
    case.exact(f'{field}/argmax', got.argmax(-1), want['argmax'])
    case.equal(f'{field}/value_at', got[:, stored['columns']], want['value_at'], **_floats(case))


CHECKS: dict[str, Callable[[harness.Case], None]] = {
  'loss': check_losses,
  'schedules': check_schedules,
  'cfg': check_guidance,
  'apply_mask': check_masks,
  'sampling': check_sampling,
  'non_loc_select': check_locations,
}
