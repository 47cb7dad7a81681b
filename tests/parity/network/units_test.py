"""Small functions on fixed inputs: positions, masks, norms, resizing, packing.

`CHECKS` maps the first part of a field's name to the function that looks at all such fields; those
of losses, schedules and the choice of tokens are in units_losses.py.
"""

from collections.abc import Callable, Iterator
import fnmatch
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from t5x.examples.unified_io.modules import (
  attention,
  compaction,
  masks,
  norms,
  positions,
  sequences,
)
from tests.parity import harness
from tests.parity.network import support, units_losses


def _settings(case: harness.Case, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
  """(name, settings) below a prefix, which count as given."""
  for name, settings in case.config['params'].items():
    if name == prefix or name.startswith(f'{prefix}/'):
      case.given(f'params/{name}')
      yield name, settings


def check_rotary(case: harness.Case) -> None:
  for name, settings in _settings(case, 'rope'):
    if 'table' in settings:
      rows = jnp.asarray(case.outputs[settings['table']])[None]
      x = jnp.asarray(case.inputs[settings['x']])
      got = positions.rotate(x, positions.Rotation.from_rows(rows))
    elif 'grid' in settings:
      rows, cols = settings['grid']
      table = positions.rotary_2d(rows, cols, settings['head_dim'], settings['resolution'])
      got = table[:: settings['row_step']]
    else:
      got = positions.rotary_1d(settings['length'], settings['head_dim'])[:: settings['row_step']]
    case.equal(name, got, case.outputs[name], **support.floats(case))


def check_sincos(case: harness.Case) -> None:
  for name, settings in _settings(case, 'sincos_2d'):
    got = positions.sincos_2d(*settings['grid'], settings['emb_dim'])[:: settings['row_step']]
    case.equal(name, got, case.outputs[name], **support.floats(case))


def check_transposed_positions(case: harness.Case) -> None:
  for name, settings in _settings(case, 'audio_transpose_pos_ids'):
    got = positions.transpose_ids(jnp.arange(settings['length']), *settings['grid'])
    case.exact(name, got, case.outputs[name])


def check_resize(case: harness.Case) -> None:
  for name, settings in _settings(case, 'resize'):
    table = jnp.asarray(case.inputs[settings['input']])
    got = positions.resize_table(table, *settings['size'])
    case.equal(name, got, case.outputs[name], **support.floats(case))


def check_norms(case: harness.Case) -> None:
  for name, settings in _settings(case, 'norm'):
    x, scale = (jnp.asarray(case.inputs[settings[field]]) for field in ('x', 'scale'))
    bias = jnp.asarray(case.inputs[settings['bias']]) if 'bias' in settings else None
    options = {'epsilon': settings['epsilon'], 'dtype': 'float32'}
    if 'groups' in settings:
      got = norms.group_norm(x, scale, bias, groups=settings['groups'], **options)
    elif bias is not None:
      got = norms.layer_norm(x, scale, bias, **options)
    else:
      got = norms.rms_norm(x, scale, **options)
    case.equal(name, got, case.outputs[name], **support.floats(case))


def check_grid_patterns(case: harness.Case) -> None:
  for name, settings in _settings(case, 'dalle'):
    cells = jnp.asarray(masks.grid_cells(*settings['grid']))[None]
    extras = {**masks.grid_patterns(cells, cells, settings['conv_kernel']), 'full': None}
    for kind, extra in extras.items():
      pattern = masks.Pattern(causal=True, extra=extra).dense(cells.shape[1], cells.shape[1])[0, 0]
      got = np.packbits(pattern, axis=1) if settings['packbits'] else pattern
      case.exact(f'{name}_{kind}_bits', got, case.outputs[f'{name}_{kind}_bits'])


def check_masks(case: harness.Case) -> None:
  for _, settings in _settings(case, 'mask'):
    target, segments = (jnp.asarray(case.inputs[settings[f]]) for f in ('target', 'segments'))
    length = target.shape[1]
    attend = attention.Pattern(masks.query_segments(target), masks.key_segments(segments))
    decode = attention.Pattern(
      masks.query_segments(target, segments), masks.key_segments(target, segments), causal=True
    )
    for name, pattern in (('mask/attention', attend), ('mask/decoder', decode)):
      case.exact(name, pattern.dense(length, length), case.outputs[name])


def check_packing(case: harness.Case) -> None:
  settings = dict(_settings(case, 'pack'))
  folders = settings['pack']['parts']
  parts = {
    folder: sequences.InputSequence(
      embed=jnp.asarray(case.inputs[f'{folder}/embed']),
      mask=jnp.asarray(case.inputs[f'{folder}/mask']),
      rotary=jnp.asarray(case.inputs[f'{folder}/pos']),
    )
    for folder in folders
  }
  fields = {'embed': 'embed', 'mask': 'mask', 'pos': 'rotary', 'segment_ids': 'segments'}

  def arrange(length: int | None, examples: int) -> tuple[Any, compaction.Arranged]:
    return compaction.arrange(parts, sequences.join_inputs, length, compaction.Sharing(examples))

  def compare(prefix: str, arranged: compaction.Arranged) -> None:
    for stored, ours in fields.items():
      if f'{prefix}/{stored}' in case.outputs:
        got = getattr(arranged.sequence, ours)
        want = case.outputs[f'{prefix}/{stored}']
        tolerance = support.floats(case) if stored in ('embed', 'pos') else {}
        got = got.astype(bool) if stored == 'mask' else got
        case.equal(f'{prefix}/{stored}', got, want, **tolerance)

  compare('pack/concat', arrange(None, 1)[1])
  for name, setting in settings.items():
    if 'of' in setting:
      folded, arranged = arrange(setting['length'], setting['fold'])
      hidden = arranged.unpack(jnp.asarray(case.outputs[setting['of']]))
      lengths = {folder: part.mask.shape[1] for folder, part in folded.items()}
      for i, part in enumerate(sequences.split(hidden, lengths).values()):
        case.equal(f'{name}/{i}', part, case.outputs[f'{name}/{i}'], **support.floats(case))
    elif 'length' in setting:
      compare(name, arrange(setting['length'], setting['fold'])[1])


CHECKS: dict[str, Callable[[harness.Case], None]] = {
  'rope': check_rotary,
  'sincos_2d': check_sincos,
  'audio_transpose_pos_ids': check_transposed_positions,
  'resize': check_resize,
  'norm': check_norms,
  'dalle': check_grid_patterns,
  'mask': check_masks,
  'pack': check_packing,
  **units_losses.CHECKS,
}


@pytest.mark.parametrize('path', harness.cases('network', 'u_*'))
def test_small_functions(path):
  with harness.case(path) as c:
    c.given('seed', *(f'notes/{name}' for name in c.config['notes'] if not _holds_results(name)))
    for check in CHECKS.values():
      check(c)


def _holds_results(note: str) -> bool:
  """Some notes are results: the checks look at them field by field."""
  return any(fnmatch.fnmatch(note, glob) for glob in ('losses', 'schedules', 'non_loc_select'))
