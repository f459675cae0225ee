"""Stages that count or look on: take, skip, dedupe, tee. What all forms share is in `test_all_forms.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    AudioElement,
    BuildError,
    ConfigError,
    DataElement,
    ErrorElement,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    StageError,
    StreamElement,
    TextElement,
    TurnEnd,
)
from streamflow.errors import ElementError
from streamflow.stages import DedupeStage, SkipStage, StageLike, TakeStage, TeeStage, as_stage
from streamflow.testing import assert_all_stages_stopped, run_stage

SOUND, END, BAD = AudioElement(b""), TurnEnd(), ErrorElement("code", "message", "elsewhere")


def texts(elements: list[StreamElement]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


def text_of(element: TextElement) -> str:
    return element.text


# Take and skip


@given(count=st.integers(0, 12), words=st.lists(st.text("ab", max_size=2), max_size=10), capacity=st.integers(1, 3))
async def test_take_and_skip_cut_a_stream_in_two(count: int, words: list[str], capacity: int) -> None:
    """`TakeStage`, `SkipStage`: the one is Python's `[:count]`, the other `[count:]`."""
    assert texts(await run_stage(TakeStage(count), words, capacity=capacity)) == words[:count]
    assert texts(await run_stage(SkipStage(count), words, capacity=capacity)) == words[count:]


@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_only_what_is_accepted_is_counted(capacity: int) -> None:
    """semantics 3.3: the rest passes by in order, until the stage has all that it wants."""
    items = [SOUND, TextElement("a"), END, TextElement("b"), BAD, TextElement("c"), END, SOUND]

    taken = await run_stage(TakeStage(2, accepts=TextElement), items, capacity=capacity)
    skipped = await run_stage(SkipStage(2, accepts=TextElement), items, capacity=capacity)
    controls = await run_stage(TakeStage(1, accepts=TurnEnd), items, capacity=capacity)

    assert taken == items[:4]
    assert skipped == [SOUND, END, BAD, TextElement("c"), END, SOUND]
    assert controls == items[:3]


@pytest.mark.parametrize("capacity", [1, 2, 16])
@pytest.mark.parametrize("count", [0, 1, 3])
async def test_take_returns_with_the_last_one_and_tells_upstream(count: int, capacity: int) -> None:
    """`TakeStage` — Flow.completes: without waiting for another element; and the source is closed."""
    given, closed = 0, []

    async def source() -> AsyncIterator[str]:
        nonlocal given
        try:
            while True:
                if given == 3:
                    await anyio.sleep(1000)
                given += 1
                yield "x"
        finally:
            closed.append(anyio.current_time())

    pipeline = (
        PipelineBuilder(PipelineConfig(buffer_size=capacity))
        .chain(PassthroughStage("before"), TakeStage(count), PassthroughStage("behind"))
        .build()
    )
    result = await pipeline.run(source())
    await assert_all_stages_stopped()

    assert texts(list(result.elements)) == ["x"] * count
    assert result.reason == "done"
    assert anyio.current_time() == 0
    assert closed == [0] * bool(given)


# Dedupe


def deduped(words: list[str], window: int) -> list[str]:
    """Say in the plainest way what is left."""
    kept: list[str] = []
    for word in words:
        if word not in kept[-window:]:
            kept.append(word)
    return kept


@given(
    words=st.lists(st.sampled_from("abcd"), max_size=30), window=st.integers(1, 5), capacity=st.sampled_from([1, 2, 16])
)
async def test_dedupe_drops_what_is_among_the_last_ones_kept(words: list[str], window: int, capacity: int) -> None:
    """`DedupeStage`: an element whose key is equal to one of the last `window` that were let through is dropped, no other."""
    for subject in (DedupeStage(window=window), DedupeStage(text_of, window=window)):
        assert texts(await run_stage(subject, words, capacity=capacity)) == deduped(words, window)


async def test_elements_are_the_same_when_all_that_was_given_is() -> None:
    """`DedupeStage` — Args.key: by default the element itself, by equality, so a different header is a different element."""
    one, same, other = TextElement("a").with_metadata(n=1), TextElement("a").with_metadata(n=1), TextElement("a")

    assert await run_stage(DedupeStage(), [one, same, other, SOUND, AudioElement(b"")]) == [one, other, SOUND]


async def test_a_key_may_be_async_and_chooses_the_types() -> None:
    """`DedupeStage` — Args.key, Args.accepts: awaited if need be; what it is not annotated to take passes by, repeated or not."""

    async def folded(element: TextElement) -> str:
        await anyio.lowlevel.checkpoint()
        return element.text.casefold()

    got = await run_stage(DedupeStage(folded), ["a", SOUND, "A", SOUND, END, END, "b"])

    assert got == [TextElement("a"), SOUND, SOUND, END, END, TextElement("b")]


async def test_the_window_of_one_drops_direct_repetitions() -> None:
    """`DedupeStage` — Args.window: 1 compares with the last one only."""
    assert texts(await run_stage(DedupeStage(window=1), list("aabbbab"))) == list("abab")


async def test_a_default_window_has_a_bound() -> None:
    """`DedupeStage` — Flow.backpressures: memory is bounded also where nobody said so."""
    words = [str(number) for number in range(1001)]

    assert texts(await run_stage(DedupeStage(), [*words, *words[:2], "1000"])) == [*words, *words[:2]]


@pytest.mark.parametrize("key", [lambda _element: ["a", "b"], lambda _element: ({},)], ids=["list", "tuple of dict"])
async def test_a_key_that_cannot_be_hashed_is_told(key: object) -> None:
    """`DedupeStage` — Flow.fails: `ElementError` with the stage, the key and a way out."""
    with pytest.raises(StageError) as caught:
        await run_stage(DedupeStage(key, name="once"), ["x"])

    assert isinstance(caught.value.__cause__, ElementError)
    assert str(caught.value.__cause__).startswith("stage 'once': ")
    assert "cannot be hashed" in str(caught.value.__cause__)
    assert "give key= a function that returns" in str(caught.value.__cause__)
    assert caught.value.index == 0


async def test_elements_with_nested_values_can_be_compared() -> None:
    """`DedupeStage`: elements are hashable whatever JSON they carry (semantics 1.1, 1.2)."""
    items = [DataElement("x", {"a": [1, {"b": 2}]}) for _ in range(3)]

    assert await run_stage(DedupeStage(), items) == items[:1]


async def test_two_runs_do_not_know_what_the_other_has_seen() -> None:
    """semantics 3.4: counts and keys belong to a run, also where the stage is one object."""
    for subject, left in [(DedupeStage(), ["a", "b"]), (TakeStage(1), ["a"]), (SkipStage(1), ["b", "a"])]:
        pipeline = PipelineBuilder().chain(subject).build()
        for _ in range(2):
            assert texts(list((await pipeline.run(["a", "b", "a"])).elements)) == left


# Tee


async def test_tee_tells_and_sends_on_the_very_same_elements() -> None:
    """`TeeStage`: each element, once, before it is sent; sync or async; what the callback returns does not matter."""
    told: list[StreamElement] = []

    async def later(element: StreamElement) -> str:
        await anyio.lowlevel.checkpoint()
        told.append(element)
        return "ignored"

    items = [TextElement("a"), END, SOUND, TextElement("b")]
    for callback in (told.append, later):
        told.clear()
        got = await run_stage(TeeStage(callback), items)
        assert all(one is other for one, other in zip(got, items, strict=True))
        assert told == [items[0], SOUND, items[3]]


async def test_tee_tells_before_it_sends() -> None:
    """`TeeStage` — Flow.emits: once the callback has returned."""
    seen: list[str] = []

    def note(element: TextElement) -> None:
        seen.append(f"told {element.text}")

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(TeeStage(note)).build()
    async for text in pipeline.execute(["a"]).text():
        seen.append(f"got {text}")

    assert seen == ["told a", "got a"]


async def test_a_failing_callback_fails_the_stage() -> None:
    """`TeeStage` — Flow.fails: the element is not sent, those before it were."""

    def note(element: TextElement) -> None:
        if element.text == "b":
            raise ZeroDivisionError

    got: list[str] = []
    with pytest.raises(StageError, match="'tee' failed on element #1: ZeroDivisionError") as caught:
        async for text in PipelineBuilder().chain(TeeStage(note)).build().execute(["a", "b", "c"]).text():
            got.append(text)

    assert got == ["a"]
    assert caught.value.index == 1


# Names, types, and what is refused at once


def note_text(element: TextElement) -> None: ...


@pytest.mark.parametrize(
    ("given", "name", "types"),
    [
        (TakeStage(1), "take", None),
        (SkipStage(1), "skip", None),
        (DedupeStage(), "dedupe", None),
        (TeeStage(print), "tee", None),
        (TakeStage(1, name="first", accepts=TextElement), "first", (TextElement,)),
        (SkipStage(1, name="rest", accepts=(TextElement, TurnEnd)), "rest", (TextElement, TurnEnd)),
        (DedupeStage(text_of, name="once"), "once", (TextElement,)),
        (DedupeStage(text_of, accepts=(TextElement, TurnEnd)), "dedupe", (TextElement, TurnEnd)),
        (TeeStage(note_text, name="log"), "log", (TextElement,)),
    ],
)
def test_names_and_types_are_as_told(given: StageLike, name: str, types: tuple[type, ...] | None) -> None:
    """semantics 3.3: they emit what they accept, hold one element, and have a name without being given one."""
    spec = as_stage(given)

    assert (spec.name, spec.max_held) == (name, 1)
    assert spec.accepts == spec.emits == (types or (StreamElement,))


@pytest.mark.parametrize("kind", [TakeStage, SkipStage])
@pytest.mark.parametrize("count", [-1, True, 1.0, "1", None])
def test_a_wrong_count_is_refused(kind: type[TakeStage], count: object) -> None:
    """`TakeStage` — Raises: the field and the stage are named."""
    with pytest.raises(ConfigError, match=r"^count: stage 'subject': give a whole number from 0 up, got "):
        kind(count, name="subject")


@pytest.mark.parametrize("window", [0, -1, True, 1.0, "1", None])
def test_a_wrong_window_is_refused(window: object) -> None:
    """`DedupeStage` — Raises: without a bound its memory would grow with the stream."""
    with pytest.raises(ConfigError, match=r"^window: stage 'dedupe': give a whole number from 1 up, got "):
        DedupeStage(window=window)


def of_two(element: TextElement, other: TextElement) -> str:
    return element.text + other.text


@pytest.mark.parametrize("kind", [DedupeStage, TeeStage])
@pytest.mark.parametrize(("func", "said"), [("text", "is no function"), (of_two, "must be given 2 arguments")])
def test_a_wrong_function_is_refused(kind: type[TeeStage], func: object, said: str) -> None:
    """styleguide 3: in the constructor, with a way out."""
    with pytest.raises(BuildError, match=said):
        kind(func)


def letters() -> Iterator[str]:
    while True:
        yield from "ab"


async def test_an_endless_stream_of_repetitions_can_be_left() -> None:
    """semantics 2.4: a stage that drops everything still lets other tasks run, and the run be left."""
    async with PipelineBuilder().chain(DedupeStage()).build().execute(letters()) as run:
        assert [await anext(run), await anext(run)] == [TextElement("a"), TextElement("b")]
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(anext, run)
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            waiting.cancel_scope.cancel()

    await assert_all_stages_stopped()
