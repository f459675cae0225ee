"""How a run is traced: which traces are kept, who is given them, what they may say and to whom.

Above: `runtime`, users. Below: `_trace_context`, `_trace_elements`, `_trace_spans`.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ._trace_context import TraceContext
    from ._trace_elements import ElementTrace
    from ._trace_spans import Span

__all__ = ["Sampler", "TraceList", "TraceSink", "Tracing", "decide", "parent_based", "ratio_based"]

Sampler: TypeAlias = "Literal['always', 'never', 'parent'] | float | Callable[[int, TraceContext | None], bool]"
"""Which traces are kept: all, none, those that the caller keeps (all where there is none), a share of them by their id, or what
a function says that is given the trace id, a number of 128 bits, and the caller's context."""

_IDS: Final = 1 << 56
"""A share is taken of the last 56 bits, which the standard asks to be random."""


class TraceSink:
    """Base of all that is given traces. Called inline, on the event loop: it must not wait. What it raises is logged once."""

    def span(self, span: Span) -> None:
        """Take a span that has ended."""

    def element(self, trace: ElementTrace) -> None:
        """Take the way of an element that has ended."""

    def depth(self, run_id: str, edge: str, at_s: float, depth: int) -> None:
        """Take how many elements are in an edge, whenever that changes. Asked for by overriding it; it costs something."""

    def clock(self, run_id: str, at_s: float, at_ns: int) -> None:
        """Take, when a run begins, what its clock says and how many nanoseconds since 1970 that is."""


class TraceList(TraceSink):
    """A sink that keeps what it is given, in memory: for tests, and to look at.

    Args:
        most: Most spans, and most elements, that it keeps; the newest stay.
    """

    def __init__(self, most: int = 10_000) -> None:
        self.spans: deque[Span] = deque(maxlen=_count("most", most))
        """The spans, in the order of their ends."""
        self.elements: deque[ElementTrace] = deque(maxlen=most)
        """The ways of elements, in the order of their ends."""

    def span(self, span: Span) -> None:
        """Keep it."""
        self.spans.append(span)

    def element(self, trace: ElementTrace) -> None:
        """Keep it."""
        self.elements.append(trace)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """How a run is traced.

    Raises:
        ConfigError: If a value is wrong; names the field.
    """

    name: str = "pipeline"
    """What the pipeline is called in its spans."""
    sample: Sampler = "parent"
    """Which runs have spans; told by the id of the run's trace."""
    elements: Sampler | None = None
    """Which elements of the source are followed, each by the id of its own trace; None: as `sample`."""
    sinks: tuple[TraceSink, ...] = ()
    """Who is given what was traced."""
    keep: int = 100
    """Most ways of elements that the run itself keeps for `run.traces()`; the newest stay."""
    content: bool = False
    """Whether spans tell what was said: messages, arguments and results of tools."""
    redact: Callable[[str], str] | None = None
    """Given each content before it is told, returns what to tell instead."""
    propagate: Collection[str] = ()
    """Hosts whose requests carry `traceparent`, and `tracestate` if there is one: providers, by name; `*` is all of them, without
    `tracestate`. Nobody is told of a trace that is not named here; baggage is never sent."""
    max_links: int = 64
    """Most elements that one is said to come from."""
    max_hops: int = 256
    """Longest way that is kept of an element that is led back, in edges."""

    def __post_init__(self) -> None:
        _check_sampler("sample", self.sample)
        if self.elements is not None:
            _check_sampler("elements", self.elements)
        for field in ("keep", "max_links", "max_hops"):
            _count(field, getattr(self, field))
        if isinstance(cast("object", self.propagate), str):
            raise ConfigError(
                "propagate", f"hosts were expected, as in ('api.example.com',), got {self.propagate!r:.80}"
            )
        for sink in self.sinks:
            if not isinstance(cast("object", sink), TraceSink):
                raise ConfigError("sinks", f"{sink!r:.80} is no TraceSink; make it a subclass of TraceSink")
        if self.redact is not None and not self.content:
            raise ConfigError("redact", "there is nothing to redact: spans tell content only with content=True")
        object.__setattr__(self, "propagate", frozenset(one.lower() for one in self.propagate))

    @property
    def of_elements(self) -> Sampler:
        """Which elements are followed."""
        return self.sample if self.elements is None else self.elements

    @property
    def follows(self) -> bool:
        """Whether elements may be followed at all; else edges stay as they are."""
        return self.of_elements not in ("never", 0)


def ratio_based(ratio: float) -> Callable[[int, TraceContext | None], bool]:
    """Return the sampler that keeps a share of all traces, by their ids: the same ones in every process.

    Args:
        ratio: The share, from 0 to 1.

    Raises:
        ConfigError: If it is none.
    """
    _check_sampler("ratio", ratio)
    limit = round(ratio * _IDS)
    return lambda trace_id, _parent: trace_id % _IDS < limit


def parent_based(root: Sampler = "always") -> Callable[[int, TraceContext | None], bool]:
    """Return the sampler that does as the caller does, and asks another one where there is no caller.

    Args:
        root: The other one.

    Raises:
        ConfigError: If it is none.
    """
    _check_sampler("root", root)
    return lambda trace_id, parent: decide(root, trace_id, None) if parent is None else parent.sampled


def decide(sampler: Sampler, trace_id: int, parent: TraceContext | None) -> bool:
    """Say whether a trace is kept."""
    if callable(sampler):
        return bool(sampler(trace_id, parent))
    if sampler == "parent":
        return parent is None or parent.sampled
    if isinstance(sampler, str):
        return sampler == "always"
    return trace_id % _IDS < round(sampler * _IDS)


def _check_sampler(field: str, given: object) -> None:
    is_ratio = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= 1
    if not (is_ratio or callable(given) or given in ("always", "never", "parent")):
        message = f"'always', 'never', 'parent', a share from 0 to 1, or a function was expected, got {given!r:.80}"
        raise ConfigError(field, message)


def _count(field: str, given: object) -> int:
    if isinstance(given, int) and not isinstance(given, bool) and given >= 1:
        return given
    raise ConfigError(field, f"a whole number from 1 up was expected, got {given!r:.80}")
