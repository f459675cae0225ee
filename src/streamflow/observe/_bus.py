"""Who listens, and how an event gets there.

Above: `runtime`, which has one bus for each run. Below: `_events`.
A listener cannot change the data flow: it runs inline, and what it raises is logged once and forgotten.
"""

from __future__ import annotations

import functools
import inspect
import logging
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ._events import Event

__all__ = ["AsyncListener", "EventBus", "Listener", "is_async_listener"]

Listener: TypeAlias = "Callable[[Event], object]"
"""What is called with each event, inline: it cannot wait."""

AsyncListener: TypeAlias = "Callable[[Event], Awaitable[object]]"
"""What is called and awaited with each event, in a task of its own."""

_log = logging.getLogger("streamflow.observe")


class EventBus:
    """Hand the events of one run to listeners, inline and in order.

    Args:
        listeners: Called with each event, in this order. One that raises is logged the first time, and goes on being called.
    """

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self._listeners = tuple(listeners)
        self._complained: tuple[object, ...] = ()

    @property
    def active(self) -> bool:
        """Whether anybody listens. When nobody does, no event need be made."""
        return bool(self._listeners)

    def add(self, listener: Listener) -> None:
        """Let `listener` hear what happens from now on, after those that are there already."""
        self._listeners = (*self._listeners, listener)

    def remove(self, listener: Listener) -> None:
        """Let `listener` hear no more, once for each time that it was added. Does nothing if it is not there."""
        if listener in self._listeners:
            place = self._listeners.index(listener)
            self._listeners = (*self._listeners[:place], *self._listeners[place + 1 :])

    def publish(self, event: Event) -> None:
        """Hand `event` to every listener. Never raises what a listener raises."""
        for listener in self._listeners:
            try:
                result = listener(event)
                if inspect.iscoroutine(result):
                    result.close()
                    message = "it returned a coroutine, which nobody awaits; give on_event() the async function itself"
                    raise TypeError(message)
            except Exception:  # noqa: BLE001 - whatever a listener raises, the run goes on
                self.complain(listener, event)

    def complain(self, listener: Listener, event: Event) -> None:
        """Log the exception that is being handled as the failure of `listener`, the first time only."""
        if not any(one is listener for one in self._complained):
            self._complained += (listener,)
            _log.exception("event listener %r failed on %r; told once", listener, event.name)


def is_async_listener(listener: object) -> TypeGuard[AsyncListener]:
    """Say whether calling `listener` gives something to be awaited: an async function, or an object that is called like one."""
    while isinstance(listener, functools.partial):
        listener = listener.func
    called = inspect.getattr_static(type(listener), "__call__", None)
    return inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(called)
