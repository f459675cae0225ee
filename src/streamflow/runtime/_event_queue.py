"""Between a run that never waits for a listener and a listener that may: a queue of events with a bound.

Above: `_reporting` and `_run` (`run.events()`). Below: `channels`, `observe`.

What finds no room is counted, and told as one `EventGap` in the place of all that is missing there. A gap takes no place in the
queue: it is attached to the event behind it, or, when none has come yet, made when the reader has taken everything before it.
How the run ended always finds room: it is the last event, and the one that must not be lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from .. import observe
from ..channels import open_channel

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from ..channels import ReceiveEnd, SendEnd
    from ..observe import AsyncListener, Event, EventGap, Listener

__all__ = ["EventQueue", "deliver"]


class EventQueue:
    """A queue of events: whoever publishes never waits, whoever reads with `async for` is told what it missed.

    Args:
        capacity: Most events that wait, from 1 up; the end of the run is held beyond it.

    Raises:
        ConfigError: If `capacity` is no whole number from 1 up.
    """

    def __init__(self, capacity: int) -> None:
        self._writer: SendEnd[tuple[EventGap | None, Event]]
        self._reader: ReceiveEnd[tuple[EventGap | None, Event]]
        self._writer, self._reader = open_channel(capacity, name="events")
        self._gap: EventGap | None = None  # behind everything that is in the channel
        self._behind_gap: Event | None = None  # taken out of the channel; the gap before it has been told

    def publish(self, event: Event) -> None:
        """Put `event` at the end, or count it as missed; `PipelineEnded` also closes the queue.

        Never waits, never raises; does nothing once the queue is closed.
        """
        if not self._writer.is_open:
            return
        if isinstance(event, observe.PipelineEnded):
            self._writer.close_with((self._gap, event))
            self._gap = None
            return
        try:
            self._writer.send_nowait((self._gap, event))
        except anyio.WouldBlock:
            first, missed = (event, 0) if self._gap is None else (self._gap, self._gap.missed)
            self._gap = observe.EventGap(run_id=first.run_id, at_s=first.at_s, missed=missed + 1)
        else:
            self._gap = None

    def close(self) -> None:
        """End the queue: the reader gets what is in it, then its end. Idempotent, never raises."""
        self._writer.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Take the next event, waiting while there is none.

        Cancellation: suspends only when it has to wait. When it raises, nothing was taken.

        Raises:
            StopAsyncIteration: At the end.
            ChannelBusyError: If another task is waiting here.
        """
        if self._behind_gap is not None:
            event, self._behind_gap = self._behind_gap, None
            return event
        if self._gap is not None and not self._reader.backlog:
            last_gap, self._gap = self._gap, None
            return last_gap
        gap, event = await self._reader.__anext__()
        if gap is None:
            return event
        self._behind_gap = event
        return gap


async def deliver(queue: EventQueue, listener: AsyncListener, complain: Callable[[Listener, Event], None]) -> None:
    """Call `listener` with each event of `queue`, one after the other, until the queue has ended.

    Args:
        queue: What it reads.
        listener: Called and awaited with each event. What it raises changes nothing, it goes on being called.
        complain: Called with the listener and the event while an exception is being handled: `EventBus.complain`.

    Cancellation: the event in hand may have been heard in part; those behind it stay in the queue.
    """
    async for event in queue:
        try:
            await listener(event)
        except Exception:  # noqa: BLE001 - whatever a listener raises, the run goes on
            complain(listener, event)
