"""Spans for OpenTelemetry: given to one of its exporters, from a thread, so that a collector that is slow or gone costs nothing.

Above: users. Below: `_tracing`, `_trace_outbox`, and the optional `opentelemetry-sdk` and its OTLP exporter (extra `otel`),
which only this module imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError, MissingExtraError
from ._trace_outbox import Outbox
from ._trace_spans import Span
from ._tracing import TraceSink

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext

    from ._trace_elements import ElementTrace, Visit

__all__ = ["OpenTelemetrySink"]

_SCOPE = "streamflow"


class OpenTelemetrySink(TraceSink):
    """A sink that exports spans to OpenTelemetry; by default over OTLP/HTTP, as `OTEL_EXPORTER_OTLP_*` says.

    ```python
    with OpenTelemetrySink(service="chat") as sink:
        config = PipelineConfig(tracing=Tracing(sinks=(sink,)))
    ```

    A thread exports; what it cannot keep up with, because the collector is slow or gone, is dropped and counted.

    Args:
        exporter: What is given the spans; None: one for OTLP/HTTP.
        endpoint: Where the collector takes traces, as `http://localhost:4318/v1/traces`; None: as the environment says.
        headers: Headers of the requests, as for a key; they are told to nobody else.
        service: `service.name` of the spans.
        elements: Whether the ways of elements are exported too, each as a trace of its own.
        timeout_s: Longest time that one request may take, retries included, in seconds.
        max_waiting: Most spans, or ways of elements, that wait to be exported.

    Raises:
        ConfigError: If an argument does not go with another, or a number is out of range.
        MissingExtraError: If the extra `otel` is not installed.
    """

    def __init__(
        self,
        exporter: SpanExporter | None = None,
        *,
        endpoint: str | None = None,
        headers: Mapping[str, str] | None = None,
        service: str = "streamflow",
        elements: bool = False,
        timeout_s: float = 10.0,
        max_waiting: int = 2048,
    ) -> None:
        if exporter is not None and (endpoint is not None or headers is not None):
            raise ConfigError("exporter", "it knows its endpoint and headers itself; give it alone")
        for field, value in (("timeout_s", timeout_s), ("max_waiting", max_waiting)):
            if not value > 0:
                raise ConfigError(field, f"{value} is out of range; give more than 0")
        self._exporter = _otlp(endpoint, headers, timeout_s) if exporter is None else exporter
        self._make = _Maker(service)
        self._elements = elements
        self._clocks: dict[str, float] = {}
        self._outbox: Outbox[Span | tuple[ElementTrace, float]] = Outbox(
            self._export, most=max_waiting, batch=512, name="OpenTelemetry export"
        )

    @property
    def dropped(self) -> int:
        """Spans and ways of elements that were not exported, because too many waited."""
        return self._outbox.dropped

    @property
    def failed(self) -> int:
        """Those that the exporter could not export."""
        return self._outbox.failed

    @property
    def exported(self) -> int:
        """Those that it has exported."""
        return self._outbox.done

    def span(self, span: Span) -> None:
        """Take a span that has ended, unless an SDK of a vendor tells it, too."""
        if not span.is_told_elsewhere:
            self._outbox.put(span)

    def element(self, trace: ElementTrace) -> None:
        """Take the way of an element that has ended."""
        if self._elements and trace.run_id in self._clocks:
            self._outbox.put((trace, self._clocks[trace.run_id]))

    def clock(self, run_id: str, at_s: float, at_ns: int) -> None:
        """Take how a run's clock goes."""
        if self._elements:
            self._clocks[run_id] = at_ns - at_s * 1e9
            if len(self._clocks) > 1000:
                del self._clocks[next(iter(self._clocks))]

    def close(self, timeout_s: float = 10.0) -> None:
        """Export what is left, and shut the exporter down. Blocks, `timeout_s` at most. Idempotent."""
        if self._outbox.close(timeout_s):
            self._exporter.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _export(self, items: list[Span | tuple[ElementTrace, float]]) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        spans: list[ReadableSpan] = []
        for item in items:
            if isinstance(item, Span):
                spans.append(self._make.span(item))
            else:
                spans += self._make.element(*item)
        if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            message = "the exporter reported a failure"
            raise ConnectionError(message)


def _otlp(endpoint: str | None, headers: Mapping[str, str] | None, timeout_s: float) -> SpanExporter:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise MissingExtraError("opentelemetry-exporter-otlp-proto-http", "otel") from None
    given = None if headers is None else dict(headers)
    return OTLPSpanExporter(endpoint=endpoint, headers=given, timeout=cast("Any", timeout_s))


class _Maker:
    """Makes spans of OpenTelemetry."""

    def __init__(self, service: str) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.sdk import trace as sdk
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        except ImportError:
            raise MissingExtraError("opentelemetry-sdk", "otel") from None
        self._api = trace
        self._sdk = sdk
        self._resource = Resource.create({"service.name": service})
        self._scope = InstrumentationScope(_SCOPE)
        self._kinds = {"internal": trace.SpanKind.INTERNAL, "client": trace.SpanKind.CLIENT}

    def span(self, span: Span) -> ReadableSpan:
        """Return a span."""
        trace_id = span.context.trace_id
        status = self._api.Status(self._api.StatusCode.ERROR, span.error) if span.status == "error" else None
        return self._sdk.ReadableSpan(
            span.name,
            self._context(trace_id, span.context.span_id, span.context.state),
            None if span.parent_id is None else self._context(trace_id, span.parent_id, span.context.state),
            self._resource,
            dict(span.attributes),
            [self._sdk.Event(one.name, dict(one.attributes), one.at_ns) for one in span.events],
            kind=self._kinds[span.kind],
            instrumentation_scope=self._scope,
            status=self._api.Status() if status is None else status,
            start_time=span.began_ns,
            end_time=span.ended_ns,
        )

    def element(self, trace: ElementTrace, offset_ns: float) -> Iterator[ReadableSpan]:
        """Return the spans of the way of an element: one for all of it, and one for each visit."""
        whole = self._context(trace.trace_id, trace.trace_id[16:])
        links = [self._api.Link(self._context(one.trace_id, one.trace_id[16:])) for one in trace.links]
        yield self._sdk.ReadableSpan(
            f"element {trace.element}",
            whole,
            None,
            self._resource,
            {"streamflow.run.id": trace.run_id, "streamflow.element.end": trace.end},
            links=links,
            instrumentation_scope=self._scope,
            start_time=round(trace.began_s * 1e9 + offset_ns),
            end_time=round(trace.ended_s * 1e9 + offset_ns),
        )
        for number, visit in enumerate(trace.visits, start=1):
            yield self._visit(trace, visit, number, whole, offset_ns)

    def _visit(
        self, trace: ElementTrace, visit: Visit, number: int, whole: SpanContext, offset_ns: float
    ) -> ReadableSpan:
        span_id = f"{(int(trace.trace_id[16:], 16) + number) % (1 << 64) or 1:016x}"
        return self._sdk.ReadableSpan(
            f"{visit.kind} {visit.name}",
            self._context(trace.trace_id, span_id),
            whole,
            self._resource,
            {f"streamflow.{visit.kind}.name": visit.name},
            instrumentation_scope=self._scope,
            start_time=round(visit.entered_s * 1e9 + offset_ns),
            end_time=round(visit.left_s * 1e9 + offset_ns),
        )

    def _context(self, trace_id: str, span_id: str, state: str = "") -> SpanContext:
        return self._api.SpanContext(
            int(trace_id, 16),
            int(span_id, 16),
            is_remote=False,
            trace_flags=self._api.TraceFlags(self._api.TraceFlags.SAMPLED),
            trace_state=self._api.TraceState.from_header([state]) if state else None,
        )
