"""Streams to clients: server-sent events for any ASGI application, and the formats they come in.

Above: `apps`. Below: `wire`, `elements`.
"""

from ._asgi import ASGIReply, Receive, Scope, Send
from ._encoder import (
    EncoderFactory,
    EventEncoder,
    ServerEvent,
    StreamEnd,
    delta_event,
    json_event,
    may_merge,
    merge_events,
    snapshot_event,
)
from ._hub import StreamHub, StreamInfo
from ._log import EventLog, LoggedEvent, LogReader
from ._pump import Elements, ErrorTeller
from ._raw import RawEncoder
from ._response import OnDisconnect, SSEResponse, sse_response

__all__ = [
    "ASGIReply",
    "Elements",
    "EncoderFactory",
    "ErrorTeller",
    "EventEncoder",
    "EventLog",
    "LogReader",
    "LoggedEvent",
    "OnDisconnect",
    "RawEncoder",
    "Receive",
    "SSEResponse",
    "Scope",
    "Send",
    "ServerEvent",
    "StreamEnd",
    "StreamHub",
    "StreamInfo",
    "delta_event",
    "json_event",
    "may_merge",
    "merge_events",
    "snapshot_event",
    "sse_response",
]
