"""Events as lines of the standard `logging`: what happened, where, how long and how often, and never what was in it.

Above: users, as `builder.on_event(log_events())`. Below: `_events`.

What may stand in a record: names that programmers gave (events, stages, exception classes), identities, numbers. What may not:
`data`, an element, the text of an exception, a traceback. All of these may repeat what users wrote.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from ..errors import ConfigError
from ._events import (
    EdgeGrown,
    ElementFailed,
    ElementMoved,
    ElementRetried,
    EventGap,
    PipelineEnded,
    PipelineEvent,
    PipelineFailed,
    PipelineStarted,
    RunInterrupted,
    RunStalled,
    StageEnded,
    StageEvent,
    StageFailed,
    StageRestarted,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._events import Event

__all__ = ["log_events"]


def log_events(
    logger: logging.Logger | None = None,
    *,
    level: int = logging.INFO,
    failure_level: int = logging.ERROR,
    own: bool = False,
) -> Callable[[Event], None]:
    """Return a listener that logs the beginning and the end of runs and stages, without payloads.

    ```python
    builder.on_event(log_events(level=logging.DEBUG))
    ```

    A line is `stage.completed run_id=run-1 stage=ears kind=transform duration_s=0.120 received=3 sent=2`. Each record has the
    attributes `event`, `run_id` and `stage`, and the others by their names. Of a failure it tells the class of the exception, never
    its text. `ElementMoved` is not logged.

    Args:
        logger: Where to; default the logger `streamflow.events`.
        level: Of what goes as it should.
        failure_level: Of `PipelineFailed`, `StageFailed`, `RunStalled` and `EventGap`, and of what supervision does about
            a failure.
        own: Also log that a stage emitted an event of its own: its name, never its data.

    Raises:
        ConfigError: If an argument is of the wrong kind.
    """
    given = cast("object", logger)
    if given is not None and not isinstance(given, logging.Logger):
        raise ConfigError("logger", f"a logging.Logger was expected, got {given!r:.80}; write logging.getLogger('…')")
    for field, number in (("level", cast("object", level)), ("failure_level", cast("object", failure_level))):
        if not isinstance(number, int) or isinstance(number, bool):
            raise ConfigError(field, f"a level is a number, as in logging.INFO, got {number!r:.80}")
    target = logging.getLogger("streamflow.events") if logger is None else logger

    def write(event: Event) -> None:
        facts = _facts(event)
        if facts is None and (isinstance(event, ElementMoved) or not own):
            return
        at = failure_level if isinstance(event, _FAILURES) else level
        if target.isEnabledFor(at):
            known = {"run_id": event.run_id, "stage": event.stage, **(facts or {})}
            line = " ".join(f"{key}={_shown(value)}" for key, value in known.items() if value is not None)
            target.log(at, "%s %s", _shown(event.name), line, extra={"event": event.name, **known})

    return write


_FAILURES = (PipelineFailed, StageFailed, StageRestarted, ElementFailed, RunStalled, EventGap)


def _facts(event: Event) -> dict[str, object] | None:  # noqa: C901 - a row of questions
    """Return what there is to say about an event of the runtime; None for any other."""
    if isinstance(event, RunInterrupted):
        return {"epoch": event.epoch, "dropped": sum(event.dropped.values()), "cancelled": event.cancelled}
    if not isinstance(event, PipelineEvent | StageEvent | ElementFailed | EventGap):
        return None
    facts: dict[str, object] = {}
    if isinstance(event, StageEvent):
        facts["kind"] = event.kind
    if isinstance(event, PipelineStarted):
        facts["stages"] = event.stages
    if isinstance(event, PipelineEnded):
        facts |= {"duration_s": event.duration_s, "elements": event.elements, "reason": event.reason}
        if event.zombies:
            facts["zombies"] = event.zombies
    if isinstance(event, StageEnded):
        facts |= {"duration_s": event.duration_s, "received": event.received, "sent": event.sent}
    if isinstance(event, StageRestarted):
        facts |= {"failed": event.failed, "attempt": event.attempt, "delay_s": event.delay_s}
    if isinstance(event, ElementFailed):
        facts |= {"index": event.index, "attempts": event.attempts}
    if isinstance(event, ElementRetried):
        facts["delay_s"] = event.delay_s
    if isinstance(event, PipelineFailed | StageFailed | StageRestarted | ElementFailed):
        facts["error_type"] = event.error_type
    facts |= _of_waits(event)
    if isinstance(event, EventGap):
        facts["missed"] = event.missed
    return facts


def _of_waits(event: Event) -> dict[str, object]:
    if isinstance(event, RunStalled):
        waits = tuple(f"{one.who}:{one.kind}" for one in event.graph.waits)
        return {"stalled_s": event.stalled_s, "waits": waits}
    if isinstance(event, EdgeGrown):
        return {"edge": event.edge, "before": event.before, "capacity": event.capacity}
    return {}


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, tuple):
        return ",".join(map(_shown, cast("tuple[object, ...]", value)))
    text = str(value)
    # A name of two words, or with a line break in it, would look like something else.
    return text if text.isprintable() and " " not in text else repr(text)
