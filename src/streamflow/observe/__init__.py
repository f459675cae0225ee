"""What happened: events and those who listen to them.

Above: stages emit events, the runtime tells of its own and delivers all of them. Below: `errors`.
"""

from typing import TYPE_CHECKING

from .. import _faces
from ._bus import AsyncListener, EventBus, Listener, is_async_listener
from ._histogram import Histogram, Tally

if TYPE_CHECKING:
    from ._events import (
        EdgeGrown,
        EdgeStalled,
        ElementDeadLettered,
        ElementDropped,
        ElementFailed,
        ElementMoved,
        ElementRetried,
        Event,
        EventGap,
        LoopBlocked,
        PipelineCancelled,
        PipelineCompleted,
        PipelineEnded,
        PipelineEvent,
        PipelineFailed,
        PipelineStarted,
        RunInterrupted,
        RunStalled,
        StageCancelled,
        StageCompleted,
        StageEnded,
        StageEvent,
        StageFailed,
        StageRestarted,
        StageStarted,
    )
    from ._logging import log_events
    from ._metric_families import PROMETHEUS_CONTENT_TYPE, Labels, MetricFamily, MetricSample, prometheus_text
    from ._metric_instruments import GenAIMetrics, observe_families
    from ._record_compare import DEFAULT_IGNORED, RULES, Difference, Ignored, checked_rules, first_difference
    from ._record_encoding import Entry, Noted, entry_of, tag_of
    from ._record_file import RecordFile, open_record_file
    from ._record_frames import EndFrame, GapFrame, RunFrame, frame_of
    from ._record_reading import RecordedElement, RecordedFile, RecordedRun, read_recording
    from ._record_settings import EDGES, INPUT, OUTPUT, Media, Recording, Redact, checked_recording
    from ._trace_context import TraceContext, new_span_id, new_trace_id
    from ._trace_elements import ElementTrace, TraceLink, Visit
    from ._trace_otel import OpenTelemetrySink
    from ._trace_perfetto import PerfettoFile
    from ._trace_spans import (
        ActiveSpan,
        AttributeValue,
        Span,
        SpanEvent,
        SpanKind,
        SpanScope,
        SpanWriter,
        current_span,
        enter_span,
        error_type,
        start_span,
        trace_headers,
    )
    from ._tracing import Sampler, TraceList, TraceSink, Tracing, decide, parent_based, ratio_based

__all__ = [
    "DEFAULT_IGNORED",
    "EDGES",
    "INPUT",
    "OUTPUT",
    "PROMETHEUS_CONTENT_TYPE",
    "RULES",
    "ActiveSpan",
    "AsyncListener",
    "AttributeValue",
    "Difference",
    "EdgeGrown",
    "EdgeStalled",
    "ElementDeadLettered",
    "ElementDropped",
    "ElementFailed",
    "ElementMoved",
    "ElementRetried",
    "ElementTrace",
    "EndFrame",
    "Entry",
    "Event",
    "EventBus",
    "EventGap",
    "GapFrame",
    "GenAIMetrics",
    "Histogram",
    "Ignored",
    "Labels",
    "Listener",
    "LoopBlocked",
    "Media",
    "MetricFamily",
    "MetricSample",
    "Noted",
    "OpenTelemetrySink",
    "PerfettoFile",
    "PipelineCancelled",
    "PipelineCompleted",
    "PipelineEnded",
    "PipelineEvent",
    "PipelineFailed",
    "PipelineStarted",
    "RecordFile",
    "RecordedElement",
    "RecordedFile",
    "RecordedRun",
    "Recording",
    "Redact",
    "RunFrame",
    "RunInterrupted",
    "RunStalled",
    "Sampler",
    "Span",
    "SpanEvent",
    "SpanKind",
    "SpanScope",
    "SpanWriter",
    "StageCancelled",
    "StageCompleted",
    "StageEnded",
    "StageEvent",
    "StageFailed",
    "StageRestarted",
    "StageStarted",
    "Tally",
    "TraceContext",
    "TraceLink",
    "TraceList",
    "TraceSink",
    "Tracing",
    "Visit",
    "checked_recording",
    "checked_rules",
    "current_span",
    "decide",
    "enter_span",
    "entry_of",
    "error_type",
    "first_difference",
    "frame_of",
    "is_async_listener",
    "log_events",
    "new_span_id",
    "new_trace_id",
    "observe_families",
    "open_record_file",
    "parent_based",
    "prometheus_text",
    "ratio_based",
    "read_recording",
    "start_span",
    "tag_of",
    "trace_headers",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _faces.loading(
        __name__,
        {
            "._events": (
                "EdgeGrown EdgeStalled ElementDeadLettered ElementDropped ElementFailed ElementMoved "
                "ElementRetried Event EventGap LoopBlocked PipelineCancelled PipelineCompleted PipelineEnded "
                "PipelineEvent PipelineFailed PipelineStarted RunInterrupted RunStalled StageCancelled "
                "StageCompleted StageEnded StageEvent StageFailed StageRestarted StageStarted"
            ),
            "._logging": "log_events",
            "._metric_families": "PROMETHEUS_CONTENT_TYPE Labels MetricFamily MetricSample prometheus_text",
            "._metric_instruments": "GenAIMetrics observe_families",
            "._record_compare": "DEFAULT_IGNORED RULES Difference Ignored checked_rules first_difference",
            "._record_encoding": "Entry Noted entry_of tag_of",
            "._record_file": "RecordFile open_record_file",
            "._record_frames": "EndFrame GapFrame RunFrame frame_of",
            "._record_reading": "RecordedElement RecordedFile RecordedRun read_recording",
            "._record_settings": "EDGES INPUT OUTPUT Media Recording Redact checked_recording",
            "._trace_context": "TraceContext new_span_id new_trace_id",
            "._trace_elements": "ElementTrace TraceLink Visit",
            "._trace_otel": "OpenTelemetrySink",
            "._trace_perfetto": "PerfettoFile",
            "._trace_spans": (
                "ActiveSpan AttributeValue Span SpanEvent SpanKind SpanScope SpanWriter current_span enter_span "
                "error_type start_span trace_headers"
            ),
            "._tracing": "Sampler TraceList TraceSink Tracing decide parent_based ratio_based",
        },
    )
