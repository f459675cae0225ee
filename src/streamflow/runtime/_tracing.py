"""What `tracing` does in a run: its elements are followed over its edges, and its spans are begun and ended.

Above: `_pipeline` makes one tracer for each run, `_wiring` shows it the edges, `_reporting` its events. Below: `_element_log`,
`channels`, `observe`.

Nothing here is asked while an element moves: the edges' buffers note what happens (`channels/_traced.py`), and what they noted is
read when an element has come to its end. No object here knows the run, so nothing is left to the garbage collector.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

from ..channels import (
    CollectingPlace,
    DepthBuffer,
    EndPlace,
    MergePlace,
    SeveralPlace,
    StagePlace,
    TracedBuffer,
    trace_edge,
    trace_merge,
)
from ..errors import ConfigError, StageError
from ..observe import (
    ActiveSpan,
    ElementFailed,
    PipelineCancelled,
    PipelineEnded,
    PipelineFailed,
    PipelineStarted,
    RunInterrupted,
    StageCancelled,
    StageEnded,
    StageFailed,
    StageRestarted,
    StageStarted,
    TraceContext,
    Tracing,
    current_span,
    decide,
    enter_span,
    error_type,
    new_span_id,
    new_trace_id,
)
from ..stages import StageKind
from ._backend import current_backend
from ._element_log import ElementLog, Guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..channels import MergeEnd, ReceiveEnd, SendEnd
    from ..observe import AttributeValue, ElementTrace, Event, Span
    from ..stages import RunContext
    from ._plan import EdgePlan, InputPlan, Plan, StagePlan

__all__ = ["RunTracer", "tracer_of"]

_HELD: Final = 1024
"""Elements that a merge is known to hold, beside those that it was allowed."""

_COLLECTS: Final = (StageKind.ACCUMULATE, StageKind.BIDIRECTIONAL)


def tracer_of(given: object, run_id: str, trace: object) -> RunTracer | None:
    """Return the tracer of a run; None if it is not traced.

    Args:
        given: The setting.
        run_id: The run.
        trace: Where its trace goes on, as the caller says: a context, a `traceparent`; None: what is active where it is called.

    Raises:
        ConfigError: If `trace` is no context.
    """
    parent = _context_of(trace)
    if not given:
        return None
    return RunTracer(given if isinstance(given, Tracing) else Tracing(), run_id, parent)


class RunTracer:
    """Follows the elements of one run, and has its spans.

    Args:
        tracing: What is traced.
        run_id: The run.
        parent: Where its trace goes on; None: it begins one.
    """

    def __init__(self, tracing: Tracing, run_id: str, parent: TraceContext | None) -> None:
        trace_id = new_trace_id()
        if parent is None:
            context = TraceContext(f"{trace_id:032x}", new_span_id(), decide(tracing.sample, trace_id, None))
        else:
            kept = decide(tracing.sample, int(parent.trace_id, 16), parent)
            context = TraceContext(parent.trace_id, new_span_id(), kept, parent.state)
        self._tracing = tracing
        self._sinks = Guarded(tracing.sinks)
        self._writer = _Writer(run_id, tracing, self._sinks)
        self._run = ActiveSpan(
            f"invoke_workflow {tracing.name}", context, self._writer, None if parent is None else parent.span_id
        )
        self._stages: dict[str, ActiveSpan] = {}
        self._places: dict[str, StagePlace] = {}
        self._by_stage: list[StagePlace] = []
        self._log = ElementLog(tracing, run_id, parent, self._sinks)
        self._follows = not self._log.keeps_none
        self._now: Callable[[], float] = time.monotonic

    @property
    def context(self) -> TraceContext:
        """The span of the run."""
        return self._run.context

    def traces(self) -> tuple[ElementTrace, ...]:
        """Return the ways of the elements that have ended, oldest first, as far as they are kept."""
        return self._log.traces()

    # Edges

    def begin(self, plan: Plan) -> None:
        """Know the run's stages, before its edges are opened.

        Args:
            plan: The stages and edges.
        """
        now = self._now = current_backend().clock()
        self._log.begin(plan, now)
        if not self._follows:
            return
        self._by_stage = [self._place_of(one) for one in plan.stages]
        self._places = {one.node.name: place for one, place in zip(plan.stages, self._by_stage, strict=True)}
        self._source = StagePlace(self._log.roots())
        self._consumer = EndPlace(self._log.roots(), self._log.delivered, is_final=True, keep=self._log.keep)
        inputs = [(one, self._by_stage[its.index]) for its in plan.stages for one in its.inputs]
        outlet: list[tuple[InputPlan, StagePlace]] = [(plan.outlet, self._consumer)] if plan.leaves else []
        self._merges: dict[tuple[int, ...], tuple[MergePlace, StagePlace]] = {
            one.edges: (MergePlace(len(plan.edges) + number, now, _HELD + getattr(one.policy, "max_held", 0)), place)
            for number, (one, place) in enumerate([*inputs, *outlet])
            if len(one.edges) > 1
        }
        self._targets: dict[int, MergePlace] = {
            edge: merge for edges, (merge, _) in self._merges.items() for edge in edges
        }

    def edge(self, number: int, plan: EdgePlan, send: SendEnd[Any], receive: ReceiveEnd[Any]) -> None:
        """Follow what goes over an edge that has just been opened."""
        if not self._follows:
            return
        source = self._source if plan.source is None else self._by_stage[plan.source]
        reader = self._consumer if plan.target is None else self._by_stage[plan.target]
        most = self._tracing.max_hops if plan.rounds is not None else None
        kind = DepthBuffer if self._sinks.wants_depths else TracedBuffer
        buffer = kind(number, (source, self._targets.get(number, reader)), self._now, self._log.discarded, most)
        if isinstance(buffer, DepthBuffer):
            buffer.tell = self._log.tell_depth
        trace_edge(send, receive, buffer)

    def merge(self, plan: InputPlan, end: MergeEnd[Any]) -> None:
        """Follow what goes through a merge that has just been opened."""
        if self._follows:
            merge, reader = self._merges[plan.edges]
            trace_merge(end, merge, reader, self._now)

    def leaf(self, edge: ReceiveEnd[Any]) -> None:
        """Know that the consumer reads a leaf alone."""
        buffer = edge.backlog
        if isinstance(buffer, TracedBuffer):
            buffer.read_by(self._consumer)

    def _place_of(self, plan: StagePlan) -> StagePlace:
        spec = plan.node.stage
        begin = self._log.roots()
        if spec.kind is StageKind.SINK:
            return EndPlace(begin, self._log.consumed, is_final=False)
        if spec.kind in _COLLECTS or len(plan.inputs) > 1:
            gates = [one.gate for one in plan.inputs]
            return CollectingPlace(begin, lambda item: any(gate(item) for gate in gates), self._tracing.max_links)
        return StagePlace(begin) if spec.max_held == 1 else SeveralPlace(begin)

    # Spans

    def enter(self, run: RunContext[Any]) -> None:
        """Let the calling task, a stage's, be part of the stage's span, and know where it stands."""
        run.lineage = self._places.get(run.stage)
        enter_span(self._stages.get(run.stage, self._run))

    def hear(self, event: Event) -> None:
        """Hear what happens in the run, from its own events."""
        match event:
            case PipelineStarted():
                self._begin_run(event)
            case StageStarted():
                span = self._stages[event.stage] = self._run.child(f"stage {event.stage}")
                span.set("streamflow.stage.name", event.stage)
                span.set("streamflow.stage.kind", event.kind)
            case StageEnded():
                self._end_stage(event)
            case PipelineEnded():
                self._end_run(event)
            case RunInterrupted():
                facts: dict[str, AttributeValue] = {
                    "streamflow.interrupt.epoch": event.epoch,
                    "streamflow.interrupt.reason": event.reason,
                }
                self._run.event("interrupt", {**facts, "streamflow.interrupt.dropped": sum(event.dropped.values())})
                for name in event.cancelled:
                    if name in self._stages:
                        self._stages[name].event("interrupt", facts)
            case StageRestarted():
                if self._follows:
                    self._places[event.stage].forget()
                self._note(event.stage, event.name, {"streamflow.attempt": event.attempt}, event.error)
            case ElementFailed():
                self._note(event.stage, event.name, {"streamflow.attempt": event.attempts}, event.error)
            case _:
                pass

    def _begin_run(self, event: PipelineStarted) -> None:
        span, now = self._run, current_backend().clock()
        self._writer.begin(now)
        span.began_ns = self._writer.now_ns()
        span.set("gen_ai.operation.name", "invoke_workflow")
        span.set("gen_ai.workflow.name", self._tracing.name)
        span.set("streamflow.run.id", event.run_id)
        self._sinks.clock(event.run_id, now(), span.began_ns)

    def _end_run(self, event: PipelineEnded) -> None:
        span = self._run
        span.set("streamflow.run.elements", event.elements)
        span.set("streamflow.run.reason", event.reason)
        if event.zombies:
            span.set("streamflow.run.zombies", event.zombies)
        if isinstance(event, PipelineFailed):
            span.fail(_own(event.error))
        elif isinstance(event, PipelineCancelled):
            span.event("cancelled")
        span.finish()

    def _end_stage(self, event: StageEnded) -> None:
        span = self._stages[event.stage]
        span.set("streamflow.stage.received", event.received)
        span.set("streamflow.stage.sent", event.sent)
        if isinstance(event, StageFailed):
            span.fail(_own(event.error))
        elif isinstance(event, StageCancelled):
            span.event("cancelled")
        span.finish()

    def _note(self, stage: str, name: str, facts: Mapping[str, int], error: BaseException) -> None:
        if stage in self._stages:
            self._stages[stage].event(name, {**facts, "error.type": error_type(error)})


class _Writer:
    """Gives the spans of a run to the sinks."""

    def __init__(self, run_id: str, tracing: Tracing, sinks: Guarded) -> None:
        self.run_id: str = run_id
        self.content: Callable[[str], str] | None = (tracing.redact or str) if tracing.content else None
        self.propagate: frozenset[str] = frozenset(tracing.propagate)
        self._sinks = sinks
        self._now: Callable[[], float] = time.monotonic
        self._offset_ns = 0

    def begin(self, now: Callable[[], float]) -> None:
        """Know the event loop's clock, and what time it is."""
        self._now = now
        self._offset_ns = time.time_ns() - round(now() * 1e9)

    def now_ns(self) -> int:
        return self._offset_ns + round(self._now() * 1e9)

    def end(self, span: Span) -> None:
        self._sinks.span(span)


def _own(error: BaseException) -> BaseException:
    """Return what a stage itself has raised."""
    cause = error.__cause__ if isinstance(error, StageError) else None
    return error if cause is None else cause


def _context_of(trace: object) -> TraceContext | None:
    """Return where a trace goes on."""
    if isinstance(trace, TraceContext):
        return trace
    if isinstance(trace, str):
        return TraceContext.parse(trace)
    if trace is not None:
        message = f"a TraceContext or a traceparent was expected, got {trace!r:.80}; see TraceContext.from_headers()"
        raise ConfigError("trace", message)
    span = current_span()
    return _opentelemetry_context() if span is None else span.context


def _opentelemetry_context() -> TraceContext | None:
    """Return the active context of OpenTelemetry, if the program uses that; it is not imported for this."""
    module = sys.modules.get("opentelemetry.trace")
    if module is None:
        return None
    found = module.get_current_span().get_span_context()
    if not found.is_valid:
        return None
    return TraceContext(
        f"{found.trace_id:032x}", f"{found.span_id:016x}", bool(found.trace_flags & 1), found.trace_state.to_header()
    )
