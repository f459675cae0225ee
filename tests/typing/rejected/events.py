"""Mistakes that a type checker must find. `tests/typing/test_rejected.py` compares each `# rejected:` with what mypy says."""

from __future__ import annotations

from streamflow import Event, PipelineBuilder, Run
from streamflow.observe import PipelineEnded, log_events


def of_two(event: Event, more: int) -> None:
    """Take too much."""


def of_text(event: str) -> None:
    """Take something else."""


PipelineBuilder().on_event(of_two)  # rejected: arg-type
PipelineBuilder().on_event(of_text)  # rejected: arg-type
PipelineBuilder().on_event("listener")  # rejected: arg-type
PipelineBuilder().on_event(log_events("streamflow"))  # rejected: arg-type
PipelineBuilder().on_event(log_events(level="INFO"))  # rejected: arg-type
PipelineBuilder().on_event(log_events)  # rejected: arg-type


async def listen(run: Run, event: Event) -> None:
    """Take what comes for something else."""
    for _ in run.events():  # rejected: attr-defined
        pass
    async for element in run.output(1):  # rejected: arg-type
        element.stage  # rejected: attr-defined
    event.duration_s  # rejected: attr-defined
    event.name = "other"  # rejected: misc
    if isinstance(event, PipelineEnded):
        event.duration_s.upper()  # rejected: attr-defined
    run.stats().edges["a → b"].peak + 1  # rejected: operator
