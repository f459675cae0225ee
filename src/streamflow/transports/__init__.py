"""Streams to clients: formats of server-sent events.

Above: `apps`. Below: `wire`, `elements`.
"""

from ._ag_ui import AgUiEncoder
from ._ag_ui_request import AgUiRequest, read_ag_ui
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
from ._process_steps import ChatDone, ChatError, ChatServiceEvent, ChatServiceReader, ProcessStepEncoder
from ._request import RequestLimits
from ._steps import ProcessStep, StepChange, StepKind, StepReader, StepReset, StepShown, steps_of
from ._vercel import VercelEncoder
from ._vercel_request import VercelRequest, read_vercel

__all__ = [
    "AgUiEncoder",
    "AgUiRequest",
    "ChatDone",
    "ChatError",
    "ChatServiceEvent",
    "ChatServiceReader",
    "EncoderFactory",
    "EventEncoder",
    "ProcessStep",
    "ProcessStepEncoder",
    "RequestLimits",
    "ServerEvent",
    "StepChange",
    "StepKind",
    "StepReader",
    "StepReset",
    "StepShown",
    "StreamEnd",
    "VercelEncoder",
    "VercelRequest",
    "delta_event",
    "json_event",
    "merge_events",
    "read_ag_ui",
    "read_vercel",
    "snapshot_event",
    "steps_of",
]
