"""Who writes the shards: processes of this machine, or the workers of an Apache Beam runner."""

from collections.abc import Callable, Iterator, Sequence
import concurrent.futures
import dataclasses
import importlib
import time
from typing import Protocol

from create_data import common

_POLL_SECONDS = 0.3


class Execution(Protocol):
  """Calls a function once for each name."""

  def __call__(
    self, function: Callable[[str], None], names: Sequence[str], is_done: Callable[[str], bool]
  ) -> Iterator[str]:
    """Yields each name when `function(name)` has ended, in any order.

    Args:
      function: may run in another process or on another machine; may run twice.
      names: to call it with.
      is_done: whether a name's result is there.
    """


@dataclasses.dataclass(frozen=True)
class Processes:
  """So many processes of this machine."""

  workers: int = 1

  def __call__(
    self, function: Callable[[str], None], names: Sequence[str], is_done: Callable[[str], bool]
  ) -> Iterator[str]:
    """See `Execution`."""
    del is_done
    with common.workers(min(self.workers, max(1, len(names)))) as run:
      for name, _ in zip(names, run(function, names), strict=True):
        yield name


ONE_PROCESS = Processes()


@dataclasses.dataclass(frozen=True)
class Beam:
  """A pipeline of Apache Beam; its workers see the folders under the same paths.

  Attributes:
    options: Beam's own flags, such as '--runner=FlinkRunner'.
  """

  options: tuple[str, ...]

  def __call__(
    self, function: Callable[[str], None], names: Sequence[str], is_done: Callable[[str], bool]
  ) -> Iterator[str]:
    """See `Execution`. What is done is seen by its file, which every runner writes."""
    beam = _import('apache_beam')
    options = _import('apache_beam.options.pipeline_options').PipelineOptions(list(self.options))

    def run() -> None:
      with beam.Pipeline(options=options) as pipeline:
        _ = pipeline | beam.Create(list(names), reshuffle=True) | beam.Map(function)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
      running, waiting = pool.submit(run), list(names)
      while waiting:
        has_ended = running.done()
        for name in [name for name in waiting if is_done(name)]:
          waiting.remove(name)
          yield name
        if has_ended and waiting:
          raise ChildProcessError(f'Beam did not write {waiting}') from running.exception()
        time.sleep(_POLL_SECONDS)


def _import(name):
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ImportError(
      'Apache Beam is not installed; install this package with the extra [data-beam]'
    ) from error
