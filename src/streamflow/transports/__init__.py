"""Streams to clients: server-sent events for any ASGI application, and the formats they come in.

Above: `apps`. Below: `wire`, `elements`.
"""

from ._ag_ui import AgUiEncoder
from ._ag_ui_request import AgUiRequest, read_ag_ui
from ._asgi import ASGIReply, Receive, Scope, Send
from ._classification import (
    CLASSIFICATION,
    CLASSIFICATION_EVENTS,
    CLASSIFICATION_PROGRESS,
    ClassificationEncoder,
)
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
from ._process_steps import ChatDone, ChatError, ChatServiceEvent, ChatServiceReader, ProcessStepEncoder
from ._pump import Elements, ErrorTeller
from ._raw import RawEncoder
from ._request import RequestLimits
from ._response import OnDisconnect, SSEResponse, sse_response
from ._starlette import starlette_response
from ._steps import ProcessStep, StepChange, StepKind, StepReader, StepReset, StepShown, steps_of
from ._vercel import VercelEncoder
from ._vercel_request import VercelRequest, read_vercel

__all__ = [
    "CLASSIFICATION",
    "CLASSIFICATION_EVENTS",
    "CLASSIFICATION_PROGRESS",
    "ASGIReply",
    "AgUiEncoder",
    "AgUiRequest",
    "ChatDone",
    "ChatError",
    "ChatServiceEvent",
    "ChatServiceReader",
    "ClassificationEncoder",
    "Elements",
    "EncoderFactory",
    "ErrorTeller",
    "EventEncoder",
    "EventLog",
    "LogReader",
    "LoggedEvent",
    "OnDisconnect",
    "ProcessStep",
    "ProcessStepEncoder",
    "RawEncoder",
    "Receive",
    "RequestLimits",
    "SSEResponse",
    "Scope",
    "Send",
    "ServerEvent",
    "StepChange",
    "StepKind",
    "StepReader",
    "StepReset",
    "StepShown",
    "StreamEnd",
    "StreamHub",
    "StreamInfo",
    "VercelEncoder",
    "VercelRequest",
    "delta_event",
    "json_event",
    "may_merge",
    "merge_events",
    "read_ag_ui",
    "read_vercel",
    "snapshot_event",
    "sse_response",
    "starlette_response",
    "steps_of",
]
