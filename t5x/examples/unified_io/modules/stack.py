"""Loops over layers: one compiled layer with stacked parameters (nn.scan), or one after another."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

Layers: TypeAlias = nn.Module | Sequence[nn.Module]
# (layer, carry, this layer's slice of per_layer, shared) -> (carry, this layer's output)
Body: TypeAlias = Callable[[nn.Module, Any, Any, Any], tuple[Any, Any]]


def build(make: Callable[[int], nn.Module], count: int, scan: bool) -> Layers:
  """Layers for `loop`, to be assigned in `setup`.

  Args:
    make: layer index -> module.
    count: number of layers.
    scan: one module whose parameters have a leading axis 'layers', else `count` modules.
  """
  return make(0) if scan else [make(i) for i in range(count)]


def loop(
  body: Body,
  layers: Layers,
  carry: Any,
  per_layer: Any = None,
  shared: Any = None,
  *,
  count: int,
  remat: str = 'none',
) -> tuple[Any, Any]:
  """Runs `body` over the layers; returns the last carry and the outputs stacked along axis 0.

  Args:
    body: see `Body`; it must not use other modules than the layer it is given.
    layers: what `build` returned.
    carry: goes from layer to layer.
    per_layer: tree of arrays with a leading axis of size `count`, or None.
    shared: tree of arrays that every layer sees whole.
    count: number of layers.
    remat: 'full' recomputes each layer in the backward pass, 'none' keeps what it needs.
  """
  scanned = isinstance(layers, nn.Module)
  if remat == 'full':
    body = nn.remat(body, prevent_cse=not scanned)
  if scanned:
    scan = nn.scan(
      body,
      variable_axes={'params': 0},
      split_rngs={'params': True, 'dropout': True},
      in_axes=(0, nn.broadcast),
      length=count,
      metadata_params={nn.PARTITION_NAME: 'layers'},
    )
    return scan(layers, carry, per_layer, shared)
  outputs = []
  for i, layer in enumerate(layers):
    carry, output = body(layer, carry, jax.tree.map(lambda x, i=i: x[i], per_layer), shared)
    outputs.append(output)
  return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)
