"""stageflow's own stages, interceptors and graphs run unchanged in the adapter, and ours imports nothing of it.

stageflow itself runs on asyncio only; what of it does not need that is tried on trio too.
"""

# ruff: noqa: BLE001 - written as the stages of the seed are
from __future__ import annotations

import asyncio
import itertools
import json
import logging
import subprocess
import sys
import uuid
from typing import Any

import anyio
import pytest
from stageflow import Pipeline as StageflowPipeline
from stageflow import PipelineContext, StageContext, StageKind, StageOutput
from stageflow.agent import Agent, AgentStage
from stageflow.auth.interceptors import AuthInterceptor, OrgEnforcementInterceptor
from stageflow.core import StageArtifact, StageCancellationRequested, StageEvent
from stageflow.helpers import LLMResponse
from stageflow.helpers.guardrails import ContentFilter, GuardrailConfig, GuardrailStage
from stageflow.helpers.memory import InMemoryStore, MemoryFetchStage, MemoryWriteStage
from stageflow.pipeline.idempotency import IdempotencyInterceptor
from stageflow.pipeline.interceptors import (
    BaseInterceptor,
    ChildTrackerMetricsInterceptor,
    CircuitBreakerInterceptor,
    InterceptorResult,
    LoggingInterceptor,
    MetricsInterceptor,
    TimeoutInterceptor,
    TracingInterceptor,
    get_default_interceptors,
)
from stageflow.pipeline.interceptors_hardening import ContextSizeInterceptor, ImmutabilityInterceptor
from stageflow.pipeline.retry import BackoffStrategy, JitterStrategy, RetryInterceptor

from streamflow import (
    DataElement,
    Event,
    Message,
    MessageElement,
    Metadata,
    PipelineBuilder,
    Result,
    StageError,
    StreamElement,
    TextElement,
)
from streamflow.errors import MiddlewareError
from streamflow.middleware import wrap_middleware

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
graph_warns = pytest.mark.filterwarnings("ignore:UnifiedStageGraph.run:DeprecationWarning")


class RouterStage:
    """As in seed 000."""

    name = "router"
    kind = StageKind.ROUTE

    async def execute(self, ctx: StageContext) -> StageOutput:
        lower_text = (ctx.snapshot.input_text or "").lower()
        if "help" in lower_text:
            route, confidence = "support", 0.9
        elif "buy" in lower_text:
            route, confidence = "sales", 0.85
        else:
            route, confidence = "general", 0.7
        return StageOutput.ok(route=route, confidence=confidence)


class MockLLMClient:
    def __init__(self) -> None:
        self.calls: list[list[dict[str, str]]] = []

    async def chat(self, messages: list[dict[str, str]], model: str, temperature: float, max_tokens: int) -> str:
        self.calls.append(messages)
        await anyio.sleep(0.5)
        return f"I received your message: '{messages[-1]['content']}'. How can I help you further?"


class LLMStage:
    """As in seed 000."""

    name = "llm"
    kind = StageKind.TRANSFORM

    def __init__(self, llm_client: Any = None) -> None:
        self.llm_client = llm_client

    async def execute(self, ctx: StageContext) -> StageOutput:
        input_text = ctx.snapshot.input_text or ""
        route = ctx.inputs.get("route", "general")
        messages = list(ctx.snapshot.messages) if ctx.snapshot.messages else []
        llm_messages = [{"role": "system", "content": f"You are for {route}."}]
        for msg in messages[-10:]:
            llm_messages.append({"role": msg.role, "content": msg.content})
        if input_text:
            llm_messages.append({"role": "user", "content": input_text})
        try:
            response = await self.llm_client.chat(
                messages=llm_messages, model="llama-3.1-8b-instant", temperature=0.7, max_tokens=1024
            )
            llm = LLMResponse(content=response, provider="mock", model="mock-model", input_tokens=1, output_tokens=2)
            return StageOutput.ok(response=llm.content, route=route, llm=llm.to_dict())
        except Exception as e:
            return StageOutput.fail(error=f"LLM call failed: {e}", data={"error_type": type(e).__name__})


INPUTS = {
    "Hello, how are you?": "general",
    "I need help with my account": "support",
    "I want to buy a subscription": "sales",
}


async def run(*chain: object, source: Any = "hi", listener: Any = None, **options: Any) -> Result:
    builder = PipelineBuilder().chain(wrap_middleware("it", *chain, **options))
    if listener is not None:
        builder.on_event(listener)
    return await builder.build().run(source)


async def cause_of(*chain: object, **options: Any) -> Any:
    with pytest.raises(StageError) as caught:
        await run(*chain, **options)
    return caught.value.__cause__


def asking(text: str, **metadata: Any) -> MessageElement:
    return MessageElement(Message("user", text), metadata=Metadata(metadata))


def chat_of(form: str, client: object) -> PipelineBuilder:
    """Return seed 000's pipeline: as two stages of ours, as one chain, or as a graph of stageflow's own."""
    if form == "two stages":
        return PipelineBuilder().chain(
            wrap_middleware("router", RouterStage), wrap_middleware("llm", LLMStage, config={"llm_client": client})
        )
    if form == "one chain":
        return PipelineBuilder().chain(wrap_middleware("chat", RouterStage, LLMStage(client)))
    graph = (
        StageflowPipeline()
        .with_stage("router", RouterStage, StageKind.ROUTE)
        .with_stage("llm", LLMStage(client), StageKind.TRANSFORM, dependencies=("router",))
    )
    return PipelineBuilder().chain(wrap_middleware("chat", graph.build() if form == "graph" else graph))


@graph_warns
@on_asyncio
@pytest.mark.parametrize("form", ["two stages", "one chain", "graph", "pipeline"])
async def test_the_chat_of_the_seed_runs_and_says_what_the_seed_says(form: str):
    """seed 000: `Input`, `Route`, `Response`, letter by letter, from the stages of the seed, unchanged."""
    pipeline = chat_of(form, MockLLMClient()).build()
    told = expected = ""
    for text, route in INPUTS.items():
        result = await pipeline.run(text)
        (data,) = [one for one in result.elements if isinstance(one, DataElement)]
        route_told = data.value["route"]  # type: ignore[index, call-overload]
        told += f"Input: {text}\nRoute: {route_told}\nResponse: {result.response}\n\n"
        expected += f"Input: {text}\nRoute: {route}\n"
        expected += f"Response: I received your message: '{text}'. How can I help you further?\n\n"
        assert result.messages[-1].text == result.text
        assert result.elements[-1].metadata["llm"]["provider"] == "mock"  # type: ignore[index, call-overload]

    assert told == expected


@pytest.mark.parametrize("form", ["two stages", "one chain"])
async def test_history_reaches_the_model_once_and_does_not_come_back(form: str):
    """seed 000, with history: system, the history, the question; the answer alone goes out, on both loops."""
    client = MockLLMClient()
    source: list[StreamElement] = [
        asking("What is Python?"),
        MessageElement(Message("assistant", "Python is a programming language.")),
        TextElement("I need help: explain more"),
    ]

    result = await chat_of(form, client).build().run(source)

    assert client.calls == [
        [
            {"role": "system", "content": "You are for support."},
            {"role": "user", "content": "What is Python?"},
            {"role": "assistant", "content": "Python is a programming language."},
            {"role": "user", "content": "I need help: explain more"},
        ]
    ]
    assert [one.role for one in result.messages] == ["assistant"]


async def test_a_failed_call_of_the_model_is_a_failure_with_its_type():
    """seed 000: `LLM call failed: …` is the cause; the run fails, as stageflow's graph does."""

    class Broken:
        async def chat(self, **_: object) -> str:
            message = "401"
            raise PermissionError(message)

    error = await cause_of(LLMStage(Broken()))

    assert isinstance(error, MiddlewareError)
    assert "(PermissionError)" in str(error)
    assert str(error.__cause__) == "LLM call failed: 401"


OUTPUTS: dict[str, StageOutput | dict[str, object] | None] = {
    "ok": StageOutput.ok(response="x"),
    "dict": {"response": "x"},
    "None": None,
    "skip": StageOutput.skip("nothing to do"),
    "cancel": StageOutput.cancel("enough"),
    "with duration": StageOutput.ok(response="x").with_duration(3).with_version("v1"),
}


@pytest.mark.parametrize(
    ("output", "said", "passed"),
    [
        ("ok", ["x"], 0),
        ("dict", ["x"], 0),
        ("None", [], 1),
        ("skip", [], 1),
        ("cancel", [], 0),
        ("with duration", ["x"], 0),
    ],
)
async def test_the_outputs_of_the_package_are_understood(output: str, said: list[str], passed: int):
    """statuses: ok, skip, cancel by the real `StageOutput`; `fail` and `retry` are below."""

    async def stage(ctx: StageContext) -> Any:
        return OUTPUTS[output]

    result = await run(stage)

    assert [one.text for one in result.messages] == said
    assert len([one for one in result.elements if isinstance(one, TextElement) and not one.id]) == passed


async def test_retry_is_retried():
    """The original: in stageflow the status `retry` counted as completed, and what depended on it ran."""
    tries = 0

    async def stage(ctx: StageContext) -> StageOutput:
        nonlocal tries
        tries += 1
        return StageOutput.retry("busy") if tries < 3 else StageOutput.ok(response="done")

    assert (await run(stage)).response == "done"
    assert tries == 3


async def test_artifacts_events_and_the_exception_of_an_early_end_are_understood():
    """statuses: by the real `StageArtifact`, `StageEvent` and `StageCancellationRequested`."""
    heard: list[Event] = []

    async def stage(ctx: StageContext) -> StageOutput:
        if ctx.snapshot.input_text == "stop":
            reason = "told to"
            raise StageCancellationRequested(reason)
        ctx.try_emit_event("chat.token", {"token": "x"})
        return StageOutput(
            OUTPUTS["ok"].status,  # type: ignore[union-attr]
            {"response": "x"},
            [StageArtifact("transcript", {"text": "hi"})],
            [StageEvent("progress", {"done": 1})],
        )

    result = await run(stage, listener=heard.append)
    stopped = await run(stage, source="stop", listener=heard.append)

    assert result.elements[0] == DataElement("transcript", {"text": "hi"}, metadata=Metadata({"stage": "it"}))
    assert stopped.elements == ()
    told = [(one.name, one.data) for one in heard if one.name in {"chat.token", "progress", "middleware.cancelled"}]
    assert told == [
        ("chat.token", {"token": "x"}),
        ("progress", {"done": 1}),
        ("middleware.cancelled", {"reason": "told to"}),
    ]


async def test_the_context_does_what_stages_of_the_package_ask_of_it():
    """stageflow: `StageContext`, `ContextSnapshot` and `StageInputs`, by what stages read."""
    seen: dict[str, Any] = {}

    async def stage(ctx: StageContext) -> None:
        seen.update(ctx.to_dict())
        ctx.raise_if_cancelled()
        await ctx.cancellation_checkpoint()
        assert not ctx.is_cancelled
        assert ctx.timer.elapsed_ms() == ctx.timer.now_ms() - ctx.timer.pipeline_start_ms == 0
        assert ctx.started_at == ctx.timer.started_at
        assert ctx.inputs.ports is None
        assert ctx.snapshot.enrichments is ctx.snapshot.profile is ctx.snapshot.routing_decision is None
        seen["json"] = json.dumps(ctx.snapshot.to_dict())

    session = uuid.uuid4()
    await run(stage, source=asking("hi", session_id=str(session)))

    assert (seen["stage_name"], seen["session_id"], seen["input_text"]) == ("it", str(session), "hi")


@on_asyncio
async def test_stages_that_the_package_ships_run_unchanged():
    """seed 000: memory, guard rails and the agent, each as it is."""
    store, session = InMemoryStore(), uuid.uuid4()
    source = asking("Tell me a story", session_id=str(session))

    async def model(ctx: StageContext) -> StageOutput:
        return StageOutput.ok(response=f"after {ctx.inputs.get('memory_count')} entries")

    chain = (MemoryFetchStage(store), model, MemoryWriteStage(store, response_stage="model"))
    first = await run(*chain, source=source)
    second = await run(*chain, source=source)

    assert [first.response, second.response] == ["after 0 entries", "after 2 entries"]
    assert {one.name for one in first.elements if isinstance(one, DataElement)} == {"memory_fetch", "memory_write"}
    assert (await run(MemoryFetchStage(store))).elements[0].metadata["reason"] == "No session_id in context"


async def test_a_guard_that_finds_something_fails_or_lets_pass_as_it_was_told():
    """seed 000: the guard rails of the package, with their events."""
    heard: list[Event] = []
    strict = GuardrailStage([ContentFilter(blocked_patterns=["damn"])])
    open_ = GuardrailStage(
        [ContentFilter(blocked_patterns=["damn"])],
        GuardrailConfig(fail_on_violation=False, log_violations=True),
    )

    assert (await run(strict, source="hello")).elements[-1].metadata["guardrail_passed"] is True
    assert (await cause_of(strict, source="damn it")).code == "failed"
    assert (await run(open_, source="damn it", listener=heard.append)).elements[-1].metadata[
        "guardrail_passed"
    ] is False
    assert "guardrail.fail_open" in [one.name for one in heard]


class JsonClient:
    """A model that ends the agent's loop at once."""

    async def chat(self, **_: object) -> LLMResponse:
        text = json.dumps({"final_answer": "42"})
        return LLMResponse(content=text, provider="mock", model="m", input_tokens=1, output_tokens=1)


@pytest.mark.parametrize("form", ["agent", "stage"])
async def test_an_agent_of_the_package_answers(form: str):
    """seed 001, `run(ctx)`: an agent takes a text, its stage a context; both run unchanged."""
    agent = Agent(llm_client=JsonClient())
    heard: list[Event] = []

    result = await run(agent if form == "agent" else AgentStage(agent), source="what is it?", listener=heard.append)

    assert result.response == "42"
    assert result.elements[-1].metadata["iterations"] == 1
    assert ("agent.completed" in [one.name for one in heard]) == (form == "stage")


# Interceptors


@on_asyncio
async def test_the_default_interceptors_run_unchanged_around_a_call(caplog: pytest.LogCaptureFixture):
    """seed 000: all that stageflow puts around every stage by default."""
    caplog.set_level(logging.INFO)

    result = await run(*get_default_interceptors(), RouterStage, LLMStage(MockLLMClient()), source="I need help")

    assert result.response.startswith("I received your message")
    assert {one.name for one in caplog.records} >= {"stage_interceptor", "stage_metrics"}
    assert "Stage starting: it" in caplog.messages
    assert "Stage completed: it - completed" in caplog.messages


@pytest.mark.parametrize(
    "interceptor",
    [
        LoggingInterceptor,
        MetricsInterceptor,
        TracingInterceptor,
        ChildTrackerMetricsInterceptor,
        TimeoutInterceptor,
        CircuitBreakerInterceptor,
        ImmutabilityInterceptor,
        ContextSizeInterceptor,
    ],
)
async def test_each_interceptor_of_the_package_works_alone_on_both_loops(interceptor: type[BaseInterceptor]):
    """seed 000: as objects and as classes; a call that fails fails as it would without them."""
    assert (await run(interceptor(), LLMStage(MockLLMClient()))).response.startswith("I received")
    assert (await run(interceptor, LLMStage(MockLLMClient()))).response.startswith("I received")

    async def failing(ctx: StageContext) -> None:
        raise ZeroDivisionError

    assert isinstance(await cause_of(interceptor(), failing), ZeroDivisionError)


async def test_its_timeout_ends_a_call_that_takes_too_long():
    """seed 000: the limit of the timeout interceptor, 30 s by default; `_timeout_ms` in the notes is its setting."""

    class Setting(BaseInterceptor):
        name = "setting"
        priority = 1

        async def before(self, _stage_name: str, ctx: PipelineContext) -> None:
            ctx.data["_timeout_ms"] = 2000

        async def after(self, _stage_name: str, _result: Any, _ctx: PipelineContext) -> None:
            assert "_timeout.it" not in _ctx.data

    async def slow(ctx: StageContext) -> None:
        await anyio.sleep(40)

    start = anyio.current_time()
    assert isinstance(await cause_of(TimeoutInterceptor(), slow), TimeoutError)
    assert anyio.current_time() - start == 30
    assert isinstance(await cause_of(TimeoutInterceptor(), Setting(), slow), TimeoutError)
    assert anyio.current_time() - start == 32


@on_asyncio
@pytest.mark.parametrize("attempts", [2, 3, 5])
async def test_its_retry_tries_as_often_as_it_was_told(attempts: int):
    """The original: with `RetryInterceptor(3)`, stageflow's engine gave up after two calls."""
    tries: list[float] = []

    async def failing(ctx: StageContext) -> str:
        tries.append(anyio.current_time())
        if len(tries) < attempts:
            raise ConnectionError
        return "done"

    retry = RetryInterceptor(
        attempts, 1000, backoff_strategy=BackoffStrategy.LINEAR, jitter_strategy=JitterStrategy.NONE
    )
    heard: list[Event] = []
    result = await run(retry, failing, max_attempts=attempts, listener=heard.append)

    assert result.response == "done"
    assert [round(after - before) for before, after in itertools.pairwise(tries)] == list(range(1, attempts))
    assert [one.name for one in heard if "retry" in one.name] == ["stage.retry_scheduled"] * (attempts - 1)


@on_asyncio
async def test_its_retry_gives_up_with_what_failed():
    """stageflow: exhausted, or an error that it does not retry: the cause is what the stage raised."""
    retry = RetryInterceptor(2, 10, jitter_strategy=JitterStrategy.NONE)

    async def refused(ctx: StageContext) -> None:
        raise ConnectionError

    async def wrong(ctx: StageContext) -> None:
        raise ValueError

    assert isinstance(await cause_of(retry, refused), ConnectionError)
    assert isinstance(await cause_of(retry, wrong), ValueError)


async def test_its_open_circuit_breaker_is_a_failure_and_stays_open():
    """The original: in stageflow the refused call counted as completed, its dependants ran, and the breaker closed again."""
    calls = 0

    async def failing(ctx: StageContext) -> None:
        nonlocal calls
        calls += 1
        raise ConnectionError

    breaker = CircuitBreakerInterceptor()
    seen: list[Any] = [await cause_of(breaker, failing) for _ in range(12)]

    kinds = [type(one) for one in seen]
    assert kinds == [ConnectionError] * calls + [MiddlewareError] * (12 - calls)
    assert 0 < calls <= 5
    assert str(seen[-1].__cause__) == "Circuit breaker open for it"


@on_asyncio
async def test_its_idempotency_answers_from_the_store():
    """stageflow: the second call of one key does not run; a run that fails lets the key go."""

    class Keyed(BaseInterceptor):
        name = "keyed"
        priority = 1

        async def before(self, _stage_name: str, ctx: PipelineContext) -> None:
            ctx.data["idempotency_key"] = ctx.snapshot.input_text

        async def after(self, _stage_name: str, _result: Any, _ctx: PipelineContext) -> None:
            pass

    calls: list[str] = []

    async def work(ctx: StageContext) -> StageOutput:
        calls.append(ctx.snapshot.input_text or "")
        if len(calls) == 1:
            raise ConnectionError
        return StageOutput.ok(response=f"call {len(calls)}")

    chain = (Keyed(), IdempotencyInterceptor(), work)
    assert isinstance(await cause_of(*chain, source="a"), ConnectionError)
    answers = [(await run(*chain, source=text)).response for text in "aab"]

    assert answers == ["call 2", "call 2", "call 3"]
    assert calls == ["a", "a", "b"]


async def test_its_authentication_refuses_before_anything_runs():
    """stageflow: no token, no call; the reason is the cause, and the event is told."""
    heard: list[Event] = []

    class Token(BaseInterceptor):
        name = "token"
        priority = 0

        async def before(self, _stage_name: str, ctx: PipelineContext) -> None:
            ctx.data["auth_token"] = ctx.metadata.get("token")

        async def after(self, _stage_name: str, _result: Any, _ctx: PipelineContext) -> None:
            pass

    chain = (Token(), AuthInterceptor(), OrgEnforcementInterceptor(), LLMStage(MockLLMClient()))

    error = await cause_of(*chain, listener=heard.append)
    good = await run(*chain, source=asking("hi", token=f"valid_{uuid.uuid4()}"), listener=heard.append)

    assert (error.code, str(error.__cause__)) == ("refused", "Missing authentication token")
    assert good.response.startswith("I received")
    assert [one.name for one in heard if one.name.startswith("auth")] == ["auth.failure", "auth.login"]


async def test_its_short_circuit_is_understood():
    """stageflow: the real `InterceptorResult`, with a result of data."""

    class Cache(BaseInterceptor):
        async def before(self, stage_name: str, ctx: PipelineContext) -> InterceptorResult:
            return InterceptorResult(stage_ran=False, result={"response": "cached"})

        async def after(self, _stage_name: str, _result: Any, _ctx: PipelineContext) -> None:
            raise AssertionError

    assert (await run(Cache(), LLMStage(None))).response == "cached"


# Graphs


@graph_warns
@on_asyncio
async def test_a_graph_that_fails_or_is_cancelled_does_the_same_here():
    """statuses: `UnifiedStageExecutionError` is the cause; `UnifiedPipelineCancelled` is an early end, no error."""
    heard: list[Event] = []

    async def stage(ctx: StageContext) -> StageOutput:
        text = ctx.snapshot.input_text
        return StageOutput.cancel("enough") if text == "stop" else StageOutput.fail("broken")

    graph = StageflowPipeline().with_stage("only", stage, StageKind.WORK).build()

    error = await cause_of(graph)
    stopped = await run(graph, source="stop", listener=heard.append)

    assert type(error).__name__ == "UnifiedStageExecutionError"
    assert stopped.elements == ()
    assert [one.data for one in heard if one.name == "middleware.cancelled"] == [{"reason": "enough"}]


@on_asyncio
async def test_a_function_may_make_the_context_of_the_package_itself():
    """`docs/guides/middleware.md`: where a graph wants the real `PipelineContext`, one line makes it, without a warning."""
    graph = StageflowPipeline().with_stage("llm", LLMStage(MockLLMClient()), StageKind.TRANSFORM).build()
    heard: list[Event] = []

    async def chat(ctx: Any) -> object:
        return await graph.run(PipelineContext.create(input_text=ctx.input_text, event_sink=ctx.event_sink))

    assert (await run(chat, listener=heard.append)).response.startswith("I received your message: 'hi'")


@graph_warns
@on_asyncio
async def test_a_graph_around_which_nobody_waits_any_more_is_cancelled():
    """The original: cancelling stageflow's caller leaves its stage tasks to themselves; the adapter at least ends at once."""
    ended: list[str] = []

    async def endless(ctx: StageContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("stage")

    graph = StageflowPipeline().with_stage("endless", endless, StageKind.WORK).build()
    async with PipelineBuilder().chain(wrap_middleware("it", graph)).build().execute("hi") as run_:
        await anyio.wait_all_tasks_blocked()

    assert run_.zombies == ()
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task() and "_execute_node" in repr(task):
            task.cancel()
    await anyio.wait_all_tasks_blocked()


# Packages


@pytest.mark.slow
def test_nothing_of_the_packages_is_imported():
    """Architecture, row 5: duck typing only; whoever does not have the packages can wrap what looks like them."""
    code = (
        "import json, sys\n"
        "from streamflow import PipelineBuilder\n"
        "from streamflow.middleware import wrap_middleware\n"
        "async def stage(ctx): return 'x'\n"
        "PipelineBuilder().chain(wrap_middleware('it', stage)).build().execute_sync('hi')\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)

    assert not {"stageflow", "uuid6", "langchain_core", "promptkit"} & set(json.loads(done.stdout))
