"""The stages made from one function: what each does besides what all forms share (`test_forms.py`)."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow import (
    AudioElement,
    CollectStage,
    EndOfStream,
    ErrorElement,
    FilterStage,
    FlatMapStage,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    SinkStage,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.stages import StageLike, as_stage
from streamflow.testing import run_stage

SOUND, END, BAD = AudioElement(b""), TurnEnd(), ErrorElement("code", "message", "elsewhere")


def upper(element: TextElement) -> TextElement:
    return TextElement(element.text.upper())


def is_short(element: TextElement) -> bool:
    return len(element.text) < 2


def letters(element: TextElement) -> Iterator[TextElement]:
    for letter in element.text:
        yield TextElement(letter)


def texts(elements: Iterable[StreamElement]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


@settings(max_examples=25)
@given(words=st.lists(st.text("ab", max_size=3), max_size=5), capacity=st.integers(1, 3))
async def test_the_functional_stages_do_what_the_builtins_do(words: list[str], capacity: int) -> None:
    """semantics 3.2: map, filter and flat map are those of Python, in order, whatever the capacity."""
    assert texts(await run_stage(MapStage(upper), words, capacity=capacity)) == [word.upper() for word in words]
    assert texts(await run_stage(FilterStage(is_short), words, capacity=capacity)) == [w for w in words if len(w) < 2]
    assert texts(await run_stage(FlatMapStage(letters), words, capacity=capacity)) == list("".join(words))
    assert texts(await run_stage(PassthroughStage(), words, capacity=capacity)) == words


BUILT_IN = [
    pytest.param(MapStage(upper), ["AB", "C"], id="map"),
    pytest.param(MapStage(lambda element: element, name="any"), ["ab", "c"], id="map of all data"),
    pytest.param(FilterStage(is_short), ["c"], id="filter"),
    pytest.param(FilterStage(lambda _element: False, name="nothing", accepts=TextElement), [], id="filter of nothing"),
    pytest.param(FlatMapStage(letters), ["a", "b", "c"], id="flat map"),
    pytest.param(PassthroughStage(), ["ab", "c"], id="passthrough"),
    pytest.param(stage(upper), ["AB", "C"], id="function"),
    pytest.param(stage(letters), ["a", "b", "c"], id="generator function"),
]


@pytest.mark.parametrize("capacity", [1, 2, 16])
@pytest.mark.parametrize(("given", "expected"), BUILT_IN)
async def test_control_and_foreign_data_pass_every_built_in_stage_in_place(
    given: StageLike, expected: list[str], capacity: int
) -> None:
    """semantics 1.4, 1.5, 3.3: they keep their place behind the results of what came before, error elements too."""
    before = await run_stage(given, ["ab"], capacity=capacity)

    got = await run_stage(given, [BAD, SOUND, "ab", BAD, END, SOUND, "c", END, BAD], capacity=capacity)

    assert texts(got) == expected
    rest = expected[len(texts(before)) :]
    assert got == [BAD, SOUND, *before, BAD, END, SOUND, *map(TextElement, rest), END, BAD]


@pytest.mark.parametrize("verdict", [False, None, 0, ""])
async def test_a_filter_never_sees_control_unless_it_names_it(verdict: object) -> None:
    """`FilterStage`: control passes by whatever the function says; one that names a control type is asked about that alone."""
    asked: list[StreamElement] = []

    def never(element: StreamElement) -> object:
        asked.append(element)
        return verdict

    assert await run_stage(FilterStage(never), ["a", END, BAD]) == [END, BAD]
    assert asked == [TextElement("a")]
    asked.clear()
    assert await run_stage(FilterStage(never, accepts=TurnEnd), ["a", END, BAD]) == [TextElement("a"), BAD]
    assert asked == [END]


@pytest.mark.parametrize("verdict", [True, 1, "yes", [0]])
async def test_a_filter_takes_any_true_value(verdict: object) -> None:
    """`FilterStage`: for which a function is true, as Python's own `filter` has it."""
    assert texts(await run_stage(FilterStage(lambda _element: verdict, name="keep"), ["a"])) == ["a"]


async def test_a_sink_takes_its_types_and_ends_the_others() -> None:
    """`SinkStage`: nothing goes on, and what it does not accept ends there."""
    got: list[StreamElement] = []

    def take(element: TextElement) -> str:
        got.append(element)
        return "what a sink returns does not matter"

    assert await run_stage(SinkStage(take), ["a", SOUND, END, "b", BAD]) == []
    assert got == [TextElement("a"), TextElement("b")]


async def test_collect_appends_to_what_it_was_given() -> None:
    """`CollectStage`: to a list of yours, or anything with `append`; only data, unless control is named."""
    into: list[StreamElement] = [SOUND]
    last: deque[StreamElement] = deque(maxlen=1)

    assert await run_stage(CollectStage(into), ["a", END, "b"]) == []
    assert await run_stage(CollectStage(last, accepts=(TextElement, TurnEnd)), ["a", "b", END]) == []

    assert into == [SOUND, TextElement("a"), TextElement("b")]
    assert list(last) == [END]


async def test_a_sink_ends_a_chain_and_the_run_still_says_how_it_ended() -> None:
    """semantics 3.5, 1.6: behind a sink only the runtime's own `EndOfStream` comes out."""
    into: list[StreamElement] = []
    pipeline = PipelineBuilder().chain(MapStage(upper), CollectStage(into)).build()

    async with pipeline.execute(["a", "b"]) as run:
        seen = [element async for element in run]

    assert [type(one) for one in seen] == [EndOfStream]
    assert texts(into) == ["A", "B"]


@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_results_leave_one_by_one(capacity: int) -> None:
    """semantics 5.3: a flat map sends each result as it comes, not when it has them all."""
    released = anyio.Event()

    async def two(element: TextElement) -> AsyncIterator[TextElement]:
        yield element
        await released.wait()
        yield element

    pipeline = PipelineBuilder().chain(FlatMapStage(two)).build()
    async with pipeline.execute(["a"]) as run:
        assert await anext(run) == TextElement("a")
        released.set()
        assert await anext(run) == TextElement("a")


def empty(_element: StreamElement) -> list[StreamElement]:
    return []


async def empty_async(_element: StreamElement) -> AsyncIterator[StreamElement]:
    return
    yield _element


@pytest.mark.parametrize("func", [empty, empty_async])
async def test_a_flat_map_may_give_nothing(func: Callable[[StreamElement], Iterable[StreamElement]]) -> None:
    """`FlatMapStage`: no result is a lawful number of results."""
    assert await run_stage(FlatMapStage(func), ["a", END, "b"]) == [END]


async def test_an_awaited_async_generator_is_iterated() -> None:
    """`FlatMapStage`: a function may be async and return what is itself to be iterated."""

    async def opened(element: TextElement) -> AsyncIterator[TextElement]:
        async def stream() -> AsyncIterator[TextElement]:
            yield element

        return stream()

    assert texts(await run_stage(FlatMapStage(opened, name="opened", emits=TextElement), ["a", "b"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "held"),
    [
        (MapStage(upper), 1),
        (FilterStage(is_short), 1),
        (PassthroughStage(), 1),
        (CollectStage([]), 1),
        (FlatMapStage(letters), None),
    ],
)
def test_a_stage_of_one_function_says_how_much_it_holds(given: StageLike, held: int | None) -> None:
    """semantics 5.4: what it holds counts into `max_in_flight`."""
    assert as_stage(given).max_held == held


def test_sinks_are_of_the_kind_that_has_no_output() -> None:
    """semantics 3.5: kinds are shown in pictures and checked by `build()`."""
    kinds = [as_stage(one).kind for one in (SinkStage(upper), CollectStage([]), MapStage(upper))]

    assert kinds == [StageKind.SINK, StageKind.SINK, StageKind.TRANSFORM]


# What must not be sent


@pytest.mark.parametrize("result", [None, "text", 5, TextElement("x"), [None], [5], ["text"], upper])
async def test_a_flat_map_that_gives_no_elements_fails(result: object) -> None:
    """`FlatMapStage` — Flow.fails: `ElementError` if it gives no elements."""
    with pytest.raises(StageError, match=r"'wrong' failed on element #0: ElementError: ") as caught:
        await run_stage(FlatMapStage(lambda _element: result, name="wrong"), ["x"])
    assert caught.value.index == 0


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (None, "'wrong' sent None, which is no element; send nothing instead"),
        ("x", "sent 'x' .str., which is no StreamElement; wrap it, as in TextElement"),
        (5, "wrap it, as in DataElement"),
        (EndOfStream("done"), "which only the runtime makes; just return"),
    ],
)
@pytest.mark.parametrize("now", [True, False])
async def test_a_map_must_send_elements_and_no_end_of_stream(now: bool, result: object, said: str) -> None:
    """semantics 1.2, 1.6: None and foreign objects are no elements; `EndOfStream` is made by the runtime alone."""
    with pytest.raises(StageError, match=said):
        await run_stage(MapStage(lambda _element: result if now else later(result), name="wrong"), ["x"])


async def later(result: object) -> object:
    return result


def returns_later(_element: StreamElement) -> Awaitable[bool]:
    return later(False)


async def test_a_coroutine_is_awaited_and_never_taken_for_true() -> None:
    """`FilterStage`: a plain function may return a coroutine; the coroutine itself is no verdict."""
    assert await run_stage(FilterStage(returns_later), ["a", "b"]) == []


async def test_a_function_with_a_default_for_its_element_is_given_the_element() -> None:
    """semantics 3.2: these stages give their function one element, whatever it would do without."""

    def shout(element: TextElement = TextElement("nothing")) -> TextElement:  # noqa: B008
        return TextElement(element.text.upper())

    assert await run_stage(MapStage(shout), ["a"]) == [TextElement("A")]
    assert await run_stage(FilterStage(bool, name="all"), ["a"]) == [TextElement("a")]
