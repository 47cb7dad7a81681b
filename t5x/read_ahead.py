"""An iterator whose next elements are made in a thread of their own."""

from collections.abc import Generator
import queue
import threading
from typing import Any
import weakref


class ReadAhead:
  """What a generator yields, the next few made before they are asked for.

  The thread ends with `close`, with the iterator itself, or before Python does.
  """

  def __init__(self, elements: Generator[Any, None, None], ahead: int):
    """Begins to make `ahead` elements.

    Args:
      elements: must not refer to whoever keeps this iterator, or neither ever ends.
      ahead: how many may wait.
    """
    self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(ahead)
    self._closed = threading.Event()
    thread = threading.Thread(target=_run, args=(elements, self._ready, self._closed), daemon=True)
    thread.start()
    self._stop = weakref.finalize(self, _stop, thread, self._ready, self._closed)

  def __iter__(self) -> 'ReadAhead':
    return self

  def __next__(self) -> Any:
    """The next element; an error of the generator is raised in its turn."""
    if self._closed.is_set():
      raise StopIteration
    element, error = self._ready.get()
    if error is not None:
      self.close()
      raise error
    return element

  def close(self) -> None:
    """Ends the thread, once the element that is being made is there."""
    self._stop()


def _run(elements, ready, closed):
  error: BaseException = StopIteration()
  try:
    for element in elements:
      ready.put((element, None))
      if closed.is_set():
        break
  except BaseException as raised:
    error = raised
  elements.close()
  ready.put((None, error))


def _stop(thread, ready, closed):
  closed.set()
  while thread.is_alive():
    while not ready.empty():  # the thread may wait for room
      ready.get_nowait()
    thread.join(0.01)
