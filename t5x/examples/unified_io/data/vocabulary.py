"""Text <-> ids: a SentencePiece model with location bins, sentinels and modality pieces added.

Ids of a model with n pieces (n = 32,000 for the released weights):

  0, 1, 2           <s> (also padding and decoder start), </s>, <unk>
  3 .. n-1          the model's own pieces, unmoved
  n .. n+999        location bins: bin b is n + 999 - b, written <extra_id_{200 + b}>
  n+1000 .. n+1199  sentinels: <extra_id_k> is n + 1199 - k
  n+1200 .. n+1224  <image_history_i>, <audio_history_i> for frames 1..8, <image_input>,
                    <audio_input>, and the seven mode prefixes, [Text] [S] first

Added pieces start with a space marker, so they match only at the start or after a space.
Source: data of the released models; SentencePiece's own rules otherwise (no BOS, no EOS).
"""

import functools
import hashlib
import os
import threading
from typing import Any

import gin
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto
import seqio
import tensorflow as tf

from t5x.examples.unified_io import config

ENVIRONMENT_VARIABLE = 'UIO2_TOKENIZER'
NUM_HISTORY_FRAMES = 8
PREFIXES = (
  '[Text] [S]', '[Text] [R]', '[Text] [X]', '[Image] [S]', '[Image] [R]', '[Audio] [S]',
  '[Audio] [R]',
)  # fmt: skip
_SPACE = '\u2581'  # SentencePiece's marker of a space
_START_PIECES = ('<unk>', '<s>', '</s>')  # pieces 0, 1, 2 of a LLaMA-style model
_LOCK = threading.Lock()  # loading a model is not thread-safe


@gin.configurable
def tokenizer_path(path: str | None = None) -> str:
  """The default SentencePiece file: `path` (gin), config, environment, the embedded one."""
  return (
    path
    or config.LLAMA_TOKENIZER_PATH
    or os.environ.get(ENVIRONMENT_VARIABLE)
    or config.EMBEDDED_TOKENIZER_PATH
  )


class Vocabulary(seqio.SentencePieceVocabulary):
  """A SentencePiece model edited as this module's docstring says; the file is read at first use."""

  def __init__(
    self,
    sentencepiece_model_file: str | None = None,
    extra_ids: int = config.NUM_EXTRA_IDS,
    normalizer_spec_overrides: proto.NormalizerSpec | None = None,
    reverse_extra_ids: bool = True,
    modality_extra_id_n_frames: int = NUM_HISTORY_FRAMES,
    hack_to_t5_start_tokens: bool = True,
    prefix_as_special_token: bool = True,
  ):
    """Makes a vocabulary; nothing is read yet.

    Args:
      sentencepiece_model_file: None follows `tokenizer_path()` at every use.
      extra_ids: number of `<extra_id_k>` pieces: sentinels and location bins.
      normalizer_spec_overrides: merged into the model's normaliser and denormaliser.
      reverse_extra_ids: number them downwards, so that the last piece is `<extra_id_0>`.
      modality_extra_id_n_frames: frames with a history piece; 0 adds no modality piece at all.
      hack_to_t5_start_tokens: reorder unk, bos, eos to bos, eos, unk, so that 0 can be padding.
      prefix_as_special_token: add the mode prefixes.
    """
    self._given_file = sentencepiece_model_file
    self._modality_frames = modality_extra_id_n_frames
    self._t5_start_tokens = hack_to_t5_start_tokens
    self._with_prefixes = prefix_as_special_token
    super().__init__('', extra_ids, normalizer_spec_overrides, reverse_extra_ids)

  @property
  def sentencepiece_model_file(self) -> str:
    return self._given_file or tokenizer_path()

  def _model_context(self):
    overrides = self._normalizer_spec_overrides
    edits = (
      self._extra_ids,
      overrides and overrides.SerializeToString(deterministic=True),
      self._reverse_extra_ids,
      self._modality_frames,
      self._t5_start_tokens,
      self._with_prefixes,
    )
    with _LOCK:
      return _load(self.sentencepiece_model_file, edits)

  @property
  def modality_extra_ids(self) -> int:
    """Number of modality pieces and prefixes added after the extra ids."""
    frames = self._modality_frames
    return (2 * (frames + 1) if frames else 0) + (len(PREFIXES) if self._with_prefixes else 0)

  @property
  def num_base_pieces(self) -> int:
    """Pieces of the file itself."""
    return self.vocab_size - self.extra_ids - self.modality_extra_ids

  @property
  def fingerprint(self) -> str:
    """md5 of the edited model: equal for vocabularies that give the same ids."""
    return hashlib.md5(self.sp_model).hexdigest()

  def extra_id(self, k: int) -> int:
    """The id of `<extra_id_k>`."""
    if not 0 <= k < self.extra_ids:
      raise ValueError(f'<extra_id_{k}> is not among the {self.extra_ids} extra ids')
    return self.num_base_pieces + (self.extra_ids - 1 - k if self._reverse_extra_ids else k)

  def location_token_id(self, bin_index: int) -> int:
    """The id of a location bin, 0 .. 999."""
    return self.extra_id(config.VOCAB_START + bin_index)

  def __eq__(self, other: Any) -> bool:
    return isinstance(other, Vocabulary) and self.fingerprint == other.fingerprint

  def __hash__(self) -> int:
    return hash(self.fingerprint)

  def __str__(self) -> str:
    return f'Vocabulary({self.sentencepiece_model_file}, md5 {self.fingerprint})'


@functools.cache
def get_default_vocabulary() -> Vocabulary:
  """The vocabulary of the model. It follows `tokenizer_path()`, also when that changes later."""
  return Vocabulary()


def location_token_id(bin_index: int) -> int:
  """The id of a location bin, 0 .. 999, in the default vocabulary."""
  return get_default_vocabulary().location_token_id(bin_index)


@functools.cache
def _load(path: str, edits: tuple[Any, ...]):
  """Reads and edits a model, once for each file and kind of edit."""
  edited = _edit(_read(path), path, *edits).SerializeToString()
  tokenizer = sentencepiece.SentencePieceProcessor()
  tokenizer.LoadFromSerializedProto(edited)
  return seqio.vocabularies._ModelContext(tokenizer=tokenizer, sp_model=edited)


def _read(path: str) -> proto.ModelProto:
  advice = (
    'Give the path of a SentencePiece tokenizer.model (config.LLAMA_TOKENIZER_PATH, '
    f'${ENVIRONMENT_VARIABLE} or the gin binding tokenizer_path.path); with none set, the '
    'embedded tokenizer serves.'
  )
  if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
    raise FileNotFoundError(f'there is no tokenizer file {path!r}. {advice}')
  with tf.io.gfile.GFile(path, 'rb') as file:
    content = file.read()
  try:
    model = proto.ModelProto.FromString(content)
  except Exception as error:  # DecodeError moves between versions of protobuf
    raise ValueError(f'{path!r} is no SentencePiece model ({error}). {advice}') from error
  if not model.pieces:
    raise ValueError(f'{path!r} is a SentencePiece model without pieces. {advice}')
  return model


def _edit(model, path, extra_ids, overrides, reverse, frames, t5_start_tokens, with_prefixes):
  """Moves the start pieces and appends the added ones."""
  if t5_start_tokens:
    start = [piece.piece for piece in model.pieces[:3]]
    if start != list(_START_PIECES):
      raise ValueError(
        f'{path!r} is a tokenizer of another kind: its first pieces are {start}, a LLaMA-style '
        f'one has {list(_START_PIECES)}'
      )
    unk = proto.ModelProto.SentencePiece.FromString(model.pieces[0].SerializeToString())
    del model.pieces[0]
    model.pieces.insert(2, unk)
  numbers = range(extra_ids)
  added = [f'<extra_id_{k}>' for k in (reversed(numbers) if reverse else numbers)]
  if frames:
    for i in range(1, frames + 1):
      added += [f'<image_history_{i}>', f'<audio_history_{i}>']
    added += ['<image_input>', '<audio_input>']
  added += PREFIXES if with_prefixes else ()
  user_defined = proto.ModelProto.SentencePiece.USER_DEFINED
  for text in added:
    piece = _SPACE + text.replace(' ', _SPACE)
    model.pieces.add(piece=piece, score=0.0, type=user_defined)
  if overrides is not None:
    spec = proto.NormalizerSpec.FromString(overrides)
    model.normalizer_spec.MergeFrom(spec)
    model.denormalizer_spec.MergeFrom(spec)
  return model
