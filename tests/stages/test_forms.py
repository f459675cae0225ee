"""The forms in which a stage can be given: all behave alike, and what is no stage is refused at once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing

import anyio
import pytest

from streamflow import (
    BaseStage,
    CollectStage,
    EndOfStream,
    ErrorElement,
    FilterStage,
    FlatMapStage,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    RunContext,
    SendEnd,
    SinkStage,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    stage,
)
from streamflow.stages import StageLike, as_stage
from streamflow.testing import assert_all_stages_stopped

Stream = AsyncIterator[StreamElement]
Behaviour = Callable[[Stream], Stream]
Step = Callable[[StreamElement], StreamElement]

CAPACITIES = (1, 2, 16)


class BoomError(Exception):
    """What a stage of these tests raises."""


class Numbers:
    """A source that counts: from 0, with a pause of 10 s before one of them."""

    def __init__(self, count: int, pause_before: int | None = None) -> None:
        self.count, self.pause_before = count, pause_before
        self.given = self.closed = 0

    async def stream(self) -> Stream:
        try:
            for number in range(self.count):
                if number == self.pause_before:
                    await anyio.sleep(10)
                self.given += 1
                yield TextElement(str(number))
        finally:
            self.closed += 1


def texts(elements: list[StreamElement]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


async def observe(
    *chain: StageLike, source: Stream | None, capacity: int
) -> tuple[list[StreamElement], StageError | None]:
    """Run a chain and return all that its consumer saw, and what it raised."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity, timeout_s=600)).chain(*chain).build()
    seen: list[StreamElement] = []
    error: StageError | None = None
    async with pipeline.execute(source) as run:
        try:
            async for element in run:
                seen.append(element)
        except StageError as failure:
            error = failure
    await assert_all_stages_stopped()
    return seen, error


# Each form takes the same behaviour: a function of streams where the form allows it, a function of one element else.


@dataclasses.dataclass(frozen=True)
class Form:
    name: str
    make: Callable[[Behaviour, list[StreamElement]], StageLike] | None = None
    make_of_step: Callable[[Step, list[StreamElement]], StageLike] | None = None
    can_fail: bool = True

    @property
    def is_sink(self) -> bool:
        return self.name in {"sink", "async sink", "sink function", "sink class", "collect"}


async def pump(behaviour: Behaviour, input: Stream, output: SendEnd[StreamElement]) -> None:
    """Do what a `process` does whose author had this behaviour in mind."""
    async with aclosing(behaviour(input)) as results:
        async for result in results:
            await output.send(result)


def generator_with_run(behaviour: Behaviour, _sunk: object) -> StageLike:
    async def subject(stream: Stream, run: RunContext[object]) -> Stream:
        assert run.stage == "subject"
        results = behaviour(stream)
        try:
            async for result in results:
                yield result
        finally:
            await results.aclose()

    return subject


def generator_with_options(behaviour: Behaviour, _sunk: object) -> StageLike:
    return stage(name="other", accepts=TextElement, emits=TextElement)(behaviour)


def generator_partial(behaviour: Behaviour, _sunk: object) -> StageLike:
    async def subject(factor: int, stream: Stream) -> Stream:
        assert factor == 2
        results = behaviour(stream)
        try:
            async for result in results:
                yield result
        finally:
            await results.aclose()

    return stage(name="partial")(functools.partial(subject, 2))


def generator_callable(behaviour: Behaviour, _sunk: object) -> StageLike:
    class Called:
        async def __call__(self, stream: Stream) -> Stream:
            results = behaviour(stream)
            try:
                async for result in results:
                    yield result
            finally:
                await results.aclose()

    return stage(name="callable")(Called())


def generator_method(behaviour: Behaviour, _sunk: object) -> StageLike:
    class Subject(BaseStage):
        async def process(self, stream: Stream, run: RunContext[object]) -> Stream:
            assert run.stage == self.name == "subject"
            results = behaviour(stream)
            try:
                async for result in results:
                    yield result
            finally:
                await results.aclose()

    return Subject()


def bound_method(behaviour: Behaviour, _sunk: object) -> StageLike:
    class Holder:
        async def subject(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            await pump(behaviour, input, output)

    return Holder().subject


def function(behaviour: Behaviour, _sunk: object) -> StageLike:
    async def subject(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        await pump(behaviour, input, output)

    return subject


def function_with_run(behaviour: Behaviour, _sunk: object) -> StageLike:
    @stage
    async def subject(
        input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object] | None = None
    ) -> None:
        assert run is not None
        assert run.stage == "subject"
        await pump(behaviour, input, output)

    return subject


def base_stage(behaviour: Behaviour, _sunk: object) -> type:
    class SubjectStage(BaseStage):
        async def process(
            self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
        ) -> None:
            assert run.stage == self.name == "subject"
            await pump(behaviour, input, output)

    return SubjectStage


def plain_class(behaviour: Behaviour, _sunk: object) -> type:
    class Subject:
        async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            await pump(behaviour, input, output)

    return Subject


def plain_object(behaviour: Behaviour, _sunk: object) -> StageLike:
    made = plain_class(behaviour, _sunk)()
    made.name = "subject"
    return made


def opened(behaviour: Behaviour, _sunk: object) -> type:
    class Opened:
        async def process(self, stream: Stream) -> Stream:
            results = behaviour(stream)
            try:
                async for result in results:
                    yield result
            finally:
                await results.aclose()

    class Subject(BaseStage):
        def open(self, run: RunContext[object]) -> Opened:
            assert run.stage == "subject"
            return Opened()

        async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            raise AssertionError("open(run) says what runs")

    return Subject


def sink_class(behaviour: Behaviour, sunk: list[StreamElement]) -> StageLike:
    class Subject(BaseStage):
        kind = StageKind.SINK

        async def process(self, input: ReceiveEnd[StreamElement]) -> None:
            async with aclosing(behaviour(input)) as results:
                async for result in results:
                    sunk.append(result)

    return Subject()


def returning(step: Step) -> Callable[[StreamElement], Awaitable[StreamElement]]:
    async def subject(element: StreamElement) -> StreamElement:
        await anyio.lowlevel.checkpoint()
        return step(element)

    return subject


def yielding(step: Step) -> Callable[[StreamElement], Iterator[StreamElement]]:
    def subject(element: StreamElement) -> Iterator[StreamElement]:
        yield step(element)

    return subject


def streaming(step: Step) -> Callable[[StreamElement], Stream]:
    async def subject(element: StreamElement) -> Stream:
        await anyio.lowlevel.checkpoint()
        yield step(element)

    return subject


def listing(step: Step) -> Callable[[StreamElement], Awaitable[list[StreamElement]]]:
    async def subject(element: StreamElement) -> list[StreamElement]:
        return [step(element)]

    return subject


class Later:
    """An async iterable that is no generator."""

    def __init__(self, element: StreamElement) -> None:
        self.left = [element]

    def __aiter__(self) -> Later:
        return self

    async def __anext__(self) -> StreamElement:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop()


def sinking(step: Step, sunk: list[StreamElement]) -> Callable[[StreamElement], None]:
    def subject(element: StreamElement) -> None:
        sunk.append(step(element))

    return subject


def sinking_later(step: Step, sunk: list[StreamElement]) -> Callable[[StreamElement], Awaitable[None]]:
    async def subject(element: StreamElement) -> None:
        await anyio.lowlevel.checkpoint()
        sunk.append(step(element))

    return subject


def kept(step: Step) -> Callable[[StreamElement], bool]:
    return lambda element: step(element) is not None


def kept_later(step: Step) -> Callable[[StreamElement], Awaitable[bool]]:
    async def subject(element: StreamElement) -> bool:
        return step(element) is not None

    return subject


def awaitable(func: Callable[[StreamElement], Awaitable[object]]) -> Callable[[StreamElement], Awaitable[object]]:
    """Hide that a function is async behind one that is not, and returns something to await."""
    return lambda element: func(element)  # noqa: PLW0108 - the lambda is the point


FORMS = [
    Form("bare generator", lambda behaviour, _: behaviour),
    Form("@stage generator", lambda behaviour, _: stage(behaviour)),
    Form("@stage(…) generator", generator_with_options),
    Form("generator with run", generator_with_run),
    Form("partial of a generator", generator_partial),
    Form("object called as a generator", generator_callable),
    Form("generator method", generator_method),
    Form("bound method", bound_method),
    Form("function", function),
    Form("@stage function with run", function_with_run),
    Form("BaseStage class", base_stage),
    Form("BaseStage object", lambda behaviour, sunk: base_stage(behaviour, sunk)()),
    Form("plain class", plain_class),
    Form("plain object", plain_object),
    Form("class with open", opened),
    Form("object with open", lambda behaviour, sunk: opened(behaviour, sunk)()),
    Form("spec", lambda behaviour, sunk: as_stage(function(behaviour, sunk))),
    Form("sink class", sink_class),
    Form("element function", None, lambda step, _: stage(name="subject")(step)),
    Form("async element function", None, lambda step, _: returning(step)),
    Form("generator of one element", None, lambda step, _: yielding(step)),
    Form("sink function", None, lambda step, sunk: stage(kind=StageKind.SINK)(sinking(step, sunk))),
    Form("map", None, lambda step, _: MapStage(step, name="subject")),
    Form("async map", None, lambda step, _: MapStage(returning(step))),
    Form("map to awaitable", None, lambda step, _: MapStage(awaitable(returning(step)), name="subject")),
    Form("filter", None, lambda step, _: FilterStage(kept(step), name="subject")),
    Form("async filter", None, lambda step, _: FilterStage(kept_later(step), name="subject")),
    Form("filter by awaitable", None, lambda step, _: FilterStage(awaitable(kept_later(step)), name="subject")),
    Form("flat map to list", None, lambda step, _: FlatMapStage(lambda element: [step(element)], name="subject")),
    Form("flat map to awaited list", None, lambda step, _: FlatMapStage(listing(step))),
    Form("flat map to generator", None, lambda step, _: FlatMapStage(yielding(step))),
    Form("flat map to async generator", None, lambda step, _: FlatMapStage(streaming(step))),
    Form(
        "flat map to async iterable", None, lambda step, _: FlatMapStage(lambda one: Later(step(one)), name="subject")
    ),
    Form("passthrough", None, lambda _step, _: PassthroughStage(), can_fail=False),
    Form("sink", None, lambda step, sunk: SinkStage(sinking(step, sunk))),
    Form("async sink", None, lambda step, sunk: SinkStage(sinking_later(step, sunk))),
    Form("collect", None, lambda _step, sunk: CollectStage(sunk), can_fail=False),
]


# The behaviours, each written once.


async def as_it_is(stream: Stream) -> Stream:
    async for element in stream:
        yield element


async def three_and_return(stream: Stream) -> Stream:
    for _ in range(3):
        yield await anext(stream)


async def never_reading(_stream: Stream) -> Stream:
    yield TextElement("a")
    yield TextElement("b")


async def unread_and_silent(_stream: Stream) -> Stream:
    return
    yield  # what makes it a generator


async def failing_at_seven(stream: Stream) -> Stream:
    async for element in stream:
        yield fails_at_seven(element)


async def failing_in_flush(stream: Stream) -> Stream:
    async for element in stream:
        yield element
    raise BoomError


async def breaking_and_going_on(stream: Stream) -> Stream:
    async for element in stream:
        yield element
        if element == TextElement("4"):
            break
    yield TextElement("broke")
    async for element in stream:
        yield element
    async for element in stream:  # past the end it stays ended
        yield element


async def giving_up_waiting(stream: Stream) -> Stream:
    while True:
        element = None
        try:
            with anyio.move_on_after(4):
                element = await anext(stream)
        except StopAsyncIteration:
            return
        yield TextElement("tick") if element is None else element


def same(element: StreamElement) -> StreamElement:
    return element


def fails_at_seven(element: StreamElement) -> StreamElement:
    if element == TextElement("7"):
        raise BoomError
    return element


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    behaviour: Behaviour
    expected: list[str]
    step: Step | None = None
    count: int = 20
    fails_at: int | bool | None = False
    """Index of the StageError; False: it does not fail."""
    pause_before: int | None = None
    leaves_after: int | None = None
    """How many elements the stage behind it takes before it returns."""
    is_read_to_the_end: bool = True


def numbers(count: int, *others: tuple[int, str]) -> list[str]:
    expected = [str(number) for number in range(count)]
    for position, text in others:
        expected.insert(position, text)
    return expected


SCENARIOS = [
    Scenario("empty input", as_it_is, [], same, count=0),
    Scenario("n elements", as_it_is, numbers(50), same, count=50),
    Scenario("early return", three_and_return, numbers(3), count=1000, is_read_to_the_end=False),
    Scenario("never reading", never_reading, ["a", "b"], count=1000, is_read_to_the_end=False),
    Scenario("unread and silent", unread_and_silent, [], count=1000, is_read_to_the_end=False),
    Scenario("raising at element 7", failing_at_seven, numbers(7), fails_at_seven, 1000, 7, is_read_to_the_end=False),
    Scenario("raising in flush", failing_in_flush, numbers(20), fails_at=None),
    Scenario("break and go on", breaking_and_going_on, numbers(20, (5, "broke"))),
    Scenario("cancelled wait", giving_up_waiting, numbers(6, (3, "tick"), (3, "tick")), count=6, pause_before=3),
    Scenario("slow source", as_it_is, numbers(6), same, count=6, pause_before=3),
    Scenario("reader leaves", as_it_is, numbers(2), same, 1000, leaves_after=2, is_read_to_the_end=False),
]

CASES = [
    pytest.param(form, scenario, id=f"{form.name}-{scenario.name}")
    for form in FORMS
    for scenario in SCENARIOS
    if (form.make is not None or scenario.step is not None)
    and (form.can_fail or scenario.fails_at is False)
    and not (form.is_sink and scenario.leaves_after)
]


def leaver(count: int) -> StageLike:
    async def leaver(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        for _ in range(count):
            await output.send(await input.receive())

    return leaver


@pytest.mark.parametrize(("form", "scenario"), CASES)
async def test_every_form_behaves_as_one_task_that_reads_and_writes(form: Form, scenario: Scenario) -> None:
    """semantics 3.1, 3.2: in whatever form a stage is written, the same behaviour gives the same run, at every capacity."""
    for capacity in CAPACITIES:
        closed: list[str] = []

        async def behaviour(stream: Stream) -> Stream:
            results = scenario.behaviour(stream)
            try:
                async for result in results:
                    yield result
            finally:
                closed.append("closed")  # noqa: B023 - of this round
                await results.aclose()

        sunk: list[StreamElement] = []
        source = Numbers(scenario.count, scenario.pause_before)
        if form.make is not None:
            given = form.make(behaviour, sunk)
        else:
            assert form.make_of_step is not None
            assert scenario.step is not None
            given = form.make_of_step(scenario.step, sunk)
        behind = [] if scenario.leaves_after is None else [leaver(scenario.leaves_after)]

        seen, error = await observe(given, *behind, source=source.stream(), capacity=capacity)

        assert texts(sunk if form.is_sink else seen) == scenario.expected
        assert (source.given == scenario.count) == scenario.is_read_to_the_end
        assert source.closed == (source.given > 0 or scenario.count == 0)
        assert closed == ["closed"] * (form.make is not None)
        end = seen[-1]
        assert isinstance(end, EndOfStream)
        if scenario.fails_at is False:
            assert error is None
            assert end.reason == "done"
        else:
            assert error is not None
            assert (error.stage, error.index) == (as_stage(given).name, scenario.fails_at)
            assert isinstance(error.__cause__, BoomError)
            assert end.reason == "error"
            assert isinstance(seen[-2], ErrorElement)


def test_options_count_however_the_function_is_given() -> None:
    """how we work 5: `stage(func, name=…)` is `stage(name=…)(func)`; nothing that was given is passed over without a word."""

    async def work(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async for element in input:
            await output.send(element)

    made = stage(work, name="mine", accepts=(TextElement,), max_held=3)

    assert (made.name, made.accepts, made.max_held) == ("mine", (TextElement,), 3)
    with pytest.raises(TypeError, match="colour"):
        stage(work, colour="red")  # type: ignore[call-overload]
