"""What leaves the process: handed to a thread through a bounded queue, so that no disk and no server holds up a run.

Above: `_trace_perfetto`, `_trace_otel`. Below: nothing.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Outbox"]

T = TypeVar("T")

_log = logging.getLogger("streamflow.observe")

_END: Final = object()


class Outbox(Generic[T]):
    """A queue with a thread behind it. Putting into it never waits; what does not fit is dropped and counted.

    Args:
        work: Called in the thread with what there is, at most `batch` at a time. What it raises is logged once, and its items count
            as failed.
        most: Most items that wait.
        batch: Most items that are worked on at a time.
        name: Name of the thread.
    """

    def __init__(self, work: Callable[[list[T]], None], *, most: int, batch: int, name: str) -> None:
        self.dropped: int = 0
        """Items for which there was no room."""
        self.failed: int = 0
        """Items that could not be dealt with."""
        self.done: int = 0
        """Items that were dealt with."""
        self._work = work
        self._most = most
        self._batch = batch
        self._queue: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._is_closed = False
        self._has_complained = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Put an item in, if there is room."""
        if self._is_closed or self._queue.qsize() >= self._most:
            self.dropped += 1
        else:
            self._queue.put(item)

    def close(self, timeout_s: float) -> bool:
        """Take nothing more, and wait until all is dealt with, or time is up; say whether it is. Blocks. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._queue.put(_END)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            items: list[T] = []
            is_over = self._collect(items)
            if items:
                self._deal_with(items)

    def _collect(self, items: list[T]) -> bool:
        """Wait for an item, take those that are there, and say whether the last one has come."""
        item = self._queue.get()
        while item is not _END:
            items.append(item)  # type: ignore[arg-type]  # what is put in is a T
            if len(items) >= self._batch:
                return False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return False
        return True

    def _deal_with(self, items: list[T]) -> None:
        try:
            self._work(items)
        except Exception:  # noqa: BLE001 - whatever it is, nobody is held up by it
            self.failed += len(items)
            if not self._has_complained:
                self._has_complained = True
                _log.exception("%s: failed; told once", self._thread.name)
        else:
            self.done += len(items)
