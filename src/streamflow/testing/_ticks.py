"""Cancel a scenario at one turn of the asyncio event loop. Its trio counterpart is in `_trio`.

Above: `_sweep`. Below: the running asyncio loop. On a `VirtualEventLoop` the count stands still while nothing can run.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from ._virtual_loop import VirtualEventLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["AsyncioInjector", "Injector"]

T = TypeVar("T")


class Injector(Protocol):
    """Runs a scenario once and cancels it at one tick."""

    fired: bool
    delivered: bool

    async def drive(self, scenario: Callable[[], Awaitable[T]]) -> T:
        """Run the scenario in the calling task."""
        ...


class AsyncioInjector:
    """Calls `fire` in one turn of the event loop while it drives a scenario in the calling task.

    Args:
        tick: 0 fires before the scenario starts, n in the n-th turn after that.
        fire: Cancels the scenario.
    """

    def __init__(self, tick: int, fire: Callable[[], object]) -> None:
        self._turns_left = tick
        self._fire = fire
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None
        self.fired = False
        """Whether the scenario was cancelled before it ended."""
        self.delivered = False
        """Whether the scenario's own task was made to raise the cancellation, and never took it back."""

    async def drive(self, scenario: Callable[[], Awaitable[T]]) -> T:
        """Run the scenario. Cancellation: it is passed to the scenario."""
        task = cast("asyncio.Task[object]", asyncio.current_task())
        pending = task.cancelling()
        if self._turns_left == 0:
            self._fire_now()
        else:
            self._handle = self._loop.call_soon(self._turn)
        try:
            value = await scenario()
        finally:
            if self._handle is not None:
                self._handle.cancel()
        # Whoever catches the cancellation as its owner calls `uncancel`; what is left here was swallowed, or has not been
        # raised yet, because the scenario never suspended after it.
        self.delivered = task.cancelling() > pending and not getattr(task, "_must_cancel", False)
        return value

    def _turn(self) -> None:
        self._turns_left -= 1
        if self._turns_left == 0:
            self._fire_now()
        elif isinstance(self._loop, VirtualEventLoop) and self._loop.is_quiet():
            # `call_soon` would keep the loop awake for ever, and the clock would never jump.
            self._handle = self._loop.call_next_turn(self._turn)
        else:
            self._handle = self._loop.call_soon(self._turn)

    def _fire_now(self) -> None:
        self._handle = None
        self.fired = True
        self._fire()
