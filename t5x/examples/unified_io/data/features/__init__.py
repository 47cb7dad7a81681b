"""Raw fields -> stage 2 (variable lengths) -> stage 3 (fixed shapes), a class for each modality.

A class is made with the modality's spec and has

  preprocess(example, lengths, seed) -> the spec's `stage2` fields of one example; what is drawn at
                                        random is drawn from `seed` and the modality's name
  convert(fields, lengths)           -> the spec's `model` fields, with static shapes

A modality of another project is added by `register_input` or `register_target`.
"""

from collections.abc import Callable, Mapping
import difflib
import functools
from typing import Any, Protocol

import tensorflow as tf

from t5x.examples.unified_io import modality_specs
from t5x.examples.unified_io.data.features import audio, history, image, text


class Features(Protocol):
  """Stages 2 and 3 of one modality."""

  def preprocess(
    self, example: Mapping[str, Any], lengths: Mapping[str, Any], seed: tf.Tensor
  ) -> dict[str, tf.Tensor]: ...

  def convert(
    self, fields: Mapping[str, Any], lengths: Mapping[str, Any]
  ) -> dict[str, tf.Tensor]: ...


Spec = modality_specs.ModalitySpec
MakeSpec = Callable[[], Spec]


def _released(make_spec: Callable[[str], Spec], classes: Mapping[str, type[Features]]):
  return {name: (functools.partial(make_spec, name), cls) for name, cls in classes.items()}


_INPUTS: dict[str, tuple[MakeSpec, type[Features]]] = _released(
  modality_specs.input_spec,
  {
    'text': text.TextInput,
    'image': image.ImageInput,
    'image_history': history.ImageHistory,
    'audio': audio.AudioInput,
    'audio_history': history.AudioHistory,
  },
)
_TARGETS: dict[str, tuple[MakeSpec, type[Features]]] = _released(
  modality_specs.target_spec,
  {'text': text.TextTarget, 'image': image.ImageTarget, 'audio': audio.AudioTarget},
)


def register_input(name: str, make_spec: MakeSpec, features: type[Features]) -> None:
  """Adds an input modality, behind those that exist.

  Raises:
    ValueError: if the name is taken by another one.
  """
  _register(_INPUTS, name, (make_spec, features))


def register_target(name: str, make_spec: MakeSpec, features: type[Features]) -> None:
  """Adds a target modality, behind those that exist.

  Raises:
    ValueError: if the name is taken by another one.
  """
  _register(_TARGETS, name, (make_spec, features))


def _register(table, name, entry):
  if table.setdefault(name, entry) != entry:
    raise ValueError(f'modality {name!r} exists already; give yours another name')


def input_specs() -> dict[str, Spec]:
  """The spec of every input modality, released sizes, in the encoder's order."""
  return {name: make_spec() for name, (make_spec, _) in _INPUTS.items()}


def target_specs() -> dict[str, Spec]:
  """The spec of every target modality, released sizes, in order."""
  return {name: make_spec() for name, (make_spec, _) in _TARGETS.items()}


def for_input(spec: Spec) -> Features:
  """Stages 2 and 3 of an input modality."""
  return _lookup(_INPUTS, spec)


def for_target(spec: Spec) -> Features:
  """Stages 2 and 3 of a target modality."""
  return _lookup(_TARGETS, spec)


def _lookup(table, spec):
  if spec.name not in table:
    near = difflib.get_close_matches(spec.name, table) or list(table)
    raise ValueError(
      f'no features are registered for modality {spec.name!r}; did you mean one of {near}?'
    )
  return table[spec.name][1](spec)
