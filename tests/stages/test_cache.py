"""`CacheStage` and `MemoryCache`: the same again for the same, asked for once, and nothing kept that was not whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamflow import (
    AudioElement,
    ConfigError,
    ErrorElement,
    Event,
    FlatMapStage,
    Message,
    MessageElement,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnReset,
    stage,
)
from streamflow.providers import ProviderStage, ScriptedProvider
from streamflow.stages import CacheStage, MemoryCache, StageLike, TakeStage
from streamflow.testing import assert_all_stages_stopped, cancel_sweep, run_stage

END = TurnEnd()


class BoomError(Exception):
    """What an inner stage of these tests raises."""


class Letters:
    """Takes a second for each letter, then sends it; notes what it was asked. One that begins with `!` fails at its end."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, element: TextElement) -> AsyncIterator[TextElement]:
        self.asked.append(element.text)
        for letter in element.text:
            await anyio.sleep(1)
            yield TextElement(letter, id=str(len(self.asked)))
        if element.text.startswith("!"):
            raise BoomError

    def as_stage(self) -> StageLike:
        return FlatMapStage(self.__call__, name="letters", accepts=TextElement)


def pipeline_of(outer: StageLike, capacity: int = 16, listener: Callable[[Event], None] | None = None) -> Pipeline:
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity, timeout_s=3600)).chain(outer)
    return builder.on_event(listener if listener is not None else lambda _event: None).build()


async def test_the_same_input_gives_the_very_same_elements_again() -> None:
    """semantics 3.11: identical to the last field and at once, in the same run and in later ones; events tell which it was."""
    told: list[tuple[str, object]] = []

    def note(event: Event) -> None:
        if event.name.startswith("cache."):
            told.append((event.name, event.data["elements"]))

    letters = Letters()
    pipeline = pipeline_of(CacheStage(letters.as_stage()), listener=note)
    first = (await pipeline.run(["ab", "c", "ab"])).elements
    begun = anyio.current_time()
    again = (await pipeline.run([TextElement("ab", id="another", timestamp_s=3.5)])).elements

    assert first[3:] == first[:2]
    assert all(one is other for one, other in zip(again, first, strict=False))
    assert anyio.current_time() == begun
    assert letters.asked == ["ab", "c"]
    assert told == [("cache.miss", 2), ("cache.miss", 1), ("cache.hit", 2), ("cache.hit", 2)]


async def test_a_turn_is_looked_up_as_a_whole() -> None:
    """semantics 3.11: its elements and its end; ids of messages say nothing about what they ask."""
    provider = ScriptedProvider()
    pipeline = pipeline_of(CacheStage(ProviderStage(provider)))

    def question(text: str, id: str) -> MessageElement:
        return MessageElement(Message("user", text, id=id), id=id)

    first = await pipeline.run([question("hello", "1"), END])
    again = await pipeline.run([question("hello", "2"), END])
    assert first.elements == again.elements
    assert len(provider.requests) == 1
    await pipeline.run([question("hello", "3"), question("bye", "4"), END])
    assert len(provider.requests) == 2


async def test_who_asks_for_the_same_waits_for_the_first() -> None:
    """semantics 3.11: single flight: one call for all that ask while it runs, over all runs of one cache."""
    letters = Letters()
    cache = MemoryCache()
    pipelines = [pipeline_of(CacheStage(letters.as_stage(), cache)) for _ in range(3)]
    got: list[tuple[float, str]] = []

    async def ask(pipeline: Pipeline, at: float) -> None:
        await anyio.sleep(at)
        text = (await pipeline.run("abc")).text
        got.append((anyio.current_time() - begun, text))

    begun = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for number, pipeline in enumerate(pipelines):
            tasks.start_soon(ask, pipeline, number * 0.5)

    assert got == [(3, "abc")] * 3
    assert letters.asked == ["abc"]


async def test_a_reader_that_has_stopped_holds_up_nobody_else() -> None:
    """semantics 3.11: the call goes on without its reader, so that those who wait for it get it."""
    letters = Letters()
    pipeline = pipeline_of(CacheStage(letters.as_stage()), capacity=1)
    async with pipeline.execute("abcdefgh") as run:
        await anext(run)
        assert (await pipeline.run("abcdefgh")).text == "abcdefgh"
        rest = [one.text async for one in run if isinstance(one, TextElement)]

    assert "".join(rest) == "bcdefgh"
    assert letters.asked == ["abcdefgh"]


@pytest.mark.parametrize("ends", ["fails", "is left", "is cancelled"])
async def test_when_the_first_does_not_finish_the_next_asks_itself(ends: str) -> None:
    """semantics 3.11: nothing is kept of a call that failed or was cancelled, and nobody waits for it any more."""
    calls = 0

    async def once_bad(element: TextElement) -> AsyncIterator[TextElement]:
        nonlocal calls
        calls += 1
        bad = calls == 1
        for letter in element.text:
            await anyio.sleep(1)
            yield TextElement(letter)
        if bad and ends == "fails":
            raise BoomError

    pipeline = pipeline_of(CacheStage(FlatMapStage(once_bad)))
    texts: list[str] = []

    async def second() -> None:
        await anyio.sleep(0.5)
        texts.append((await pipeline.run("ab")).text)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(second)
        if ends == "fails":
            with pytest.raises(StageError, match="BoomError"):
                await pipeline.run("ab")
        elif ends == "is left":
            async with pipeline.execute("ab") as run:
                await anext(run)
        else:
            with anyio.move_on_after(1.5):
                await pipeline.run("ab")

    assert texts == ["ab"]
    assert calls == 2
    assert (await pipeline.run("ab")).text == "ab"
    assert calls == 2


async def test_what_it_had_sent_before_a_failure_leaves() -> None:
    """semantics 5.6, 3.11: as without a cache; the failure comes behind it."""
    seen: list[StreamElement] = []
    async with pipeline_of(CacheStage(Letters().as_stage()), capacity=1).execute("!a") as run:
        with pytest.raises(StageError) as caught:
            async for element in run:
                seen.append(element)

    assert isinstance(caught.value.__cause__, BoomError)
    assert [one.text for one in seen if isinstance(one, TextElement)] == ["!", "a"]


@pytest.mark.parametrize(
    "result",
    [
        ErrorElement("code", "message"),
        TurnReset(),
        MessageElement(Message("assistant", "cut"), cut=True),
        TurnEnd(stop_reason="error"),
        TurnEnd(stop_reason="interrupted"),
    ],
)
async def test_what_says_that_something_was_wrong_is_not_kept(result: StreamElement) -> None:
    """semantics 3.11: errors and sequences that were cut are sent, and never again."""
    asked: list[str] = []

    @stage(kind=StageKind.ACCUMULATE, max_held=1)
    async def inner(stream: AsyncIterator[TextElement | TurnEnd]) -> AsyncIterator[StreamElement]:
        async for element in stream:
            if isinstance(element, TextElement):
                asked.append(element.text)
                yield result

    pipeline = pipeline_of(CacheStage(inner))
    for _ in range(2):
        assert (await pipeline.run(["a", END])).elements == (result,)
    assert asked == ["a", "a"]


async def test_a_stage_that_has_enough_leaves_nothing_behind() -> None:
    """semantics 3.11: it returned in the middle, so what it made is no answer to that input."""
    cache = MemoryCache()
    assert (await pipeline_of(CacheStage(TakeStage(1), cache)).run(["a", "b"])).text == "a"
    assert len(cache) == 0


async def test_a_sequence_that_is_too_long_is_sent_and_forgotten() -> None:
    """semantics 3.11, 5.4: then the reader's pace counts again, and who waited asks by itself."""
    letters = Letters()
    pipeline = pipeline_of(CacheStage(letters.as_stage(), max_results=3), capacity=1)
    texts: list[str] = []

    async def other() -> None:
        await anyio.sleep(0.5)
        texts.append((await pipeline.run("abcdefghij")).text)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        assert (await pipeline.run("abcdefghij")).text == "abcdefghij"
    assert texts == ["abcdefghij"]
    assert letters.asked == ["abcdefghij"] * 2
    assert (await pipeline.run("abc")).text == (await pipeline.run("abc")).text == "abc"
    assert letters.asked[2:] == ["abc"]


async def test_how_far_it_reads_ahead_is_bounded() -> None:
    """semantics 5.4: behind a reader that has stopped it holds what it declares, and no more."""
    made = 0

    async def endless(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        nonlocal made
        async for element in stream:
            while True:
                made += 1
                yield element

    pipeline = pipeline_of(CacheStage(endless, max_results=20), capacity=2)
    async with pipeline.execute("x") as run:
        for taken in range(1, 60):
            await anext(run)
            await anyio.sleep(10)
            assert pipeline.max_in_flight is not None
            assert made - taken <= pipeline.max_in_flight


async def test_a_key_of_ones_own_says_what_is_the_same() -> None:
    """semantics 3.11: it is given the whole unit; None: this is not looked up at all."""

    def folded(unit: tuple[StreamElement, ...]) -> Hashable:
        text = "".join(one.text for one in unit if isinstance(one, TextElement)).casefold()
        return None if text == "now" else text

    letters = Letters()
    pipeline = pipeline_of(CacheStage(letters.as_stage(), key=folded))
    assert (await pipeline.run(["Ab", "aB", "now", "now"])).text == "AbAbnownow"
    assert letters.asked == ["Ab", "now", "now"]


async def test_what_is_no_key_is_a_clear_error() -> None:
    """semantics 3.11: it names the stage and says a way out."""
    outer = CacheStage(Letters().as_stage(), key=list)  # type: ignore[arg-type, return-value]
    with pytest.raises(
        StageError, match="cannot be hashed, and so is no key; give key= a function that returns a text"
    ):
        await run_stage(outer, ["a"])


class Remote:
    """A cache that takes its time, and can break."""

    def __init__(self) -> None:
        self.kept: dict[Hashable, tuple[StreamElement, ...]] = {}
        self.is_broken = False

    async def get(self, key: Hashable, /) -> tuple[StreamElement, ...] | None:
        await anyio.sleep(0.25)
        return self.kept.get(key)

    async def put(self, key: Hashable, elements: tuple[StreamElement, ...], /) -> None:
        await anyio.sleep(0.25)
        if self.is_broken:
            raise ConnectionError
        self.kept[key] = elements


async def test_a_cache_of_ones_own_may_wait_and_may_fail() -> None:
    """semantics 3.11: `Cache` is a protocol; what it raises fails the stage, and nobody waits for ever."""
    letters, remote = Letters(), Remote()
    pipeline = pipeline_of(CacheStage(letters.as_stage(), remote))
    assert (await pipeline.run(["a", "a"])).text == "aa"
    assert letters.asked == ["a"]
    remote.is_broken = True
    for _ in range(2):
        with pytest.raises(StageError, match="ConnectionError"):
            await pipeline.run("b")
    assert letters.asked == ["a", "b", "b"]


async def test_a_cancelled_call_leaves_no_flight_behind() -> None:
    """semantics 2.3, 3.11: wherever the cancellation strikes, the next one is answered and finds nothing half done."""
    outer = CacheStage(Letters().as_stage())
    pipeline = pipeline_of(outer, capacity=1)
    number = 0

    async def scenario() -> str:
        nonlocal number
        number += 1
        return (await pipeline.run([str(number), str(number)])).text

    report = await cancel_sweep(scenario)
    assert report.completed
    for asked in range(1, number + 1):
        assert (await pipeline.run(str(asked))).text == str(asked)
    await assert_all_stages_stopped()


texts = st.lists(st.sampled_from(["", "a", "bc", "!"]), max_size=6)


@given(
    st.lists(texts, min_size=1, max_size=4), st.integers(1, 3), st.sampled_from([1, 16]), st.sampled_from([1, 2, 99])
)
async def test_with_a_cache_everybody_gets_what_they_would_get_without(
    runs: list[list[str]], entries: int, capacity: int, most: int
) -> None:
    """semantics 3.11: at any size of the cache, for any runs beside each other: the same texts, the same failures."""
    letters = Letters()
    outer = CacheStage(letters.as_stage(), MemoryCache(max_entries=entries), max_results=most)
    pipeline = pipeline_of(outer, capacity)
    got: dict[int, str] = {}

    async def ask(number: int, inputs: list[str]) -> None:
        seen = ""
        try:
            async with pipeline.execute(map(TextElement, inputs)) as run:
                async for element in run:
                    seen += element.text if isinstance(element, TextElement) else ""
        except StageError:
            seen += " failed"
        got[number] = seen

    async with anyio.create_task_group() as tasks:
        for number, inputs in enumerate(runs):
            tasks.start_soon(ask, number, inputs)

    for number, inputs in enumerate(runs):
        fails = inputs.index("!") if "!" in inputs else None
        said = "".join(inputs[: len(inputs) if fails is None else fails + 1])
        assert got[number] == said + ("" if fails is None else " failed")


# The cache in memory


async def test_the_one_that_was_used_longest_ago_goes_first() -> None:
    """`MemoryCache`: LRU, by entries."""
    cache = MemoryCache(max_entries=2)
    for key in "ab":
        await cache.put(key, (TextElement(key),))
    assert await cache.get("a") == (TextElement("a"),)
    await cache.put("c", ())

    assert await cache.get("b") is None
    assert await cache.get("a") is not None
    assert await cache.get("c") == ()
    assert repr(cache).startswith("<MemoryCache 2/2 entries, ")
    cache.clear()
    assert (len(cache), cache.bytes) == (0, 0)


async def test_an_entry_is_good_for_its_time() -> None:
    """`MemoryCache`: `ttl_s` from when it was put, however often it is used; the clock is that of the event loop."""
    cache = MemoryCache(ttl_s=10)
    await cache.put("a", (TextElement("a"),))
    await anyio.sleep(9)
    assert await cache.get("a") is not None
    await anyio.sleep(1)
    assert await cache.get("a") is None
    assert len(cache) == 0


class SlideElement(StreamElement, frozen=True, tag="test_cache.slide"):
    """An element of a type that nobody registered."""

    number: int


async def test_its_bytes_are_bounded_too() -> None:
    """`MemoryCache`: what is too large alone is not kept, and throws nothing out; what nobody can encode is estimated."""
    cache = MemoryCache(max_bytes=1000)
    await cache.put("small", (TextElement("a"),))
    await cache.put("large", (AudioElement(bytes(2000)),))
    assert await cache.get("large") is None
    assert await cache.get("small") is not None
    await cache.put("other", (AudioElement(bytes(970)),))
    assert await cache.get("small") is None
    assert cache.bytes > 950
    await cache.put("slide", (SlideElement(1),))
    assert await cache.get("slide") is not None


class CacheModel(RuleBasedStateMachine):
    """The cache against a list."""

    @initialize(most=st.integers(1, 3), size=st.sampled_from([40, 1000]))
    def begin(self, most: int, size: int) -> None:
        self.cache = MemoryCache(max_entries=most, max_bytes=size, ttl_s=10)
        self.clock = Clock()
        self.cache._clock = self.clock  # type: ignore[assignment]
        self.most, self.size = most, size
        self.kept: list[tuple[str, str, float]] = []  # the one that was used longest ago first

    @rule(seconds=st.integers(1, 6))
    def wait(self, seconds: int) -> None:
        self.clock.time += seconds

    @rule(key=st.sampled_from("abcd"), text=st.sampled_from(["", "x" * 9, "x" * 50]))
    def put(self, key: str, text: str) -> None:
        done(self.cache.put(key, (TextElement(text),)))
        self.kept = [one for one in self.kept if one[0] != key]
        if size_of(text) <= self.size:
            self.kept.append((key, text, self.clock.time + 10))
        while len(self.kept) > self.most or sum(size_of(one[1]) for one in self.kept) > self.size:
            del self.kept[0]

    @rule(key=st.sampled_from("abcd"))
    def get(self, key: str) -> None:
        found = next((one for one in self.kept if one[0] == key), None)
        if found is not None:
            self.kept.remove(found)
            if self.clock.time < found[2]:
                self.kept.append(found)
            else:
                found = None
        assert done(self.cache.get(key)) == (None if found is None else (TextElement(found[1]),))

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "kept"):
            assert len(self.cache) == len(self.kept)
            assert self.cache.bytes == sum(size_of(one[1]) for one in self.kept)


class Clock:
    """Time is a number."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time


def size_of(text: str) -> int:
    from streamflow import encode

    return len(encode(TextElement(text), format="msgpack"))


def done(waiting: object) -> object:
    """Run what never waits."""
    try:
        waiting.send(None)  # type: ignore[attr-defined]
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")


class TestMemoryCache(CacheModel.TestCase):
    """semantics 3.11: what is kept, in which order it goes, for how long, and how many bytes it is."""


def test_wrong_options_are_named() -> None:
    """styleguide 3: a wrong argument fails in the constructor, by the name of its field."""
    for option, value in (("max_entries", 0), ("max_bytes", 0), ("ttl_s", 0)):
        with pytest.raises(ConfigError) as caught:
            MemoryCache(**{option: value})  # type: ignore[arg-type]
        assert caught.value.field == option
    for option, value in (("cache", {}), ("max_results", 0)):
        with pytest.raises(ConfigError) as caught:
            CacheStage(Letters().as_stage(), **{option: value})  # type: ignore[arg-type]
        assert caught.value.field == option
