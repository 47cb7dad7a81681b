"""What may be bound: T5X's names that live here, and clear words for those that do not.

Gin's own messages are many lines long and name no alternatives, and a misspelt macro passes in
silence; this module finds what is wrong with a configuration and says it in one sentence.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import difflib
import inspect
import os
import re
from typing import Any

from absl import logging
import gin

# Bindings of the original's run files that mean here, under their own names, what they meant there.
BINDINGS: dict[str, tuple[str, ...]] = {
  'train': (
    'total_steps', 'eval_period', 'eval_steps', 'stats_period', 'random_seed', 'use_wandb',
  ),
  'SaveCheckpointConfig': ('period', 'keep', 'dtype'),
  'RestoreCheckpointConfig': (
    'path', 'mode', 'dtype', 'strict', 'fallback_to_scratch', 'assignment_map', 'restore_dataset',
  ),
  'PjitPartitioner': ('num_partitions',),
  'DatasetConfig': (
    'mixture_or_task_name', 'task_feature_lengths', 'split', 'batch_size', 'shuffle', 'seed',
    'use_cached', 'pack', 'use_custom_packing_ops', 'module', 'use_memory_cache',
    'target_field_name', 'trim_output_features',
  ),
  'create_learning_rate_scheduler': (
    'factors', 'base_learning_rate', 'warmup_steps', 'decay_factor', 'steps_per_decay',
    'steps_per_cycle', 'step_offset', 'min_learning_rate',
  ),
  'PackingStrategy': ('pack_max_len', 'pack_pool_size', 'constraint_pool_size', 'max_to_pack'),
  'get_input_modalities': ('input_modality',),
  'get_target_modalities': ('target_modality',),
  'Prompt': ('original_flag', 'revised_original_flag', 'manual_flag', 'gpt3_flag', 'single_prompt'),
  'refer_expression_preprocessor': ('dataset_name', 'label_boxes'),
  'UnifiedIOEvaluator': ('num_examples', 'logger_cls'),
}  # fmt: skip


class UserError(Exception):
  """Something that the user typed cannot be; the message is one sentence that says what to do."""


def near(name: str, known: Iterable[str]) -> str:
  """The end of a sentence: '; did you mean A or B?' or, where nothing is near, '.'."""
  found = difflib.get_close_matches(name, sorted(set(known)), n=3, cutoff=0.6)
  return f'; did you mean {" or ".join(found)}?' if found else '.'


# ---- Macros --------------------------------------------------------------------------------------
def _config() -> Mapping[tuple[str, str], Mapping[str, Any]]:
  return gin.config._CONFIG  # gin shows it to finalize hooks only, which run after its own checks


def macros() -> dict[str, Any]:
  """All macros that have a value, `%gin.REQUIRED` included, with their unresolved values."""
  return {
    scope: b['value'] for (scope, selector), b in _config().items() if selector == 'gin.macro'
  }


def _used_macros() -> set[str]:
  references = gin.config.iterate_references(_config())
  return {'/'.join(r.scopes) for r in references if r.configurable.selector == 'gin.macro'}


def check_macro_is_known(name: str) -> None:
  """Refuses `--gin.NAME=...` for a macro that no file sets or uses: gin would ignore it.

  Raises:
    UserError: with the near names.
  """
  known = {*macros(), *_used_macros()}
  if name not in known:
    raise UserError(f'No gin file of this run uses a macro {name}{near(name, known)}')


def _required_macros() -> list[str]:
  return sorted(name for name, value in macros().items() if repr(value) == '%gin.REQUIRED')


def check_macros_are_set() -> None:
  """Every macro that is used has a value, and none is still `%gin.REQUIRED`.

  Raises:
    UserError: naming all that are missing, and the flags that give them.
  """
  if unset := _required_macros():
    wanted = ' '.join(f'--gin.{name}=...' for name in unset)
    raise UserError(f'{" and ".join(unset)} must be given: add {wanted}')
  known = macros()
  for name in sorted(_used_macros() - set(known)):
    raise UserError(f'The macro %{name} is used but never set{near(name, known)}')


def leave_macros_open() -> None:
  """Makes macros None that nobody has set, for a tool that uses only a part of a run."""
  for name in (*_required_macros(), *(_used_macros() - set(macros()))):
    gin.bind_parameter(f'{name}/gin.macro.value', None)


@contextlib.contextmanager
def searching(prefixes: Sequence[str]) -> Iterator[None]:
  """Lets gin look for files, included ones too, below these folders and nowhere else.

  Left to itself it also takes a path for a Python package, before all folders but the first.
  """
  c = gin.config
  before = c._LOCATION_PREFIXES, c._FILE_READERS
  c._LOCATION_PREFIXES, c._FILE_READERS = prefixes, [(open, os.path.isfile)]
  try:
    yield
  finally:
    c._LOCATION_PREFIXES, c._FILE_READERS = before


# ---- Gin's messages ------------------------------------------------------------------------------
_PLACE = re.compile(r'\n  In file "(?P<file>[^"]+)", line (?P<line>\d+)')
_APPENDED = re.compile(r'\n +(?:In |No values supplied|Gin had values|Caller supplied)')


@contextlib.contextmanager
def explained(file: str = '') -> Iterator[None]:
  """Turns whatever gin, or a function that gin calls, raises inside into a `UserError`.

  Args:
    file: the gin file that is read, if any; gin itself does not name it in every error.
  """
  try:
    yield
  except UserError as e:
    raise UserError(_APPENDED.split(str(e))[0]) from e
  except Exception as e:
    logging.debug('The whole error:', exc_info=e)
    raise UserError(explain(e, file)) from e


def explain(error: Exception, file: str = '') -> str:
  """One sentence for an error raised while gin parsed, or while it built a run's arguments."""
  place = _PLACE.search(str(error))
  where = f'{place["file"]}, line {place["line"]}: ' if place else file and f'{file}: '
  text = _APPENDED.split(str(error))[0].strip()
  if found := re.match(r"No configurable matching (?:reference )?'@?(?:.*/)?([\w.]+)", text):
    return where + _unknown_configurable(found[1])
  if found := re.match(r"Configurable '(.+)' doesn't have a parameter named '(.+)'", text):
    known = inspect.signature(gin.get_configurable(found[1])).parameters
    return f'{where}{found[1]} has no parameter {found[2]}{near(found[2], known)}'
  if found := re.match(r"'(.+)' was not provided by an import statement", text):
    return f'{where}{found[1]} is used without an import; import its module in that file.'
  if isinstance(error, KeyError):
    text = text.strip('\'"')  # str() of a KeyError quotes its message
  return where + ' '.join(text.split())


def _unknown_configurable(name: str) -> str:
  if name in BINDINGS:
    return f'No gin file of this run uses {name}, so it cannot be bound.'
  registered = [c.name for c in gin.config._INVERSE_REGISTRY.values()]
  return f'There is no configurable {name}{near(name, [*BINDINGS, *registered])}'
