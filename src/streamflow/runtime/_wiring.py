"""The edges of one run: opened between its stages, watched where a limit or a test asks for it.

Above: `_engine`. Below: `channels`, `stages`, `_watchdog`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import anyio

from ..channels import EDGE_WATCH, open_channel
from ..errors import ChannelClosedError, ElementError, OutputClosedError
from ..stages import EVERYTHING, StageKind, admission
from ._jobs import is_made_of, leaf_of
from ._watchdog import EdgeClock, Limit, StageClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from ..channels import ChannelWatch, ReceiveEnd, SendEnd
    from ..elements import StreamElement
    from ..graph import Node
    from ._config import PipelineConfig
    from ._jobs import Job
    from ._watchdog import RunClock

__all__ = ["StageRun", "Wiring", "wire"]


class StageRun:
    """One stage in one run."""

    def __init__(self, node: Node, index: int) -> None:
        self.node: Node = node
        """The stage in its graph."""
        self.name: str = node.name
        """Name of the stage."""
        self.index: int = index
        """Its place in the chain, from 0."""
        self.input: ReceiveEnd[Any]
        """The edge before it; one that has ended, for a stage that generates."""
        self.output: SendEnd[Any]
        """The edge behind it."""
        self.writes: SendEnd[Any]
        """What it is given as output: `output`, for a sink one that refuses everything."""
        self.job: Job
        """Its task."""
        self.helpers: dict[Job, None] = {}
        """Its helper tasks that are alive."""
        self.helpers_ended: anyio.Event | None = None
        """Set when the last helper has ended, once somebody waits for it."""
        self.clock: StageClock | None = None
        """Since when it is busy, if it has a limit."""

    def cancel(self) -> None:
        """Ask its tasks to end."""
        self.job.cancel()
        for helper in self.helpers:
            helper.cancel()

    def is_expected(self, job: Job, error: BaseException, cancelled: type[BaseException]) -> bool:
        """Say whether `error` is how this stage learned that its reader has gone, or that the run has stopped it."""
        if job.cancel_requested:
            return is_made_of(error, (cancelled, OutputClosedError, ChannelClosedError))
        if self.input.end_was_told and isinstance(error, anyio.EndOfStream):
            return True  # it called receive() until there was nothing more
        leaf = leaf_of(error)
        return (
            is_made_of(error, OutputClosedError)
            and isinstance(leaf, OutputClosedError)
            and leaf.edge == self.output.name
        )

    def in_hand(self) -> int | None:
        """Return the ordinal of the element that it took last and is working on, None when there is none."""
        return None if self.input.end_was_told or not self.input.position else self.input.position - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Wiring:
    """What the engine needs of a run's edges."""

    inlet: SendEnd[StreamElement]
    """Writes the first edge."""
    outlet: ReceiveEnd[StreamElement]
    """Reads the last one."""
    limits: list[Limit]
    """All limits of the run."""


def wire(stages: Sequence[StageRun], config: PipelineConfig, clock: RunClock, context: Context) -> Wiring:
    """Open the edges of a chain of stages, and return its outer ends and its limits."""
    for stage in stages:
        stage.clock = None if stage.node.stage.timeout_s is None else StageClock(clock.started)
    further = context.get(EDGE_WATCH)
    clocks: list[EdgeClock] = []
    ends: list[tuple[SendEnd[StreamElement], ReceiveEnd[StreamElement]]] = []
    for writer, reader in zip((None, *stages), (*stages, None), strict=True):
        name = f"{writer.name if writer else 'source'} → {reader.name if reader else 'consumer'}"
        watch: ChannelWatch | None = further(name) if further is not None else None
        wrote = writer.clock if writer else None
        reads = reader.clock if reader else None
        if config.idle_timeout_s is not None or config.backpressure_timeout_s is not None or wrote or reads:
            watch = EdgeClock(name, clock, writer=wrote, reader=reads, further=watch)
            clocks.append(watch)
        accepts = reader.node.stage.accepts if reader else EVERYTHING
        gate = admission(accepts, producer=writer.name if writer else "source")
        send: SendEnd[StreamElement]
        receive: ReceiveEnd[StreamElement]
        send, receive = open_channel(config.buffer_size, name=name, admit=gate, watch=watch)
        ends.append((send, receive))
        if writer is not None:
            writer.output = writer.writes = send
        if reader is not None:
            reader.input = receive
    _fit_ends(stages)
    inlet, outlet = ends[0][0], ends[-1][1]
    return Wiring(inlet, outlet, _limits(stages, config, clock, clocks, outlet))


def _fit_ends(stages: Sequence[StageRun]) -> None:
    """Let elements pass each stage by, and give stages that lack one an input that has ended or an output that refuses."""
    for stage in stages:
        if stage.node.stage.kind is StageKind.SINK:
            stage.writes = open_channel(1, name=f"{stage.name} → nothing", admit=partial(_refuse, stage.name))[0]
        else:
            stage.input.forward_to(stage.output)
            if stage.node.stage.kind is StageKind.ACCUMULATE and stage.node.stage.bypass == "late":
                stage.input.keep_aside()


def _refuse(sink: str, _item: object) -> bool:
    message = f"stage {sink!r} is a sink and cannot send; make it a transform to send elements on"
    raise ElementError(message)


def _limits(
    stages: Sequence[StageRun],
    config: PipelineConfig,
    clock: RunClock,
    edges: list[EdgeClock],
    outlet: ReceiveEnd[StreamElement],
) -> list[Limit]:
    last = len(stages) - 1
    limits: list[Limit] = []
    if config.timeout_s is not None:
        limits.append(Limit("run", config.timeout_s, "the run", lambda: clock.started, last))
    if config.first_element_timeout_s is not None:

        def waiting_since() -> float | None:
            return None if outlet.statistics().sent else clock.started

        limits.append(Limit("first_element", config.first_element_timeout_s, "the run", waiting_since, last))
    if config.idle_timeout_s is not None:
        limits.append(Limit("idle", config.idle_timeout_s, "the run", lambda: clock.moved, last))
    if config.backpressure_timeout_s is not None:
        # A full edge is its reader's doing, and the reader is what fails: to drain through one that is stuck is to wait for ever.
        limits += [
            Limit(
                "backpressure",
                config.backpressure_timeout_s,
                f"edge {edge.name}",
                partial(_full_since, edge),
                min(index, last),
            )
            for index, edge in enumerate(edges)
        ]
    for stage in stages:
        if stage.clock is not None and stage.node.stage.timeout_s is not None:
            busy_since = partial(_busy_since, stage.clock)
            limits.append(Limit("stage", stage.node.stage.timeout_s, f"stage {stage.name!r}", busy_since, stage.index))
    return limits


_full_since: Callable[[EdgeClock], float | None] = attrgetter("full_since")
_busy_since: Callable[[StageClock], float | None] = attrgetter("busy_since")
