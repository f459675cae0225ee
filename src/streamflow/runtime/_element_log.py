"""The ways of a run's elements: where they begin, where they end, and how they are told from what the edges noted.

Above: `_tracing`. Below: `channels` (hops), `observe` (what is told).
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from ..channels import entry_of
from ..observe import ElementTrace, TraceLink, TraceSink, Visit, decide, new_trace_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..channels import Entry, Hop, Origin, Root
    from ..observe import Sampler, Span, TraceContext, Tracing
    from ._plan import Plan

__all__ = ["ElementLog", "Guarded"]

_End: TypeAlias = Literal["delivered", "consumed", "discarded"]

_log = logging.getLogger("streamflow.observe")

_MASK: Final = (1 << 128) - 1
_STEP: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Between the ids of two traces of a run: odd, so that no two are the same, and large, so that their bits differ."""


class Guarded(TraceSink):
    """Several sinks as one. What one of them raises is logged once, and goes nowhere.

    Args:
        sinks: The sinks.
    """

    def __init__(self, sinks: Sequence[TraceSink]) -> None:
        self._sinks = tuple(sinks)
        self._complained: set[int] = set()
        self._of_elements = self._that_have("element")
        self._of_depths = self._that_have("depth")

    @property
    def wants_elements(self) -> bool:
        """Whether one of them takes the ways of elements."""
        return bool(self._of_elements)

    @property
    def wants_depths(self) -> bool:
        """Whether one of them wants to know how full edges are."""
        return bool(self._of_depths)

    def span(self, span: Span) -> None:
        """Give it to all."""
        for sink in self._sinks:
            try:
                sink.span(span)
            except Exception:  # noqa: BLE001 - whatever a sink raises, the run goes on
                self._complain(sink)

    def element(self, trace: ElementTrace) -> None:
        """Give it to all that take it."""
        for sink in self._of_elements:
            try:
                sink.element(trace)
            except Exception:  # noqa: BLE001 - as above
                self._complain(sink)

    def depth(self, run_id: str, edge: str, at_s: float, depth: int) -> None:
        """Give it to all that take it."""
        for sink in self._of_depths:
            try:
                sink.depth(run_id, edge, at_s, depth)
            except Exception:  # noqa: BLE001 - as above
                self._complain(sink)

    def clock(self, run_id: str, at_s: float, at_ns: int) -> None:
        """Give it to all."""
        for sink in self._sinks:
            try:
                sink.clock(run_id, at_s, at_ns)
            except Exception:  # noqa: BLE001 - as above
                self._complain(sink)

    def _that_have(self, method: str) -> tuple[TraceSink, ...]:
        return tuple(one for one in self._sinks if getattr(type(one), method) is not getattr(TraceSink, method))

    def _complain(self, sink: TraceSink) -> None:
        if id(sink) not in self._complained:
            self._complained.add(id(sink))
            _log.exception("trace sink %r failed; told once", sink)


class ElementLog:
    """The elements of one run that are followed.

    Args:
        tracing: Which, and how many are kept.
        run_id: The run.
        parent: Where the run's own trace goes on.
        sinks: Who is told.
    """

    def __init__(self, tracing: Tracing, run_id: str, parent: TraceContext | None, sinks: Guarded) -> None:
        self._sampler: Sampler = tracing.of_elements
        self._parent = parent
        self._run_id = run_id
        self._sinks = sinks
        self._base = new_trace_id()
        self._numbers = itertools.count()
        self._kept: deque[tuple[Entry, float, type, _End]] = deque(maxlen=tracing.keep)
        self._keep = self._kept.append
        self._tells = sinks.wants_elements
        self._edges: Sequence[tuple[str, str | None, str | None]] = ()
        self._now: Callable[[], float] | None = None
        is_same_for_all = isinstance(self._sampler, str) or not tracing.follows
        self._all: bool | None = decide(tracing.of_elements, 0, parent) if is_same_for_all else None

    def begin(self, plan: Plan, now: Callable[[], float]) -> None:
        """Know the names of edges and stages."""
        self._now = now
        names = [one.node.name for one in plan.stages]
        edges: list[tuple[str, str | None, str | None]] = [
            (
                one.name,
                None if one.source is None else names[one.source],
                None if one.target is None else names[one.target],
            )
            for one in plan.edges
        ]
        inputs = [(one.name, names[its.index]) for its in plan.stages for one in its.inputs]
        self._edges = [*edges, *((name, None, reader) for name, reader in inputs), (plan.outlet.name, None, None)]

    @property
    def keeps_none(self) -> bool:
        """Whether no element of this run is followed."""
        return self._all is False

    def roots(self) -> Callable[[], Root | None]:
        """Return what begins a trace, or returns None where this one is not kept."""
        if self._all is None:
            return self._sampled
        return self._numbers.__next__ if self._all else _none

    def _sampled(self) -> Root | None:
        number = next(self._numbers)
        return number if decide(self._sampler, self._id(number), self._parent) else None

    @property
    def keep(self) -> Callable[[tuple[Entry, float, type, Literal["delivered"]]], None] | None:
        """What `delivered()` does, without the call, where that tells nobody; None: it does."""
        return None if self._tells else self._keep

    def delivered(self, item: object, hop: Hop | None) -> None:
        """Know that the consumer has taken an element."""
        if hop is not None:
            self._keep((*hop, type(item), "delivered"))
            if self._tells:
                self._tell()

    def consumed(self, item: object, hop: Hop | None) -> None:
        """Know that a sink has taken an element."""
        if hop is not None:
            self._keep((*hop, type(item), "consumed"))
            if self._tells:
                self._tell()

    def discarded(self, item: object, hop: Hop) -> None:
        """Know that an element was thrown away."""
        self._keep((*hop, type(item), "discarded"))
        if self._tells:
            self._tell()

    def tell_depth(self, edge: int, depth: int) -> None:
        """Know how many elements are in an edge."""
        if self._now is not None:
            self._sinks.depth(self._run_id, self._edges[edge][0], self._now(), depth)

    def traces(self) -> tuple[ElementTrace, ...]:
        """Return what is kept."""
        return tuple(self._told(*one) for one in self._kept)

    def _tell(self) -> None:
        self._sinks.element(self._told(*self._kept[-1]))

    def _id(self, number: int) -> int:
        return (self._base + number * _STEP) & _MASK or 1

    def _hex(self, root: Root) -> str:
        return f"{self._id(root if root >= 0 else ~root):032x}"

    def _told(self, entry: Entry, left_s: float, kind: type, end: _End) -> ElementTrace:
        """Return the way that ends with leaving an edge."""
        last: Hop = (entry, left_s)
        hops, links = [last], list[TraceLink]()
        origin, _, _ = entry_of(last)
        while not isinstance(origin, int):
            if isinstance(origin, list):
                maker = self._maker(hops[-1])
                links += [TraceLink(self._hex(_root(one)), maker, one[1]) for one in origin[1:]]
                origin = origin[0]
            hops.append(origin)
            origin, _, _ = entry_of(origin)
        hops.reverse()
        return ElementTrace(
            trace_id=self._hex(origin),
            run_id=self._run_id,
            element=kind.__name__,
            end=end,
            visits=tuple(self._visits(hops, end)),
            links=tuple(links),
            is_cut=origin < 0,
        )

    def _maker(self, hop: Hop) -> str:
        """Return who has made an element of several: the stage that sent it over this edge, or the merge."""
        name, source, _ = self._edges[entry_of(hop)[1]]
        return name if source is None else source

    def _visits(self, hops: Sequence[Hop], end: _End) -> list[Visit]:
        visits: list[Visit] = []
        before_s: float | None = None
        for hop in hops:
            _, edge, entered_s = entry_of(hop)
            left_s = hop[1]
            name, source, _ = self._edges[edge]
            if source is not None:
                visits.append(Visit("stage", source, entered_s if before_s is None else before_s, entered_s))
            visits.append(Visit("queue", name, entered_s, left_s))
            before_s = left_s
        edge, left_s = entry_of(hops[-1])[1], hops[-1][1]
        reader = self._edges[edge][2]
        if end == "consumed" and reader is not None:
            visits.append(Visit("stage", reader, left_s, left_s))
        return visits


def _none() -> None:
    return None


def _root(hop: Hop) -> Root:
    """Return where the way of a hop begins; of several, that of the first."""
    origin: Origin = hop
    while not isinstance(origin, int):
        origin, _, _ = entry_of(origin[0] if isinstance(origin, list) else origin)
    return origin
