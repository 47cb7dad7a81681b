"""Reads and writes checkpoint folders of T5X, version 3, the format of the released weights.

A folder holds a msgpack file `checkpoint` with the tree of all leaves, and one zarr array beside it
for each leaf that the tree describes by a TensorStore spec instead of holding its numbers.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import os
import pathlib
import re
import shutil
from typing import Any

import jax.numpy as jnp
import msgpack
import numpy as np
import tensorstore as ts

from t5x import state_transforms
from t5x.array_types import PyTree

VERSION = 3
CHUNK_BYTES = 64 * 2**20
_NDARRAY, _COMPLEX, _SCALAR = 1, 2, 3  # msgpack extension types
_CHUNKED = '__msgpack_chunked_array__'
_SPEC_KEYS = {'driver', 'kvstore', 'metadata'}
_PLACEHOLDER = (1,)  # shape of an Adafactor moment that a parameter does not use


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArraySpec:
  """Where an array lies: a folder below that of the checkpoint."""

  folder: str
  shape: tuple[int, ...]

  @classmethod
  def parse(cls, spec: Mapping[str, Any], path: str) -> 'ArraySpec':
    """From a TensorStore spec; drivers, buckets and chunks in it may be out of date."""
    if spec['driver'] != 'zarr' or spec.get('dtype') == 'uint16':
      raise ValueError(
        f'{path} is stored as {spec.get("dtype")} by {spec["driver"]}; only zarr can be read, and '
        f'uint16 was the bfloat16 of versions below {VERSION}'
      )
    # The newest specs have the path in the key-value store, older ones beside it.
    folder = spec['kvstore'].get('path') or spec.get('path', '')
    return cls(folder=folder.strip('/'), shape=tuple(spec['metadata']['shape']))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LegacyCheckpoint:
  """A checkpoint whose tree was read; arrays are read when asked for."""

  base: str  # a URL that ends in '/'
  step: int
  leaves: Mapping[str, Any]  # 'target/...' and 'state/...': an array or an ArraySpec

  def paths(self, prefix: str = 'target') -> tuple[str, ...]:
    """Paths of all leaves below `prefix`, without it."""
    start = f'{prefix}/'
    return tuple(path.removeprefix(start) for path in self.leaves if path.startswith(start))

  def shapes(self, prefix: str = 'target') -> dict[str, tuple[int, ...]]:
    """{path below `prefix`: shape}, without reading an array."""
    return {path: tuple(self.leaves[f'{prefix}/{path}'].shape) for path in self.paths(prefix)}

  def read(
    self,
    prefix: str = 'target',
    *,
    paths: Sequence[str] | None = None,
    dtype: str | None = None,
    missing_ok: bool = False,
  ) -> dict[str, np.ndarray]:
    """Reads arrays, all at once.

    Args:
      prefix: 'target' for parameters, 'state/param_states' for the optimizer's state.
      paths: which of them, below `prefix`; None for all.
      dtype: of the result; None for what is stored.
      missing_ok: leave out arrays whose folders are not there. Released checkpoints are often
        copied without the optimizer's.

    Returns:
      {path below `prefix`: array}

    Raises:
      ValueError: for a path that the checkpoint does not have, an array whose folder is missing or
        damaged, or whose shape is not that of the tree.
    """
    wanted = self.paths(prefix) if paths is None else paths
    if unknown := [path for path in wanted if f'{prefix}/{path}' not in self.leaves]:
      have = self.paths(prefix)
      raise ValueError(
        f'{self.base} has {len(have)} arrays below {prefix!r}, but not {len(unknown)} of those '
        f'wanted, such as {unknown[:3]}; it was made for other modalities or another network'
      )
    leaves = {path: self.leaves[f'{prefix}/{path}'] for path in wanted}
    stored = {path: leaf for path, leaf in leaves.items() if isinstance(leaf, ArraySpec)}
    opened = {path: _open(self.base, leaf) for path, leaf in stored.items()}
    absent = [path for path, future in opened.items() if not _exists(future)]
    if absent and not missing_ok:
      raise ValueError(
        f'{self.base} lacks the folders of {len(absent)} of {len(leaves)} arrays below {prefix!r}, '
        f'such as {stored[absent[0]].folder!r}; copy the checkpoint again'
      )
    reads = {
      path: _start_reading(path, stored[path], future)
      for path, future in opened.items()
      if path not in absent
    }
    result = {path: leaf for path, leaf in leaves.items() if path not in stored}
    result |= {path: _finish_reading(self.base, path, future) for path, future in reads.items()}
    cast = (lambda x: x) if dtype is None else (lambda x: x.astype(jnp.dtype(dtype), copy=False))
    return {path: cast(result[path]) for path in wanted if path in result}


def load(path: str | os.PathLike) -> LegacyCheckpoint:
  """Opens a checkpoint folder, or the `checkpoint` file in it; also at gs:// and s3://.

  Raises:
    ValueError: when there is no T5X checkpoint of version 3 there, with the reason.
  """
  base = _base_url(path)
  data = _read_file(base)
  content = _parse(data, base)
  if content['version'] != VERSION:
    raise ValueError(
      f'{base} is a T5X checkpoint of version {content["version"]}; only version {VERSION} can be '
      'read. Load and save it with a T5X of 2021-11 or later'
    )
  leaves = _leaves(content['optimizer'])
  return LegacyCheckpoint(base=base, step=int(leaves.get('state/step', 0)), leaves=leaves)


def find(folder: str | os.PathLike, step: int | None = None) -> pathlib.Path:
  """The newest `checkpoint_<step>` of a model folder, or that of the given step.

  Raises:
    ValueError: when there is none.
  """
  folder = pathlib.Path(folder)
  steps = {
    int(match[1]): child
    for child in (folder.iterdir() if folder.is_dir() else ())
    if (match := re.fullmatch(r'checkpoint_(\d+)', child.name)) and (child / 'checkpoint').exists()
  }
  if not steps or (step is not None and step not in steps):
    wanted = 'no T5X checkpoint' if step is None else f'no checkpoint of step {step}'
    raise ValueError(f'{folder} holds {wanted}; the steps in it are {sorted(steps)}')
  return steps[max(steps) if step is None else step]


def save_t5x_checkpoint(
  path: str | os.PathLike, target: PyTree, step: int, state: PyTree | None = None
) -> pathlib.Path:
  """Writes a checkpoint folder that T5X and `load` read. It appears whole or not at all.

  Args:
    path: the folder to make, such as 'model/checkpoint_1000'.
    target: parameters by their T5X names, nested or flat.
    step: number of the step.
    state: Adafactor's moments by their T5X names, '<parameter>/{m,v,v_row,v_col}', nested or flat.

  Returns:
    The absolute path of the folder.

  Raises:
    ValueError: when the folder exists.
  """
  final = pathlib.Path(path).absolute()
  if final.exists():
    raise ValueError(f'{final} exists already; give the folder of a new checkpoint')
  unfinished = final.with_name(f'{final.name}.tmp-{os.getpid()}')
  shutil.rmtree(unfinished, ignore_errors=True)
  unfinished.mkdir(parents=True)
  leaves = {f'target/{name}': array for name, array in state_transforms.flatten(target).items()}
  inline = {}
  for name, array in state_transforms.flatten(state or {}).items():
    factored = name.rsplit('/', 1)[-1] in ('v_row', 'v_col') or np.shape(array) == _PLACEHOLDER
    (inline if factored else leaves)[f'state/param_states/{name}'] = np.asarray(array)
  started = {name: _write(unfinished, name, np.asarray(array)) for name, array in leaves.items()}
  for _, writing in started.values():
    writing.result()
  specs = {name: spec for name, (spec, _) in started.items()}
  tree = {**specs, **inline, 'state/step': np.array(step, np.int32)}
  content = {'version': VERSION, 'optimizer': state_transforms.unflatten(tree)}
  (unfinished / 'checkpoint').write_bytes(msgpack.packb(content, default=_pack_array))
  unfinished.rename(final)
  return final


def chunk_shape(shape: Sequence[int], itemsize: int, limit: int = CHUNK_BYTES) -> tuple[int, ...]:
  """Shape of the zarr chunks: the largest side shrinks to its next divisor until they fit.

  Args:
    shape: of the whole array.
    itemsize: bytes of an element.
    limit: largest number of bytes of a chunk.
  """
  chunk = list(shape)
  while math.prod(chunk) > limit // itemsize and max(chunk) > 1:
    side = chunk.index(max(chunk))
    chunk[side] = next(n for n in range(chunk[side] - 1, 0, -1) if shape[side] % n == 0)
  return tuple(chunk)


def _base_url(path: str | os.PathLike) -> str:
  text = os.fspath(path)
  if re.match(r'[a-z0-9]+://', text):
    return text.removesuffix('/').removesuffix('/checkpoint') + '/'
  place = pathlib.Path(text).absolute()
  folder = place if place.is_dir() else place.parent
  if not (folder / 'checkpoint').is_file() or (place != folder and place.name != 'checkpoint'):
    inside = sorted(p.parent.name for p in place.glob('checkpoint_*/checkpoint'))
    hint = f'; name one of the checkpoints in it: {inside}' if inside else ''
    raise ValueError(f'{place} is no T5X checkpoint: it has no file named checkpoint{hint}')
  return f'file://{folder}/'


def _read_file(base: str) -> bytes:
  if base.startswith('file://'):
    return pathlib.Path(base.removeprefix('file://'), 'checkpoint').read_bytes()
  found = ts.KvStore.open(base).result().read('checkpoint').result()
  if found.state != 'value':
    raise ValueError(f'{base} is no T5X checkpoint: it has no file named checkpoint')
  return found.value


def _parse(data: bytes, base: str) -> dict[str, Any]:
  if data.startswith(b'model_checkpoint_path'):
    raise ValueError(f'{base} is a TensorFlow checkpoint; only T5X checkpoints can be read')
  try:
    content = msgpack.unpackb(data, ext_hook=_unpack_array, strict_map_key=False)
  except (ValueError, msgpack.UnpackException) as error:
    raise ValueError(
      f'the file {base}checkpoint ({len(data)} bytes) is cut off or no T5X checkpoint: {error}'
    ) from error
  optimizer = content.get('optimizer') if isinstance(content, dict) else None
  if not isinstance(optimizer, dict) or 'target' not in optimizer or 'version' not in content:
    raise ValueError(f'the file {base}checkpoint is no T5X checkpoint: it has no version or target')
  return content


def _leaves(tree: Any, path: str = '') -> dict[str, Any]:
  """{path: array, scalar or ArraySpec} of the tree, with arrays that were cut in pieces joined."""
  if not isinstance(tree, dict):
    return {path: tree}
  if tree.keys() >= _SPEC_KEYS:
    return {path: ArraySpec.parse(tree, path)}
  if _CHUNKED in tree:
    shape, pieces = (
      [tree[key][str(i)] for i in range(len(tree[key]))] for key in ('shape', 'chunks')
    )
    return {path: np.concatenate(pieces).reshape(shape)}
  below = (_leaves(value, f'{path}/{key}' if path else key) for key, value in tree.items())
  return {name: leaf for leaves in below for name, leaf in leaves.items()}


def _open(base: str, spec: ArraySpec) -> ts.Future:
  """Opens an array where the checkpoint is now; bucket and driver of the spec do not count."""
  place = f'{base}{spec.folder}/'
  store: Any = place
  if place.startswith('file://'):
    store = {'driver': 'file', 'path': place.removeprefix('file://')}
  # Chunks, compressor and dtype are those of the array's own .zarray; a piece that was lost must
  # not read as zeros.
  wanted = {'driver': 'zarr', 'kvstore': store, 'fill_missing_data_reads': False}
  return ts.open(wanted, open=True, read=True)


def _exists(opening: ts.Future) -> bool:
  return opening.exception() is None or 'NOT_FOUND' not in str(opening.exception())


def _start_reading(path: str, spec: ArraySpec, opening: ts.Future) -> ts.Future:
  if opening.exception() is not None:
    raise ValueError(f'the array {path} is damaged: {opening.exception()}')
  array = opening.result()
  if array.shape != spec.shape:
    raise ValueError(f'{path} is stored with shape {array.shape}, the tree says {spec.shape}')
  return array.read()


def _finish_reading(base: str, path: str, reading: ts.Future) -> np.ndarray:
  if reading.exception() is not None:
    raise ValueError(f'the array {path} in {base} is damaged or cut off: {reading.exception()}')
  return reading.result()


def _write(
  folder: pathlib.Path, name: str, array: np.ndarray
) -> tuple[dict[str, Any], ts.WriteFutures]:
  """Starts to write an array; gives also how the tree describes it."""
  place = name.replace('/', '.') + '/'
  metadata = {
    'shape': list(array.shape),
    'chunks': list(chunk_shape(array.shape, array.dtype.itemsize)),
    'compressor': {'id': 'gzip', 'level': 1},
  }
  spec = {'driver': 'zarr', 'dtype': array.dtype.name, 'metadata': metadata}
  store = {'driver': 'file', 'path': f'{folder}/{place}'}
  opened = ts.open({**spec, 'kvstore': store}, create=True).result()
  return {**spec, 'kvstore': {'driver': 'file', 'path': place}}, opened.write(array)


def _pack_array(value: np.ndarray) -> msgpack.ExtType:
  payload = (value.shape, value.dtype.name, value.tobytes())
  return msgpack.ExtType(_NDARRAY, msgpack.packb(payload))


def _unpack_array(code: int, data: bytes) -> Any:
  if code == _COMPLEX:
    return complex(*msgpack.unpackb(data))
  if code not in (_NDARRAY, _SCALAR):
    raise ValueError(f'unknown kind {code} of value')
  shape, dtype, content = msgpack.unpackb(data)
  array = np.frombuffer(content, jnp.dtype(dtype)).reshape(shape)
  return array if code == _NDARRAY else array[()]
