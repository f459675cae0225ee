"""How a run's sources feed its first edges: from a task, or, where none is needed, pulled by who reads the edge.

Above: `_engine`. Below: `channels` (how an edge is filled), `_jobs`.

A source that is not async cannot wait, so nothing goes on beside it, and a task of its own is nothing but two task switches for
each time that its edge is full. It is pulled where one stage reads one plain edge. In front of a merge, and where it is measured
how long a source waits, it has a task. So has one that is async; where it would be pulled by a chain, it has that go on before it
waits.
"""

from __future__ import annotations

from itertools import chain
from types import GeneratorType
from typing import TYPE_CHECKING, Any, cast

from ..channels import driven, has_lanes, pull_into, pull_into_lanes, pull_when_asked
from ..stages import as_element, close_source, feed, is_async
from ._jobs import Job
from ._task_meter import as_coroutine

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
    from contextvars import Context
    from typing import TypeAlias

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import StreamElement

    _Source: TypeAlias = Iterable[StreamElement | str] | AsyncIterable[StreamElement | str]

__all__ = ["PulledSource", "feeder_of"]


def feeder_of(  # noqa: PLR0917 - once for each run
    source: _Source,
    ends: tuple[SendEnd[StreamElement], ReceiveEnd[object]],
    name: str,
    head: str,
    ended: Callable[[str, Job, BaseException | None], None],
    context: Context,
    *,
    may_be_pulled: bool,
    may_be_driven: bool,
) -> Job:
    """Return the task of a source, or what stands for it.

    Args:
        source: What to iterate.
        ends: The two ends of the edge that it feeds.
        name: What it is called in reports.
        head: The stage that it feeds.
        ended: Told, with that, when it has ended, and with what.
        context: What it sees.
        may_be_pulled: Whether one stage reads that edge, and nothing else, and it is a quick one.
        may_be_driven: Whether that is the first one of a chain, and the edge is plain.
    """
    work = _feed
    if may_be_pulled:
        if not is_async(source):
            pulled = LanedSource if has_lanes(ends[0]) else PulledSource
            return pulled(name, cast("Iterable[StreamElement | str]", source), ends, ended, context, about=(head,))
        if may_be_driven:
            work = _feed_driven
    feeder = Job(name, work, ended, context, (head, source, ends[0]))
    feeder.instead = _close
    return feeder


def _feed(_head: str, source: _Source, output: SendEnd[StreamElement]) -> Awaitable[None]:
    return feed(source, output)


def _feed_driven(_head: str, source: _Source, output: SendEnd[StreamElement]) -> Awaitable[None]:
    return driven(as_coroutine(feed(source, output)), output)


def _close(_head: str, source: _Source, _output: SendEnd[StreamElement]) -> Awaitable[None]:
    return close_source(source)


class PulledSource(Job):
    """What stands for the task of a source that has none.

    Args:
        name: What it is called in reports.
        source: What to iterate.
        ends: The two ends of the edge that it feeds.
        ended: Told when it has ended, and with what.
        context: What it sees.
        about: What that is called with first.
    """

    weight: int = 0
    hears: Callable[[float], None] | None = None
    """Called whenever it has given something, with when it began to; None: nobody wants to know."""

    def __init__(
        self,
        name: str,
        source: Iterable[StreamElement | str],
        ends: tuple[SendEnd[StreamElement], ReceiveEnd[object]],
        ended: Callable[..., None],
        context: Context,
        *,
        about: tuple[str],
    ) -> None:
        super().__init__(name, _nothing, ended, context, about)
        self._source = source
        self._writer: Any = ends[0]
        self._reader = ends[1]
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
        items = chain(self._hand, self._items) if self._hand else self._items
        if not self._pull_from(items):
            return False
        for item in self._items:  # its end is known with its last element
            self._hand = (item,)
            return True
        return False

    def _pull_from(self, items: Iterator[Any]) -> bool:
        return pull_into(self._writer, items, as_element)

    def _end(self, error: BaseException | None) -> None:
        pull_when_asked(self._reader, None)
        if self.meter is not None:
            self.meter.end(self)
        try:
            if isinstance(self._items, GeneratorType):
                self._context.run(self._items.close)  # pyright: ignore[reportUnknownMemberType]
        except BaseException as caught:  # noqa: BLE001 - as above
            error = caught
        ended, about = self._ended, self._about
        self._forget()
        del self._source, self._items, self._hand, self._writer, self._reader
        try:
            ended(*about, self, error)
        finally:
            del error


class LanedSource(PulledSource):
    """The same for an edge with priority lanes: what is in its hand enters if its lane has a place, as that of a task would."""

    def _fill(self) -> bool:
        while super()._fill():
            (item,) = self._hand
            if not self._writer.fits_beside(as_element(item)):
                return True
        return False

    def _pull_from(self, items: Iterator[Any]) -> bool:
        return pull_into_lanes(self._writer, items, as_element)


async def _nothing() -> None:
    return None
