"""Who gets an element: the stage that accepts its type, or the edge behind that stage."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow import (
    AudioElement,
    BaseStage,
    ControlElement,
    EndOfStream,
    ErrorElement,
    OpaqueElement,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    SendEnd,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnReset,
    TurnStart,
    UsageElement,
    stage,
)
from streamflow.elements import Message, Usage
from streamflow.errors import ElementError
from streamflow.stages import ALL_DATA, EVERYTHING, ElementTypes, admission, is_accepted
from streamflow.testing import run_stage

SOUND, END, BAD = AudioElement(b""), TurnEnd(), ErrorElement("code", "message", "elsewhere")


class LoudElement(TextElement, frozen=True):
    """Data of the user's."""


class BellElement(ControlElement, frozen=True):
    """Control of the user's."""


@pytest.mark.parametrize(
    ("kind", "accepts", "expected"),
    [
        (TextElement, ALL_DATA, True),
        (LoudElement, (TextElement,), True),
        (TextElement, (LoudElement,), False),
        (AudioElement, (TextElement, AudioElement), True),
        (OpaqueElement, ALL_DATA, True),
        (TurnEnd, ALL_DATA, False),
        (BellElement, ALL_DATA, False),
        (TurnEnd, (TextElement, TurnEnd), True),
        (TurnStart, (TextElement, TurnEnd), False),
        (BellElement, (ControlElement,), True),
        (TextElement, (ControlElement,), False),
        (TextElement, EVERYTHING, True),
        (BellElement, EVERYTHING, True),
    ],
)
def test_control_reaches_only_those_who_name_it(kind: type, accepts: ElementTypes, expected: bool) -> None:
    """semantics 1.4: "all data" means no control; a type stands for its subclasses, on both sides."""
    assert is_accepted(kind, accepts) is expected


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (None, "stage 'x' sent None, which is no element; send nothing instead, or a StreamElement"),
        ("a", "stage 'x' sent 'a' (str), which is no StreamElement; wrap it, as in TextElement(…)"),
        (b"a", "stage 'x' sent b'a' (bytes), which is no StreamElement; wrap it, as in DataElement(name, value)"),
        (
            [TextElement("a")],
            "(list), which is no StreamElement; to send several, yield each of them, or use a FlatMapStage",
        ),
        (Message("user", "a"), "(Message), which is no StreamElement; wrap it, as in MessageElement(message)"),
        (TextElement, "which is no StreamElement"),
        (EndOfStream("done"), "stage 'x' sent EndOfStream, which only the runtime makes; just return, or send TurnEnd"),
    ],
)
def test_what_is_no_element_enters_no_edge(item: object, said: str) -> None:
    """semantics 1.2, 1.6: refused where it is sent, with the sender's name, whatever the reader accepts."""
    for accepts in (ALL_DATA, EVERYTHING, (EndOfStream,)):
        with pytest.raises(ElementError) as caught:
            admission(accepts, producer="x")(item)
        assert said in str(caught.value)


def test_a_long_value_is_cut_short_in_the_message() -> None:
    """semantics 1.2: an error of the sender's is no way to fill a log with its data."""
    with pytest.raises(ElementError) as caught:
        admission(ALL_DATA, producer="x")("a" * 10_000)
    assert len(str(caught.value)) < 300


# Pass-by, in a run


@stage
async def doubling(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element
        await anyio.lowlevel.checkpoint()
        yield TextElement(element.text.upper())


class DoublingProcess(BaseStage):
    async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for element in input:
            await output.send(element)
            await anyio.lowlevel.checkpoint()
            await output.send(TextElement(element.text.upper()))


ITEMS = st.lists(st.sampled_from([TextElement("a"), LoudElement("b"), SOUND, END, BAD, BellElement()]), max_size=12)


@settings(max_examples=30)
@pytest.mark.parametrize("given_stage", [doubling, DoublingProcess()], ids=["generator", "process"])
@given(items=ITEMS, capacity=st.integers(1, 3))
async def test_what_a_stage_does_not_accept_leaves_behind_the_results_of_what_it_took_before(
    given_stage: BaseStage, items: list[StreamElement], capacity: int
) -> None:
    """semantics 3.3: nothing is lost, and order is that of the input, each element replaced by its results."""
    expected = [
        result
        for item in items
        for result in ([item, TextElement(item.text.upper())] if isinstance(item, TextElement) else [item])
    ]

    assert await run_stage(given_stage, items, capacity=capacity) == expected


class Joining(BaseStage):
    """An accumulator: one text per turn, and one for what is left at the end of the input."""

    kind = StageKind.ACCUMULATE

    async def process(self, input: ReceiveEnd[TextElement | TurnEnd], output: SendEnd[TextElement | TurnEnd]) -> None:
        held: list[str] = []
        async for element in input:
            if isinstance(element, TextElement):
                held.append(element.text)
                continue
            if held:
                await output.send(TextElement("".join(held)))
                held.clear()
            await output.send(element)
        if held:
            await output.send(TextElement("".join(held)))


@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_an_accumulator_flushes_on_turn_ends_and_they_pass_behind(capacity: int) -> None:
    """semantics 3.3: it accepts turn ends and passes them on; others go by when it asks for more, its last results not before."""
    got = await run_stage(Joining(), ["a", "b", END, BAD, "c", "d", END, END, "e", "f"], capacity=capacity)

    assert got == [TextElement("ab"), END, BAD, TextElement("cd"), END, END, TextElement("ef")]


async def test_what_trails_at_the_end_leaves_behind_the_last_results() -> None:
    """semantics 3.3: what the stage sends in its flush is still a result of what it took, so it comes before what trails."""
    got = await run_stage(Joining(), ["a", "b", BAD, SOUND, TurnReset()])

    assert got == [TextElement("ab"), BAD, SOUND, TurnReset()]


@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_a_stage_that_gets_nothing_it_accepts_passes_everything(capacity: int) -> None:
    """semantics 3.3: an input with nothing for the stage reaches the output whole and in order."""
    items = [SOUND, END, BAD, SOUND] * 10

    assert await run_stage(doubling, items, capacity=capacity) == items


async def test_a_stage_that_names_control_gets_it_in_its_place() -> None:
    """semantics 1.4: a named control element is an element like others; the stage that takes it must send it on."""
    seen: list[StreamElement] = []

    @stage(accepts=(TextElement, UsageElement))
    async def counting(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
        async for element in stream:
            seen.append(element)
            if not isinstance(element, UsageElement):
                yield element

    usage = UsageElement(Usage(output_tokens=3), final=True)
    got = await run_stage(counting, ["a", usage, END, "b"])

    assert seen == [TextElement("a"), usage, TextElement("b")]
    assert got == [TextElement("a"), END, TextElement("b")]


async def test_what_passes_by_does_not_wait_for_the_stage_to_end() -> None:
    """semantics 5.3: streaming is real for what passes by too: it leaves as soon as the stage asks for more."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(doubling, as_it_is).build()

    async with pipeline.execute() as run:
        for item in (SOUND, END, BAD):
            await run.send(item)
            assert await anext(run) == item


async def as_it_is(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        yield element


async def test_what_passes_by_waits_while_the_output_is_full() -> None:
    """semantics 5.4: pass-by obeys the bound: nobody reads, so the source is stopped."""
    given_out = 0

    async def source() -> AsyncIterator[StreamElement]:
        nonlocal given_out
        for _ in range(1000):
            given_out += 1
            yield SOUND

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=2)).chain(doubling).build()
    async with pipeline.execute(source()) as run:
        assert await anext(run) == SOUND
        await anyio.wait_all_tasks_blocked()
        assert pipeline.max_in_flight is not None
        assert given_out <= 1 + pipeline.max_in_flight


@pytest.mark.parametrize("catches", [True, False])
async def test_control_behind_the_last_element_passes_a_stage_that_receives_until_the_end_is_raised(catches) -> None:
    """semantics 3.3, 3.1: who lets `EndOfStream` end it has returned, and what is left passes it by."""

    @stage
    async def receives(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        try:
            while True:
                await output.send(await input.receive())
        except anyio.EndOfStream:
            if not catches:
                raise

    for source in ([TurnEnd()], [TextElement("a"), TurnEnd()], [TurnEnd(index=0), TextElement("a"), TurnEnd(index=1)]):
        assert await run_stage(receives, source, capacity=1) == source


@pytest.mark.parametrize("how", ["with", "aclose", "source of another run"])
async def test_control_behind_the_last_element_passes_a_stage_that_closes_what_it_has_read_to_the_end(how):
    """semantics 3.1, 3.3: as anyio's streams are closed, and as a run closes its source; what is left is not thrown away."""
    inner = PipelineBuilder().chain(PassthroughStage("inner")).build()

    @stage
    async def closes(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        if how == "source of another run":
            for element in (await inner.run(input)).elements:
                await output.send(element)
            return
        async with input if how == "with" else contextlib.nullcontext():
            async for element in input:
                await output.send(element)
        await input.aclose()

    source = [TextElement("a"), TurnEnd(index=1), TurnEnd(index=2)]
    assert await run_stage(closes, source) == source
