"""Stages that group: batches, windows, and text in chunks. What all stages keep is in `tests/contracts`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from timed import at_their_times, timed

from streamflow import (
    AudioElement,
    BatchElement,
    ConfigError,
    DataElement,
    ErrorElement,
    Message,
    MessageElement,
    Metadata,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    Priority,
    StreamElement,
    TextElement,
    TurnEnd,
)
from streamflow.stages import BatchStage, ChunkTextStage, StageLike, UnbatchStage, WindowStage
from streamflow.testing import CancelMode, EdgeLedger, Outcome, assert_all_stages_stopped, cancel_sweep, run_stage

SOUND, END, BAD = AudioElement(b""), TurnEnd(), ErrorElement("code", "message", "elsewhere")

capacities = st.sampled_from([1, 2, 3, 16])
words = st.lists(st.text("abc", max_size=2), max_size=12)
turns = st.lists(words, min_size=1, max_size=3)


def texts(batch: Iterable[StreamElement]) -> str:
    return " ".join(one.text for one in batch if isinstance(one, TextElement))


def said(elements: Iterable[StreamElement]) -> list[object]:
    """Return batches as their items' texts, texts as themselves, everything else as it is."""
    return [
        [one.text for one in it.items]
        if isinstance(it, BatchElement)
        else it.text
        if isinstance(it, TextElement)
        else it
        for it in elements
    ]


def with_ends(turns: list[list[str]]) -> list[StreamElement]:
    """Return the elements of turns, with an end behind each but the last."""
    elements: list[StreamElement] = []
    for number, turn in enumerate(turns):
        elements += [TurnEnd(index=number - 1)] * bool(number)
        elements += map(TextElement, turn)
    return elements


def each_turn(turns: list[list[str]], group: Callable[[list[str]], list[object]]) -> list[object]:
    """Say in the plainest way what a stage that groups sends."""
    told: list[object] = []
    for number, turn in enumerate(turns):
        told += [TurnEnd(index=number - 1)] * bool(number)
        told += group(turn)
    return told


# Batches


@given(turns=turns, size=st.integers(1, 5), capacity=capacities)
async def test_batches_are_full_but_for_the_last_of_a_turn(turns: list[list[str]], size: int, capacity: int) -> None:
    """`BatchStage` — Flow.emits: nothing is lost, order is kept, a short batch leaves on `TurnEnd` and at the end."""
    got = await run_stage(BatchStage(size), with_ends(turns), capacity=capacity)

    assert said(got) == each_turn(turns, lambda turn: [turn[at : at + size] for at in range(0, len(turn), size)])


@given(turns=turns, size=st.integers(1, 5), capacity=capacities)
async def test_unbatching_is_the_reverse_of_batching(turns: list[list[str]], size: int, capacity: int) -> None:
    """`UnbatchStage`: each item leaves as it is, so the two together change nothing."""
    items = with_ends(turns)
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(BatchStage(size), UnbatchStage()).build()
    got = (await pipeline.run(items)).elements

    assert list(got) == items
    assert all(one is other for one, other in zip(got, items, strict=True))


async def test_unbatching_opens_one_batch_and_not_those_inside() -> None:
    """`UnbatchStage`: a batch among the items stays one; other elements pass by."""
    inner = BatchElement([TextElement("a")])

    assert await run_stage(UnbatchStage(), [SOUND, BatchElement([inner, END]), BatchElement(()), BAD]) == [
        SOUND,
        inner,
        END,
        BAD,
    ]


async def test_a_full_batch_leaves_at_once_and_a_short_one_when_its_time_is_up() -> None:
    """`BatchStage` — Args.max_wait_s: counted from the first element of each batch, and never from anything else."""
    schedule = [(0, "a"), (1, "b"), (1, "c"), (7, "d"), (11.75, "e"), (12.25, "f"), (20, END), (20, "g"), (30, END)]

    got = await timed(BatchStage(3, max_wait_s=5), schedule)

    assert [(at, *said([one])) for at, one in got] == [
        (1, ["a", "b", "c"]),
        (12, ["d", "e"]),
        (17.25, ["f"]),
        (20, END),
        (25, ["g"]),
        (30, END),
    ]


def timed_batches(gaps: list[int], size: int, max_wait_s: float) -> list[tuple[float, list[str]]]:
    """Say in the plainest way when which batch leaves."""
    told: list[tuple[float, list[str]]] = []
    held: list[str] = []
    begun = now = 0.0
    for number, gap in enumerate(gaps):
        now += gap
        if held and begun + max_wait_s < now:
            told.append((begun + max_wait_s, held))
            held = []
        begun = begun if held else now
        held.append(str(number))
        if len(held) == size:
            told.append((now, held))
            held = []
    return told + [(now, held)] * bool(held)


@given(
    gaps=st.lists(st.integers(0, 4), max_size=15),
    size=st.integers(1, 5),
    max_wait_s=st.sampled_from([0.5, 1.5, 3.5, 7.5]),
    capacity=capacities,
)
async def test_every_batch_leaves_at_its_exact_time(
    gaps: list[int], size: int, max_wait_s: float, capacity: int
) -> None:
    """`BatchStage` — Flow.emits: whichever is first, the size, the time or the end; a wait that time ends takes nothing."""
    now = 0
    schedule = []
    for number, gap in enumerate(gaps):
        now += gap
        schedule.append((now, str(number)))

    got = await timed(BatchStage(size, max_wait_s=max_wait_s), schedule, capacity=capacity)

    assert [(at, *said([one])) for at, one in got] == timed_batches(gaps, size, max_wait_s)


@given(gaps=st.lists(st.integers(0, 2), max_size=15), max_wait_s=st.integers(1, 3), capacity=capacities)
async def test_nothing_is_lost_where_an_element_comes_in_the_very_moment_in_which_time_is_up(
    gaps: list[int], max_wait_s: int, capacity: int
) -> None:
    """semantics 2.3: a wait that is cancelled has taken nothing, and one that has taken something is not cancelled."""
    now, schedule = 0, []
    for number, gap in enumerate(gaps):
        now += gap
        schedule.append((now, str(number)))

    got = await timed(BatchStage(4, max_wait_s=max_wait_s), schedule, capacity=capacity)

    assert [one.text for _, batch in got for one in batch.items] == [text for _, text in schedule]


@pytest.mark.parametrize("capacity", [1, 2, 16])
@pytest.mark.parametrize("make", [BatchStage, WindowStage])
async def test_what_is_not_collected_leaves_behind_the_batch_that_it_fell_into(
    make: Callable[..., StageLike], capacity: int
) -> None:
    """`bypass="late"`: it does not wait for the end of the turn once all that came before it has been sent."""
    schedule: list[tuple[float, StreamElement | str]] = [(0, BAD), (1, "a"), (2, BAD), (3, SOUND), (4, "b"), (9, END)]

    got = await timed(make(2, accepts=TextElement), schedule, capacity=capacity)

    assert [(at, *said([one])) for at, one in got] == [(0, BAD), (4, ["a", "b"]), (4, BAD), (4, SOUND), (9, END)]


async def test_what_is_not_collected_goes_ahead_where_it_may() -> None:
    """`bypass="early"`: data and control of other types leave as they come."""
    schedule: list[tuple[float, StreamElement | str]] = [(1, "a"), (2, BAD), (3, SOUND), (4, "b")]

    got = await timed(BatchStage(2, accepts=TextElement, bypass="early"), schedule)

    assert [(at, *said([one])) for at, one in got] == [(2, BAD), (3, SOUND), (4, ["a", "b"])]


@pytest.mark.parametrize("make", [BatchStage, WindowStage])
async def test_several_types_can_be_collected(make: Callable[..., StageLike]) -> None:
    """Args.accepts: one type, or a tuple of them; `TurnEnd` is always among them."""
    got = await run_stage(
        make(2, accepts=(TextElement, AudioElement)), [SOUND, TextElement("a"), DataElement("x"), END]
    )

    assert got == [BatchElement([SOUND, TextElement("a")], priority=Priority.HIGH), DataElement("x"), END]


@pytest.mark.parametrize(
    ("items", "priority", "interruptible"),
    [
        ([TextElement("a"), TextElement("b")], Priority.NORMAL, True),
        ([TextElement("a", priority=Priority.LOW)], Priority.LOW, True),
        ([TextElement("a"), SOUND], Priority.HIGH, True),
        ([TextElement("a"), TextElement("b", interruptible=False)], Priority.NORMAL, False),
        ([TextElement("a"), MessageElement(Message("user", "a"))], Priority.NORMAL, False),
    ],
)
async def test_a_batch_is_as_urgent_and_as_lasting_as_its_items_need(
    items: list[StreamElement], priority: Priority, interruptible: bool
) -> None:
    """`BatchStage` — Out: an interruption keeps wholes and what is not interruptible, so it must not drop them with their batch."""
    (batch,) = await run_stage(BatchStage(5), items)

    assert (batch.priority, batch.interruptible) == (priority, interruptible)


# Windows


def windows(items: list[str], size: int, step: int) -> list[object]:
    """Say in the plainest way which windows there are: the last one may be short if it has something new."""
    told: list[object] = []
    seen = 0
    for start in range(0, len(items), step):
        window = items[start : start + size]
        if start + len(window) > seen:
            told.append(window)
            seen = start + len(window)
    return told


@given(turns=turns, size=st.integers(1, 5), step=st.integers(1, 7), capacity=capacities)
@example(turns=[["a", "b", "c", "d"]], size=3, step=2, capacity=1)
async def test_windows_slide_and_the_rest_leaves_where_it_is_new(
    turns: list[list[str]], size: int, step: int, capacity: int
) -> None:
    """`WindowStage` — Out: each turn has its own windows; a short one only for an element that no window had before."""
    got = await run_stage(WindowStage(size, step=step), with_ends(turns), capacity=capacity)

    assert said(got) == each_turn(turns, lambda turn: windows(turn, size, step))


async def test_the_windows_are_those_of_the_manual() -> None:
    """`WindowStage`: the examples of its docstring; and a `step` above `size` leaves elements out."""
    numbers = [TextElement(digit) for digit in "12345"]

    assert [texts(one.items) for one in await run_stage(WindowStage(3), numbers)] == ["1 2 3", "2 3 4", "3 4 5"]
    assert [texts(one.items) for one in await run_stage(WindowStage(3, step=2), numbers[:4])] == ["1 2 3", "3 4"]
    assert [texts(one.items) for one in await run_stage(WindowStage(2, step=3), numbers)] == ["1 2", "4 5"]


async def test_a_window_leaves_with_its_last_element() -> None:
    """semantics 5.3: streaming is real; nothing waits for the element behind a window."""
    got = await timed(WindowStage(2), [(0, "a"), (1, "b"), (5, "c"), (9, END)])

    assert [(at, *said([one])) for at, one in got] == [(1, ["a", "b"]), (5, ["b", "c"]), (9, END)]


# Text in chunks


def reference_chunks(text: str, size: int, *, by_words: bool) -> list[str]:
    """Say in the plainest way how a text is cut."""
    told: list[str] = []
    while len(text) >= size:
        head = text[:size]
        if by_words and any(map(str.isspace, head)):
            head = head[: max(at for at, letter in enumerate(head) if letter.isspace()) + 1]
        told.append(head)
        text = text[len(head) :]
    return told + [text] * bool(text)


fragments = st.lists(st.text("ab \n", min_size=1, max_size=9), max_size=10)


@given(fragments=fragments, size=st.integers(1, 7), by_words=st.booleans(), capacity=capacities)
async def test_chunks_depend_on_the_text_alone_and_not_on_its_fragments(
    fragments: list[str], size: int, by_words: bool, capacity: int
) -> None:
    """`ChunkTextStage` — Out: no letter is changed, no chunk is too long, and only the rest is shorter than it could be."""
    stage = ChunkTextStage(size, by="words" if by_words else "characters")

    got = texts_of(await run_stage(stage, fragments, capacity=capacity))

    assert got == reference_chunks("".join(fragments), size, by_words=by_words)
    assert "".join(got) == "".join(fragments)
    assert all(len(one) <= size for one in got)


def texts_of(elements: Iterable[StreamElement]) -> list[str]:
    return [one.text for one in elements if isinstance(one, TextElement)]


headers = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from("xy"),
        "path": st.sampled_from([("a",), ("a", 0)]),
        "metadata": st.just(Metadata({"k": 1})),
        "interruptible": st.just(False),
        "timestamp_s": st.just(1.5),
    },
)
fragments_with_headers = st.lists(
    st.builds(lambda text, header: TextElement(text, **header), st.text("ab ", max_size=6), headers)
)


def joined(elements: Iterable[StreamElement]) -> list[tuple[TextElement, str]]:
    """Return each header with its text, joined as long as it stays the same, and turns' ends as they are."""
    runs: list[tuple[object, str]] = []
    for one in elements:
        header, text = (one.replace(text=""), one.text) if isinstance(one, TextElement) else (one, "")
        if runs and runs[-1][0] == header and isinstance(one, TextElement):
            runs[-1] = (header, runs[-1][1] + text)
        else:
            runs.append((header, text))
    return runs


@given(
    turns=st.lists(fragments_with_headers, max_size=3),
    size=st.integers(1, 7),
    by=st.sampled_from(["characters", "words"]),
    capacity=capacities,
)
async def test_text_is_joined_only_where_all_else_is_the_same(turns, size: int, by, capacity: int) -> None:
    """`ChunkTextStage` — In: the joined output is the joined input per turn, `id` and `path`, with every header, in order."""
    items = [one for number, turn in enumerate(turns) for one in (*turn, TurnEnd(index=number))]

    got = await run_stage(ChunkTextStage(size, by=by), items, capacity=capacity)

    assert joined(got) == joined(items)
    assert all(len(one.text) <= size for one in got if isinstance(one, TextElement))


class Caption(TextElement, frozen=True, kw_only=True):
    """A text with a field that has to be given."""

    speaker: str


async def test_a_type_of_your_own_stays_what_it_is() -> None:
    """`ChunkTextStage` — Out: the chunks have the type and all other fields of their fragments; types are not mixed."""
    ann, ben = Caption("abc", speaker="ann"), Caption("d", speaker="ben")

    got = await run_stage(ChunkTextStage(2), [ann, ann, ben, TextElement("e")])

    assert got == [
        *(Caption(text, speaker="ann") for text in ("ab", "ca", "bc")),
        Caption("d", speaker="ben"),
        TextElement("e"),
    ]


async def test_an_empty_text_leaves_where_there_is_nothing_else() -> None:
    """`ChunkTextStage` — Out: a header is never lost, and no empty text is sent beside others."""
    lone, beside = (
        TextElement("", id="lone"),
        [TextElement("", id="x"), TextElement("ab", id="x"), TextElement("", id="x")],
    )

    assert await run_stage(ChunkTextStage(2), [lone]) == [lone]
    assert await run_stage(ChunkTextStage(2), [lone, lone, *beside, lone]) == [lone, TextElement("ab", id="x"), lone]
    assert await run_stage(ChunkTextStage(2), [lone, END, lone]) == [lone, END, lone]
    got = await timed(ChunkTextStage(2, max_wait_s=5), [(1, lone), (2, lone), (20, TextElement("a", id="lone"))])
    assert got == [(6, lone), (20, TextElement("a", id="lone"))]


@pytest.mark.parametrize(
    ("by", "schedule", "expected"),
    [
        # Full chunks leave as they come; the rest by the time of its first character.
        ("characters", [(0, "ab"), (3, "cde"), (20, "f")], [(3, "abcd"), (8, "e"), (20, "f")]),
        ("characters", [(0, "ab"), (4, "c"), (4.5, ""), (9, "d"), (13, "e")], [(5, "abc"), (13, "de")]),
        (
            "characters",
            [(0, "abcd"), (2, "a"), (6, END), (7, "b"), (9, END)],
            [(0, "abcd"), (6, "a"), (6, END), (9, "b"), (9, END)],
        ),
        # "c" came at 0 and is left over at 3: it does not begin to wait again.
        ("words", [(0, "a c"), (3, "de"), (9, END)], [(3, "a "), (5, "cde"), (9, END)]),
        ("words", [(0, "ab"), (3, "cd e"), (9, END)], [(3, "abcd"), (8, " e"), (9, END)]),
    ],
)
async def test_no_character_is_held_longer_than_it_may(by, schedule, expected) -> None:
    """`ChunkTextStage` — Args.max_wait_s: counted from the first character that is held, not from the last chunk."""
    got = await timed(ChunkTextStage(4, max_wait_s=5, by=by), schedule)

    assert [(at, *said([one])) for at, one in got] == expected


@given(
    schedule=st.lists(st.tuples(st.integers(0, 4), st.text("ab ", max_size=5)), max_size=12),
    size=st.integers(1, 6),
    by=st.sampled_from(["characters", "words"]),
    max_wait_s=st.sampled_from([0.5, 2.5, 6.5]),
    capacity=capacities,
)
async def test_a_wait_that_time_ends_loses_no_text_and_no_character_waits_too_long(
    schedule: list[tuple[int, str]], size: int, by, max_wait_s: float, capacity: int
) -> None:
    """`ChunkTextStage`: under any timing the joined text is the same, and each character leaves within `max_wait_s`."""
    now, came, timetable = 0, [], []
    for gap, text in schedule:
        now += gap
        timetable.append((now, text))
        came += [now] * len(text)

    got = await timed(ChunkTextStage(size, max_wait_s=max_wait_s, by=by), timetable, capacity=capacity)
    left = [at for at, one in got for _ in one.text]

    assert "".join(one.text for _, one in got) == "".join(text for _, text in schedule)
    assert all(begun <= end <= begun + max_wait_s for begun, end in zip(came, left, strict=True))


@pytest.mark.parametrize("capacity", [1, 2, 16])
@pytest.mark.parametrize(
    ("bypass", "expected"),
    [
        ("late", [(0, SOUND), (3, "abcd"), (3, BAD), (9, "e"), (9, SOUND), (9, END)]),
        ("early", [(0, SOUND), (2, BAD), (3, "abcd"), (6, SOUND), (9, "e"), (9, END)]),
    ],
)
async def test_other_elements_leave_behind_the_text_before_them(bypass, expected, capacity: int) -> None:
    """Args.bypass: late, as soon as nothing is held that came before them; early, at once."""
    schedule = [(0, SOUND), (1, "a"), (2, BAD), (2.5, "b"), (3, "cd"), (5, "e"), (6, SOUND), (9, END)]

    got = await timed(ChunkTextStage(4, bypass=bypass), schedule, capacity=capacity)

    assert [(at, *said([one])) for at, one in got] == expected


# All of them


@pytest.mark.parametrize(
    ("make", "args", "options", "field"),
    [
        (BatchStage, (0,), {}, "size"),
        (BatchStage, (True,), {}, "size"),
        (BatchStage, (1,), {"max_wait_s": 0}, "max_wait_s"),
        (BatchStage, (1,), {"max_wait_s": float("nan")}, "max_wait_s"),
        (WindowStage, ("3",), {}, "size"),
        (WindowStage, (3,), {"step": 0}, "step"),
        (ChunkTextStage, (0,), {}, "max_chars"),
        (ChunkTextStage, (5,), {"max_wait_s": -1}, "max_wait_s"),
        (ChunkTextStage, (5,), {"by": "sentences"}, "by"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named_at_once(make: Callable[..., object], args, options, field: str) -> None:
    """styleguide 3: wrong arguments fail in the constructor, with the stage and a way out."""
    with pytest.raises(ConfigError, match=r"stage '\w+': give ") as caught:
        make(*args, **options)

    assert caught.value.field == field


@pytest.mark.parametrize("make", [BatchStage, WindowStage, ChunkTextStage])
def test_what_is_held_is_told(make: Callable[[int], StageLike]) -> None:
    """semantics 5.4: accumulators say how much they hold, so a pipeline knows its bound."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=2)).chain(make(7)).build()

    assert pipeline.max_in_flight == 2 + 7 + 2 + 1


@pytest.mark.parametrize("how", ["scope", "native", "timeout"])
async def test_a_cancelled_run_with_timers_leaves_nothing_behind_and_loses_nothing_before(how: CancelMode) -> None:
    """semantics 2.3, 5.5: at every tick, also where a timer is set or just about to ring, what came out is the beginning of all."""
    expected = ["a b", "c", "d e", "f"]
    seen: list[str] = []

    async def scenario() -> list[str]:
        seen.clear()
        with EdgeLedger() as ledger:
            schedule = [(0, "a"), (1, "b"), (2, "c"), (9, "d"), (9, "e"), (9, "f")]
            pipeline = (
                PipelineBuilder(PipelineConfig(buffer_size=1))
                .chain(
                    BatchStage(2, max_wait_s=3),
                    UnbatchStage(),
                    BatchStage(2, max_wait_s=1, name="again"),
                    PassthroughStage(),
                )
                .build()
            )

            async with pipeline.execute(at_their_times(schedule)) as run:
                async for element in run:
                    if isinstance(element, BatchElement):
                        seen.append(texts(element.items))
        ledger.check()
        return seen

    def check(outcome: Outcome[list[str]]) -> None:
        assert seen == expected[: len(seen)]
        assert outcome.cancelled or seen == expected

    report = await cancel_sweep(scenario, how=how, check=check)
    assert report.skipped or (report.completed and report.ticks > 20)
    await assert_all_stages_stopped()
