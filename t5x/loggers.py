"""Where numbers go: console, JSON lines, TensorBoard, Weights & Biases.

A logger takes `write(collection, step, values)`; a collection is a path like 'train' or
'inference_eval/refcoco_unc'.
"""

import abc
from collections.abc import Mapping, Sequence
import json
import math
import os
import socket
import time
from typing import Any

from absl import logging
import jax


class Logger(abc.ABC):
  """One place that numbers are written to. `close` may be left as it is."""

  @abc.abstractmethod
  def write(self, collection: str, step: int, values: Mapping[str, float]) -> None:
    """Writes scalars.

    Args:
      collection: what they belong to: 'train', 'training_eval/TASK', 'inference_eval/TASK'.
      step: updates made when they were measured.
      values: name -> number.
    """

  def close(self) -> None:  # noqa: B027
    """Everything written is on its way to the reader."""


class ConsoleLogger(Logger):
  """One line of the log a call."""

  def write(self, collection: str, step: int, values: Mapping[str, float]) -> None:
    """See Logger."""
    numbers = ', '.join(f'{name}={value:.4g}' for name, value in sorted(values.items()))
    logging.info('step %d %s: %s', step, collection, numbers)


class JsonLogger(Logger):
  """One JSON object a line, in `metrics.jsonl`: collection, step, time and the numbers.

  A run that is resumed appends, so a step may stand there twice: the later line counts.
  """

  def __init__(self, folder: str):
    """Appends to `folder/metrics.jsonl`."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, 'metrics.jsonl')
    self._file = open(path, 'a', encoding='utf-8')  # noqa: SIM115, open for the whole run

  def write(self, collection: str, step: int, values: Mapping[str, float]) -> None:
    """See Logger. What is not finite becomes null, since JSON knows no nan."""
    numbers = {
      name: float(value) if math.isfinite(value) else None for name, value in values.items()
    }
    row = {'collection': collection, 'step': step, 'time': time.time(), 'values': numbers}
    self._file.write(json.dumps(row) + '\n')
    self._file.flush()

  def close(self) -> None:
    """See Logger."""
    self._file.close()


class TensorBoardLogger(Logger):
  """Event files, a folder for each collection, written without TensorFlow."""

  def __init__(self, folder: str):
    """Writes below `folder`. The `tensorboard` package is loaded here."""
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer import record_writer

    self._event, self._summary = event_pb2.Event, summary_pb2.Summary
    self._record_writer = record_writer.RecordWriter
    self._folder, self._writers = folder, {}

  def write(self, collection: str, step: int, values: Mapping[str, float]) -> None:
    """See Logger."""
    points = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    writer = self._writer(collection)
    event = self._event(wall_time=time.time(), step=step, summary=self._summary(value=points))
    writer.write(event.SerializeToString())
    writer.flush()

  def close(self) -> None:
    """See Logger."""
    for writer in self._writers.values():
      writer.close()
    self._writers = {}

  def _writer(self, collection: str) -> Any:
    if collection not in self._writers:
      folder = os.path.join(self._folder, collection)
      os.makedirs(folder, exist_ok=True)
      now = time.time()
      name = f'events.out.tfevents.{now:.6f}.{socket.gethostname()}.{os.getpid()}'
      file = open(os.path.join(folder, name), 'wb')  # noqa: SIM115, open for the whole run
      writer = self._record_writer(file)
      writer.write(self._event(wall_time=now, file_version='brain.Event:2').SerializeToString())
      self._writers[collection] = writer
    return self._writers[collection]


class WandbLogger(Logger):
  """Weights & Biases; a key has one slash there, the rest of the path is joined by '--'."""

  def __init__(self, **settings: Any):
    """Starts a run unless one is open; `settings` are those of `wandb.init`."""
    import wandb

    self._run = wandb.run or wandb.init(**settings)

  def write(self, collection: str, step: int, values: Mapping[str, float]) -> None:
    """See Logger."""
    self._run.log({self.key(f'{collection}/{name}'): v for name, v in values.items()}, step=step)

  def close(self) -> None:
    """See Logger."""
    self._run.finish()

  @staticmethod
  def key(path: str) -> str:
    """'training_eval/refcoco_unc/text/loss' -> 'training_eval/refcoco_unc/text--loss'."""
    first, *second, rest = path.split('/', 2)
    return '/'.join([first, *second, rest.replace('/', '--')])


class Loggers(Logger):
  """Several loggers as one."""

  def __init__(self, loggers: Sequence[Logger]):
    """Takes the loggers, which are closed with this one."""
    self.loggers = tuple(loggers)

  def write(self, collection: str, step: int, values: Mapping[str, float]) -> None:
    """See Logger."""
    for logger in self.loggers:
      logger.write(collection, step, values)

  def close(self) -> None:
    """See Logger."""
    for logger in self.loggers:
      logger.close()

  def __enter__(self) -> 'Loggers':
    return self

  def __exit__(self, *error: Any) -> None:
    self.close()


def default_loggers(
  folder: str, *, use_wandb: bool = False, further: Sequence[Logger] = ()
) -> Loggers:
  """Console, JSON lines and TensorBoard in `folder`, W&B if asked for, and what else is given.

  Of several processes of a run only the first writes.
  """
  if jax.process_index():
    return Loggers(list(further))
  wandb = [WandbLogger()] if use_wandb else []
  return Loggers([ConsoleLogger(), JsonLogger(folder), TensorBoardLogger(folder), *wandb, *further])
