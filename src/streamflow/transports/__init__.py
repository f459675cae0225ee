"""Streams to clients: server-sent events for any ASGI application, and the formats they come in.

Above: `apps`. Below: `wire`, `elements`.
"""

from ._ag_ui import AgUiEncoder
from ._ag_ui_request import AgUiRequest, read_ag_ui
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
from ._request import RequestLimits
from ._vercel import VercelEncoder
from ._vercel_request import VercelRequest, read_vercel

__all__ = [
    "AgUiEncoder",
    "AgUiRequest",
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
    "RequestLimits",
    "ServerEvent",
    "StreamEnd",
    "VercelEncoder",
    "VercelRequest",
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
    "read_ag_ui",
    "read_vercel",
    "snapshot_event",
    "sse_response",
]
