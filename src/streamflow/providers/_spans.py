"""The span of a model call: what was asked of whom, when the answer began, what it cost, how it ended.

Above: `_stage`, `agents`, `_clients`. Below: `observe`, `_protocol`.

Names are those of OpenTelemetry's conventions for generative AI (`gen_ai.*`). What was said is told only where content is asked
for. A vendor's client that traces itself is not doubled: its own span stands in the export, in the place of ours.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec

from ..elements import ControlElement, MessageElement, TextPart, ToolCallPart, ToolResultPart, UsageElement
from ..observe import current_span, start_span

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from types import ModuleType, TracebackType

    from ..elements import Message, StreamElement, Usage
    from ..observe import ActiveSpan
    from ._protocol import ModelRequest, Provider

__all__ = ["ModelSpan", "by_sdk", "told_messages", "told_usage"]


class ModelSpan:
    """A block that is one model call, as a span; nothing where nothing is traced.

    Args:
        provider: Who is asked.
        request: What is asked.
    """

    def __init__(self, provider: Provider, request: ModelRequest) -> None:
        self._provider = provider
        self._request = request
        self._scope = start_span("chat" if request.model is None else f"chat {request.model}", "client")
        self._span: ActiveSpan | None = None
        self._has_begun = False

    def __enter__(self) -> Self:
        span = self._span = self._scope.__enter__()
        if span is not None:
            request = self._request
            span.set("gen_ai.operation.name", "chat")
            span.set("gen_ai.provider.name", self._provider.name)
            span.set("gen_ai.request.model", request.model)
            span.set("gen_ai.request.temperature", request.temperature)
            span.set("gen_ai.request.max_tokens", request.max_tokens)
            span.set("gen_ai.request.top_p", request.top_p)
            span.set("gen_ai.request.seed", request.seed)
            span.set_content("gen_ai.input.messages", lambda: told_messages(request.messages))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._span = None
        self._scope.__exit__(kind, error, traceback)

    def note(self, element: StreamElement) -> None:
        """Know an element of the answer."""
        span = self._span
        if span is None:
            return
        if not (self._has_begun or isinstance(element, ControlElement)):
            self._has_begun = True
            elapsed_s = (span.writer.now_ns() - span.began_ns) / 1e9
            span.set("gen_ai.response.time_to_first_chunk", elapsed_s)
        if isinstance(element, UsageElement) and element.final:
            told_usage(span, element.usage)
        elif isinstance(element, MessageElement):
            message = element.message
            if message.stop_reason is not None:
                span.set("gen_ai.response.finish_reasons", (message.stop_reason,))
            span.set_content("gen_ai.output.messages", lambda: told_messages((message,)))

    def interrupt(self) -> None:
        """Know that the call was interrupted."""
        if self._span is not None:
            self._span.event("interrupt")


def told_usage(span: ActiveSpan, usage: Usage) -> None:
    """Say in a span what model calls have used."""
    span.set("gen_ai.response.model", usage.model)
    span.set("gen_ai.usage.input_tokens", usage.input_tokens)
    span.set("gen_ai.usage.output_tokens", usage.output_tokens)
    span.set("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens)
    span.set("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens)


def told_messages(messages: Iterable[Message]) -> str:
    """Return messages as JSON, in the form that the conventions give them; of what is no text or call, the kind alone."""
    told = [{"role": one.role, "parts": [_told_part(part) for part in one.parts]} for one in messages]
    return msgspec.json.encode(told).decode()


def _told_part(part: object) -> dict[str, object]:
    match part:
        case TextPart(text=text):
            return {"type": "text", "content": text}
        case ToolCallPart():
            return {"type": "tool_call", "id": part.call_id, "name": part.name, "arguments": part.raw}
        case ToolResultPart():
            return {"type": "tool_call_response", "id": part.call_id, "response": str(part.content)}
        case _:
            return {"type": type(part).__name__.removesuffix("Part").lower()}


@contextlib.contextmanager
def by_sdk(client: Any) -> Generator[None]:
    """While a vendor's client sends a request: let the span that it makes itself take the place of ours."""
    span = current_span()
    telemetry = sys.modules.get("opentelemetry.trace")
    if span is None or telemetry is None or not _traces_itself(client, telemetry):
        yield
        return
    from opentelemetry import context

    span.is_told_elsewhere = True
    place = telemetry.SpanContext(
        int(span.context.trace_id, 16),
        int(span.parent_id or span.context.span_id, 16),
        is_remote=False,
        trace_flags=telemetry.TraceFlags(int(span.context.sampled)),
    )
    token = context.attach(telemetry.set_span_in_context(telemetry.NonRecordingSpan(place)))
    try:
        yield
    finally:
        context.detach(token)


def _traces_itself(client: Any, telemetry: ModuleType) -> bool:
    """Say whether a client makes spans, and somebody takes them."""
    given: object = getattr(client, "open_telemetry", None)
    options = cast("Mapping[str, Any]", given if isinstance(given, dict) else {"traces": False})
    traces: object = options.get("traces", True)
    is_on = cast("Mapping[str, Any]", traces).get("enabled", True) if isinstance(traces, dict) else bool(traces)
    provider: object = options.get("tracer_provider") or telemetry.get_tracer_provider()
    nobody = telemetry.ProxyTracerProvider, telemetry.NoOpTracerProvider
    return bool(is_on) and not isinstance(provider, nobody)
