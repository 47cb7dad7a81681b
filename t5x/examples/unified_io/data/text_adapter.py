"""Text tasks of others: any seqio task with text `inputs` and `targets` as a task of this model.

`adapt_text_task('glue_cola_v002')` registers 'uio_glue_cola_v002', which may enter any mixture;
wherever a task is named, 'text:glue_cola_v002' does so on the way. Preprocessors, postprocessor and
metrics stay those of the task; its tokenizer goes, for this model has its own.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import hashlib
import inspect
import json
import os
import pathlib
from typing import Any

from absl import logging
import seqio
import tensorflow as tf

from t5x import record_files, stream, task_examples
from t5x.examples.unified_io import modality_processing
from t5x.examples.unified_io.data import data_utils
from t5x.examples.unified_io.data import prompts as prompts_lib
from t5x.examples.unified_io.data.own import files

_META = 'meta/'
_TOKENIZE = seqio.preprocessors.tokenize
_AFTER_TOKENIZING = (  # what may follow it without making the text another
  seqio.preprocessors.append_eos, seqio.preprocessors.append_eos_after_trim,
)  # fmt: skip
_LENGTHS = {'inputs': 512, 'targets': 512}


def adapt_text_task(
  name: str, *, sequence_length: Mapping[str, int] | None = None, cache: bool = True
) -> str:
  """Registers 'uio_NAME', which asks and expects what the text task NAME does; returns that name.

  Args:
    name: of a registered seqio task whose examples have `inputs` and `targets`: texts, or ids of
      its own vocabulary.
    sequence_length: for preprocessors that ask for it (span corruption); 512 each where None.
    cache: read the task once and keep its texts, as seqio's offline cache does: what its
      preprocessors draw at random stays the same in all epochs, and examples are read by number.
      False reads the source again and again, in its own order, and resumes by reading what was
      before: for sets that are too large to keep.

  Raises:
    ValueError: no such task, or one without texts.
  """
  task = task_examples.get_mixture_or_task(name)
  if not isinstance(task, seqio.Task):
    raise ValueError(f'{name!r} is a mixture; adapt its tasks and mix those')
  lengths = dict(sequence_length or _LENGTHS)
  made, steps = f'uio_{name}', _text_steps(task)
  if made in seqio.TaskRegistry.names():
    seqio.TaskRegistry.remove(made)
  run = functools.partial(_run, task=task, steps=steps, lengths=lengths)
  to_texts = functools.partial(_to_texts, task=task)
  seqio.TaskRegistry.add(
    made,
    source=TextSource(task, steps, lengths) if cache else task.source,
    preprocessors=[
      *(() if cache else (run, to_texts)),
      _with_prefix,
      modality_processing.unified_io_preprocessor,
    ],
    output_features=modality_processing.OUTPUT_FEATURES(),
    postprocess_fn=functools.partial(_postprocess, task=task),
    metric_fns=list(task.metric_fns),
  )
  return made


task_examples.RESOLVERS['text'] = adapt_text_task


# ---- The task's own preprocessors ----------------------------------------------------------------
def _function(preprocessor: Callable[..., Any]) -> Callable[..., Any]:
  while isinstance(preprocessor, functools.partial):
    preprocessor = preprocessor.func
  return preprocessor


def _text_steps(task: seqio.Task) -> list[Callable[..., Any]]:
  """The preprocessors up to the tokenizer's; all of them where others work on its ids."""
  steps = [p for p in task.preprocessors if not isinstance(p, seqio.CacheDatasetPlaceholder)]
  functions = [_function(step) for step in steps]
  if _TOKENIZE not in functions:
    return steps
  first = functions.index(_TOKENIZE)
  is_last = all(function in _AFTER_TOKENIZING for function in functions[first + 1 :])
  return steps[:first] if is_last else steps


def _run(
  dataset: tf.data.Dataset, *, task: seqio.Task, steps: Sequence[Any], lengths: Mapping[str, int]
) -> tf.data.Dataset:
  """What these of the task's preprocessors make of its records."""
  return task.replace(preprocessors=list(steps)).preprocess_postcache(dataset, lengths, seed=0)


@tf.autograph.experimental.do_not_convert
def _to_texts(dataset: tf.data.Dataset, *, task: seqio.Task) -> tf.data.Dataset:
  """{'inputs': text or ids, 'targets': ..., 'idx': 3} -> {'text_inputs': text, ..., 'meta/idx': 3}.

  Raises:
    ValueError: there are no texts.
  """

  def convert(ex):
    rest = {k: v for k, v in ex.items() if not isinstance(v, Mapping | tf.RaggedTensor)}
    kept = {k: v for k, v in rest.items() if not k.startswith(data_utils.STREAM)}
    return {
      **{k: v for k, v in rest.items() if k.startswith(data_utils.STREAM)},
      'text_inputs': _text(ex, 'inputs', task),
      'text_targets': _text(ex, 'targets', task),
      **{_META + name: value for name, value in kept.items()},
    }

  return dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def _text(ex: Mapping[str, Any], name: str, task: seqio.Task) -> tf.Tensor:
  value = ex.get(f'{name}_pretokenized', ex.get(name))
  if value is not None and value.dtype != tf.string and name in task.output_features:
    value = task.output_features[name].vocabulary.decode_tf(value)
  if value is None or value.dtype != tf.string or value.shape.rank != 0:
    found = {key: f'{v.dtype.name} {v.shape}' for key, v in ex.items()}
    raise ValueError(f'task {task.name!r} has no text {name!r}; its examples have {found}')
  return value


@data_utils.map_example()
def _with_prefix(ex: data_utils.Example) -> data_utils.Example:
  """{'text_inputs': 'Hi'} -> {'text_inputs': '[Text] [S] Hi'}; other fields stay."""
  return {**ex, 'text_inputs': prompts_lib.TEXT_OUTPUT + ex['text_inputs']}


def _postprocess(
  output: Any, example: Mapping[str, Any], is_target: bool, *, task: seqio.Task
) -> Any:
  """The task's own postprocessor, on the texts and fields that it knows."""
  text = output if is_target else output.text
  own = {k.removeprefix(_META): v for k, v in example.items() if k.startswith(_META)}
  return task.postprocess_fn(text, example=own, is_target=is_target)


# ---- Texts that are kept -------------------------------------------------------------------------
class TextSource(stream.NumberedSource):
  """The texts of a task, read by number from a file that is made at first use."""

  def __init__(self, task: seqio.Task, steps: Sequence[Any], lengths: Mapping[str, int]):
    """Reads nothing yet.

    Args:
      task: whose records.
      steps: its preprocessors.
      lengths: for those that ask for it.
    """
    super().__init__(task.name)
    self._task, self._steps, self._lengths = task, steps, lengths

  @property
  def splits(self) -> Sequence[str]:
    return tuple(self._task.splits)

  @functools.cached_property
  def folder(self) -> pathlib.Path:
    """Where the texts are kept; another one when the task's code has changed."""
    digest = hashlib.sha256(json.dumps([self._lengths, *map(_code, self._steps)]).encode())
    return files.cache_folder() / 'text_tasks' / f'{self.name}-{digest.hexdigest()[:16]}'

  def num_examples(self, split: str) -> int:
    """The number of examples."""
    return len(self._opened(split)[0])

  def read(self, split: str, records: Any) -> Any:
    """The stored examples of these numbers: object array of bytes."""
    return stream.objects(self._opened(split)[0].__getitems__(records))

  def decode(self, split: str, stored: tf.Tensor) -> dict[str, tf.Tensor]:
    """One stored example -> its fields."""
    specs = self._opened(split)[1]
    features = dict.fromkeys(specs, tf.io.FixedLenFeature([], tf.string))
    parsed = tf.io.parse_single_example(stored, features)
    return {
      name: tf.ensure_shape(tf.io.parse_tensor(parsed[name], dtype), shape)
      for name, (dtype, shape) in specs.items()
    }

  @functools.lru_cache(maxsize=8)  # noqa: B019  a source lives as long as its task
  def _opened(self, split: str) -> tuple[record_files.RecordFiles, dict[str, tuple[str, list]]]:
    """The records of a split, and dtype and shape of their fields."""
    path = self.folder / f'{self._known(split)}.tfrecord'
    if not path.exists():
      self._keep(split, path)
    specs = json.loads(path.with_suffix('.json').read_text(encoding='utf-8'))
    return record_files.RecordFiles([(str(path), 0, None)], record_files.scan_tfrecord), specs

  def _keep(self, split: str, path: pathlib.Path) -> None:
    logging.info('Reading the split %s of %s once, into %s.', split, self.name, path)
    records = self._task.source.get_dataset(split=split, shuffle=False, num_epochs=1)
    texts = _run(records, task=self._task, steps=self._steps, lengths=self._lengths)
    texts = _to_texts(texts, task=self._task)
    specs = {k: (v.dtype.name, v.shape.as_list()) for k, v in texts.element_spec.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix('.json').write_text(json.dumps(specs), encoding='utf-8')
    partial = path.with_name(f'{path.name}.{os.getpid()}')
    with tf.io.TFRecordWriter(str(partial)) as writer:
      for ex in texts.map(_serialized).as_numpy_iterator():
        writer.write(_example(ex))
    os.replace(partial, path)


@tf.autograph.experimental.do_not_convert
def _serialized(ex: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
  return {name: tf.io.serialize_tensor(value) for name, value in ex.items()}


def _example(fields: Mapping[str, bytes]) -> bytes:
  """A serialized tf.train.Example of strings."""
  lists = {name: tf.train.BytesList(value=[value]) for name, value in fields.items()}
  features = {name: tf.train.Feature(bytes_list=value) for name, value in lists.items()}
  return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _code(preprocessor: Callable[..., Any]) -> str:
  """What tells one preprocessor from another: its source and its arguments."""
  arguments = ''
  while isinstance(preprocessor, functools.partial):
    arguments += repr((preprocessor.args, sorted(preprocessor.keywords.items())))
    preprocessor = preprocessor.func
  try:
    return inspect.getsource(preprocessor) + arguments
  except (OSError, TypeError):  # written in a console, or no function
    return f'{preprocessor!r}'.partition(' at 0x')[0] + arguments
