"""The rules about stages find the faults that they are about, and show each by the shortest input or schedule."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import anyio
import pytest

from streamflow import (
    AudioElement,
    BaseStage,
    BatchElement,
    MapStage,
    ReceiveEnd,
    RunContext,
    SendEnd,
    StageKind,
    StreamElement,
    TextElement,
    current_run,
    stage,
)
from streamflow.errors import ConfigError, StageDefinitionError
from streamflow.testing import ConformanceError, StageConformance, check_stage, rules_of
from streamflow.testing._stage_case import STAGE_VARIANTS, has_fusion

ONE_LOOP = STAGE_VARIANTS[:1]
WORDS = ("a", "b", "c")

RUNS = []
COUNTER = itertools.count()


async def pairs_that_lose_the_last(stream: AsyncIterator[TextElement]) -> AsyncIterator[BatchElement]:
    held: list[StreamElement] = []
    async for element in stream:
        held.append(element)
        if len(held) == 2:
            yield BatchElement(tuple(held))
            held = []


def in_pairs(items):
    return [BatchElement(tuple(items[i : i + 2])) for i in range(0, len(items), 2)]


async def fails_on_nothing(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    last = None
    async for last in stream:
        yield last
    if last is None:
        raise ValueError


async def never_ends(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element
    await anyio.sleep_forever()


class SharesItsState(BaseStage):
    def __init__(self) -> None:
        super().__init__("shares")
        self.seen: list[object] = []

    async def process(self, stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            self.seen.append(element)
            yield TextElement(str(len(self.seen)))


class BoundToOneLoop(BaseStage):
    def __init__(self) -> None:
        super().__init__("bound")
        self.loops: list[object] = []

    async def process(self, stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        token = anyio.lowlevel.current_token()
        if self.loops and self.loops[0] != token:
            raise RuntimeError("attached to a different loop")
        self.loops.append(token)
        async for element in stream:
            yield element


async def pulls_without_bound(
    input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]
) -> None:
    held: list[TextElement] = []
    more = anyio.Event()
    ended = False

    async def pull() -> None:
        nonlocal ended, more
        async for element in input:
            held.append(element)
            more.set()
        ended = True
        more.set()

    run.start_soon(pull)
    while not ended or held:
        if not held:
            await more.wait()
            more = anyio.Event()
            continue
        await output.send(held.pop(0))


async def hoards(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    for element in [element async for element in stream]:
        yield element


async def promises_text(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for _ in stream:
        yield AudioElement(b"")


async def a_task_for_each(
    input: ReceiveEnd[TextElement], output: SendEnd[TextElement], run: RunContext[object]
) -> None:
    done = anyio.Event()
    async for element in input:
        run.start_soon(done.wait)
        await output.send(element)
    done.set()


async def loses_what_is_in_hand(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
    async for element in input:
        if output.statistics().buffered < 1:
            await output.send(element)


async def clean_up_fails(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    try:
        async for element in stream:
            await anyio.lowlevel.checkpoint()
            yield element
    except BaseException as error:
        raise RuntimeError("clean-up") from error


async def fails_unread(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
    try:
        async for element in input:
            await output.send(element)
    finally:
        if output.statistics().state == "cancelled":
            raise RuntimeError("nobody wanted it")


async def swallows_cancellation(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(30)
            await anyio.sleep(30)
        yield element


async def leaves_a_task(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        task = asyncio.create_task(asyncio.sleep(3600))
        RUNS.append(task)
        yield element


async def keeps_its_runs(stream: AsyncIterator[TextElement], run: RunContext[object]) -> AsyncIterator[TextElement]:
    RUNS.append((stream, run, current_run()))
    async for element in stream:
        yield element


async def hides_its_failure(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        if element.text != "poison":
            yield element


async def says_it_otherwise(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for _ in stream:
        yield TextElement(str(next(COUNTER)))


@stage(accepts=StreamElement)
async def drops_what_is_no_text(stream: AsyncIterator[StreamElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        if isinstance(element, TextElement):
            yield element


@stage(kind=StageKind.SINK)
async def sink_that_stops(element: TextElement) -> None:
    await anyio.sleep_forever()


FAULTS = {
    "the last batch is lost": (pairs_that_lose_the_last, "SF-02", {"model": in_pairs}, "1 element: [TextElement(text='a')]"),
    "it fails on nothing": (fails_on_nothing, "SF-01", {}, "an empty input"),
    "it never ends": (never_ends, "SF-03", {}, "an empty input; nobody reads"),
    "it sends more than it was asked": (says_it_otherwise, "SF-10", {}, "3 elements"),
    "it does not let itself be closed": (clean_up_fails, "SF-06", {}, "the reader leaves after 1"),
    "nor before it has begun": (fails_unread, "SF-07", {}, "the reader leaves after 0"),
    "a sink that stops": (sink_that_stops, "SF-08", {}, "3 elements"),
    "runs share its state": (SharesItsState, "SF-09", {}, "run 2 of one pipeline"),
    "it is bound to a loop": (BoundToOneLoop, "SF-10", {}, "other event loops"),
    "it pulls without bound": (pulls_without_bound, "SF-12", {}, "the reader takes 0 and stops"),
    "what finds no room is lost": (loses_what_is_in_hand, "SF-13", {}, "3 elements"),
    "it hoards": (hoards, "SF-14", {}, "1 element: [TextElement(text='a')]; one by one"),
    "it promises text": (promises_text, "SF-15", {}, "1 element"),
    "each element has a task": (a_task_for_each, "SF-16", {"max_elements": 100}, "100 elements"),
    "it leaves a task when it is cancelled": (leaves_a_task, "SF-20", {}, "at tick"),
    "and natively": (leaves_a_task, "SF-21", {}, "cancelled by native"),
    "it swallows its cancellation": (swallows_cancellation, "SF-27", {}, "cancelled at tick"),
    "it leaves a task": (leaves_a_task, "SF-24", {}, "the consumer leaves after"),
    "it keeps its runs": (keeps_its_runs, "SF-31", {}, "read to its end"),
    "it hides its failure": (hides_its_failure, "SF-35", {"poison": "poison"}, "1 element: [TextElement(text='poison')]"),
    "it takes and drops": (drops_what_is_no_text, "SF-02", {"items": [AudioElement(b"")], "model": list}, "1 element"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_by_its_rule_with_the_shortest_case(fault: str) -> None:
    """conformance: the id, the promise in one sentence, and the shortest input or schedule that shows the fault."""
    factory, rule, options, shown = FAULTS[fault]
    make = factory if isinstance(factory, type) else lambda: factory
    variants = STAGE_VARIANTS if rule == "SF-10" else ONE_LOOP
    with pytest.raises(ConformanceError) as caught:
        check_stage(make, **{"items": WORDS, "rules": [rule], "variants": variants, **options})

    text = str(caught.value)
    (known,) = rules_of("stage", [rule])
    assert f"\n{rule} ({known.level}, semantics {known.holds}): {known.promise}\n" in text
    assert shown in caught.value.report.failed[0].shown_by
    for task in [one for one in RUNS if isinstance(one, asyncio.Task)]:
        del task
    RUNS.clear()


def shout(element: TextElement) -> TextElement:
    return TextElement(element.text.upper())


class Shouting(StageConformance):
    emits = TextElement

    def make_stage(self):
        return MapStage(shout)

    def make_element(self, index):
        return TextElement("abc"[index % 3])

    def model(self, items):
        return [one.text.upper() for one in items]


def test_a_stage_without_fault_keeps_every_rule_in_every_circumstance() -> None:
    """conformance: the function and the class are the same checks; nothing sound is flagged."""
    by_function = check_stage(lambda: shout, items=WORDS, model=lambda items: [one.text.upper() for one in items])
    by_class = Shouting().check()

    assert by_function.ok
    assert [str(one.rule.id) for one in by_class.verdicts] == [str(one.rule.id) for one in by_function.verdicts]
    assert {one.variant for one in by_class.verdicts} == set(STAGE_VARIANTS)
    assert len(STAGE_VARIANTS) == (12 if has_fusion() else 6)


def test_a_class_finds_what_the_function_finds() -> None:
    """conformance: a model that the stage does not follow is told with both outputs."""

    class Whispering(Shouting):
        def model(self, items):
            return [one.text.lower() for one in items]

    with pytest.raises(ConformanceError, match=r"from #0 on .*'A'.* and not .*'a'"):
        Whispering().check(["SF-02"], variants=ONE_LOOP)


def test_a_class_without_a_stage_or_without_elements_says_so() -> None:
    """conformance, arguments: what is missing is named."""

    class Nothing(StageConformance):
        def make_stage(self):
            return shout

    with pytest.raises(TypeError, match="make_stage"):
        StageConformance()
    with pytest.raises(ConformanceError, match="make_element"):
        Nothing().check(["SF-02"], variants=ONE_LOOP)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"items": []}, "items"),
        ({"items": [1]}, "items"),
        ({"max_elements": 0}, "max_elements"),
        ({"examples": True}, "examples"),
        ({"effort": 0}, "effort"),
        ({"rules": ["SF-999"]}, "rules"),
        ({"skip": {"SF-999": "no"}}, "rules"),
    ],
)
def test_arguments_that_cannot_be_are_refused_at_once(change, field) -> None:
    """conformance, arguments: the field is named."""
    with pytest.raises(ConfigError) as caught:
        check_stage(lambda: shout, **{"items": WORDS, **change})
    assert caught.value.field == field


def test_what_is_no_factory_or_makes_no_stage_is_refused_at_once() -> None:
    """conformance, arguments: the way out is told."""
    with pytest.raises(ConfigError, match="lambda: stage"):
        check_stage(shout, items=WORDS)
    with pytest.raises(ConfigError, match="without arguments"):
        check_stage("shout", items=WORDS)
    with pytest.raises(StageDefinitionError):
        check_stage(lambda: 7, items=WORDS)


def test_a_generating_stage_takes_no_items() -> None:
    """conformance, arguments: items for a stage without an input are a mistake."""

    async def generating() -> AsyncIterator[TextElement]:
        yield TextElement("a")

    with pytest.raises(ConfigError, match="leave them out"):
        check_stage(lambda: generating, items=WORDS)
    with pytest.raises(ConfigError, match="no element to fail on"):
        check_stage(lambda: generating, poison="a")
    assert check_stage(lambda: generating, rules=["SF-01", "SF-08"], variants=ONE_LOOP).ok


def test_what_is_left_out_is_told_with_its_reason() -> None:
    """conformance, what is skipped: a rule that a stage breaks on purpose."""
    report = check_stage(lambda: hoards, items=WORDS, rules=["SF-14"], skip={"SF-14": "it sorts"}, variants=ONE_LOOP)
    assert [one.why for one in report.skipped] == ["it sorts"]
