"""How a run's sources feed its first edges: from a task, or, where none is needed, pulled by who reads the edge.

Above: `_engine`. Below: `channels` (how an edge is filled), `_jobs`.

A source that is not async cannot wait, so nothing goes on beside it, and a task of its own is nothing but two task switches for
each time that its edge is full. It is pulled where one stage reads one plain edge. In front of a merge, and where it is measured
how long a source waits, it has a task.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from ..channels import driven, is_plain_edge, pull_into, pull_when_asked
from ..stages import as_element, close_source, feed
from ._jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from contextvars import Context

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import StreamElement

__all__ = ["PulledSource", "feeder_of"]


def feeder_of(
    source: Iterable[StreamElement | str] | AsyncIterable[StreamElement | str],
    ends: tuple[SendEnd[StreamElement], ReceiveEnd[StreamElement]],
    *,
    name: str,
    ended: Callable[[Job, BaseException | None], None],
    context: Context,
    may_be_pulled: bool,
) -> Job:
    """Return the task of a source, or what stands for it.

    Args:
        source: What to iterate.
        ends: The two ends of the edge that it feeds.
        name: What it is called in reports.
        ended: Told when it has ended, and with what.
        context: What it sees.
        may_be_pulled: Whether one stage reads that edge, and nothing else.
    """
    if may_be_pulled and not isinstance(source, AsyncIterable) and all(is_plain_edge(one) for one in ends):
        return PulledSource(name, source, ends, ended, context)
    work: Callable[[], Coroutine[Any, Any, None]] = partial(feed, source, ends[0])
    if may_be_pulled and all(is_plain_edge(one) for one in ends):
        work = partial(driven, work, ends[1])
    feeder = Job(name, work, ended, context)
    feeder.instead = partial(close_source, source)
    return feeder


class PulledSource(Job):
    """What stands for the task of a source that has none.

    Args:
        name: What it is called in reports.
        source: What to iterate.
        ends: The two ends of the edge that it feeds.
        ended: Told when it has ended, and with what.
        context: What it sees.
    """

    weight: int = 0
    hears: Callable[[float], None] | None = None
    """Called whenever it has given something, with when it began to; None: nobody wants to know."""

    def __init__(
        self,
        name: str,
        source: Iterable[StreamElement | str],
        ends: tuple[SendEnd[StreamElement], ReceiveEnd[StreamElement]],
        ended: Callable[[Job, BaseException | None], None],
        context: Context,
    ) -> None:
        super().__init__(name, _nothing, ended, context)
        self._source = source
        self._writer, self._reader = ends
        self._items: Any = None
        self._hand: tuple[
            StreamElement | str, ...
        ] = ()  # what it has given beyond the room, as a source with a task has one
        self._is_pulling = False
        pull_when_asked(self._reader, self._pull)

    def cancel(self) -> None:
        """End the source: it is closed, at once or when it has given what it is about to give. Idempotent."""
        if not self.cancel_requested:
            self.cancel_requested = True
            if not self._is_pulling:
                self._end(None)

    def _pull(self) -> None:
        self._is_pulling = True
        meter = self.meter
        began = 0.0 if meter is None else meter.now()
        error: BaseException | None = None
        may_come = False
        try:
            may_come = self._context.run(self._fill)
        except BaseException as caught:  # noqa: BLE001 - handed to the run, which decides who raises it
            error = caught
        self._is_pulling = False
        if self.hears is not None:
            self.hears(began)
        try:
            if not may_come or self.cancel_requested:
                self._end(error)
        finally:
            del error  # its traceback holds this frame

    def _fill(self) -> bool:
        if self._items is None:
            self._items = iter(self._source)
        if not pull_into(self._writer, chain(self._hand, self._items), as_element):
            return False
        self._hand = tuple(islice(self._items, 1))  # its end is known with its last element
        return bool(self._hand)

    def _end(self, error: BaseException | None) -> None:
        pull_when_asked(self._reader, None)
        if self.meter is not None:
            self.meter.end(self)
        try:
            if inspect.isgenerator(self._items):
                self._context.run(self._items.close)
        except BaseException as caught:  # noqa: BLE001 - as above
            error = caught
        ended = self._ended
        # What it was made of knows it in turn: nothing of that may be left waiting for the garbage collector.
        del (
            self._work,
            self._ended,
            self._about,
            self._context,
            self._source,
            self._items,
            self._hand,
            self._writer,
            self._reader,
        )
        try:
            ended(self, error)
        finally:
            del error


async def _nothing() -> None:
    return None
