"""What happened: events and those who listen to them.

Above: stages emit events, the runtime delivers them. Below: nothing.
"""

from ._events import Event, EventBus

__all__ = ["Event", "EventBus"]
