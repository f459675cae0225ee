"""Runs as a picture: one JSON file that https://ui.perfetto.dev and `chrome://tracing` open.

Above: users. Below: `_tracing`, `_trace_outbox`.
Source: the "Trace Event Format", as a JSON array of events, one a line.

- A run is a process, a stage a thread of it; where visits to a stage overlap, it has several. Visits are complete events (`X`).
- The way of an element is a flow (`s`, `t`, `f`) from visit to visit; its stays in queues, and all spans, are async events
  (`b`, `e`); how full an edge is, is a counter (`C`).
- The file needs no end: the format allows an array that is not closed, so what a crash leaves can be opened.
"""

from __future__ import annotations

import bisect
import itertools
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ..errors import ConfigError
from ._trace_elements import ElementTrace
from ._trace_outbox import Outbox
from ._trace_spans import Span
from ._tracing import TraceSink

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from ._trace_elements import Visit

__all__ = ["PerfettoFile"]

_KNOWN: Final = 4096
"""Most visits of which it is known that they are in the file already: copies of an element share the way before their fork."""

_SPANS: Final = 1
"""The thread of what is about the whole run; stages come behind it."""

_EDGES: Final = 2


class _Clock(msgspec.Struct, frozen=True):
    run_id: str
    at_s: float
    at_ns: int


class _Depth(msgspec.Struct, frozen=True):
    run_id: str
    edge: str
    at_s: float
    depth: int


_Told = Span | ElementTrace | _Clock | _Depth
_Event = dict[str, object]


class PerfettoFile(TraceSink):
    """A sink that writes a file for Perfetto: tracks per stage, arrows that follow elements, counters of edges, spans.

    ```python
    with PerfettoFile("trace.json") as file:
        config = PipelineConfig(tracing=Tracing(sinks=(file,)))
    ```

    A thread writes; what it cannot keep up with is dropped and counted. Whatever happens, what was written can be opened.

    Args:
        path: The file; one that is there is replaced.
        max_bytes: Most bytes; what does not fit is counted as `dropped`.
        depths: Whether to count how full edges are, which costs something for each element.

    Raises:
        ConfigError: If `max_bytes` is too small.
        OSError: If the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = 100_000_000, depths: bool = True) -> None:
        if max_bytes < _KNOWN:
            raise ConfigError("max_bytes", f"{max_bytes} is too small for a trace; give {_KNOWN} or more")
        self._left = max_bytes - 256  # for the end
        self._depths = depths
        self._unfit = 0
        self._file = Path(path).open("wb")  # noqa: SIM115 - closed by `close()`
        self._file.write(b"[\n")
        self._runs: dict[str, _Run] = {}
        self._base_ns: int | None = None
        self._flows = itertools.count(1)
        self._outbox: Outbox[_Told] = Outbox(self._write, most=100_000, batch=1000, name=f"perfetto {path}")

    @property
    def dropped(self) -> int:
        """How much was not written: because there was too much at a time, or the file was full."""
        return self._outbox.dropped + self._outbox.failed + self._unfit

    def span(self, span: Span) -> None:
        """Take a span that has ended."""
        self._outbox.put(span)

    def element(self, trace: ElementTrace) -> None:
        """Take the way of an element that has ended."""
        self._outbox.put(trace)

    def depth(self, run_id: str, edge: str, at_s: float, depth: int) -> None:
        """Take how many elements are in an edge."""
        if self._depths:
            self._outbox.put(_Depth(run_id, edge, at_s, depth))

    def clock(self, run_id: str, at_s: float, at_ns: int) -> None:
        """Take how a run's clock goes."""
        self._outbox.put(_Clock(run_id, at_s, at_ns))

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is left, and end the file. Blocks, `timeout_s` at most. Idempotent."""
        if self._outbox.close(timeout_s) and not self._file.closed:
            last = {"name": "dropped", "ph": "M", "pid": 0, "tid": 0, "args": {"dropped": self.dropped}}
            self._file.write(msgspec.json.encode(last) + b"\n]\n")
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # In the thread

    def _write(self, items: list[_Told]) -> None:
        for item in items:
            lines = b"".join(msgspec.json.encode(one) + b",\n" for one in self._events(item))
            if len(lines) > self._left:
                self._unfit += 1
            else:
                self._left -= len(lines)
                self._file.write(lines)
        self._file.flush()

    def _events(self, item: _Told) -> Iterator[_Event]:
        run = self._runs.get(item.run_id)
        if isinstance(item, _Clock):
            if self._base_ns is None:
                self._base_ns = item.at_ns
            run = self._runs[item.run_id] = _Run(
                len(self._runs) + 1, (item.at_ns - self._base_ns) / 1e3 - item.at_s * 1e6, self._base_ns
            )
            yield from run.begin(item.run_id)
        elif run is None:
            return
        elif isinstance(item, Span):
            yield from run.span(item)
        elif isinstance(item, _Depth):
            yield run.event("C", item.edge, run.at_us(item.at_s), _EDGES, args={"elements": item.depth})
        else:
            yield from run.element(item, self._flows)


class _Run:
    """What is known of one run."""

    def __init__(self, pid: int, offset_us: float, base_ns: int) -> None:
        self._pid = pid
        self._offset_us = offset_us
        self._base_ns = base_ns
        self._threads = itertools.count(_EDGES + 1)
        self._lanes: dict[str, list[_Lane]] = {}
        self._known: OrderedDict[tuple[str, Visit], int] = OrderedDict()
        self._ids = itertools.count(1)

    def at_us(self, at_s: float) -> float:
        """Return a moment of the run's clock, in microseconds from the beginning of the file."""
        return round(at_s * 1e6 + self._offset_us, 3)

    def event(self, phase: str, name: str, at_us: float, thread: int, **more: object) -> _Event:
        """Return an event."""
        return {"name": name, "ph": phase, "ts": at_us, "pid": self._pid, "tid": thread, **more}

    def begin(self, run_id: str) -> Iterator[_Event]:
        """Give the run's name, and those of what all runs have."""
        yield self._named("process_name", run_id, 0)
        yield self._named("thread_name", "spans", _SPANS)
        yield self._named("thread_name", "edges", _EDGES)

    def span(self, span: Span) -> Iterator[_Event]:
        """Give a span, and its moments."""
        began, ended = ((one - self._base_ns) / 1e3 for one in (span.began_ns, span.ended_ns))
        told = {"cat": "span", "id": f"0x{span.context.span_id}"}
        facts = {**span.attributes, "trace_id": span.context.trace_id}
        if span.status == "error":
            facts["error"] = span.error
        yield self.event("b", span.name, began, _SPANS, args=facts, **told)
        for one in span.events:
            at_us = (one.at_ns - self._base_ns) / 1e3
            yield self.event("n", one.name, at_us, _SPANS, args=dict(one.attributes), **told)
        yield self.event("e", span.name, ended, _SPANS, **told)

    def element(self, trace: ElementTrace, flows: Iterator[int]) -> Iterator[_Event]:
        """Give the way of an element."""
        steps: list[tuple[float, int]] = []
        facts = {"trace_id": trace.trace_id, "element": trace.element, "end": trace.end}
        for visit in trace.visits:
            key = trace.trace_id, visit
            known = self._known.get(key)
            began, ended = self.at_us(visit.entered_s), self.at_us(visit.left_s)
            if visit.kind == "queue":
                if known is None:
                    told = {"cat": "queue", "id": f"{self._pid}.{next(self._ids)}"}
                    yield self.event("b", visit.name, began, _EDGES, args=facts, **told)
                    yield self.event("e", visit.name, ended, _EDGES, **told)
                    self._know(key, _EDGES)
                continue
            if known is None:
                lane = self._lane(visit.name, began, ended)
                if lane.is_new:
                    lane.is_new = False
                    yield self._named("thread_name", visit.name, lane.thread)
                known = lane.thread
                yield self.event("X", visit.name, began, known, dur=round(ended - began, 3), cat="stage", args=facts)
                self._know(key, known)
            steps.append((began, known))
        if len(steps) > 1:
            flow = next(flows)
            for number, (at_us, thread) in enumerate(steps):
                phase = "s" if not number else "f" if number == len(steps) - 1 else "t"
                more = {"bp": "e"} if phase == "f" else {}
                yield self.event(phase, "element", at_us, thread, cat="element", id=flow, **more)

    def _know(self, key: tuple[str, Visit], thread: int) -> None:
        self._known[key] = thread
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _lane(self, stage: str, began: float, ended: float) -> _Lane:
        """Return a thread of a stage in which nothing overlaps with this visit, or all that does encloses it, or is enclosed."""
        lanes = self._lanes.setdefault(stage, [])
        for lane in lanes:
            if lane.takes(began, ended):
                return lane
        lane = _Lane(next(self._threads))
        lane.takes(began, ended)
        lanes.append(lane)
        return lane

    def _named(self, what: str, name: str, thread: int) -> _Event:
        return {"name": what, "ph": "M", "pid": self._pid, "tid": thread, "args": {"name": name}}


class _Lane:
    """One thread of a stage: visits that do not cross each other."""

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.is_new = True
        self._taken: list[tuple[float, float]] = []

    def takes(self, began: float, ended: float) -> bool:
        """Take a visit, if nothing that is known here overlaps with it."""
        place = bisect.bisect(self._taken, (began, ended))
        before = self._taken[place - 1] if place else None
        behind = self._taken[place] if place < len(self._taken) else None
        if (before is not None and before[1] > began) or (behind is not None and behind[0] < ended):
            return False
        if before is not None and before[0] == began:
            return False  # of two that begin together, nobody could tell which one an arrow is about
        self._taken.insert(place, (began, ended))
        if len(self._taken) > _KNOWN:
            del self._taken[: _KNOWN // 2]
        return True
