"""Events: what a run or a stage tells whoever listens, beside the stream of elements.

Above: `_bus` (hands them on), `_logging` (writes them down), `stages` (a stage emits), `runtime` (tells of runs). Below: `errors`.

```
Event                     what a stage emits itself, by its `name`
├── PipelineEvent
│   ├── PipelineStarted     pipeline.started
│   ├── RunStalled          run.stalled, only with `stall_report_s`
│   ├── EdgeStalled         edge.stalled, only with `stall_report_s`
│   ├── LoopBlocked         loop.blocked, only with `lag_warning_s`
│   ├── EdgeGrown           edge.grown, only with `on_deadlock="grow"`
│   └── PipelineEnded
│       ├── PipelineCompleted   pipeline.completed
│       ├── PipelineFailed      pipeline.failed
│       └── PipelineCancelled   pipeline.cancelled
├── RunInterrupted        run.interrupted
├── StageEvent
│   ├── StageStarted        stage.started
│   ├── StageRestarted      stage.restarted
│   └── StageEnded
│       ├── StageCompleted      stage.completed
│       ├── StageFailed         stage.failed
│       └── StageCancelled      stage.cancelled
├── ElementFailed         an element that a supervised stage has failed on
│   ├── ElementRetried      element.retried
│   ├── ElementDropped      element.dropped
│   └── ElementDeadLettered element.dead_lettered
├── ElementMoved          element.moved, only with `tracing`
└── EventGap              events.gap, only from a queue that was full
```

The runtime's own events carry no payload: names, times and counts, and of a failure the exception. `data` is for what stages emit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from ..errors import StageError, WaitGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..elements import EndReason

__all__ = [
    "EdgeGrown",
    "EdgeStalled",
    "ElementDeadLettered",
    "ElementDropped",
    "ElementFailed",
    "ElementMoved",
    "ElementRetried",
    "Event",
    "EventGap",
    "LoopBlocked",
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
]

_MAX_DEPTH = 50
"""Deepest nesting of `data` that `to_dict()` follows; a cycle ends here too."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened in a run. Two events are equal when they say the same; when it was does not count."""

    name: str
    """What happened, as in `chat.token`."""
    run_id: str
    """The run in which it happened."""
    stage: str | None = None
    """The stage that tells it, None for the run itself."""
    at_s: float = dataclasses.field(default=0.0, compare=False)
    """When it happened, in seconds on the event loop's clock."""
    data: Mapping[str, object] = dataclasses.field(default_factory=dict[str, object])
    """What a stage has to say about it."""

    def to_dict(self, *, with_messages: bool = False) -> dict[str, object]:
        """Return the event as values that JSON can hold.

        An error is the name of its class, see `error_type`. In `data`, bytes are base64, numbers that are not finite are None, and
        what JSON knows nothing like is the name of its type.

        Args:
            with_messages: Add the text of an error as `error_message`; it may repeat what users wrote.
        """
        told: dict[str, object] = {}
        for field in dataclasses.fields(self):
            value: object = getattr(self, field.name)
            if isinstance(value, BaseException):
                told[field.name] = _class_of(value)
                if with_messages:
                    told[f"{field.name}_message"] = str(value)
            else:
                told[field.name] = _plain(value, 0)
        return told


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PipelineEvent(Event):
    """Something that the run tells of itself."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStarted(PipelineEvent):
    """A run has been started."""

    name: str = dataclasses.field(default="pipeline.started", init=False)
    """What happened: `pipeline.started`."""
    stages: tuple[str, ...] = ()
    """Its stages, in the order of the graph."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunStalled(PipelineEvent):
    """No element has moved on any edge for a while. The run goes on."""

    name: str = dataclasses.field(default="run.stalled", init=False)
    """What happened: `run.stalled`."""
    stalled_s: float
    """For how long, in seconds, at least."""
    graph: WaitGraph
    """Who waits for what."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EdgeStalled(PipelineEvent):
    """Somebody has waited at an edge for a while, and nothing has moved there, though the run goes on elsewhere."""

    name: str = dataclasses.field(default="edge.stalled", init=False)
    """What happened: `edge.stalled`."""
    edge: str
    """The edge, as `a → b`."""
    state: Literal["full", "empty"]
    """Full: who writes it waits for room. Empty: who reads it waits, though there is work for who writes it."""
    stalled_s: float
    """For how long, in seconds, at least."""
    chain: tuple[str, ...]
    """Who waits there, for whom that waits, and so on: the last one holds them all up."""
    graph: WaitGraph
    """Who waits for what."""

    @property
    def culprit(self) -> str:
        """Who holds it up."""
        return self.chain[-1]

    def __str__(self) -> str:
        its = next((one for one in self.graph.waits if one.who == self.culprit), None)
        links = [f"{one} waits for {other}" for one, other in pairwise(self.chain)]
        told = ", ".join([*links, *([] if its is None else [str(its)])])
        return f"edge '{self.edge}' has been {self.state} for {self.stalled_s:g} s: {told}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoopBlocked(PipelineEvent):
    """Something keeps the event loop for itself: meanwhile nothing else happens in this thread, in no run."""

    name: str = dataclasses.field(default="loop.blocked", init=False)
    """What happened: `loop.blocked`."""
    blocked_s: float
    """For how long so far, in seconds, at least."""
    place: str
    """`file:line` of the innermost code that is neither this package's nor a library's."""
    stack: tuple[str, ...]
    """Where it is, outermost first, as `file:line in function`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EdgeGrown(PipelineEvent):
    """An edge has got more room, because the run waited for itself."""

    name: str = dataclasses.field(default="edge.grown", init=False)
    """What happened: `edge.grown`."""
    edge: str
    """The edge, as `a → b`."""
    before: int
    """How many elements it held, at most."""
    capacity: int
    """How many it holds now."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PipelineEnded(PipelineEvent):
    """A run has ended, whichever way: the last event of every run."""

    duration_s: float
    """How long it took, in seconds."""
    elements: int
    """How many elements came out of it."""
    reason: EndReason
    """Why it ended."""
    zombies: tuple[str, ...] = ()
    """Stages that did not end although they were cancelled."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PipelineCompleted(PipelineEnded):
    """A run has come to its end."""

    name: str = dataclasses.field(default="pipeline.completed", init=False)
    """What happened: `pipeline.completed`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFailed(PipelineEnded):
    """A run was ended by a failure, or by a time limit."""

    name: str = dataclasses.field(default="pipeline.failed", init=False)
    """What happened: `pipeline.failed`."""
    error: BaseException
    """What the consumer of the run is told."""

    @property
    def error_type(self) -> str:
        """Name of the error's class; of a stage's own exception, if that is what it was."""
        return _class_of(self.error)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PipelineCancelled(PipelineEnded):
    """A run was ended by its caller."""

    name: str = dataclasses.field(default="pipeline.cancelled", init=False)
    """What happened: `pipeline.cancelled`."""
    reason: EndReason = "cancelled"
    """Why it ended."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunInterrupted(Event):
    """A run was interrupted (barge-in): what was on its way was dropped, and work in hand cancelled."""

    name: str = dataclasses.field(default="run.interrupted", init=False)
    """What happened: `run.interrupted`."""
    epoch: int
    """How many interruptions the run has had, with this one."""
    reason: str = ""
    """Why, for a person to read."""
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    """How many elements each edge has dropped, by its name; edges that have dropped none are left out."""
    cancelled: tuple[str, ...] = ()
    """The stages whose work in hand was cancelled."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageEvent(Event):
    """Something that the run tells of one of its stages."""

    stage: str = dataclasses.field()  # without a default, unlike the one that it narrows
    """The stage."""
    kind: str
    """What kind of stage it is, as in `transform`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted(StageEvent):
    """A stage has been started."""

    name: str = dataclasses.field(default="stage.started", init=False)
    """What happened: `stage.started`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageRestarted(StageEvent):
    """A supervised stage begins anew after a failure: its own, or that of a stage that it is restarted with."""

    name: str = dataclasses.field(default="stage.restarted", init=False)
    """What happened: `stage.restarted`."""
    failed: str
    """The stage that has failed."""
    attempt: int
    """Which restart it is: since the last healthy window, or in the run where another stage has failed; from 1."""
    delay_s: float
    """How long is waited before, in seconds."""
    error: BaseException
    """What the failed stage raised."""

    @property
    def error_type(self) -> str:
        """Name of the error's class."""
        return _class_of(self.error)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageEnded(StageEvent):
    """A stage has ended, whichever way: the last event of every stage."""

    duration_s: float
    """How long it ran, in seconds."""
    received: int
    """Elements that left the edges into it, those that passed it by among them."""
    sent: int
    """Elements that entered the edges out of it; each copy counts."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageCompleted(StageEnded):
    """A stage has done its work, or nobody needed more of it."""

    name: str = dataclasses.field(default="stage.completed", init=False)
    """What happened: `stage.completed`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageFailed(StageEnded):
    """A stage raised."""

    name: str = dataclasses.field(default="stage.failed", init=False)
    """What happened: `stage.failed`."""
    error: BaseException
    """What it raised."""

    @property
    def error_type(self) -> str:
        """Name of the class of the stage's own exception."""
        return _class_of(self.error)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageCancelled(StageEnded):
    """A stage was stopped, because the run was cancelled or failed elsewhere."""

    name: str = dataclasses.field(default="stage.cancelled", init=False)
    """What happened: `stage.cancelled`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ElementFailed(Event):
    """Something that is done about an element that a supervised stage has failed on."""

    stage: str = dataclasses.field()  # without a default, unlike the one that it narrows
    """The stage."""
    index: int | None
    """Ordinal (from 0) of the element on the stage's input; None with several inputs, or several calls at a time."""
    attempts: int
    """How often the stage has tried so far."""
    error: BaseException
    """What it raised."""

    @property
    def error_type(self) -> str:
        """Name of the error's class."""
        return _class_of(self.error)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ElementRetried(ElementFailed):
    """It is tried again."""

    name: str = dataclasses.field(default="element.retried", init=False)
    """What happened: `element.retried`."""
    delay_s: float
    """How long is waited before, in seconds."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ElementDropped(ElementFailed):
    """It is dropped."""

    name: str = dataclasses.field(default="element.dropped", init=False)
    """What happened: `element.dropped`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ElementDeadLettered(ElementFailed):
    """It has left as a dead letter."""

    name: str = dataclasses.field(default="element.dead_lettered", init=False)
    """What happened: `element.dead_lettered`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ElementMoved(Event):
    """An element has left an edge towards the stage that reads it."""

    name: str = dataclasses.field(default="element.moved", init=False)
    """What happened: `element.moved`."""
    edge: str
    """The edge, as `a → b`."""
    ordinal: int
    """The element's place on this edge, from 0."""
    element: str
    """Name of its type."""
    waited_s: float
    """How long it was inside, in seconds."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EventGap(Event):
    """Events are missing in this place: the queue of whoever reads them was full. `at_s` is when the first of them happened."""

    name: str = dataclasses.field(default="events.gap", init=False)
    """What happened: `events.gap`."""
    missed: int
    """How many are missing."""


def _class_of(error: BaseException) -> str:
    """Return the name of the class of `error`; of the cause, where a `StageError` wraps a stage's own exception."""
    cause = error.__cause__ if isinstance(error, StageError) else None
    return type(error if cause is None else cause).__name__


def _plain(value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth < _MAX_DEPTH:
        if isinstance(value, Mapping):
            items = cast("Mapping[object, object]", value).items()
            return {str(key): _plain(item, depth + 1) for key, item in items}
        if isinstance(value, list | tuple | AbstractSet):
            return [_plain(item, depth + 1) for item in cast("Sequence[object]", value)]
        if not isinstance(value, BaseException):
            return _foreign(value, depth)
    return type(value).__name__


def _foreign(value: object, depth: int) -> object:
    """Return what msgspec makes of a value that is no builtin: dataclasses, elements, times, bytes."""
    try:
        made: object = msgspec.to_builtins(value, str_keys=True)
    except (TypeError, ValueError, RecursionError):
        return type(value).__name__
    return _plain(made, depth + 1)
