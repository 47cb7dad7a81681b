"""Builds raw examples from the expressions in a stored case (README of the data goldens)."""

from collections.abc import Mapping
import functools
import json
from typing import Any

import numpy as np
import tensorflow as tf

from tests.parity import harness

_DTYPES = {'text': None, 'bool': np.bool_, 'int32': np.int32, 'float32': np.float32}


@functools.lru_cache(maxsize=8)
def arrays_of(case: str) -> Mapping[str, np.ndarray]:
  """The arrays of another case of the data goldens, such as 'd_features/inputs'."""
  return harness.Arrays(harness.root() / 'data' / case / 'data.npz')


def tokenizer(case: harness.Case) -> str:
  """Path of the tokenizer that a case names."""
  return str(harness.root() / 'data' / case.config['tokenizer'])


def example(expressions: Mapping[str, Any]) -> dict[str, Any]:
  """A raw example: {field: expression} -> {field: tensor}."""
  return {name: tensor(expression) for name, expression in expressions.items()}


def tensor(expression: Mapping[str, Any]) -> Any:
  """One field: a tensor, or a ragged one."""
  if 'ragged' in expression:
    return tf.ragged.constant(expression['ragged'], dtype=expression['dtype'])
  if 'value' in expression:
    return tf.constant(np.asarray(expression['value'], _DTYPES[expression['dtype']]))
  return tf.constant(array(expression))


def array(expression: Mapping[str, Any]) -> np.ndarray:
  """An array taken from a stored one, put together, or made by a formula."""
  if 'formula' in expression:
    return _formula(expression)
  if 'stack' in expression:
    return np.stack([array(part) for part in expression['stack']])
  if 'zeros' in expression:
    return np.zeros(expression['zeros'], expression.get('dtype', 'float32'))
  values = arrays_of(expression['case'])[expression['array']]
  values = values[index(expression.get('index'))]
  if flip := expression.get('flip'):
    return np.flip(values, {'up-down': 0, 'left-right': 1}[flip])
  if 'dtype' not in expression:
    return values
  values = values.astype(expression['dtype'])
  if expression['dtype'] == 'float32' and expression.get('scale', 1) != 1:
    values = values / np.float32(expression['scale'])
  return 1 - values if expression.get('invert') else values


def index(text: str | None) -> Any:
  """'[:2]' or '[-1]' as what stands in brackets; None is everything."""
  if text is None:
    return ...
  inner = text.strip('[]')
  if ':' not in inner:
    return int(inner)
  return slice(*(int(part) if part else None for part in inner.split(':')))


def _formula(expression: Mapping[str, Any]) -> np.ndarray:
  shape, dtype = expression['shape'], expression['dtype']
  if expression['formula'] == 'ones':
    return np.ones(shape, dtype)
  if expression['formula'] == '(y // y_div + x // x_div) % 2':
    y, x = np.indices(shape)
    return ((y // expression['y_div'] + x // expression['x_div']) % 2).astype(dtype)
  raise ValueError(f'unknown formula {json.dumps(expression)}')
