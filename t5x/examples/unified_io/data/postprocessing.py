"""What a metric gets to see of an example: the target side of seqio's postprocessors.

Each passes what the model said through as it is.
"""

from collections.abc import Mapping
from typing import Any

_META = 'meta/'


def return_example(
  output: Any, example: Mapping[str, Any] | None = None, is_target: bool = False
) -> Any:
  """The whole example as target."""
  return example if is_target else output


def return_meta(
  output: Any, example: Mapping[str, Any] | None = None, is_target: bool = False
) -> Any:
  """{'meta/label': 'cat', 'x': 1} -> {'label': 'cat'} as target."""
  if not is_target:
    return output
  return {k.removeprefix(_META): v for k, v in example.items() if k.startswith(_META)}


def return_field(
  output: Any, field: str, example: Mapping[str, Any] | None = None, is_target: bool = False
) -> Any:
  """One field as target.

  Raises:
    KeyError: the example has no such field.
  """
  return example[field] if is_target else output
