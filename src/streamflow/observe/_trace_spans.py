"""Spans: what was done, from when to when, on whose behalf, and how it ended.

Above: `_tracing`, `runtime`, providers and agents, users. Below: `_trace_context`.

A span is begun with `start_span()` where something is done, and is the child of the one around it (a context variable, so each task
has its own). Where nothing is traced, that costs one look. Only what was put in is told: names, numbers, and types of
errors; never the text of an error, unless content is asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import msgspec

from ._trace_context import TraceContext, new_span_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = [
    "ActiveSpan",
    "AttributeValue",
    "Span",
    "SpanEvent",
    "SpanKind",
    "SpanScope",
    "SpanWriter",
    "current_span",
    "enter_span",
    "error_type",
    "start_span",
    "trace_headers",
]

AttributeValue: TypeAlias = str | bool | int | float | tuple[str, ...]
"""What an attribute may say."""

SpanKind: TypeAlias = Literal["internal", "client"]
"""Whether it is work of this process, or a call of another one."""

_MOST_EVENTS: Final = 128
_MOST_ATTRIBUTES: Final = 64
_MOST_CHARS: Final = 8192


class SpanEvent(msgspec.Struct, frozen=True):
    """A moment of a span."""

    name: str
    """What happened."""
    at_ns: int
    """When, in nanoseconds since 1970."""
    attributes: Mapping[str, AttributeValue]
    """What there is to say about it."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done."""

    name: str
    """What, as in `chat gpt-5`."""
    context: TraceContext
    """Its trace and its own id."""
    parent_id: str | None
    """The span that it is part of; 16 hexadecimal digits. None: the first of its trace."""
    kind: SpanKind
    """Whether it is work of this process, or a call of another one."""
    began_ns: int
    """When it began, in nanoseconds since 1970."""
    ended_ns: int
    """When it ended."""
    status: Literal["unset", "ok", "error"] = "unset"
    """How it ended."""
    error: str = ""
    """What went wrong: the name of an error's type."""
    attributes: Mapping[str, AttributeValue] = {}
    """What there is to say about it."""
    events: tuple[SpanEvent, ...] = ()
    """Its moments."""
    links: tuple[str, ...] = ()
    """Traces of elements that it is about; 32 hexadecimal digits each."""
    run_id: str = ""
    """The run that it is part of."""
    is_told_elsewhere: bool = False
    """Whether an SDK of a vendor has made a span of the same, which stands for it in what is exported."""

    @property
    def duration_s(self) -> float:
        """How long it took, in seconds."""
        return (self.ended_ns - self.began_ns) / 1e9


class SpanWriter(Protocol):
    """Takes the spans of one run."""

    @property
    def run_id(self) -> str:
        """The run."""
        ...

    @property
    def content(self) -> Callable[[str], str] | None:
        """What makes content fit to be told; None: it is not."""
        ...

    @property
    def propagate(self) -> frozenset[str]:
        """The hosts that are told of the trace."""
        ...

    def now_ns(self) -> int:
        """Return the time, in nanoseconds since 1970."""
        ...

    def end(self, span: Span) -> None:
        """Take a span that has ended."""
        ...


@dataclasses.dataclass(slots=True)
class ActiveSpan:
    """A span that has not ended. Where it is not recorded, all of its methods do nothing."""

    name: str
    """What is done."""
    context: TraceContext
    """Its trace and its own id: what a request to another process carries."""
    writer: SpanWriter
    """Who takes it."""
    parent_id: str | None = None
    """The span that it is part of."""
    kind: SpanKind = "internal"
    """Whether it is work of this process, or a call of another one."""
    began_ns: int = 0
    """When it began, in nanoseconds since 1970."""
    attributes: dict[str, AttributeValue] = dataclasses.field(default_factory=dict[str, AttributeValue])
    """What there is to say about it, so far."""
    events: list[SpanEvent] = dataclasses.field(default_factory=list[SpanEvent])
    """Its moments, so far."""
    error: str | None = None
    """What has gone wrong: the name of an error's type; None: nothing."""
    is_told_elsewhere: bool = False
    """Whether an SDK of a vendor makes a span of the same, which stands for it in what is exported."""
    is_over: bool = False
    """Whether it has ended."""

    @property
    def is_recorded(self) -> bool:
        """Whether anybody will see it."""
        return self.context.sampled and not self.is_over

    def set(self, name: str, value: AttributeValue | None) -> None:
        """Say something about it; None says nothing. Text is cut at 8192 characters, and 64 attributes are the most."""
        if (
            value is not None
            and self.is_recorded
            and (name in self.attributes or len(self.attributes) < _MOST_ATTRIBUTES)
        ):
            self.attributes[name] = value[:_MOST_CHARS] if isinstance(value, str) else value

    def set_content(self, name: str, text: Callable[[], str]) -> None:
        """Say what was said, if content is to be told; `text` is called only then, and what it returns is redacted."""
        redact = self.writer.content
        if redact is not None and self.is_recorded:
            self.set(name, redact(text()))

    def event(self, name: str, attributes: Mapping[str, AttributeValue] | None = None) -> None:
        """Note a moment; the first 128 are kept."""
        if self.is_recorded and len(self.events) < _MOST_EVENTS:
            self.events.append(SpanEvent(name, self.writer.now_ns(), dict(attributes or {})))

    def fail(self, error: BaseException) -> None:
        """Know what has gone wrong."""
        self.fail_as(error_type(error))

    def fail_as(self, what: str) -> None:
        """Know what has gone wrong, by the name of a kind of error."""
        self.error = what
        self.set("error.type", what)

    def child(self, name: str, kind: SpanKind = "internal") -> ActiveSpan:
        """Return a span that is part of this one, and begins now. Who takes it has to `finish()` it."""
        context = TraceContext(self.context.trace_id, new_span_id(), self.context.sampled, self.context.state)
        began = self.writer.now_ns() if context.sampled else 0
        return ActiveSpan(name, context, self.writer, self.context.span_id, kind, began)

    def finish(self) -> None:
        """End it, now. Idempotent."""
        if not self.is_recorded:
            return
        self.writer.end(
            Span(
                name=self.name,
                context=self.context,
                parent_id=self.parent_id,
                kind=self.kind,
                began_ns=self.began_ns,
                ended_ns=max(self.writer.now_ns(), self.began_ns),
                status="unset" if self.error is None else "error",
                error=self.error or "",
                attributes=dict(self.attributes),
                events=tuple(self.events),
                run_id=self.writer.run_id,
                is_told_elsewhere=self.is_told_elsewhere,
            )
        )
        self.is_over = True


_ACTIVE: ContextVar[ActiveSpan | None] = ContextVar("streamflow_span", default=None)


def current_span() -> ActiveSpan | None:
    """Return the span that the calling code is part of; None where nothing is traced."""
    return _ACTIVE.get()


def enter_span(span: ActiveSpan | None) -> None:
    """Make a span the one that the calling task is part of, from now on."""
    _ACTIVE.set(span)


class SpanScope:
    """A block that is a span, or nothing where nothing is traced.

    Its value is the span; None where nothing is traced. Leaving it with an exception that is no cancellation is a failure.
    """

    __slots__ = ("_attributes", "_kind", "_name", "_span", "_token")

    def __init__(self, name: str, kind: SpanKind, attributes: Mapping[str, AttributeValue] | None) -> None:
        self._name = name
        self._kind: SpanKind = kind
        self._attributes = attributes
        self._span: ActiveSpan | None = None
        self._token: Token[ActiveSpan | None] | None = None

    def __enter__(self) -> ActiveSpan | None:
        parent = _ACTIVE.get()
        if parent is None:
            return None
        span = self._span = parent.child(self._name, self._kind)
        for name, value in (self._attributes or {}).items():
            span.set(name, value)
        self._token = _ACTIVE.set(span)
        return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        span, token, self._span, self._token = self._span, self._token, None, None
        if span is None or token is None:
            return
        _ACTIVE.reset(token)
        if isinstance(error, Exception):
            span.fail(error)
        elif error is not None:
            span.event("cancelled")
        span.finish()


def start_span(
    name: str, kind: SpanKind = "internal", attributes: Mapping[str, AttributeValue] | None = None
) -> SpanScope:
    """Return a block that is a span of its own inside the current one.

    ```python
    with start_span("lookup", attributes={"db.system": "sqlite"}) as span:
        rows = find()
        if span is not None:
            span.set("rows", len(rows))
    ```

    Args:
        name: What is done; few different ones.
        kind: Whether it is work of this process, or a call of another one.
        attributes: What there is to say about it from the start.

    Cancellation: ends the span, as an event and not as a failure.
    """
    return SpanScope(name, kind, attributes)


def trace_headers(host: str) -> dict[str, str]:
    """Return the headers by which a request tells a host of the trace: none, unless `Tracing.propagate` names it.

    Args:
        host: The host's name, without port.
    """
    span = _ACTIVE.get()
    if span is None:
        return {}
    hosts = span.writer.propagate
    if host.lower() in hosts:
        return span.context.headers(state=True)
    return span.context.headers() if "*" in hosts else {}


def error_type(error: BaseException) -> str:
    """Return the name of an error's type, as `error.type` wants it: with its module, unless that is built in."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
