"""What type checkers say about the public face. Never run: mypy and basedpyright read it, `assert_type` is the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from streamflow import (
    AudioElement,
    BaseStage,
    BatchElement,
    CollectStage,
    Event,
    FilterStage,
    MapAsyncStage,
    MapStage,
    MapUnorderedStage,
    MiddlewareAdapter,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    Resource,
    Result,
    RunContext,
    RunTimeoutError,
    SendEnd,
    StageError,
    StreamElement,
    TextElement,
    ThreadStage,
    stage,
    wrap_middleware,
)
from streamflow.errors import BuildError, Finding, TimeoutKind
from streamflow.graph import Graph, GraphBuilder, SubGraph
from streamflow.observe import ElementMoved, EventGap, PipelineEnded, StageFailed, log_events
from streamflow.stages import (
    BatchStage,
    BufferStage,
    CacheStage,
    ChunkTextStage,
    CircuitBreaker,
    CircuitBreakerStage,
    CoalesceStage,
    DebounceStage,
    DedupeStage,
    DelayStage,
    FallbackStage,
    FileLinesSource,
    IntervalSource,
    MemoryCache,
    ProcessSource,
    QueueSource,
    RateLimitStage,
    RetryStage,
    SkipStage,
    TakeStage,
    TeeStage,
    ThrottleStage,
    TimeoutStage,
    UnbatchStage,
    WindowStage,
)
from streamflow.testing import SinkProbe, misbehaving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from queue import Queue

    from streamflow.stages import Accepts


@stage
async def shout(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    """Turn each text into capitals."""
    async for element in stream:
        yield TextElement(element.text.upper())


@stage(name="long-enough")
def trim(element: TextElement) -> TextElement:
    """Cut white space off."""
    return TextElement(element.text.strip())


def long_enough(element: TextElement) -> bool:
    """Say whether there is any text."""
    return bool(element.text)


class Join(BaseStage):
    """Two named inputs, one output."""

    inputs: Mapping[str, Accepts] = {"left": TextElement, "right": (TextElement, AudioElement)}

    async def process(self, inputs: Mapping[str, ReceiveEnd[TextElement]], output: SendEnd[TextElement]) -> None:
        """Pass the left one on."""
        async for element in inputs["left"]:
            await output.send(element)


def use_builder(shared: Resource[object]) -> None:
    """Build graphs in each way."""
    sharing = stage(resources=(shared,))(trim.func)
    stage(outputs={"x": TextElement, "y": None}, inputs={"left": (TextElement, AudioElement)})
    graph = GraphBuilder().chain(shout, trim).build_graph()
    assert_type(graph, Graph)
    nested = SubGraph("inner", graph, buffer=4)
    builder = PipelineBuilder().add(Join, nested).chain(nested, "join:left").connect(shout, trim, buffer=2)
    assert_type(builder, PipelineBuilder)
    assert_type(builder.branch("shout", trim, "join:right", otherwise=nested), PipelineBuilder)
    assert_type(builder.merge("trim", nested, shout).clone().prefixed("left"), PipelineBuilder)
    assert_type(PipelineBuilder().chain(pipeline, pipeline.as_stage("again"), sharing).build(), Pipeline)


pipeline = PipelineBuilder(PipelineConfig(buffer_size=4)).chain(shout, trim, FilterStage(long_enough)).build()
assert_type(pipeline, Pipeline)
assert_type(trim(TextElement(" a ")), TextElement)
MapStage(trim.func, name="again")


async def use() -> None:
    """Run a pipeline in each way."""
    async with pipeline.execute("hello") as run:
        async for element in run:
            assert_type(element, StreamElement)
        assert_type(run.position, int)
        assert_type(run.run_id, str)
    async for text in pipeline.execute([TextElement("a"), "b"]).text():
        assert_type(text, str)
    result = await pipeline.run("hello")
    assert_type(result, Result)
    assert_type(result.text, str)
    assert_type(result.elements, tuple[StreamElement, ...])


class Client:
    """What runs share."""

    async def ask(self, question: str) -> str:
        """Answer."""
        return question


def open_client() -> AbstractAsyncContextManager[Client]:
    """Open it."""
    raise NotImplementedError


CLIENT = Resource(open_client)
assert_type(CLIENT, Resource[Client])


class Ask(BaseStage):
    """A stage that shares a client."""

    resources: tuple[Resource[object], ...] = (CLIENT,)

    async def process(
        self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[dict[str, str]]
    ) -> None:
        """Ask."""
        client = await run.resource(CLIENT)
        assert_type(client, Client)
        assert_type(run.deps, dict[str, str])
        async for element in input:
            await output.send(TextElement(await client.ask(element.text)))


async def look_up(element: TextElement) -> TextElement:
    """Wait for an answer."""
    return element


def add_flow_stages(
    builder: PipelineBuilder, kept: list[StreamElement], heard: list[str], queue: Queue[str | None]
) -> PipelineBuilder:
    """Use each flow stage, with functions and with lambdas."""
    builder.chain(
        MapAsyncStage(look_up, concurrency=4),
        MapAsyncStage(
            lambda element: look_up(TextElement(element.text)), concurrency=4, name="again", accepts=TextElement
        ),
        MapUnorderedStage(
            lambda element: look_up(TextElement(element.text)), concurrency=4, name="any", accepts=TextElement
        ),
        ThreadStage(lambda element: TextElement(element.text), name="thread", accepts=TextElement),
        DedupeStage(lambda element: element.text, accepts=TextElement),
        TeeStage(lambda element: heard.append(element.text), accepts=TextElement),
        ChunkTextStage(80, max_wait_s=0.5, by="words"),
        TakeStage(2),
        SkipStage(2, accepts=(TextElement, AudioElement)),
        DebounceStage(0.5),
        ThrottleStage(2, 1, mode="drop"),
        DelayStage(0.5),
        BatchStage(2, bypass="early"),
        WindowStage(3, step=2),
        UnbatchStage(),
        TimeoutStage(look_up, first_s=1),
        CircuitBreakerStage(look_up, CircuitBreaker(failures=3), counts=lambda error: isinstance(error, OSError)),
        FallbackStage(look_up, shout, resume="always"),
        RetryStage(Ask, on=(OSError, TimeoutError)),
        CacheStage(MapStage(look_up), MemoryCache(ttl_s=1), key=len),
        RateLimitStage(2.5, key=lambda element: element.text, mode="reject", accepts=TextElement),
        BufferStage(100),
        CoalesceStage(80, max_held=10),
        CollectStage(kept),
    )
    sources = (FileLinesSource("a.txt", follow=True), ProcessSource(["ls"]), QueueSource(queue))
    return builder.add(*sources, IntervalSource(1, make=lambda number: TextElement(str(number))))


def use_configuration() -> PipelineConfig:
    """Set in each way."""
    config = PipelineConfig().with_channel_buffer_size(32).with_priority_queue().with_execution_timeout(60)
    assert_type(config.with_metrics().with_tracing(False), PipelineConfig)
    assert_type(config.timeout_s, float | None)
    assert_type(config.max_concurrent_runs, int | None)
    assert_type(PipelineConfig.from_env("APP_", environ={}), PipelineConfig)
    assert_type(PipelineConfig.from_toml("pyproject.toml", table="tool.streamflow"), PipelineConfig)
    return config.replace(idle_timeout_s=5)


def listen(event: Event) -> None:
    """Hear of an event."""
    assert_type(event.stage, str | None)
    match event:
        case StageFailed():
            assert_type(event.stage, str)
            assert_type(event.error, BaseException)
        case PipelineEnded(duration_s=duration_s):
            assert_type(duration_s, float)
        case ElementMoved(ordinal=ordinal) | EventGap(missed=ordinal):
            assert_type(ordinal, int)
        case _:
            assert_type(event.data, Mapping[str, object])


async def listen_later(event: Event) -> None:
    """Hear of an event, and wait."""
    assert_type(event.to_dict(), dict[str, object])


assert_type(PipelineBuilder().on_event(listen).on_event(listen_later).on_event(log_events()), PipelineBuilder)


class Middleware:
    """Code of another kind of pipeline."""

    async def process(self, ctx: object, call_next: Callable[[], Awaitable[object]]) -> None:
        """Run around the rest."""
        await call_next()


def answer(ctx: object) -> str:
    """Answer."""
    return str(ctx)


assert_type(wrap_middleware("chat", Middleware(), answer, max_attempts=2), MiddlewareAdapter)
MiddlewareAdapter(Middleware, config={}, handler=answer)


async def use_graph(shared: Pipeline) -> None:
    """Nest, draw, write down, run with several ends, and shut down."""
    builder = PipelineBuilder().chain(shared.as_stage("inner"), PassthroughStage("out"))
    assert_type(shared.explain(), str)
    assert_type(shared.to_mermaid(), str)
    assert_type(Pipeline.from_dict(shared.to_dict(), {"shout": shout, "trim": trim}), Pipeline)
    async with builder.build() as pipeline:
        run = pipeline.execute({"ears": ["a"], "eyes": TextElement("b")}, deps={"a": "b"})
        events = run.events()
        async with run:
            async for element in run.output("out"):
                assert_type(element, StreamElement)
                if isinstance(element, BatchElement):
                    assert_type(element.items, tuple[StreamElement, ...])
            await run.send("a", to="ears")
            run.close_input("ears")
            assert_type(run.stats().edges["a → b"].peak, int | None)
        assert_type([event async for event in events], list[Event])
        await pipeline.shutdown(timeout_s=5)


def use_errors(failed: StageError, late: RunTimeoutError, refused: BuildError) -> None:
    """Read what an error tells."""
    assert_type(failed.stage, str)
    assert_type(failed.index, int | None)
    assert_type(failed.suppressed, tuple[StageError, ...])
    assert_type(late.kind, TimeoutKind)
    assert_type(late.limit_s, float)
    assert_type(refused.findings, tuple[Finding, ...])


def use_testing(probe: SinkProbe) -> Pipeline:
    """Put what tests bring along into a graph of one's own."""
    return PipelineBuilder().chain(misbehaving.loses_the_last(), probe.stage()).build()
