"""Streams to clients: formats of server-sent events.

Above: `apps`. Below: `wire`, `elements`.
"""

from ._encoder import (
    EncoderFactory,
    EventEncoder,
    ServerEvent,
    StreamEnd,
    delta_event,
    json_event,
    merge_events,
    snapshot_event,
)

__all__ = [
    "EncoderFactory",
    "EventEncoder",
    "ServerEvent",
    "StreamEnd",
    "delta_event",
    "json_event",
    "merge_events",
    "snapshot_event",
]
