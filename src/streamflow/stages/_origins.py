"""Sources that are there already: the clock and queues. Files and programs are in `_line_origins`.

Above: users. Below: `_contract`, `_deadlines`.
Rules: each is a stage that generates, for the head of a graph, and an async iterable, for `execute()`. It is a blueprint like every
stage: each run, and each `async for`, begins anew.
"""

from __future__ import annotations

import abc
import functools
import inspect
import math
import queue
from typing import TYPE_CHECKING, Final, Protocol, cast

import anyio
import anyio.to_thread

from ..elements import DataElement, StreamElement, TextElement
from ..errors import ElementError
from ._checks import checked_count
from ._contract import BaseStage, StageKind, definition_error
from ._deadlines import checked_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from ._admission import Accepts

__all__ = ["AsyncQueue", "BlockingQueue", "IntervalSource", "Origin", "QueueSource"]

_POLL_S: Final = 0.1
"""How long a thread waits in a blocking queue before it looks whether it is still wanted, in seconds."""


class Origin(BaseStage, abc.ABC):
    """What all sources of the library are: a stage that generates, and an async iterable for `execute()`."""

    kind: StageKind = StageKind.GENERATE

    @abc.abstractmethod
    def process(self) -> AsyncGenerator[StreamElement, None]:
        """Generate the elements of one run."""

    def __aiter__(self) -> AsyncGenerator[StreamElement, None]:  # noqa: PYI058 - who leaves it early has to close it
        """Begin anew. Close what this returns if you leave it early, as `contextlib.aclosing()` does; runs do."""
        return self.process()


class IntervalSource(Origin):
    """Send an element at once and then every `period_s`, by the event loop's clock.

    The times are the beginning plus whole periods, so they do not drift, however long each step takes. When the rest of the graph
    is slow and a time passes before its element could be sent, that one is left out; the next comes at its own time.

    ```python
    IntervalSource(60, make=lambda number: TextElement("ping"))
    ```

    Flow:
        emits: at each time that has not been missed.
        backpressures: while the output is full; holds one element.
        completes: after `count` elements; never without.
        fails: with what `make` raises.

    Args:
        period_s: Seconds between two elements.
        count: How many elements are sent, from 1 up; None: no end.
        make: Given the number of periods since the beginning, from 0 on, returns the element; numbers of missed times are left out.
            Default: `DataElement("interval", number)`.
        name: Name in the graph.

    Raises:
        ConfigError: If `period_s` or `count` is wrong.
        StageDefinitionError: If `make` is no function.
    """

    def __init__(
        self,
        period_s: float,
        *,
        count: int | None = None,
        make: Callable[[int], StreamElement] | None = None,
        name: str = "interval",
    ) -> None:
        super().__init__(name)
        self._period_s = checked_seconds(period_s, "period_s", self.name)
        self._count = math.inf if count is None else checked_count(count, "count", self.name)
        if make is not None and not callable(cast("object", make)):
            message = f"stage {self.name!r}: make={make!r:.80} is no function"
            raise definition_error(self.name, message, "give a function of a number that returns an element")
        self._make = make if make is not None else functools.partial(DataElement, "interval")
        self.emits: Accepts | None = DataElement if make is None else None

    async def process(self) -> AsyncGenerator[StreamElement, None]:
        """Generate the elements of one run."""
        begun = anyio.current_time()
        number = sent = 0
        while sent < self._count:
            await anyio.sleep_until(begun + number * self._period_s)
            yield self._make(number)
            sent += 1
            number = max(number + 1, math.ceil((anyio.current_time() - begun) / self._period_s))


_SHUT_DOWN: Final = {"ShutDown", "QueueShutDown"}
"""What Python's queues raise once they have been shut down, from 3.13 on: two classes, one of them in asyncio."""


class AsyncQueue(Protocol):
    """A queue whose `get()` is async, as `asyncio.Queue`."""

    def get(self) -> Awaitable[object]:
        """Wait for the next item and take it."""
        ...


class BlockingQueue(Protocol):
    """A queue whose `get()` blocks, as `queue.Queue` and `multiprocessing.Queue`; it raises `queue.Empty` after `timeout`."""

    def get(self, block: bool = ..., timeout: float | None = ..., /) -> object:
        """Wait for the next item and take it."""
        ...


class QueueSource(Origin):
    """Send what is put into a queue of yours, until its sentinel comes.

    A blocking queue is read in a worker thread. Runs share the queue: each item goes to one of them.

    Out: the elements that are in the queue; strings become `TextElement`.

    Flow:
        emits: each item.
        backpressures: while the output is full; then nothing is taken from the queue; holds one item.
        completes: with the sentinel, or when the queue has been shut down and is empty (Python 3.13).
        fails: with what `get()` raises; `ElementError` if an item is no element.
        cancels: at once, also while a thread waits in the queue. That thread ends within 0.1 s; an item that it still takes is
            lost, as is all that the run holds.

    Args:
        queue: Has `get()`: async as that of `asyncio.Queue`, or with `timeout=` as that of `queue.Queue`.
        sentinel: The object, this very one, that ends the stream. Default None.
        name: Name in the graph.

    Raises:
        StageDefinitionError: If `queue` is none.
    """

    def __init__(self, queue: AsyncQueue | BlockingQueue, *, sentinel: object = None, name: str = "queue") -> None:
        super().__init__(name)
        if not callable(getattr(queue, "get", None)) or isinstance(cast("object", queue), type):
            message = f"stage {self.name!r}: {queue!r:.80} ({type(queue).__name__}) has no get()"
            raise definition_error(self.name, message, "give an asyncio.Queue, or a queue.Queue")
        self._queue = queue
        self._sentinel = sentinel

    async def process(self) -> AsyncGenerator[StreamElement, None]:
        """Generate the elements of one run."""
        get = self._queue.get if inspect.iscoroutinefunction(self._queue.get) else _in_thread(self._queue)
        while True:
            try:
                item = await get()
            except Exception as error:
                if type(error).__name__ in _SHUT_DOWN:
                    return
                raise
            if item is self._sentinel:
                return
            if isinstance(item, StreamElement):
                yield item
            elif isinstance(item, str):
                yield TextElement(item)
            else:
                what = f"{item!r:.80} ({type(item).__name__})"
                message = (
                    f"stage {self.name!r}: the queue gave {what}, which is no element; put elements into it, or text"
                )
                raise ElementError(f"{message}, and {self._sentinel!r:.80} as the end")


def _in_thread(blocking: object) -> Callable[[], Awaitable[object]]:
    """Return an async form of a blocking `get()`."""
    # Its own limit: threads that wait for a queue must not keep those waiting that have something to do.
    limiter = anyio.CapacityLimiter(1)
    get = functools.partial(cast("queue.Queue[object]", blocking).get, timeout=_POLL_S)

    async def get_in_thread() -> object:
        while True:
            try:
                return await anyio.to_thread.run_sync(get, abandon_on_cancel=True, limiter=limiter)
            except queue.Empty:
                continue

    return get_in_thread
