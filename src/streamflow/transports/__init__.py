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
from ._process_steps import ChatDone, ChatError, ChatEvent, ChatEventReader, ProcessStepEncoder
from ._steps import ProcessStep, StepChange, StepKind, StepReader, StepReset, StepShown, steps_of

__all__ = [
    "ChatDone",
    "ChatError",
    "ChatEvent",
    "ChatEventReader",
    "EncoderFactory",
    "EventEncoder",
    "ProcessStep",
    "ProcessStepEncoder",
    "ServerEvent",
    "StepChange",
    "StepKind",
    "StepReader",
    "StepReset",
    "StepShown",
    "StreamEnd",
    "delta_event",
    "json_event",
    "merge_events",
    "snapshot_event",
    "steps_of",
]
