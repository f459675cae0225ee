"""Events: what a run or a stage tells whoever listens, beside the stream of elements.

Above: `stages` (a stage emits), `runtime` (delivers). Below: nothing.
A listener cannot change the data flow: it runs inline, and what it raises is logged once and forgotten.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Event", "EventBus"]

_log = logging.getLogger("streamflow.observe")


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a run."""

    name: str
    """What happened, as in `chat.token`."""
    run_id: str
    """The run in which it happened."""
    stage: str | None = None
    """The stage that tells it, None for the run itself."""
    data: Mapping[str, object] = dataclasses.field(default_factory=dict[str, object])
    """What there is to say about it."""


class EventBus:
    """Hand the events of one run to listeners, inline and in order.

    Args:
        listeners: Called with each event, in this order. One that raises is logged the first time, and goes on being called.
    """

    def __init__(self, listeners: Sequence[Callable[[Event], object]] = ()) -> None:
        self._listeners = tuple(listeners)
        self._complained: set[int] = set()

    def publish(self, event: Event) -> None:
        """Hand `event` to every listener. Never raises what a listener raises."""
        for number, listener in enumerate(self._listeners):
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - whatever a listener raises, the run goes on
                if number not in self._complained:
                    self._complained.add(number)
                    _log.exception("event listener %r failed on %r; told once", listener, event.name)
