"""What happens between steps: progress, reports, evaluation, profiles."""

from collections import deque
from collections.abc import Callable, Mapping
import datetime
import sys
import time
from typing import IO

from absl import logging
import jax

from t5x import metrics as metrics_lib
from t5x.array_types import Metrics, PyTree
from t5x.loggers import Logger
from t5x.train_state import TrainState
from t5x.trainer import NOT_FINITE

_MERGED_AT_ONCE = 128  # steps whose metrics may wait on the device


class Hook:
  """Called after every step; does nothing unless overridden."""

  def after_step(self, step: int, state: TrainState, metrics: Metrics) -> None:
    """Sees `step` updates made, the state after the last, and its metrics on the device."""

  def close(self) -> None:
    """The run ends, by success or error."""


class StatsHook(Hook):
  """Adds metrics up on the device and writes them every `period` steps, without waiting.

  The numbers of a window are fetched while the step after it runs.
  """

  def __init__(
    self, period: int, batch_size: int, log: Logger, *, abort_when_not_finite: bool = True
  ):
    """Takes the steps between reports, the rows of a batch, and where to write."""
    self.period, self.batch_size, self.log = period, batch_size, log
    self.abort = abort_when_not_finite
    self._merge_all = jax.jit(metrics_lib.merge_all)
    self._window: list[Metrics] = []
    self._first = self._last = 0
    self._waiting: tuple[int, int, list[Metrics], float] | None = None
    self._notes: dict[str, float] = {}
    self._start = self._since = time.monotonic()

  def after_step(self, step: int, state: TrainState, metrics: Metrics) -> None:
    """Adds a step; the last window, if one is ready, is written."""
    self._write_waiting()
    if not self._window:
      self._first = step
    self._window.append(metrics)
    # Seldom, because on CPU a call waits for the steps it adds up, and the next is not prepared.
    if len(self._window) == _MERGED_AT_ONCE:
      self._window = [self._merge_all(self._window)]
    self._last = step
    if step % self.period == 0:
      self._hand_over()

  def note(self, name: str, value: float) -> None:
    """A number of the host's own that goes into the next report."""
    self._notes[name] = value

  def leave_out(self, seconds: float) -> None:
    """Time that went into evaluation and the like does not count in the speed."""
    self._since += seconds

  def check(self) -> None:
    """Waits for every step so far; raises FloatingPointError if one was not finite.

    To be called before a state is saved: what is saved is then known to be sound.
    """
    self._write_waiting()
    if self._window:
      merged = metrics_lib.merge_all(jax.device_get(self._window))
      self._check(self._first, self._last, metrics_lib.compute(merged)[NOT_FINITE])

  def finish(self) -> None:
    """Writes what has been gathered."""
    self._write_waiting()
    if self._window:
      self._hand_over()
      self._write_waiting()

  def _hand_over(self) -> None:
    now = time.monotonic()
    for leaf in jax.tree.leaves(self._window):
      leaf.copy_to_host_async()
    self._waiting = (self._first, self._last, self._window, now - self._since)
    self._window, self._since = [], now

  def _write_waiting(self) -> None:
    if self._waiting is None:
      return
    (first, last, window, seconds), self._waiting = self._waiting, None
    values = metrics_lib.compute(metrics_lib.merge_all(jax.device_get(window)))
    not_finite = values.pop(NOT_FINITE)
    steps = last - first + 1
    values['timing/steps_per_second'] = steps / max(seconds, 1e-9)
    values['timing/examples_per_second'] = steps * self.batch_size / max(seconds, 1e-9)
    values['timing/uptime'] = time.monotonic() - self._start
    values |= self._notes
    self._notes = {}
    self.log.write('train', last, values)
    self._check(first, last, not_finite)

  def _check(self, first: int, last: int, not_finite: float) -> None:
    if not not_finite:
      return
    said = (
      f'loss or gradient was not finite in {not_finite:.0f} of the steps {first} to {last}; the '
      'last checkpoint is from before. Lower the learning rate, lengthen the warmup, or look at '
      'the batches of these steps'
    )
    if self.abort:
      raise FloatingPointError(said + '.')
    logging.warning('%s.', said)


# params, step -> {task: {metric: value}}
Evaluate = Callable[[PyTree, int], Mapping[str, Mapping[str, float]]]


class EvalHook(Hook):
  """Evaluates every `period` steps and at the end, and writes one line a task."""

  def __init__(self, period: int, steps: range, evaluators: Mapping[str, Evaluate], log: Logger):
    """Takes the steps of this run, and {collection to write to: how to evaluate}."""
    self._period, self._last_step = period, steps[-1] if steps else 0
    self._evaluators, self._log = evaluators, log

  def after_step(self, step: int, state: TrainState, metrics: Metrics) -> None:
    """Evaluates if it is time to."""
    if not self._period or (step % self._period and step != self._last_step):
      return
    start = time.monotonic()
    for collection, evaluate in self._evaluators.items():
      for task, values in evaluate(state.params, step).items():
        self._log.write(f'{collection}/{task}', step, values)
    self._log.write('train', step, {'timing/evaluate_seconds': time.monotonic() - start})


class ProfileHook(Hook):
  """Writes a profile of the steps first+1 to last into a folder that TensorBoard reads."""

  def __init__(self, first: int, last: int, folder: str):
    """Takes the steps after which the profile starts and stops."""
    if not 1 <= first < last:
      raise ValueError(
        f'profile_steps=({first}, {last}); give two steps from 1, the smaller one first'
      )
    self.first, self.last, self.folder, self._running = first, last, folder, False

  def after_step(self, step: int, state: TrainState, metrics: Metrics) -> None:
    """Starts or stops."""
    if step == self.first:
      jax.profiler.start_trace(self.folder)
      self._running = True
    elif step == self.last:
      jax.block_until_ready(state.step)
      self.close()

  def close(self) -> None:
    """Stops, if the run ends inside."""
    if self._running:
      jax.profiler.stop_trace()
      self._running = False
      logging.info(
        'Wrote a profile of steps %d to %d to %s.', self.first + 1, self.last, self.folder
      )


class ProgressBar(Hook):
  """Step, loss, examples a second and the time that is left, on one line.

  A terminal gets a line that is redrawn; a file or pipe gets a whole line now and then.
  """

  def __init__(
    self,
    steps: range,
    batch_size: int,
    *,
    stream: IO[str] | None = None,
    seconds_between: float | None = None,
  ):
    """Starts the clock.

    Args:
      steps: those of this run; it may resume one.
      batch_size: rows of a batch.
      stream: stderr when None.
      seconds_between: between two drawings; when None, 0.5 on a terminal and 30 elsewhere.
    """
    self.last_step, self.batch_size = (steps[-1] if steps else 0), batch_size
    self._stream = stream or sys.stderr
    self._terminal = self._stream.isatty()
    self._pause = (0.5 if self._terminal else 30.0) if seconds_between is None else seconds_between
    self._drawn = time.monotonic()
    self._recent = deque([(self._drawn, steps.start - 1)], maxlen=20)  # speed is that of lately
    self._before: Metrics | None = None
    self._width = 0

  def after_step(self, step: int, state: TrainState, metrics: Metrics) -> None:
    """Redraws if it is time to, with the loss of the step before, which is done by now."""
    now = time.monotonic()
    if step == self.last_step or now - self._drawn >= self._pause:
      shown = metrics if self._before is None or step == self.last_step else self._before
      self._recent.append((now, step))
      self._draw(self.line(step, metrics_lib.compute({'loss': shown['loss']})['loss']))
      self._drawn = now
    self._before = metrics

  def close(self) -> None:
    """Leaves the line as it is and goes to the next."""
    if self._terminal and self._width:
      self._stream.write('\n')
      self._stream.flush()

  def line(self, step: int, loss: float) -> str:
    """'step 120/500 [####......] loss 2.31  84.0 examples/s  0:01:15 left'."""
    (start, from_step), (end, _) = self._recent[0], self._recent[-1]
    speed = (step - from_step) / max(end - start, 1e-9)
    left = datetime.timedelta(seconds=round((self.last_step - step) / max(speed, 1e-9)))
    done = round(20 * step / max(self.last_step, 1))
    bar = '#' * done + '.' * (20 - done)
    return (
      f'step {step}/{self.last_step} [{bar}] loss {loss:.3f}  '
      f'{speed * self.batch_size:.1f} examples/s  {left} left'
    )

  def _draw(self, line: str) -> None:
    if self._terminal:
      self._stream.write('\r' + line.ljust(self._width))
      self._width = len(line)
    else:
      self._stream.write(line + '\n')
    self._stream.flush()
