"""What each modality is, as plain data: the only thing that the JAX and the TF lane share.

A spec names the fields of one modality in a batch ('inputs/<name>/<field>') and the numbers that
both lanes need. The TF lane looks up its features class, the JAX lane its embedder, by `spec.name`.
"""

from collections.abc import Mapping
import dataclasses
import difflib
import math

from t5x.examples.unified_io import config


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchGrid:
  """A height x width array cut into square patches."""

  height: int
  width: int
  patch: int

  def __post_init__(self):
    if self.height % self.patch or self.width % self.patch:
      raise ValueError(
        f'{self.height}x{self.width} is no whole number of {self.patch}-wide patches'
      )

  @property
  def rows(self) -> int:
    return self.height // self.patch

  @property
  def cols(self) -> int:
    return self.width // self.patch

  @property
  def count(self) -> int:
    return self.rows * self.cols


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feature:
  """One field of a modality in a batch; no batch axis is counted.

  Attributes:
    dtype: of its numbers.
    rank: number of axes.
    sizes: of the axes where they are known; a word for a size that varies but is the same for all
      fields with that word, None for one that varies freely; () where all do.
  """

  dtype: str
  rank: int
  sizes: tuple[int | str | None, ...] = ()

  @property
  def shape(self) -> tuple[int | str | None, ...]:
    """The size of each axis, a word or None where it varies."""
    return self.sizes or (None,) * self.rank


_INT1, _INT2 = Feature(dtype='int32', rank=1), Feature(dtype='int32', rank=2)
_TOKENS = Feature(dtype='int32', rank=1, sizes=('length',))


def _patch_fields(patch_dim: int, places: tuple[str, ...]) -> Mapping[str, Feature]:
  """Patches as the network reads them, and each one's mask and cell."""
  rank = len(places)
  per_patch = Feature(dtype='int32', rank=rank, sizes=places)
  values = Feature(dtype='float32', rank=rank + 1, sizes=(*places, patch_dim))
  return {'input': values, 'mask': per_patch, 'pos_ids': per_patch}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModalitySpec:
  """Base of all specs: a name, and the fields that stage 2 writes and the model reads."""

  name: str

  @property
  def stage2(self) -> Mapping[str, Feature]:
    """Fields after `unified_io_preprocessor`."""
    raise NotImplementedError

  @property
  def model(self) -> Mapping[str, Feature]:
    """Fields after `UnifiedIOFeatureConverter`, read by the network."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextInputSpec(ModalitySpec):
  name: str = 'text'
  max_length: int = 512  # positions beyond it share the last rotary row

  @property
  def stage2(self):
    return {'tokens': _INT1}

  @property
  def model(self):
    return dict.fromkeys(('tokens', 'pos_ids', 'mask'), _TOKENS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchInputSpec(ModalitySpec):
  """One image or one spectrogram, cut into patches."""

  grid: PatchGrid
  channels: int
  use_vit: bool = True  # False: raw patches go through the projection
  position_grid: tuple[int, int] | None = None  # of rotary rows and columns; None: the patch grid
  # PARITY: the released models stretch image *and* audio input positions by this factor.
  position_scale: float = math.sqrt(1024 / 576)

  @property
  def patch_dim(self) -> int:
    return self.grid.patch**2 * self.channels

  @property
  def stage2(self):
    return {'input': Feature(dtype='float32', rank=2), 'mask': _INT1, 'pos_ids': _INT1}

  @property
  def model(self):
    return _patch_fields(self.patch_dim, ('patches',))


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryInputSpec(ModalitySpec):
  """Frames of a video or earlier audio segments; each frame becomes a few latents."""

  grid: PatchGrid
  channels: int
  use_vit: bool = True
  max_per_example: float | None = None  # frames an example may bring on average over a batch

  @property
  def patch_dim(self) -> int:
    return self.grid.patch**2 * self.channels

  @property
  def stage2(self):
    return {'input': Feature(dtype='float32', rank=3), 'mask': _INT2, 'pos_ids': _INT2}

  @property
  def model(self):
    return _patch_fields(self.patch_dim, ('frames', 'patches'))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTargetSpec(ModalitySpec):
  name: str = 'text'
  max_length: int = 512

  @property
  def stage2(self):
    return {'tokens': _INT1, 'pos_ids': _INT1, 'segment_ids': _INT1}

  @property
  def model(self):
    names = ('inputs', 'targets', 'mask', 'pos_ids', 'segment_ids')
    return dict.fromkeys(names, _TOKENS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseTargetSpec(ModalitySpec):
  """An image or a spectrogram to write; `grid.patch` is the width of one code."""

  grid: PatchGrid
  channels: int
  use_codes: bool = False  # True: `tokens` (precomputed codes) stand in place of the pixels

  @property
  def stage2(self):
    pixels = {self.name: Feature(dtype='float32', rank=3)}
    codes = {'tokens': _INT1}
    masks = {'mask': _INT1, 'loss_mask': _INT1, 'task_mask': _INT1}
    return {**(codes if self.use_codes else pixels), **masks}

  @property
  def model(self):
    sizes = {1: (self.grid.count,), 3: (self.grid.height, self.grid.width, self.channels)}
    return {
      name: dataclasses.replace(feature, sizes=sizes[feature.rank])
      for name, feature in self.stage2.items()
    }


INPUT_ORDER = ('text', 'image', 'image_history', 'audio', 'audio_history')
TARGET_ORDER = ('text', 'image', 'audio')


def _grid(size: tuple[int, int], patch: int) -> PatchGrid:
  return PatchGrid(height=size[0], width=size[1], patch=patch)


def input_spec(name: str) -> ModalitySpec:
  """The released models' spec of one input modality."""
  return _lookup(
    name,
    {
      'text': lambda: TextInputSpec(),
      'image': lambda: PatchInputSpec(
        name='image', channels=3, grid=_grid(config.IMAGE_INPUT_SIZE, config.IMAGE_INPUT_PATCH)
      ),
      'image_history': lambda: HistoryInputSpec(
        name='image_history',
        channels=3,
        grid=_grid(config.IMAGE_HISTORY_INPUT_SIZE, config.IMAGE_INPUT_PATCH),
      ),
      'audio': lambda: PatchInputSpec(
        name='audio', channels=1, grid=_grid(config.AUDIO_INPUT_SIZE, config.AUDIO_INPUT_PATCH)
      ),
      'audio_history': lambda: HistoryInputSpec(
        name='audio_history',
        channels=1,
        grid=_grid(config.AUDIO_HISTORY_INPUT_SIZE, config.AUDIO_INPUT_PATCH),
      ),
    },
  )


def target_spec(name: str) -> ModalitySpec:
  """The released models' spec of one target modality."""
  return _lookup(
    name,
    {
      'text': lambda: TextTargetSpec(),
      'image': lambda: DenseTargetSpec(
        name='image', channels=3, grid=_grid(config.IMAGE_TARGET_SIZE, config.IMAGE_TARGET_PATCH)
      ),
      'audio': lambda: DenseTargetSpec(
        name='audio', channels=1, grid=_grid(config.AUDIO_TARGET_SIZE, config.AUDIO_TARGET_PATCH)
      ),
    },
  )


def _lookup(name, table):
  if name not in table:
    near = difflib.get_close_matches(name, table) or list(table)
    raise ValueError(f'unknown modality {name!r}; did you mean one of {near}?')
  return table[name]()
