"""Paths that users set, constants of the released models, and the size of every model.

Read constants as `config.NAME` where they are used, so that a change reaches all code. A number
stands here once; gin binds only what differs (`config.model_config.emb_dim = 96`).
Sources: Unified-IO 2 paper, section 3 and tables 8-9.
"""

import dataclasses
import difflib
import math
import pathlib
from typing import Any

# ---- Paths ---------------------------------------------------------------------------------------
LLAMA_TOKENIZER_PATH: str | None = None  # LLaMA's tokenizer.model; None: UIO2_TOKENIZER, then ours
MULTITASK_TFDS_DATA_DIR: str | None = None  # TFDS root of every task; --tfds_data_dir overrides it
PACKAGE_DIR = pathlib.Path(__file__).parent
EMBEDDED_TOKENIZER_PATH = str(PACKAGE_DIR / 'assets' / 'tokenizer.model')

# ---- Text ----------------------------------------------------------------------------------------
RELEASED_BASE_PIECES = 32_000  # pieces of the tokenizer of the released weights
NUM_SENTINELS = 200
NUM_DETECTION_BINS = 1_000
NUM_EXTRA_IDS = NUM_SENTINELS + NUM_DETECTION_BINS
VOCAB_START = NUM_SENTINELS  # <extra_id_200> is location bin 0
PAD_ID, EOS_ID, UNK_ID = 0, 1, 2
OUTSIDE_ID = -1  # stands for a code that is none: it embeds to zero and counts in no loss
MASK_CODE_ID = 1  # stands for a code that is to be restored (`ModelConfig.unk_mask_token`)
FIRST_CODE_ID = 2  # PARITY: of image and audio codes; 0 starts a sequence, 1 masks a token

# ---- Images and audio ----------------------------------------------------------------------------
IMAGE_INPUT_SIZE = (384, 384)
IMAGE_HISTORY_INPUT_SIZE = (256, 256)
IMAGE_TARGET_SIZE = (256, 256)
IMAGE_INPUT_PATCH, IMAGE_TARGET_PATCH = 16, 8
IMAGE_VIT_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_VIT_STD = (0.26862954, 0.26130258, 0.27577711)
AUDIO_INPUT_SIZE = AUDIO_HISTORY_INPUT_SIZE = AUDIO_TARGET_SIZE = (256, 128)  # (time, mel)
AUDIO_INPUT_PATCH, AUDIO_TARGET_PATCH = 16, 8
AUDIO_VIT_MEAN, AUDIO_VIT_STD = -4.26, 9.14
AUDIOSET_MEAN, AUDIOSET_STD = -5.0945, 3.8312
AUDIO_SEGMENT_SECONDS = 4.08
AUDIO_SAMPLE_RATE = 16_000
RANDOM_SCALE_MIN, RANDOM_SCALE_MAX, RANDOM_SCALE_RATIO = 0.75, 1.3333, 0.50
PAD_ONE_SIDE = False
MAX_PICTURE_PIXELS = 2**26  # of a source; larger ones are refused: decoded they take 200 MB

# ---- Facts of the released models for tasks that are not among ours ------------------------------
# The order in which a pose is written: place, then name of the part, left as the person sees it.
HUMAN_POSE_PART = (
  'nose', 'left eye', 'right eye', 'left ear', 'right ear', 'left shoulder', 'right shoulder',
  'left elbow', 'right elbow', 'left wrist', 'right wrist', 'left hip', 'right hip', 'left knee',
  'right knee', 'left ankle', 'right ankle',
)  # fmt: skip
# What location bins 0 to 999 span where they write no place in a picture: 3-D boxes and their
# depth, rotations, cameras between two views, and the sines of angles.
LOCATION_RANGE, DIMENSION_RANGE, DEPTH_RANGE = (-0.1, 1.1), (0, 6), (-0.001, 0.1)
ANGLE_RANGE = (0, 2 * math.pi)
POS_MIN_VALUE, POS_MAX_VALUE = -50, 50
D_THETA_MIN_VALUE, D_THETA_MAX_VALUE = -math.pi, math.pi
D_RADIUS_MIN_VALUE, D_RADIUS_MAX_VALUE = -0.7, 0.7
D_SINUSOID_MIN_VALUE, D_SINUSOID_MAX_VALUE = -1.0, 1.0
# Of the original's readers; here any order is computed (t5x/stream.py) and needs no buffers.
SHUFFLE_BUFFER_SIZE, CYCLE_LENGTH, BLOCK_LENGTH = (100, 200, 200, 200), (1, 2, 2, 2), (1, 2, 2, 2)
TOKENIZER = 'llama'  # the only kind there is


@dataclasses.dataclass(frozen=True, kw_only=True)
class MelConfig:
  """A mel power spectrogram: frames of `n_fft` samples, one every `hop`, in `num_mels` bands."""

  sample_rate: int = AUDIO_SAMPLE_RATE
  n_fft: int = 1024
  hop: int = 256
  num_mels: int = AUDIO_INPUT_SIZE[1]
  fmin: float = 0.0  # Hz
  fmax: float = AUDIO_SAMPLE_RATE / 2


MEL = MelConfig()


# ---- Networks ------------------------------------------------------------------------------------
ATTENTION_BACKENDS = ('auto', 'xla', 'cudnn', 'splash')


@dataclasses.dataclass(frozen=True, kw_only=True)
class VitConfig:
  """A frozen feature encoder: the image ViT, or the audio spectrogram transformer (AST)."""

  emb_dim: int = 768
  num_heads: int = 12
  head_dim: int = 64
  num_layers: int = 11  # the released models use the features before the last of 12 blocks
  mlp_dim: int = 3072
  patch: int = 16
  dtype: str = 'float32'


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResamplerConfig:
  """A perceiver that turns the patches of a frame into a few latents."""

  latents: int
  emb_dim: int = 768
  num_heads: int = 12
  head_dim: int = 64
  num_layers: int = 2
  cross_attention_layers: tuple[int, ...] = (0, 1)  # the others attend among the latents
  mlp_dim: int = 2048
  max_frames: int = 8
  scaled_cosine: bool = False  # of cross-attention; else query and key are RMS-normed
  self_scaled_cosine: bool = False
  qk_norm: bool = True
  self_qk_norm: bool = True
  dtype: str = 'bfloat16'


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageVqganConfig:
  """The convolutional VQGAN: 256x256 pixels to 32x32 codes."""

  codebook_size: int = 16_384
  code_dim: int = 4
  resolution: int = 256
  in_channels: int = 3
  out_channels: int = 3
  channels: int = 128
  channel_multipliers: tuple[int, ...] = (1, 2, 2, 4)
  num_res_blocks: int = 2
  attention_resolutions: tuple[int, ...] = (32,)
  dtype: str = 'float32'


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioVqganConfig:
  """The ViT-VQGAN of spectrograms: 128 mel x 256 frames to 16x32 codes."""

  codebook_size: int = 8_192
  code_dim: int = 32
  encoder_emb_dim: int = 512
  encoder_layers: int = 8
  encoder_mlp_dim: int = 2048
  encoder_heads: int = 8
  encoder_head_dim: int = 64
  decoder_emb_dim: int = 512
  decoder_layers: int = 8
  decoder_mlp_dim: int = 2048
  decoder_heads: int = 8
  decoder_head_dim: int = 64
  use_bias: bool = False
  height: int = 128  # mel
  width: int = 256  # time
  patch: int = 8
  out_channels: int = 1
  dtype: str = 'bfloat16'


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocoderConfig:
  """The HiFi-GAN generator: log-mel to a waveform. Field names are those of its config.json."""

  resblock: str = '2'  # residual blocks of single convolutions, the paper's second kind
  upsample_rates: tuple[int, ...] = (8, 8, 4)
  upsample_kernel_sizes: tuple[int, ...] = (16, 16, 8)
  upsample_initial_channel: int = 256
  resblock_kernel_sizes: tuple[int, ...] = (3, 5, 7)
  resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 2), (2, 6), (3, 12))
  num_mels: int = MEL.num_mels
  n_fft: int = MEL.n_fft
  hop_size: int = MEL.hop
  win_size: int = MEL.n_fft
  sampling_rate: int = MEL.sample_rate
  fmin: float = MEL.fmin
  fmax: float = MEL.fmax

  def __post_init__(self):
    if self.resblock != '2':
      raise ValueError(f"resblock is {self.resblock!r}; the released vocoder has kind '2' only")
    if math.prod(self.upsample_rates) != self.hop_size:
      raise ValueError(f'rates {self.upsample_rates} do not multiply to the hop {self.hop_size}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Widths, depths and numerics of one network. Which modalities it has is told apart from it."""

  emb_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_encoder_layers: int
  num_decoder_layers: int
  vocab_size: int = 33_280  # 33,225 ids, filled to a multiple of 128
  image_vocab_size: int = 16_512
  audio_vocab_size: int = 8_320
  mlp_activations: tuple[str, ...] = ('silu', 'linear')
  qk_norm: bool = True
  cross_attention_interval: int = 1  # layers between cross-attentions; the last always has one
  dropout_rate: float = 0.0
  dtype: str = 'bfloat16'  # of the computation; parameters are float32
  scan_layers: bool = True  # one compiled layer, looped; both layouts load the same checkpoint
  remat: str = 'none'  # 'none' or 'full': recompute each layer in the backward pass
  attention: str = 'auto'  # one of ATTENTION_BACKENDS; see modules/attention.py
  # False: no token knows its place (as the original's 'tiny', whose heads are as wide as it is).
  rotary: bool = True
  # How image and audio targets are read; the released models were trained with all four off.
  pattern_masks: bool = False  # layers see rows, columns or squares of the cells so far
  dynamic_mask: bool = False  # a masked token (task_mask) is seen by itself alone
  unk_mask_token: bool = False  # the decoder reads MASK_CODE_ID in place of a masked token
  shift_back_input_token: bool = False  # with masked tokens, it reads each in the token's own place
  image_vit: VitConfig = VitConfig()
  audio_vit: VitConfig = VitConfig()
  image_resampler: ResamplerConfig = ResamplerConfig(latents=32)
  audio_resampler: ResamplerConfig = ResamplerConfig(latents=16)
  image_vqgan: ImageVqganConfig = ImageVqganConfig()
  audio_vqgan: AudioVqganConfig = AudioVqganConfig()

  def __post_init__(self):
    if self.head_dim % 4:
      raise ValueError(f'head_dim is {self.head_dim}; 2-d rotary positions need a multiple of 4')
    if self.remat not in ('none', 'full'):
      raise ValueError(f"remat is {self.remat!r}; it must be 'none' or 'full'")
    if self.attention not in ATTENTION_BACKENDS:
      raise ValueError(f'attention is {self.attention!r}; it must be one of {ATTENTION_BACKENDS}')


def _resamplers(**fields: Any) -> dict[str, ResamplerConfig]:
  """The image and the audio resampler of one size; they differ in the number of latents."""
  return {
    'image_resampler': ResamplerConfig(latents=32, **fields),
    'audio_resampler': ResamplerConfig(latents=16, **fields),
  }


_WIDE_RESAMPLER = {'emb_dim': 1024, 'num_heads': 16, 'mlp_dim': 4096}
_COSINE = {
  'scaled_cosine': True, 'self_scaled_cosine': True, 'qk_norm': False, 'self_qk_norm': False,
}  # fmt: skip

SIZES: dict[str, ModelConfig] = {
  'tiny': ModelConfig(
    emb_dim=16, num_heads=4, head_dim=16, mlp_dim=32, num_encoder_layers=1, num_decoder_layers=1,
    **_resamplers(emb_dim=16, num_heads=4, head_dim=16, num_layers=1, mlp_dim=32),
  ),
  'base': ModelConfig(
    emb_dim=768, num_heads=12, head_dim=64, mlp_dim=2048,
    num_encoder_layers=12, num_decoder_layers=12, **_resamplers(mlp_dim=3072),
  ),
  'large': ModelConfig(
    emb_dim=1024, num_heads=16, head_dim=64, mlp_dim=2816,
    num_encoder_layers=24, num_decoder_layers=24, **_resamplers(),
  ),
  'xl': ModelConfig(
    emb_dim=2048, num_heads=16, head_dim=128, mlp_dim=5120,
    num_encoder_layers=24, num_decoder_layers=24, **_resamplers(**_WIDE_RESAMPLER),
  ),
  'xxl': ModelConfig(
    emb_dim=3072, num_heads=24, head_dim=128, mlp_dim=8192,
    num_encoder_layers=24, num_decoder_layers=24, **_resamplers(**_WIDE_RESAMPLER, **_COSINE),
  ),
}  # fmt: skip


def model_config(size: str, **overrides: Any) -> ModelConfig:
  """The configuration of a named size, with fields replaced: the one place that gin binds.

  Raises:
    ValueError: for an unknown size or field; the near names are offered.
  """
  if size not in SIZES:
    raise ValueError(f'unknown model size {size!r}; the sizes are {sorted(SIZES)}')
  fields = [field.name for field in dataclasses.fields(ModelConfig)]
  for name in overrides:
    if name not in fields:
      near = difflib.get_close_matches(name, fields) or fields
      raise ValueError(f'a model has no field {name!r}; did you mean one of {near}?')
  return dataclasses.replace(SIZES[size], **overrides)
