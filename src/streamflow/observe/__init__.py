"""What happened: events and those who listen to them.

Above: stages emit events, the runtime tells of its own and delivers all of them. Below: `errors`.
"""

from ._bus import AsyncListener, EventBus, Listener, is_async_listener
from ._events import (
    EdgeGrown,
    ElementDeadLettered,
    ElementDropped,
    ElementFailed,
    ElementMoved,
    ElementRetried,
    Event,
    EventGap,
    PipelineCancelled,
    PipelineCompleted,
    PipelineEnded,
    PipelineEvent,
    PipelineFailed,
    PipelineStarted,
    RunInterrupted,
    RunStalled,
    StageCancelled,
    StageCompleted,
    StageEnded,
    StageEvent,
    StageFailed,
    StageRestarted,
    StageStarted,
)
from ._histogram import Histogram, Tally
from ._logging import log_events

__all__ = [
    "AsyncListener",
    "EdgeGrown",
    "ElementDeadLettered",
    "ElementDropped",
    "ElementFailed",
    "ElementMoved",
    "ElementRetried",
    "Event",
    "EventBus",
    "EventGap",
    "Histogram",
    "Listener",
    "PipelineCancelled",
    "PipelineCompleted",
    "PipelineEnded",
    "PipelineEvent",
    "PipelineFailed",
    "PipelineStarted",
    "RunInterrupted",
    "RunStalled",
    "StageCancelled",
    "StageCompleted",
    "StageEnded",
    "StageEvent",
    "StageFailed",
    "StageRestarted",
    "StageStarted",
    "Tally",
    "is_async_listener",
    "log_events",
]
