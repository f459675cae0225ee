"""Spans over OTLP/HTTP: to a receiver of the test's own that decodes the protobuf, and to one that is slow or gone."""

from __future__ import annotations

import gzip
import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streamflow import MapStage, PipelineBuilder, PipelineConfig, StageError
from streamflow.errors import ConfigError
from streamflow.observe import OpenTelemetrySink, TraceContext, TraceList, Tracing

pytestmark = [pytest.mark.services, pytest.mark.real_clock]

CALLER = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", state="vendor=one")


@contextmanager
def receiver(hold: threading.Event | None = None) -> Iterator[tuple[str, list[ExportTraceServiceRequest], list[str]]]:
    """Serve OTLP/HTTP, and keep what comes; `hold` keeps each request waiting."""
    got: list[ExportTraceServiceRequest] = []
    keys: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if hold is not None:
                hold.wait()
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            keys.append(self.headers.get("x-key", ""))
            got.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", got, keys
    finally:
        server.shutdown()
        server.server_close()


def pipeline(sink: OpenTelemetrySink, other: TraceList | None = None):
    sinks = (sink,) if other is None else (sink, other)
    builder = PipelineBuilder(PipelineConfig(tracing=Tracing(name="shop", sinks=sinks)))
    return builder.chain(MapStage(lambda one: 1 / len(one.text) and one, name="a")).build()


def test_spans_arrive_as_protobuf_with_their_times_places_and_failures() -> None:
    """semantics 24.18: run and stages, as they were; the ways of elements, each a trace of its own."""
    other = TraceList()
    with (
        receiver() as (url, got, keys),
        OpenTelemetrySink(endpoint=url, headers={"x-key": "k"}, service="svc", elements=True) as sink,
    ):
        run = pipeline(sink, other)
        run.execute_sync(["x"])
        with pytest.raises(StageError):
            run.execute_sync(["x", ""])
        sink.close()
    spans = [span for one in got for group in one.resource_spans for scope in group.scope_spans for span in scope.spans]
    resource = {one.key: one.value.string_value for one in got[0].resource_spans[0].resource.attributes}

    assert set(keys) == {"k"}
    assert resource["service.name"] == "svc"
    assert sink.exported == len(other.spans) + len(other.elements)
    told = {(one.trace_id.hex(), one.span_id.hex()): one for one in spans}
    for one in other.spans:
        span = told[one.context.trace_id, one.context.span_id]
        assert (span.name, span.parent_span_id.hex()) == (one.name, one.parent_id or "")
        assert (span.start_time_unix_nano, span.end_time_unix_nano) == (one.began_ns, one.ended_ns)
        assert {each.key for each in span.attributes} == set(one.attributes)
    failed = [one for one in spans if one.status.code == 2]
    assert {(one.name, one.status.message) for one in failed} == {
        ("stage a", "ZeroDivisionError"),
        ("invoke_workflow shop", "ZeroDivisionError"),
    }
    for way in other.elements:
        visits = [one for one in spans if one.trace_id.hex() == way.trace_id and one.parent_span_id]
        assert [one.name for one in visits] == [f"{visit.kind} {visit.name}" for visit in way.visits]


def test_a_collector_that_is_slow_or_gone_holds_up_nobody() -> None:
    """semantics 24.18: bounded, and what was lost is counted."""
    hold = threading.Event()
    with receiver(hold) as (url, got, _):
        slow = OpenTelemetrySink(endpoint=url, max_waiting=3)
        run = pipeline(slow)
        for _ in range(10):
            assert run.execute_sync(["x"]).text == "x"
        assert slow.dropped >= 10
        hold.set()
        slow.close()
    assert slow.exported + slow.dropped == 20
    assert got

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = OpenTelemetrySink(endpoint=f"http://127.0.0.1:{free.getsockname()[1]}/v1/traces", timeout_s=0.2)
        assert pipeline(gone).execute_sync(["x"]).text == "x"
        gone.close()
    assert (gone.exported, gone.failed) == (0, 2)


def test_a_run_goes_on_in_the_active_context_of_opentelemetry() -> None:
    """semantics 24.15: where the program has one, and nothing else was said."""
    other = TraceList()
    place = trace.SpanContext(
        int(CALLER.trace_id, 16), int(CALLER.span_id, 16), is_remote=True, trace_flags=trace.TraceFlags(1)
    )
    run = (
        PipelineBuilder(PipelineConfig(tracing=Tracing(sinks=(other,))))
        .chain(MapStage(lambda one: one, name="a"))
        .build()
    )
    with trace.use_span(trace.NonRecordingSpan(place)):
        run.execute_sync(["x"])

    (whole,) = [one for one in other.spans if one.name.startswith("invoke")]
    assert (whole.context.trace_id, whole.parent_id) == (CALLER.trace_id, CALLER.span_id)


def test_arguments_that_cannot_go_together_are_refused() -> None:
    """semantics 24.18: at once."""
    with pytest.raises(ConfigError, match="exporter"):
        OpenTelemetrySink(object(), endpoint="http://localhost")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_waiting"):
        OpenTelemetrySink(endpoint="http://localhost", max_waiting=0)
