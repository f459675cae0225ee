"""Every stage that the package ships keeps every rule: each is registered once, and goes through the public kit.

A new public stage class belongs into `STAGES`; a test below fails until it is there. With
`CONFORMANCE_EFFORT=10` (`make conformance`) every rule is tried in every circumstance, on ten times the examples.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import anyio
import pytest

import streamflow
from streamflow import (
    BaseStage,
    BatchElement,
    CollectStage,
    FilterStage,
    FlatMapStage,
    MapAsyncStage,
    MapStage,
    MapUnorderedStage,
    Message,
    MessageElement,
    MiddlewareAdapter,
    PassthroughStage,
    ReceiveEnd,
    RunContext,
    SendEnd,
    SinkStage,
    StageKind,
    StreamElement,
    TextElement,
    ThreadStage,
    TurnEnd,
    current_run,
    stage,
)
from streamflow.agents import AgentStage, ToolStage
from streamflow.apps import ChatTokenStage, ClassificationProgressStage, ClassifyStage, EnrichStage
from streamflow.context import (
    CompactionStage,
    Document,
    KeywordIndex,
    MemoryExtractStage,
    MemoryRetrieveStage,
    RetrieveStage,
)
from streamflow.elements import ToolCallDelta, ToolCallElement, Usage, UsageElement
from streamflow.providers import ProviderStage, ScriptedProvider, ScriptTurn, TextStep, ToolCallStep, When
from streamflow.stages import (
    BatchStage,
    BufferStage,
    CacheStage,
    ChunkTextStage,
    CircuitBreakerStage,
    CoalesceStage,
    DebounceStage,
    DebugStage,
    DedupeStage,
    DelayStage,
    ExtractJsonStage,
    FallbackStage,
    FileLinesSource,
    FunctionStage,
    GuardInputStage,
    GuardMessageStage,
    GuardStreamStage,
    HistoryWindowStage,
    IntervalSource,
    ProcessSource,
    PromptStage,
    QueueSource,
    RateLimitStage,
    Resource,
    RetryStage,
    RouteRule,
    RouteStage,
    SkipStage,
    StageLike,
    TakeStage,
    TeeStage,
    TemplateStage,
    ThrottleStage,
    TimeoutStage,
    TokenBudgetStage,
    UnbatchStage,
    UsageStage,
    VariablesStage,
    WindowStage,
    WordGuard,
    as_stage,
)
from streamflow.state import MemoryStore, StateStore, StateStoreLoadStage, StateStoreSaveStage
from streamflow.testing import Report, Variant, check_stage, rules_of, run_stage, run_virtual
from streamflow.testing._conformance import BACKENDS
from streamflow.testing._stage_case import SOME_STAGE_VARIANTS

EFFORT = int(os.environ.get("CONFORMANCE_EFFORT", "1"))

TEXTS = tuple(TextElement(text) for text in ("hello", "how", "today"))
MESSAGES = tuple(MessageElement(Message("user", text)) for text in ("hello", "and again"))
POISON = TextElement("poison")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A stage on trial."""

    make: Callable[[], StageLike]
    items: tuple[StreamElement, ...] = TEXTS
    """An input that it has something to say to."""
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """What else `check_stage()` is told."""


def entry(make: Callable[[], StageLike], *items: StreamElement, **options: object) -> Entry:
    return Entry(make, items or TEXTS, options)


def source(make: Callable[[], StageLike], **options: object) -> Entry:
    return Entry(make, (), options)


class PlantedError(Exception):
    """What the functions below fail with."""


def shout(element: TextElement) -> TextElement:
    if element is POISON:
        raise PlantedError
    return TextElement(element.text.upper())


async def shout_later(element: TextElement) -> TextElement:
    await anyio.lowlevel.checkpoint()
    return shout(element)


async def shout_in_time(element: TextElement) -> TextElement:
    await anyio.sleep(len(element.text))
    return shout(element)


def letters(element: TextElement) -> Iterator[TextElement]:
    for letter in element.text:
        yield TextElement(letter)


async def letters_later(element: TextElement) -> AsyncIterator[TextElement]:
    for letter in element.text:
        await anyio.lowlevel.checkpoint()
        yield TextElement(letter)


async def streaming(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield shout(element)


async def streaming_with_run(stream: AsyncIterator[TextElement], run: RunContext[object]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield TextElement(f"{run.stage}: {element.text}")


async def generating() -> AsyncIterator[TextElement]:
    for element in TEXTS:
        yield element


async def processing(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
    async for element in input:
        await output.send(shout(element))


class Shout(BaseStage):
    def __init__(self) -> None:
        super().__init__()
        self.mark = "!"

    async def process(
        self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]
    ) -> None:
        async for element in input:
            await output.send(TextElement(element.text + self.mark))


class Counting:
    """A plain class that counts in its instance."""

    def __init__(self) -> None:
        self.count = 0

    async def process(self, stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            self.count += 1
            yield TextElement(f"{self.count} {element.text}")


class Opening(BaseStage):
    def open(self, run: RunContext[object]) -> Counting:
        return Counting()

    async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        raise AssertionError("open(run) says what runs")


class Helped(BaseStage):
    """Sends from a helper task."""

    async def process(
        self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]
    ) -> None:
        async def work() -> None:
            async for element in input:
                await output.send(shout(element))

        run.start_soon(work)


@stage(kind=StageKind.ACCUMULATE)
async def joining(input: ReceiveEnd[TextElement | TurnEnd], output: SendEnd[TextElement | TurnEnd]) -> None:
    held = ""
    async for element in input:
        if isinstance(element, TextElement):
            held += element.text
            continue
        await output.send(TextElement(held))
        await output.send(element)
        held = ""
    await output.send(TextElement(held))


@stage(kind=StageKind.ACCUMULATE)
async def failing_early(input: ReceiveEnd[TextElement | TurnEnd], output: SendEnd[TextElement | TurnEnd]) -> None:
    async for _ in input:
        raise OSError


async def answering(context: MessageElement) -> str:
    await anyio.lowlevel.checkpoint()
    return "an answer"


class QueuePerRun:
    """A queue that gives each run the same items; of one that all share, two runs could not both get everything."""

    def __init__(self, *items: object) -> None:
        self.items = items
        self.left: dict[str, Iterator[object]] = {}

    async def get(self) -> object:
        await anyio.lowlevel.checkpoint()
        return next(self.left.setdefault(current_run().run_id, iter(self.items)))


def a_store() -> Resource[StateStore]:
    return Resource(MemoryStore, name="store")


def of_the_run(run: RunContext[object], message: MessageElement) -> str:
    """Each run has a conversation of its own: what runs store is there to be shared, and would change what they say."""
    return run.run_id


def what_is_said(element: StreamElement) -> object:
    """Return what an element says, without the names that a store gives to turns."""
    return type(element), getattr(element, "message", None), getattr(element, "text", None)


async def knowing(said: MessageElement) -> Mapping[str, str]:
    await anyio.lowlevel.checkpoint()
    return {"said": said.message.text}


class Forgetful:
    """A memory that is asked and keeps nothing."""

    async def extract(self, messages: object) -> None:
        await anyio.lowlevel.checkpoint()


IDLE_THREADS = {"SF-31": "an idle worker thread of anyio keeps the context of its last call until the next one"}
LINES = Path(__file__).with_name("lines.txt")
TURNS = (*TEXTS[:1], TurnEnd(index=0), *TEXTS[1:])
JSON = (TextElement('{"a": "how'), TextElement('", "b": 1}'), TurnEnd(index=0), TextElement('{"a": "today"}'))
CHAT = (MESSAGES[0], TurnEnd(index=0), MESSAGES[1])
DOCUMENTS = (Document("hello there", id="greeting"),)
USAGES = (UsageElement(Usage(input_tokens=2), final=True), TurnEnd(index=0))
ANSWERS = tuple(MessageElement(Message("assistant", text)) for text in ("hello", "and again"))

CALLS = (
    *(ToolCallElement(f"c{number}", "say_later", {"seconds": 3 - number}) for number in range(3)),
    TurnEnd("tool_calls"),
)


FORM = (
    ToolCallDelta("c", "classify", '{"route"'),
    ToolCallDelta("c", "classify", ': "a"}'),
    ToolCallElement("c", "classify", {"route": "a"}, '{"route": "a"}'),
    TurnEnd("tool_calls"),
)


async def say_later(seconds: float) -> str:
    """Say something, after a while."""
    await anyio.sleep(seconds)
    return f"after {seconds:g} s"


def an_agent() -> AgentStage:
    """Return an agent whose model calls a tool twice before it answers, turn by turn."""
    call = ScriptTurn(
        [ToolCallStep("say_later", {"seconds": 1}), ToolCallStep("say_later", {"seconds": 0})], times=None
    )
    answer = ScriptTurn([TextStep("It said {result}.")], when=When(tool_result=True), times=None)
    return AgentStage(ScriptedProvider(turns=[answer, call]), [say_later])


STAGES: dict[str, Entry] = {
    # The public classes, each under its own name
    "AgentStage": entry(an_agent, *CHAT),
    "BatchStage": entry(lambda: BatchStage(2, max_wait_s=5), *TURNS),
    "BufferStage": entry(lambda: BufferStage(2)),
    "CacheStage": entry(lambda: CacheStage(FlatMapStage(letters_later)), *TEXTS, *TEXTS),
    "ChatTokenStage": entry(lambda: ChatTokenStage(partial=True)),
    "ChunkTextStage": entry(lambda: ChunkTextStage(4, max_wait_s=5), *TURNS),
    "CircuitBreakerStage": entry(lambda: CircuitBreakerStage(streaming)),
    "ClassificationProgressStage": entry(lambda: ClassificationProgressStage("classify", 14), *FORM),
    "ClassifyStage": entry(lambda: ClassifyStage("classify", fallback={"route": "none"}), *FORM),
    "CoalesceStage": entry(lambda: CoalesceStage(1)),
    "CollectStage": entry(lambda: CollectStage([])),
    "CompactionStage": entry(lambda: CompactionStage(lambda _messages: "so far", above_tokens=1), *CHAT),
    "DebounceStage": entry(lambda: DebounceStage(5), *TURNS),
    "DebugStage": entry(DebugStage),
    "DedupeStage": entry(lambda: DedupeStage(lambda one: one.text, accepts=TextElement), *TEXTS, *TEXTS),
    "DelayStage": entry(lambda: DelayStage(5, max_held=2)),
    "EnrichStage": entry(lambda: EnrichStage(knowing, name="profile"), *CHAT),
    "ExtractJsonStage": entry(lambda: ExtractJsonStage(["a", "b"]), *JSON),
    "FallbackStage": entry(lambda: FallbackStage(failing_early, joining), *TURNS),
    "FileLinesSource": source(lambda: FileLinesSource(LINES), clock="real"),
    "FilterStage": entry(lambda: FilterStage(lambda element: len(element.text) > 3, name="long", accepts=TextElement)),
    "FlatMapStage": entry(lambda: FlatMapStage(letters)),
    "FunctionStage": entry(lambda: FunctionStage(streaming), poison=POISON),
    "GuardInputStage": entry(lambda: GuardInputStage([WordGuard(["again"], action="replace")]), *CHAT),
    "GuardMessageStage": entry(lambda: GuardMessageStage([WordGuard(["again"], action="replace")]), *ANSWERS),
    "GuardStreamStage": entry(lambda: GuardStreamStage([WordGuard(["how"], action="replace", text="why")]), *TURNS),
    "HistoryWindowStage": entry(lambda: HistoryWindowStage(1), *CHAT),
    "IntervalSource": source(lambda: IntervalSource(5, count=3)),
    "MapAsyncStage": entry(lambda: MapAsyncStage(shout_later, concurrency=2), poison=POISON),
    "MapStage": entry(lambda: MapStage(shout), poison=POISON),
    "MapUnorderedStage": entry(lambda: MapUnorderedStage(shout_in_time, concurrency=2), *TEXTS[:2], ordered=False),
    "MemoryExtractStage": entry(lambda: MemoryExtractStage(Forgetful(), max_pending=100_000), *CHAT),
    "MemoryRetrieveStage": entry(lambda: MemoryRetrieveStage(KeywordIndex(DOCUMENTS)), *CHAT),
    "MiddlewareAdapter": entry(lambda: MiddlewareAdapter(answering), *CHAT),
    "PassthroughStage": entry(PassthroughStage),
    "ProcessSource": source(lambda: ProcessSource(["cat", LINES]), clock="real"),
    "PromptStage": entry(lambda: PromptStage("Be brief."), *CHAT),
    "ProviderStage": entry(lambda: ProviderStage(ScriptedProvider()), *CHAT),
    "QueueSource": source(lambda: QueueSource(QueuePerRun(*TEXTS, None))),
    "RateLimitStage": entry(lambda: RateLimitStage(2, 5)),
    "RetrieveStage": entry(lambda: RetrieveStage(KeywordIndex(DOCUMENTS)), *CHAT),
    "RetryStage": entry(lambda: RetryStage(MapAsyncStage(shout_later, concurrency=2))),
    "RouteStage": entry(lambda: RouteStage([RouteRule("greeting", ["hello"])]), *MESSAGES),
    "SinkStage": entry(lambda: SinkStage(lambda _element: None, name="sink", accepts=TextElement)),
    "SkipStage": entry(lambda: SkipStage(1, accepts=TextElement)),
    "StateStoreLoadStage": entry(
        lambda: StateStoreLoadStage(a_store(), conversation=of_the_run), *CHAT, key=what_is_said
    ),
    "StateStoreSaveStage": entry(
        lambda: StateStoreSaveStage(a_store(), conversation=of_the_run), *CHAT, key=what_is_said
    ),
    "TakeStage": entry(lambda: TakeStage(5, accepts=TextElement)),
    "TeeStage": entry(lambda: TeeStage(repr)),
    "TemplateStage": entry(lambda: TemplateStage("You help {name}.", variables={"name": "Ada"}), *CHAT),
    "ThreadStage": entry(lambda: ThreadStage(shout, concurrency=2), poison=POISON, skip=IDLE_THREADS),
    "ThrottleStage": entry(lambda: ThrottleStage(2, 5)),
    "TimeoutStage": entry(lambda: TimeoutStage(shout_in_time, first_s=20)),
    "ToolStage": entry(lambda: ToolStage([say_later]), *CALLS),
    "TokenBudgetStage": entry(lambda: TokenBudgetStage(9), *CHAT),
    "UnbatchStage": entry(UnbatchStage, BatchElement(TEXTS[:2]), BatchElement(TEXTS[2:])),
    "UsageStage": entry(lambda: UsageStage(max_calls=1_000_000), *USAGES),
    "VariablesStage": entry(lambda: VariablesStage({"name": "Ada"}), *CHAT),
    "WindowStage": entry(lambda: WindowStage(2), *TURNS),
    # The forms
    "bare async generator": entry(lambda: streaming, poison=POISON),
    "async generator with run": entry(lambda: streaming_with_run),
    "generating": source(lambda: generating),
    "process function": entry(lambda: processing, poison=POISON),
    "@stage process function": entry(lambda: stage(name="decorated")(processing), poison=POISON),
    "function": entry(lambda: shout, poison=POISON),
    "async function": entry(lambda: shout_later, poison=POISON),
    "generator function": entry(lambda: letters),
    "async generator of one element": entry(lambda: FlatMapStage(letters_later)),
    "sink function": entry(lambda: stage(kind=StageKind.SINK)(shout), poison=POISON),
    "class": entry(lambda: Shout),
    "object": entry(Shout),
    "plain class": entry(lambda: Counting),
    "object with open": entry(Opening),
    "object with a helper": entry(Helped, poison=POISON),
    "accumulator": entry(lambda: joining, *TURNS),
    "accumulator inside": entry(lambda: TimeoutStage(joining, total_s=5), *TURNS),
    "stages inside stages": entry(
        lambda: RetryStage(CircuitBreakerStage(TimeoutStage(ProviderStage(ScriptedProvider()), first_s=5))),
        *CHAT,
    ),
    "spec": entry(lambda: as_stage(streaming)),
}


def same_again(element: StreamElement) -> object:
    """Return what an element says, without the ids that a provider counts up from call to call."""
    return re.sub(r"(scripted|call)-\d+", r"\1", repr(element))


def some_variants(name: str) -> list[Variant]:
    """Return the circumstances in which a stage is tried: the middle capacity on each loop, the others on one each.

    On which, alternates from stage to stage, so that every rule is tried in all of them.
    """
    place = list(STAGES).index(name) % 2
    return [
        one
        for one in SOME_STAGE_VARIANTS
        if one["capacity"] == 2 or (one["capacity"] == 1) == (one.backend == BACKENDS[place])
    ]


def tried(name: str) -> Report:
    one = STAGES[name]
    options = {
        "key": same_again,
        "effort": EFFORT,
        "variants": some_variants(name) if EFFORT == 1 else None,
        **one.options,
    }
    return check_stage(one.make, items=one.items, **options)


@pytest.mark.slow
@pytest.mark.timeout(60 * EFFORT)
@pytest.mark.parametrize("name", STAGES)
def test_it_keeps_every_rule(name: str) -> None:
    """conformance: every rule about stages, on both event loops, at several capacities, beside and within its neighbours' tasks."""
    report = tried(name)

    assert {verdict.rule.id for verdict in report.verdicts} == {rule.id for rule in rules_of("stage")}
    assert len({verdict.rule.id for verdict in report.passed}) > 20


def stage_classes() -> dict[str, type[BaseStage]]:
    """Return every class of a stage that the package offers; the doubles of `streamflow.testing` are scripts, played once."""
    found: dict[str, type[BaseStage]] = {}
    for info in pkgutil.walk_packages(streamflow.__path__, "streamflow."):
        if "._" in info.name or info.name.endswith("__main__") or info.name.startswith("streamflow.testing"):
            continue
        module = importlib.import_module(info.name)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) and issubclass(value, BaseStage) and value is not BaseStage:
                found[name] = value
    return found


ONCE = {"ScriptedSTT", "ScriptedTTS", "ConversationStage"}
"""Doubles, each of which plays its script once, whatever runs it is in, so it is no stage like others; and a base of stages."""


def test_every_public_stage_class_is_on_trial() -> None:
    """semantics 3.2: every stage is in `STAGES`, so that no new one can be forgotten."""
    assert set(stage_classes()) - ONCE <= set(STAGES)


@pytest.mark.parametrize("name", sorted(set(stage_classes()) - {"FunctionStage"}))
def test_every_public_stage_class_explains_how_it_flows(name: str) -> None:
    """styleguide 2: when it emits is what a caller cannot guess; a `Flow` block says so."""
    text = inspect.getdoc(stage_classes()[name]) or ""

    assert "\nFlow:\n    emits: " in text


@pytest.mark.parametrize("name", STAGES)
def test_an_example_has_something_to_say(name: str) -> None:
    """conformance: an input to which a stage says nothing would let every check pass in silence."""
    one = STAGES[name]
    kind = as_stage(one.make()).kind
    run = anyio.run if one.options.get("clock") == "real" else run_virtual

    assert bool(run(run_stage, one.make(), one.items)) == (kind is not StageKind.SINK)
