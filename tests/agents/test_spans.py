"""Spans of turns, model calls and tools: names of the conventions, what is told and what is not."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import anyio
import pytest
from agent_kit import ASK, calling, saying, script
from model_memory import KEY, SENT, Memory, answer_of, provider_of

from streamflow import Message, MessageElement, PipelineBuilder, PipelineConfig, TurnEnd
from streamflow.agents import AgentStage, agent_tool, tool
from streamflow.elements import Usage
from streamflow.errors import ConfigError
from streamflow.observe import (
    ActiveSpan,
    OpenTelemetrySink,
    Span,
    TraceContext,
    TraceList,
    Tracing,
    current_span,
    enter_span,
    start_span,
)
from streamflow.providers import DelayStep, ProviderStage, ScriptedProvider, ScriptTurn, TextStep, UsageStep
from streamflow.providers._spans import by_sdk

CALLER = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", state="vendor=secret")


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    await anyio.sleep(a)
    return a + b


@tool
async def broken(word: str) -> str:
    """Fail."""
    raise ValueError(word)


def traced(sink: TraceList, **options: object) -> PipelineConfig:
    return PipelineConfig(tracing=Tracing(sinks=(sink,), **options))


async def spans_of(stage: object, **options: object) -> list[Span]:
    sink = TraceList()
    await PipelineBuilder(traced(sink, **options)).chain(stage).build().run(ASK)
    return sorted(sink.spans, key=lambda one: one.began_ns)


def named(spans: list[Span], name: str) -> list[Span]:
    return [one for one in spans if one.name == name]


async def test_an_agents_turn_has_its_model_calls_and_tools_inside() -> None:
    """semantics 24.16: `invoke_agent`, `chat`, `execute_tool`; a tool that is an agent goes on inside."""
    deep = AgentStage(script(saying("deep")), name="deep")
    helper = agent_tool("helper", deep, description="Helps.")
    calls = calling(("add", {"a": 2, "b": 3}), ("broken", {"word": "secret"}), ("helper", {"task": "go"}))
    turns = calls, saying("5")

    spans = await spans_of(AgentStage(script(*turns), [add, broken, helper], name="clerk"))

    (turn,) = named(spans, "invoke_agent clerk")
    assert turn.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert turn.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    inside = [one for one in spans if one.parent_id == turn.context.span_id]
    assert sorted(one.name for one in inside) == [
        "chat",
        "chat",
        "execute_tool add",
        "execute_tool broken",
        "execute_tool helper",
    ]
    (added,), (failed,), (helped,) = (named(spans, f"execute_tool {one}") for one in ("add", "broken", "helper"))
    assert (added.duration_s, added.status, added.attributes["gen_ai.tool.name"]) == (2, "unset", "add")
    assert added.attributes["gen_ai.tool.call.id"]
    assert (failed.status, failed.error) == ("error", "tool_error")
    (nested,) = named(spans, "invoke_agent deep")
    assert nested.parent_id == helped.context.span_id
    assert "secret" not in repr(spans)


async def test_a_model_call_says_when_it_began_to_answer_and_what_it_used() -> None:
    """semantics 24.16: content is told only where that is asked for, and redacted first."""

    def turn() -> ProviderStage:
        usage = UsageStep(Usage(input_tokens=3, output_tokens=2, cached_tokens=1, model="m-1"))
        return ProviderStage(ScriptedProvider(turns=[ScriptTurn([DelayStep(2), TextStep("hush"), usage])]), model="m")

    spans = await spans_of(turn())
    (call,) = named(spans, "chat m")
    assert (call.kind, call.duration_s) == ("client", 2)
    told = call.attributes
    assert told["gen_ai.provider.name"] == "scripted"
    assert (told["gen_ai.request.model"], told["gen_ai.response.model"]) == ("m", "m-1")
    assert told["gen_ai.response.time_to_first_chunk"] == 2
    assert [told[f"gen_ai.usage.{one}"] for one in ("input_tokens", "output_tokens", "cache_read.input_tokens")] == [
        3,
        2,
        1,
    ]
    assert (named(spans, "turn")[0].context.span_id, named(spans, "stage model")[0].context.span_id) == (
        call.parent_id,
        named(spans, "turn")[0].parent_id,
    )
    assert "hush" not in repr(spans)

    (call,) = named(await spans_of(turn(), content=True, redact=lambda text: text.replace("hush", "***")), "chat m")
    assert json.loads(str(call.attributes["gen_ai.output.messages"])) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "***"}]}
    ]
    assert json.loads(str(call.attributes["gen_ai.input.messages"]))[0]["parts"][0]["content"] == "go"


async def test_a_barge_in_is_a_moment_of_the_call_and_no_failure() -> None:
    """semantics 24.16: with a session that goes on."""
    sink = TraceList()
    talk = ProviderStage(ScriptedProvider(turns=[ScriptTurn([TextStep("one "), DelayStep(60), TextStep("two")])]))
    async with PipelineBuilder(traced(sink)).chain(talk).build().execute() as run:
        for element in (MessageElement(Message("user", "go")), TurnEnd()):
            await run.send(element)
        await anyio.sleep(1)
        run.interrupt()
        run.close_input()
        async for _ in run:
            pass

    (call,) = [one for one in sink.spans if one.name == "chat"]
    assert (call.status, [one.name for one in call.events]) == ("unset", ["interrupt"])


@pytest.mark.parametrize(
    ("propagate", "told"),
    [
        ((), set()),
        (("model.test",), {"traceparent", "tracestate"}),
        (("*",), {"traceparent"}),
        (("other.test",), set()),
    ],
    ids=["default", "named", "all", "others"],
)
async def test_a_server_hears_of_the_trace_only_where_it_was_named(propagate: tuple[str, ...], told: set[str]) -> None:
    """semantics 24.15: nobody by default; what vendors wrote only for those that are named."""
    memory = Memory([SENT["chat/text"]])
    provider = provider_of("chat", memory)
    pipeline = PipelineBuilder(traced(TraceList(), propagate=propagate)).chain(ProviderStage(provider)).build()

    async with pipeline.execute(ASK, trace=CALLER) as run:
        async for _ in run:
            pass

    (request,) = memory.requests
    assert {one for one in request.headers if one.startswith(("trace", "baggage"))} == told
    if told:
        assert TraceContext.parse(request.headers["traceparent"]).trace_id == CALLER.trace_id
    with pytest.raises(ConfigError, match="propagate: hosts were expected"):
        Tracing(propagate="api.example.com")
    assert KEY not in repr(pipeline)
    assert await answer_of(provider_of("chat", Memory([SENT["chat/text"]])))


class Kept:
    """An exporter that keeps what it is given."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def export(self, spans: list) -> object:
        from opentelemetry.sdk.trace.export import SpanExportResult

        self.names += [one.name for one in spans]
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing."""


def test_a_client_that_traces_itself_is_not_doubled() -> None:
    """semantics 24.18: its span stands in the place of ours, inside our turn; where nobody takes its spans, ours is told."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    kept = Kept()
    with OpenTelemetrySink(kept) as sink:  # type: ignore[arg-type]
        writer = SimpleNamespace(run_id="r", content=None, propagate=frozenset(), now_ns=lambda: 0, end=sink.span)
        enter_span(ActiveSpan("turn", CALLER, writer))
        seen = []
        for options in (
            {"traces": {"enabled": True}, "tracer_provider": TracerProvider()},
            {"traces": {"enabled": False}},
            {},
        ):
            with start_span("chat"), by_sdk(SimpleNamespace(open_telemetry=options)):
                seen.append(trace.get_current_span().get_span_context().span_id)
        enter_span(None)

    assert seen == [int(CALLER.span_id, 16), 0, 0]
    assert kept.names == ["chat", "chat"]
    assert current_span() is None
    assert "opentelemetry.trace" in sys.modules
