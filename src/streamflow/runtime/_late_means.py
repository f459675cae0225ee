"""An event loop of asyncio that asks the system for the means of waiting when it has to wait for the first time.

Above: `_backend`, which makes one for each blocking call. Below: the event loop, whose private parts are named here alone.

A selector, and the two sockets by which another thread wakes it, are a fifth of what a short blocking call costs, and a run that
finds all that it reads waits for nothing. Rules:

1. *Looking without waiting needs neither*: nothing is registered yet, so nothing can have come.
2. *Whoever registers something, or waits, gets both first*; so does who wants to hear of signals.
3. *Another thread cannot be missed*: it puts its call into the loop and then looks for a socket, the loop makes the socket and then
   looks for calls, so one of the two finds what the other has done.
"""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING, Any, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LateMeans"]

Ts = TypeVarTuple("Ts")


class _NoSelector:
    """Stands for the selector of a loop that has none yet."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return what has come; wait for it only with a selector."""
        if timeout is not None and timeout <= 0:
            return []
        loop = self._make()
        is_due = bool(loop._ready)  # noqa: SLF001 - called by another thread before there was a socket
        found: list[Any] = loop._selector.select(0 if is_due else timeout)  # noqa: SLF001
        return found

    def close(self) -> None:
        """Do nothing: there is none."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make()._selector, name)  # noqa: SLF001 - whatever else is asked for, a selector has it


class LateMeans:
    """The part of an event loop that waits, to be put before a selector loop of asyncio."""

    # Until there are any: asyncio looks at them from other threads, and finds that there is no one to wake.
    _ssock: Any = None
    _csock: Any = None
    _selector: Any

    def __init__(self) -> None:
        parts: Any = super()
        parts.__init__(_NoSelector(self._have_means))

    def _have_means(self) -> Any:
        """Have a selector, and sockets that wake it."""
        if self._ssock is None:
            self._selector = selectors.DefaultSelector()
            parts: Any = super()
            parts._make_self_pipe()  # noqa: SLF001
        return self

    def _make_self_pipe(self) -> None:
        """Leave it until somebody waits."""

    def _close_self_pipe(self) -> None:
        if self._ssock is not None:
            parts: Any = super()
            parts._close_self_pipe()  # noqa: SLF001

    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Hear of a signal, which the system tells by a socket."""
        self._have_means()
        parts: Any = super()
        parts.add_signal_handler(sig, callback, *args)
