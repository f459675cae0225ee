"""Where tasks of one stage wait for each other, so that their run knows that they wait.

Above: `stages`. Below: `_pulse`, `_wait`.
"""

# ruff: noqa: SLF001 - part of the ends
# pyright: reportPrivateUsage=false
from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Never

from ._wait import waiter_factory

if TYPE_CHECKING:
    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd
    from ._wait import Waiter

__all__ = ["Bell", "count_waits_between"]


def count_waits_between(output: SendEnd[Never], channel: ReceiveEnd[object]) -> None:
    """Have those who wait at a channel between tasks of one stage counted as waiting for another of its tasks.

    Args:
        output: What the stage writes; tells which run it belongs to.
        channel: The reading end of the channel.
    """
    pulse = output._peer._senders_pulse
    if pulse is not None:
        channel._pulse = channel._senders_pulse = pulse
        pulse.between = pulse.between or weakref.WeakSet()
        pulse.between.add(channel)


class Bell:
    """Wakes all who wait for it. Only tasks of one stage ring it, and what happens on its edges.

    Args:
        output: What the stage writes; tells which run it belongs to.
    """

    def __init__(self, output: SendEnd[Never]) -> None:
        self._pulse = output._peer._senders_pulse
        self._waiters: dict[Waiter, None] = {}

    def ring(self) -> None:
        """Let all who wait look again."""
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            self._end_wait(waiter)
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Wait for the next ring. Cancellation: leaves nothing behind."""
        waiter = waiter_factory()()
        self._waiters[waiter] = None
        if self._pulse is not None:
            inner = self._pulse.inner = self._pulse.inner or {}
            inner[waiter] = None
            self._pulse.begin_wait()
        try:
            await waiter
        finally:
            if waiter in self._waiters:  # nobody has woken it
                del self._waiters[waiter]
                self._end_wait(waiter)

    def _end_wait(self, waiter: Waiter) -> None:
        if self._pulse is not None and self._pulse.inner is not None:
            self._pulse.inner.pop(waiter, None)
            self._pulse.runnable += 1
