"""Where a token stands: rotary tables, sine-cosine tables and learned tables.

A rotary row holds (cos, sin) pairs, one for each pair of adjacent features it turns:
[cos a_0, sin a_0, cos a_1, sin a_1, ...]. Shapes: B batch, L length, N heads, H width of a head,
R rows of a table, D model width.
"""

import functools

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

ROTARY_BASE = 10_000.0


def _angles(positions: np.ndarray, width: int) -> np.ndarray:
  """[R] positions -> [R, width / 2] angles; float32 throughout, in this order of operations."""
  exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
  frequencies = np.float32(1) / np.power(np.float32(ROTARY_BASE), exponents)
  return np.outer(positions.astype(np.float32), frequencies)


def _rows(angles: np.ndarray) -> np.ndarray:
  pairs = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
  return pairs.reshape(len(angles), -1)


@functools.lru_cache
def rotary_1d(length: int, width: int) -> Float[np.ndarray, 'R H']:
  """Rows for positions 0 .. length-1 of a text."""
  return _rows(_angles(np.arange(length), width))


@functools.lru_cache
def rotary_2d(rows: int, cols: int, width: int, scale: float = 1.0) -> Float[np.ndarray, 'R H']:
  """Rows for the cells of a grid, row by row; coordinates are multiplied by `scale`.

  The first half of a row turns by the cell's row, the second half by its column.
  """
  row = np.repeat(np.arange(rows, dtype=np.float32), cols) * np.float32(scale)
  col = np.tile(np.arange(cols, dtype=np.float32), rows) * np.float32(scale)
  return _rows(np.concatenate([_angles(row, width // 2), _angles(col, width // 2)], axis=-1))


def lookup(
  table: Float[np.ndarray, 'R H'], ids: Int[Array, 'B L'], dtype: str
) -> Float[Array, 'B L H']:
  """Rows of a table. PARITY: ids outside it take the first or last row."""
  return jnp.take(jnp.asarray(table, dtype), ids, axis=0, mode='clip')


class Rotation(struct.PyTreeNode):
  """Rotary rows, made ready for queries and keys: y = x * cos + swapped(x) * sin."""

  cos: Float[Array, '#B L 1 H']
  sin: Float[Array, '#B L 1 H']

  @classmethod
  def from_rows(cls, rows: Float[Array, '#B L H']) -> 'Rotation':
    """Spreads each pair's cosine and signed sine over its two features."""
    rows = rows.astype(jnp.float32)
    cos = jnp.repeat(rows[..., 0::2], 2, axis=-1)
    sin = rows[..., 1::2]
    sin = jnp.stack([-sin, sin], axis=-1).reshape(cos.shape)
    return cls(cos=cos[:, :, None], sin=sin[:, :, None])


def rotate(x: Float[Array, 'B L N H'], rotation: Rotation | None) -> Float[Array, 'B L N H']:
  """Turns each pair of adjacent features by its angle; computed in float32."""
  if rotation is None:
    return x
  turned = x.astype(jnp.float32)
  swapped = turned.reshape(*x.shape[:-1], -1, 2)[..., ::-1].reshape(x.shape)
  shape = (*x.shape[:2], 1, x.shape[-1])
  cos, sin = (jnp.broadcast_to(part, shape) for part in (rotation.cos, rotation.sin))
  return (turned * cos + swapped * sin).astype(x.dtype)


@functools.lru_cache
def sincos_2d(rows: int, cols: int, width: int) -> Float[np.ndarray, 'R D']:
  """[sin(col w), cos(col w), sin(row w), cos(row w)] for the cells of a grid, row by row."""
  quarter = width // 4
  frequencies = 1.0 / ROTARY_BASE ** (np.arange(quarter, dtype=np.float64) / quarter)
  row, col = np.divmod(np.arange(rows * cols), cols)
  halves = [np.outer(coordinate, frequencies) for coordinate in (col, row)]
  parts = [function(half) for half in halves for function in (np.sin, np.cos)]
  return np.concatenate(parts, axis=-1).astype(np.float32)


def resize_table(table: Float[Array, 'Y X D'], rows: int, cols: int) -> Float[Array, 'rows cols D']:
  """Bicubic (Keys, a = -0.5) resize of a grid of learned positions; antialiased when it shrinks."""
  return jax.image.resize(table, (rows, cols, table.shape[-1]), method='cubic', antialias=True)


def transpose_ids(ids: Int[Array, '*B'], rows: int, cols: int) -> Int[Array, '*B']:
  """Row-major cell numbers of a grid -> column-major ones."""
  return (ids % cols) * rows + ids // cols
