"""The door of the network: a modality's fields of a batch, or words for what is wrong with them.

Everything here looks at names, shapes and dtypes alone, so it runs while a step is traced.
"""

from collections.abc import Mapping
import difflib

from jaxtyping import Array
import numpy as np

from t5x.array_types import Batch
from t5x.examples.unified_io.modality_specs import Feature, ModalitySpec


class Fields(dict[str, Array]):
  """Fields of one modality, by the names of its spec; one that is missing is told by name."""

  def __init__(self, prefix: str, fields: Mapping[str, Array]):
    """`prefix` is 'inputs/image', say."""
    super().__init__(fields)
    self._prefix = prefix

  def __missing__(self, name: str) -> Array:
    raise ValueError(f'the batch has no {self._prefix}/{name}; of it there are {sorted(self)}')


def take(batch: Batch, side: str, spec: ModalitySpec) -> Fields:
  """The fields of one modality; none where the batch does not have it.

  Args:
    batch: '<side>/<name>/<field>' and others.
    side: 'inputs' or 'targets'.
    spec: of the modality; `spec.model` says what its fields look like.

  Raises:
    ValueError: for a field that the modality does not have, or that has another shape or dtype.
  """
  prefix = f'{side}/{spec.name}'
  start = f'{prefix}/'
  found = {k.removeprefix(start): v for k, v in batch.items() if k.startswith(start)}
  sizes: dict[str, tuple[int, str]] = {}  # of axes that vary together, and a field that has it
  for name, array in found.items():
    if name not in spec.model:
      near = difflib.get_close_matches(name, spec.model) or list(spec.model)
      raise ValueError(f'{prefix} has no field {name!r}; did you mean one of {near}?')
    _check(f'{start}{name}', array, spec.model[name])
    for word, size in zip(spec.model[name].shape, array.shape[1:], strict=True):
      other, of = sizes.setdefault(word, (size, name)) if isinstance(word, str) else (size, name)
      if other != size:
        raise ValueError(f'the {word} of {start}{name} is {size}, but that of {start}{of} {other}')
  return Fields(prefix, found)


def _check(name: str, array: Array, wanted: Feature) -> None:
  """Refuses another kind of number, rank or known size than the spec says."""
  kinds = 'biu' if np.issubdtype(wanted.dtype, np.integer) else 'f'
  sizes = array.shape[1:]
  fits = len(sizes) == wanted.rank and all(
    not isinstance(want, int) or size == want
    for size, want in zip(sizes, wanted.shape, strict=True)
  )
  # jax's own short floats are of numpy's kind 'V'
  if fits and (array.dtype.kind in kinds or (kinds == 'f' and array.dtype.kind == 'V')):
    return
  shape = ', '.join('any' if size is None else str(size) for size in wanted.shape)
  raise ValueError(
    f'{name} is {array.dtype}{list(array.shape)}; this network wants {wanted.dtype}[batch, {shape}]'
    ' (see the spec of its modality)'
  )


def check_rows(batch: Batch) -> None:
  """Refuses fields with different numbers of examples: a single one would stand for all of them.

  Raises:
    ValueError: tells the number of each.
  """
  rows = {name: x.shape[0] for name, x in batch.items() if name.startswith(('inputs/', 'targets/'))}
  if len(set(rows.values())) > 1:
    raise ValueError(f'the fields of a batch have different numbers of examples: {rows}')
