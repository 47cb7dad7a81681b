"""A user's own data as seqio tasks: JSON lines, Parquet or a Hugging Face folder, without code.

`OwnData` says which files; gin files ask it for the names of tasks and for the modalities that the
rows need (t5_1_1/finetune/jsonl.gin). Wherever a task is named, 'jsonl:PATH' names all rows of a
file. docs/own_data.md tells the format of rows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import functools
import hashlib
import os
import pathlib
import re
from typing import Any

from absl import logging
import gin
import numpy as np

from t5x import task_examples
from t5x.bindings import UserError
from t5x.examples.unified_io.data import own_source
from t5x.examples.unified_io.data.own import files, index

Files = str | Sequence[str] | Mapping[str, float] | None
Splits = dict[str, np.ndarray]  # name -> numbers of rows
_SHOWN = 20  # bad rows that a message lists; the others are in a file
# what rows bring -> the modality that it needs
_INPUTS = {
  'image': 'image', 'video': 'image_history', 'audio': 'audio', 'audio_history': 'audio_history',
}  # fmt: skip
_TARGETS = {'image_target': 'image', 'audio_target': 'audio'}


@gin.configurable
@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnData:
  """Which files are learned from, which are evaluated on, and how their rows are read.

  Attributes:
    data: a file, a list of files, or {file: rate}. Without rates, each row is as likely.
    data_eval: the same for evaluation; None holds a share of `data` out.
    held_out: this share. All rows about one picture stand on the same side; which one depends on
      nothing but the rows.
    skip_bad_rows: go on without rows that cannot be used, and say how many.
    decode_images: decode every picture when the rows are checked, instead of its header.
    fields: {field of the files: ours, or None to leave it out}, where they have other names.
    text_inputs, text_targets: limits in tokens, for the warning about longer texts.
    num_frames: of a video, and segments of a sound before its last.
  """

  data: Files = None
  data_eval: Files = None
  held_out: float = 0.05
  skip_bad_rows: bool = False
  decode_images: bool = False
  fields: Mapping[str, str | None] | None = None
  text_inputs: int | None = None
  text_targets: int | None = None
  num_frames: int = 4

  def __post_init__(self):
    if not (self.data or self.data_eval):
      raise UserError('no data file is given: DATA is a file, a list of files or {file: rate}')

  def names(self) -> tuple[str | None, str | None]:
    """Registers the tasks, and tells which task or mixture is learned from and evaluated on.

    The splits are 'train' and 'validation'; each name is None where there is no such row.

    Raises:
      UserError: a file is missing, or has no row that can be used; rows are bad (each is named).
    """
    train, evaluation = _rates(self.data), _rates(self.data_eval)
    names = _task_names([*train, *evaluation])
    parts: dict[str, dict[str, float]] = {'train': {}, 'validation': {}}
    for name, (path, rate) in zip(names, [*train.items(), *evaluation.items()], strict=True):
      is_learned = name in names[: len(train)]
      made = self._index(path)
      rows = self._usable(made, is_learned)
      self._say_what_is_long(made, rows)
      if self.data and (further := made.brings(rows) - self.brings()):
        found = ', '.join(sorted(further))
        _once(logging.warning, f'{path} brings {found}, which the data to learn from do not have.')
      splits = self._splits(made, rows) if is_learned else dict.fromkeys(_ALL_SPLITS, rows)
      for task, own_splits in _by_options(name, made, splits):
        source = own_source.OwnSource(
          task, made, own_splits, rename=self.fields or {}, max_frames=self.num_frames
        )
        own_source.add_task(source)
        for split in parts if is_learned else ['validation']:
          if count := len(own_splits.get(split, ())):
            share = count / len(splits[split])
            parts[split][task] = count if rate is None else rate * share
    return _mixed('own', parts['train']), _mixed('own_eval', parts['validation'])

  def brings(self) -> set[str]:
    """What rows of `data` bring (of `data_eval`, where that is all): pictures, sounds, videos."""
    indices = [self._index(path) for path in _rates(self.data or self.data_eval)]
    return {name for made in indices for name in made.brings(made.good)}

  def _index(self, path: str) -> index.Index:
    """Opened and checked once, and again when the file has changed."""
    if not os.path.exists(path):
      raise UserError(f'there is no data file {path}')
    rename = tuple(sorted((self.fields or {}).items()))
    try:
      return _load(path, rename, self.decode_images, files.signature(path))
    except ValueError as e:
      raise UserError(str(e)) from e

  def _usable(self, made: index.Index, is_learned: bool) -> np.ndarray:
    """The rows that can be used."""
    bad, rows = dict(made.bad), made.good
    if is_learned:
      without = rows[~made.columns['has_target'][rows]]
      bad |= {int(i): ['neither answers nor a target: nothing to learn'] for i in without}
      rows = np.setdiff1d(rows, without)
    if bad and not self.skip_bad_rows:
      raise UserError(_of_bad_rows(made, bad))
    if bad:
      _once(logging.warning, f'{made.rows.path}: {len(bad)} of {len(made.rows)} rows are left out.')
    if not len(rows):
      raise UserError(f'{made.rows.path} has no row that can be used, of {len(made.rows)}')
    return rows

  def _splits(self, made: index.Index, rows: np.ndarray) -> Splits:
    """Training and held-out rows."""
    held_out = np.zeros(len(rows), bool)
    if not self.data_eval:
      held_out = choose_held_out(made.columns['group'][rows], self.held_out)
    _once(logging.info, f'{made.rows.path}: {len(rows)} rows, {held_out.sum()} of them held out.')
    return {'train': rows[~held_out], 'validation': rows[held_out]}

  def _say_what_is_long(self, made: index.Index, rows: np.ndarray) -> None:
    for name, limit in (('input', self.text_inputs), ('target', self.text_targets)):
      lengths = made.columns[f'{name}_tokens'][rows] + 1  # EOS
      if limit and (count := int((lengths > limit).sum())):
        _once(
          logging.warning,
          f'{made.rows.path}: the {name} text of {count} of {len(rows)} rows is longer than '
          f'text_{name}s={limit} tokens (the longest has {lengths.max()}); its end is cut off.',
        )


_ALL_SPLITS = ('train', 'validation', 'test')  # of a file that is there to be evaluated on


# ---- For gin files -------------------------------------------------------------------------------
def train_task(own: OwnData) -> str:
  """The name of the task or mixture to learn from."""
  name, _ = own.names()
  if name is None:
    raise UserError('no row is left to learn from; make held_out smaller, or give DATA')
  return name


def eval_task(own: OwnData) -> str:
  """The name of the task or mixture to evaluate on."""
  _, name = own.names()
  if name is None:
    raise UserError(
      f'nothing is held out for evaluation (held_out={own.held_out}, and all rows about one '
      'picture stand together); give DATA_EVAL'
    )
  return name


def input_modalities(own: OwnData) -> list[str]:
  """The input modalities that the rows need."""
  return ['text', *(_INPUTS[name] for name in sorted(own.brings() & _INPUTS.keys()))]


def target_modalities(own: OwnData) -> list[str]:
  """The target modalities that the rows need."""
  return ['text', *(_TARGETS[name] for name in sorted(own.brings() & _TARGETS.keys()))]


def if_given(path: str | None, then: Any, otherwise: Any) -> Any:
  """`then` where a checkpoint is given to start from, else `otherwise`."""
  return then if path else otherwise


def _task_of_path(path: str) -> str:
  """The task of all rows of a file, for 'jsonl:PATH'."""
  return eval_task(OwnData(data_eval=path))


task_examples.RESOLVERS['jsonl'] = _task_of_path


# ---- Parts ---------------------------------------------------------------------------------------
def choose_held_out(groups: np.ndarray, share: float) -> np.ndarray:
  """Which rows are held out: whole groups, until `share` of the rows is reached; never all.

  Args:
    groups: uint64 [n], random numbers, equal for rows that stay together.
    share: of the rows; 0 holds none out.

  Returns:
    bool [n].
  """
  _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
  reached = np.cumsum(counts) - counts < share * len(groups)  # before this group
  return reached[group] & (group < len(counts) - 1)


def _by_options(name: str, made: index.Index, splits: Splits) -> Iterator[tuple[str, Splits]]:
  """Rows with options are a task of their own: the model chooses for whole batches, or writes."""
  for task, wanted in ((name, False), (f'{name}.options', True)):
    has_options = made.columns['num_options'] > 0
    own = {split: rows[has_options[rows] == wanted] for split, rows in splits.items()}
    own = {split: rows for split, rows in own.items() if len(rows)}
    if own:
      yield task, own


def _mixed(name: str, rates: Mapping[str, float]) -> str | None:
  if len(rates) > 1:
    own_source.add_mixture(name, rates)
    return name
  return next(iter(rates), None)


def _rates(given: Files) -> dict[str, float | None]:
  """Absolute path -> rate, None where none is given."""
  if isinstance(given, str):
    given = [given]
  rates = given if isinstance(given, Mapping) else dict.fromkeys(given or ())
  return {os.path.abspath(os.path.expanduser(path)): rate for path, rate in rates.items()}


def _task_names(paths: Iterable[str]) -> list[str]:
  """'own.' and the file's name without its ending; a number behind it, where it occurs again."""
  names: list[str] = []
  for path in paths:
    stem = base = 'own.' + re.sub(r'[^\w]', '_', pathlib.Path(path).stem)
    number = 2
    while stem in names:
      stem, number = f'{base}_{number}', number + 1
    names.append(stem)
  return names


@functools.lru_cache(maxsize=64)
def _load(path: str, rename: tuple, decode: bool, signature: str) -> index.Index:
  del signature  # another one is another file
  return index.load(path, rename=dict(rename), decode=decode)


@functools.cache
def _once(log: Callable[..., None], sentence: str) -> None:
  """Logs it once, however often gin asks."""
  log('%s', sentence)


def _of_bad_rows(made: index.Index, bad: Mapping[int, Sequence[str]]) -> str:
  """The message about bad rows: the first of them here, all of them in a file."""
  path, unit = made.rows.path, made.rows.unit
  lines = [f'  {unit} {made.rows.number(i)}: {"; ".join(bad[i])}' for i in sorted(bad)]
  head = (
    f'{len(bad)} of {len(made.rows)} rows of {path} cannot be used; mend them, or add '
    '--skip_bad_rows to go on without them:'
  )
  if len(lines) <= _SHOWN:
    return '\n'.join([head, *lines])
  name = f'{hashlib.sha256(path.encode()).hexdigest()[:16]}-bad-rows.txt'
  report = files.cache_folder() / name
  report.parent.mkdir(parents=True, exist_ok=True)
  report.write_text('\n'.join([path, *lines, '']), encoding='utf-8')
  return '\n'.join([head, *lines[:_SHOWN], f'  and {len(lines) - _SHOWN} more: see {report}'])
