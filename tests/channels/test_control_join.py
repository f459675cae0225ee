"""Control that a fork has copied leaves a merge once, in its place, and holds up nobody for nothing. Semantics 1.4, 4.5."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    ControlElement,
    ErrorElement,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnReset,
    TurnStart,
    Usage,
    UsageElement,
)
from streamflow.channels import ControlJoin, ForkEnd, MergeEnd, ReceiveEnd, SendEnd, open_channel, open_fork
from streamflow.elements import Marker
from streamflow.errors import ChannelFailedError
from streamflow.stages import EVERYTHING, admission

ALL = admission(EVERYTHING, producer="writer")


def text(word: str) -> TextElement:
    return TextElement(word)


def words(elements: Sequence[StreamElement]) -> str:
    """Return what came, in short: texts as they are, boundaries as |, other control as the first letter of its type."""
    return " ".join(
        one.text
        if isinstance(one, TextElement)
        else "|"
        if isinstance(one, (TurnStart, TurnEnd, TurnReset))
        else type(one).__name__[0]
        for one in elements
    )


class Bench:
    """A merge whose inputs are written by hand, and the join that it asks."""

    def __init__(
        self,
        inputs: int = 2,
        reach: dict[int, set[int]] | None = None,
        above: dict[int, frozenset[int]] | None = None,
        **options: int,
    ) -> None:
        reaches = {0: set(range(inputs))} if reach is None else reach
        if above is None:
            above = {fork: frozenset(one for one in reaches if reaches[one] > its) for fork, its in reaches.items()}
        reached = {fork: frozenset(its) for fork, its in reaches.items()}
        self.join = ControlJoin(inputs, reached, above=above, **options)
        ends = [open_channel(10_000, name=f"input {number}") for number in range(inputs)]
        self.sends: list[SendEnd[StreamElement]] = [send for send, _ in ends]
        self.edges: list[ReceiveEnd[StreamElement]] = [receive for _, receive in ends]
        self.end: MergeEnd[StreamElement] = MergeEnd("merge", self.edges, ALL, join=self.join)

    def copy(self, element: ControlElement, *to: int, fork: int = 0) -> None:
        """Let a fork copy an element, and its copies arrive at once by the inputs `to`."""
        self.join.expect(element, fork)
        self.give(element, *to)

    def give(self, element: StreamElement, *to: int) -> None:
        for number in to:
            self.sends[number].send_nowait(element)

    def end_inputs(self) -> None:
        for send in self.sends:
            send.close()

    def out(self) -> list[StreamElement]:
        found = []
        while True:
            try:
                found.append(self.end.receive_nowait())
            except (anyio.WouldBlock, anyio.EndOfStream):
                return found


every_boundary = pytest.mark.parametrize(
    "boundary", [TurnStart(), TurnEnd(), TurnReset()], ids=lambda one: type(one).__name__
)
other_control = pytest.mark.parametrize(
    "element", [UsageElement(Usage()), ErrorElement("code", "message")], ids=lambda one: type(one).__name__
)


# What leaves when


@every_boundary
async def test_a_boundary_leaves_once_when_every_input_has_shown_it(boundary) -> None:
    """semantics 4.5: what came before it on any input comes before it, what came behind it on any input comes behind it."""
    bench = Bench(3)
    for number in range(3):
        bench.give(text(f"a{number}"), number)
    bench.copy(boundary, 0, 1)
    bench.give(text("b0"), 0)
    assert words(bench.out()) == "a0 a1 a2"
    bench.give(text("late"), 2)
    assert words(bench.out()) == "late"
    bench.give(boundary, 2)
    bench.give(text("b2"), 2)
    got = bench.out()
    assert got[0] is boundary
    assert words(got) in {"| b0 b2", "| b2 b0"}
    bench.end_inputs()
    assert bench.out() == []
    assert not bench.join._copied


@other_control
async def test_other_control_leaves_at_its_first_copy_and_only_once(element) -> None:
    """semantics 4.5: usage and errors wait for nobody."""
    bench = Bench(3)
    bench.copy(element, 1)
    bench.give(text("b1"), 1)
    assert bench.out() == [element, text("b1")]
    bench.give(element, 0, 2)
    bench.give(text("b0"), 0)
    assert bench.out() == [text("b0")]
    assert not bench.join._copied


async def test_other_control_that_came_behind_a_boundary_stays_behind_it() -> None:
    """semantics 1.4: control keeps its place."""
    bench = Bench(2)
    boundary, usage = TurnEnd(), UsageElement(Usage())
    bench.copy(boundary, 0)
    bench.copy(usage, 0)
    assert bench.out() == []
    bench.give(boundary, 1)
    bench.give(usage, 1)
    assert bench.out() == [boundary, usage]


async def test_what_no_fork_has_copied_leaves_as_it_comes() -> None:
    """semantics 4.5: two sources' boundaries are two boundaries."""
    bench = Bench(2)
    bench.give(TurnEnd(index=1), 0)
    bench.give(TurnEnd(index=2), 1)
    bench.give(text("x"), 0)
    assert words(bench.out()) == "| | x"


async def test_an_input_that_the_fork_does_not_lead_to_is_not_waited_for() -> None:
    """semantics 4.5: only the open inputs below that fork."""
    bench = Bench(3, {0: {0, 1}})
    boundary = TurnEnd()
    bench.copy(boundary, 0, 1)
    bench.give(text("other"), 2)
    assert sorted(words(bench.out()).split()) == ["other", "|"]


async def test_a_boundary_that_a_second_fork_has_copied_on_is_still_one() -> None:
    """semantics 4.5: boundaries of one origin leave once, however often they were copied."""
    bench = Bench(3, {0: {0, 1, 2}, 1: {1, 2}})
    boundary = TurnEnd()
    bench.copy(boundary, 0)
    bench.copy(boundary, 1, 2, fork=1)
    assert bench.out() == [boundary]
    assert not bench.join._copied


@pytest.mark.parametrize("how", ["ends", "fails", "detached"])
async def test_an_input_that_has_ended_is_not_waited_for(how) -> None:
    """semantics 4.5: aligned across the open inputs; a failed one and one that somebody else reads are not open."""
    bench = Bench(3)
    boundary = TurnEnd()
    bench.copy(boundary, 0, 1)
    bench.give(text("b0"), 0)
    bench.give(text("a2"), 2)
    assert words(bench.out()) == "a2"
    if how == "ends":
        bench.sends[2].close()
    elif how == "fails":
        bench.sends[2].fail(ValueError())
    else:
        bench.end.detach(bench.edges[2])
    assert words(bench.out()) == "| b0"
    bench.copy(TurnEnd(), 0, 1)
    assert words(bench.out()) == "|"
    for number in (0, 1):
        bench.sends[number].close()
    with pytest.raises(ChannelFailedError if how == "fails" else anyio.EndOfStream):
        await bench.end.receive()


@pytest.mark.parametrize("detached", [0, 1])
async def test_an_input_that_is_detached_while_it_waits_holds_nothing_back(detached) -> None:
    """semantics 4.3, 4.5: what it had shown leaves in its turn; what is behind is the other reader's."""
    bench = Bench(2)
    boundary = TurnEnd()
    bench.copy(boundary, 0)
    bench.give(text("b0"), 0)
    assert bench.out() == []
    bench.end.detach(bench.edges[detached])
    if detached == 1:
        assert bench.out() == [boundary, text("b0")]
        return
    assert await bench.edges[0].receive() == text("b0")
    assert bench.out() == []
    bench.give(boundary, 1)
    bench.give(text("b1"), 1)
    assert bench.out() == [boundary, text("b1")]


async def test_a_failure_is_told_behind_a_boundary_that_was_waited_with() -> None:
    """semantics 5.6: everything that was sent comes first."""
    bench = Bench(2)
    boundary = TurnEnd()
    bench.copy(boundary, 0)
    bench.give(text("b0"), 0)
    cause = ValueError()
    bench.sends[1].fail(cause)
    bench.sends[0].close()
    assert [await bench.end.receive(), await bench.end.receive()] == [boundary, text("b0")]
    with pytest.raises(ChannelFailedError) as caught:
        await bench.end.receive()
    assert caught.value.__cause__ is cause


async def test_a_reader_that_waits_is_woken_when_the_last_input_has_shown_a_boundary() -> None:
    """semantics 4.5: and not before."""
    bench, boundary, got = Bench(2), TurnEnd(), []

    async def read() -> None:
        async for element in bench.end:
            got.append(element)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        bench.copy(boundary, 0)
        bench.give(text("b0"), 0)
        await wait_all_tasks_blocked()
        assert got == []
        bench.give(boundary, 1)
        await wait_all_tasks_blocked()
        assert got == [boundary, text("b0")]
        bench.end_inputs()


# Copies that do not come


async def test_a_copy_is_passed_over_when_a_later_one_of_the_same_fork_comes() -> None:
    """semantics 4.5: an edge keeps its order, so an earlier one will not come; the boundary leaves before that later one."""
    bench = Bench(2)
    boundary, later = TurnEnd(index=1), TurnEnd(index=2)
    bench.copy(boundary, 0)
    bench.give(text("b0"), 0)
    bench.give(text("a1"), 1)
    assert words(bench.out()) == "a1"
    bench.copy(later, 1)
    got = bench.out()
    assert got[0] is boundary
    assert words(got) == "| b0"


async def test_what_leaves_at_its_first_copy_passes_nothing_over() -> None:
    """semantics 4.5: usage may have left a merge above before a boundary that is held there; that one still comes."""
    bench = Bench(2)
    boundary, usage = TurnEnd(index=1), UsageElement(Usage())
    bench.copy(boundary, 0)
    bench.copy(usage, 1)
    bench.give(text("a1"), 1)
    assert words(bench.out()) == "U a1"
    bench.give(boundary, 1)
    assert words(bench.out()) == "|"


async def test_another_forks_copy_passes_nothing_over() -> None:
    """semantics 4.5: between different origins there is no order."""
    bench = Bench(2, {0: {0, 1}, 1: {0, 1}})
    first, other = TurnEnd(index=1), UsageElement(Usage())
    bench.copy(first, 0)
    bench.copy(other, 1, fork=1)
    assert bench.out() == [other]
    bench.give(first, 1)
    assert bench.out() == [first]


async def test_a_copy_that_comes_after_all_is_dropped() -> None:
    """semantics 4.5: a boundary leaves once, also where a stage keeps it beyond its time."""
    bench = Bench(2)
    first, second = TurnEnd(index=1), TurnEnd(index=2)
    bench.copy(first, 0)
    bench.copy(second, 0, 1)
    assert bench.out() == [first, second]
    bench.give(first, 1)
    bench.give(text("b1"), 1)
    assert words(bench.out()) == "b1"
    assert not bench.join._copied


async def test_boundaries_that_cross_hold_each_other_up_for_no_longer_than_there_is_no_other_way() -> None:
    """semantics 4.5, 5.5: the boundaries of two forks may come in different orders; each leaves once, and nothing hangs."""
    for first_copied in (0, 1):
        bench = Bench(2, {0: {0, 1}, 1: {0, 1}})
        boundaries = [TurnEnd(index=0), TurnEnd(index=1)]
        for fork in (first_copied, 1 - first_copied):
            bench.join.expect(boundaries[fork], fork)
        for number in (0, 1):
            bench.give(boundaries[number], number)
            bench.give(text(f"a{number}"), number)
            bench.give(boundaries[1 - number], number)
            bench.give(text(f"b{number}"), number)
        got = bench.out()
        assert [one for one in got if isinstance(one, TurnEnd)] == [
            boundaries[first_copied],
            boundaries[1 - first_copied],
        ]
        assert sorted(one.text for one in got if isinstance(one, TextElement)) == ["a0", "a1", "b0", "b1"]


async def test_of_boundaries_that_cross_the_one_of_the_lower_fork_leaves_first() -> None:
    """semantics 4.9: it was sent in the place of the other one; what its stage has not seen has its place before that alone."""
    bench = Bench(2, {0: {0, 1}, 1: {0, 1}}, {1: frozenset({0})})
    outer, inner = TurnEnd(index=0), TurnEnd(index=1)
    bench.join.expect(outer, 0)
    bench.join.expect(inner, 1)
    for element in (outer, text("behind the outer one"), inner):
        bench.give(element, 0)
    for element in (inner, text("before the outer one"), outer):
        bench.give(element, 1)
    assert bench.out() == [inner, text("before the outer one"), outer, text("behind the outer one")]


async def test_crossing_boundaries_wait_while_an_input_that_can_speak_is_silent() -> None:
    """semantics 4.5: nobody is passed over while there is a way to wait."""
    bench = Bench(3, {0: {0, 1, 2}, 1: {0, 1, 2}})
    one, other = TurnEnd(index=0), TurnEnd(index=1)
    bench.join.expect(one, 0)
    bench.join.expect(other, 1)
    bench.give(one, 0)
    bench.give(other, 1)
    assert bench.out() == []
    bench.give(other, 2)
    assert bench.out() == [one]
    bench.give(other, 0)
    assert bench.out() == [other]


# What stages on the way do


class Branches:
    """A fork into two branches, of which the second has a stage, and the merge below. The stage is a task."""

    def __init__(
        self, capacity: int, accepts: tuple[type[StreamElement], ...] = (TextElement, TurnEnd), *, marks: bool = False
    ) -> None:
        self.join = ControlJoin(2, {0: frozenset({0, 1})}, taken={0: (TurnEnd,)} if marks else {})
        direct, first = open_channel(capacity, name="a → merge")
        send, self.input = open_channel(capacity, name="a → stage", admit=admission(accepts, producer="a"))
        self.output, second = open_channel(capacity, name="stage → merge")
        self.input.forward_to(self.output)
        self.fork: ForkEnd[StreamElement] = open_fork("a → (…)", [direct, send], joins=[(self.join, 0)])
        self.end: MergeEnd[StreamElement] = MergeEnd("merge", [first, second], ALL, join=self.join)
        self.got: list[StreamElement] = []

    async def read(self) -> None:
        async for element in self.end:
            self.got.append(element)

    async def keep(self) -> None:
        """Take boundaries, and keep them to itself."""
        async for element in self.input:
            if not isinstance(element, TurnEnd):
                await self.output.send(element.replace(text=f"{element.text}'"))
        await self.input.pass_rest()
        self.output.close()

    async def replace(self) -> None:
        """Take boundaries, and send others."""
        async for element in self.input:
            await self.output.send(
                TurnEnd(id="own") if isinstance(element, TurnEnd) else element.replace(text=f"{element.text}'")
            )
        await self.input.pass_rest()
        self.output.close()

    async def pass_late(self) -> None:
        """Take boundaries, and send each after the element behind it."""
        kept: list[StreamElement] = []
        async for element in self.input:
            if isinstance(element, TurnEnd):
                kept.append(element)
                continue
            await self.output.send(element.replace(text=f"{element.text}'"))
            while kept:
                await self.output.send(kept.pop(0))
        self.output.close()

    async def replace_early(self) -> None:
        """Take boundaries, send another one in the place of each, and one element more before asking for the next."""
        async for element in self.input:
            if isinstance(element, TurnEnd):
                await self.output.send(TurnEnd(id="own"))
                await anyio.sleep(10)
                await self.output.send(text(f"{element.index}'"))
        await self.input.pass_rest()
        self.output.close()


@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_a_boundary_waits_for_all_that_a_stage_makes_of_it(capacity) -> None:
    """semantics 4.9: the stage's own boundary stands for nothing; what is sent until the stage asks for more is in the turn."""
    bench = Branches(capacity, marks=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.read)
        tasks.start_soon(bench.replace_early)
        for turn in range(3):
            await bench.fork.send(TurnEnd(index=turn))
        bench.fork.close()
    assert [one.text if isinstance(one, TextElement) else one.id or one.index for one in bench.got] == [
        part for turn in range(3) for part in ("own", f"{turn}'", turn)
    ]
    assert not any(isinstance(one, Marker) for one in bench.got)


@pytest.mark.parametrize("capacity", [1, 2, 16, 100])
async def test_a_branch_that_keeps_boundaries_to_itself_does_not_hold_the_others_up(capacity) -> None:
    """semantics 4.5, 5.5: with more in a turn than the edges hold, which would stop the fork and so everything for ever."""
    bench = Branches(capacity)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.read)
            tasks.start_soon(bench.keep)
            for turn in range(5):
                for number in range(3 * capacity):
                    await bench.fork.send(text(f"{turn}.{number}"))
                await bench.fork.send(TurnEnd(index=turn))
            bench.fork.close()
    plain = [one for one in bench.got if not isinstance(one, TextElement) or not one.text.endswith("'")]
    assert words(plain) == " ".join(
        f"{' '.join(f'{turn}.{number}' for number in range(3 * capacity))} |" for turn in range(5)
    )
    assert len(bench.got) == 5 * (6 * capacity + 1)


@pytest.mark.parametrize("marks", [False, True])
@pytest.mark.parametrize("stage", ["keep", "replace", "pass_late"])
async def test_a_boundary_leaves_as_soon_as_nothing_is_on_the_way_any_more(stage, marks) -> None:
    """semantics 5.3: in a live session the end of a turn is told when the turn has ended, not when the next one has."""
    bench = Branches(4, marks=marks)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.read)
        tasks.start_soon(getattr(bench, stage))
        for turn in range(4):
            for element in (text(f"{turn}"), TurnEnd(index=turn)):
                await bench.fork.send(element)
                await anyio.sleep(1)
            theirs = [one for one in bench.got if isinstance(one, TurnEnd) and one.id != "own"]
            assert [one.index for one in theirs] == list(range(turn + 1))
            assert f"{turn}" in words(bench.got).split()
            assert f"{turn}'" in words(bench.got).split()
        bench.fork.close()
    theirs = [one.index for one in bench.got if isinstance(one, TurnEnd) and one.id != "own"]
    assert theirs == [0, 1, 2, 3]


async def test_a_slow_branch_is_waited_for_however_full_the_others_are() -> None:
    """semantics 4.5: as long as something is on the way, or somebody on the way is at work."""
    bench = Branches(1)

    async def slow() -> None:
        async for element in bench.input:
            await anyio.sleep(100)
            await bench.output.send(element)
        bench.output.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.read)
        tasks.start_soon(slow)
        for turn in range(3):
            for number in range(3):
                await bench.fork.send(text(f"{turn}.{number}"))
            await bench.fork.send(TurnEnd())
        bench.fork.close()
    turns = words(bench.got).split("|")
    assert [sorted(turn.split()) for turn in turns] == [
        *(sorted([f"{turn}.{number}" for number in range(3)] * 2) for turn in range(3)),
        [],
    ]


async def test_another_sources_boundaries_take_no_copys_place_where_no_stage_could_have_sent_them() -> None:
    """semantics 4.5: a branch that others write too is waited for as well, if all stages on it let boundaries pass."""
    bench = Branches(4, accepts=(TextElement,))
    boundary, gate = TurnEnd(), anyio.Event()

    async def stage() -> None:
        await gate.wait()
        async for element in bench.input:
            await bench.output.send(element)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.read)
        tasks.start_soon(stage)
        await bench.fork.send(text("x"))
        await bench.fork.send(boundary)
        await bench.output.send(TurnEnd(id="other"))
        await wait_all_tasks_blocked()
        assert [one.id for one in bench.got if isinstance(one, TurnEnd)] == ["other"]
        gate.set()
        await wait_all_tasks_blocked()
        assert words(bench.got) == "x | x |"
        tasks.cancel_scope.cancel()


async def test_a_stage_that_ends_early_is_not_waited_for_where_others_write_on() -> None:
    """semantics 3.1, 4.5: what a stage had not taken when it ended does not come, though its branch is open."""
    bench = Branches(4)
    merged, left = open_channel(4), open_channel(4)
    inner: MergeEnd[StreamElement] = MergeEnd("inner", [merged[1], left[1]], ALL)
    inner.forward_to(bench.output)
    bench.input._feeds = None  # what it reads goes elsewhere: as if it had been built so
    bench.input.forward_to(merged[0])

    async def first_only() -> None:
        await merged[0].send(await anext(bench.input))
        bench.input.close()
        merged[0].close()

    async def on() -> None:
        async for element in inner:
            await bench.output.send(element)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.read)
        tasks.start_soon(first_only)
        tasks.start_soon(on)
        await bench.fork.send(text("a"))
        await bench.fork.send(text("b"))
        await bench.fork.send(TurnEnd())
        await wait_all_tasks_blocked()
        *copies, boundary = words(bench.got).split()
        assert (sorted(copies), boundary) == (["a", "a", "b"], "|"), "the boundary comes behind both branches' elements"
        await left[0].send(text("on"))
        await wait_all_tasks_blocked()
        assert words(bench.got).endswith("| on")
        tasks.cancel_scope.cancel()


# Bounds


@pytest.mark.parametrize("control", [TurnEnd, lambda: UsageElement(Usage())], ids=["boundaries", "usage"])
async def test_what_is_remembered_is_bounded_where_copies_never_come(control) -> None:
    """semantics 5.4: memory stays flat behind a branch that keeps control to itself, or sends it much too late."""
    bench = Bench(3, remembered=20)
    for turn in range(500):
        bench.copy(control(), 0, 1)
        if turn % 7 == 0:
            bench.copy(control(), 0, 1, 2)
        bench.out()
        assert len(bench.join._copied) <= 21
        assert len(bench.join.held) <= 2


async def test_as_many_are_remembered_as_the_edges_can_hold() -> None:
    """semantics 4.5: however far one branch is behind, nothing leaves twice."""
    bench = Bench(2, remembered=3000)
    usages = [UsageElement(Usage(input_tokens=number)) for number in range(3000)]
    for usage in usages:
        bench.copy(usage, 0)
    assert bench.out() == usages
    for usage in usages:
        bench.give(usage, 1)
    assert bench.out() == []


async def test_nothing_is_remembered_of_what_all_inputs_have_shown() -> None:
    """semantics 5.4: a session may be long."""
    bench = Bench(3)
    for number in range(100):
        bench.copy(TurnStart(index=number), 0, 1, 2)
        bench.copy(UsageElement(Usage()), 2, 0, 1)
        bench.copy(TurnEnd(index=number), 1, 2, 0)
        assert len(bench.out()) == 3
        assert not bench.join._copied


# Any branches, any order of arrival


Sent = tuple[str, int]  # data, or control of a kind; its number


@st.composite
def arrivals(draw: st.DrawFn):
    """Draw what two forks copy, what of it each input shows in which order, and when each of that arrives."""
    inputs = draw(st.integers(1, 4))
    counts = draw(st.tuples(st.integers(0, 6), st.integers(0, 6)))
    kinds = st.sampled_from(["TurnEnd", "TurnStart", "Usage"])
    copied = [(fork, number, draw(kinds)) for fork in (0, 1) for number in range(counts[fork])]
    reach = {fork: draw(st.sets(st.integers(0, inputs - 1))) for fork in (0, 1)}
    faults = draw(
        st.lists(st.sampled_from(["none", "none", "drop", "swap", "own", "cut"]), min_size=inputs, max_size=inputs)
    )
    streams: list[list[tuple[int, int, str]]] = []
    for number in range(inputs):
        mine = [[one for one in copied if one[0] == fork and number in reach[fork]] for fork in (0, 1)]
        picks = draw(st.permutations([0] * len(mine[0]) + [1] * len(mine[1])))
        streams.append([mine[fork].pop(0) for fork in picks])
        streams[-1] = spoilt(draw, streams[-1], faults[number])
    schedule = draw(st.lists(st.integers(0, inputs), max_size=60))
    return inputs, reach, copied, streams, faults, schedule


def spoilt(draw: st.DrawFn, stream: list[tuple[int, int, str]], fault: str) -> list[tuple[int, int, str]]:
    """Return what a branch makes of what it should show."""
    place = draw(st.integers(0, max(len(stream) - 1, 0)))
    if fault == "drop":
        return [one for one in stream if draw(st.booleans())]
    if fault == "swap":
        return [*stream[:place], *reversed(stream[place : place + 2]), *stream[place + 2 :]]
    if fault == "own":
        return [(2, index, one[2]) if draw(st.booleans()) else one for index, one in enumerate(stream)]
    return stream[:place] if fault == "cut" else stream


def made(kind: str) -> ControlElement:
    return {"TurnEnd": TurnEnd, "TurnStart": TurnStart}.get(kind, lambda: UsageElement(Usage()))()


@given(drawn=arrivals())
async def test_whatever_arrives_whenever_each_leaves_once_and_nothing_is_held_for_ever(drawn) -> None:
    """semantics 4.5: of two forks, in any interleaving, with branches that drop, swap, replace or end early."""
    inputs, reach, copied, streams, faults, schedule = drawn
    bench = Bench(inputs, reach)
    elements = {(fork, number): made(kind) for fork, number, kind in copied}
    owns: list[ControlElement] = []
    for fork, number, _ in copied:
        bench.join.expect(elements[fork, number], fork)
    got: list[StreamElement] = []
    left = [list(stream) for stream in streams]
    count = itertools.count()
    sent: list[list[StreamElement]] = [[] for _ in range(inputs)]

    def arrive(number: int) -> None:
        if not left[number]:
            bench.sends[number].close()
            return
        fork, index, kind = left[number].pop(0)
        element = elements[fork, index] if fork < 2 else made(kind)
        owns.extend([element] if fork == 2 else [])
        for one in (text(f"{number}.{next(count)}"), element):
            bench.give(one, number)
            sent[number].append(one)

    for step in schedule:
        if step == inputs:
            got += bench.out()
        else:
            arrive(step)
    for number in range(inputs):
        while left[number]:
            arrive(number)
        arrive(number)
    got += bench.out()
    with pytest.raises(anyio.EndOfStream):
        bench.end.receive_nowait()

    shown = {id(one) for stream in sent for one in stream}
    leaving = [id(one) for one in got]
    assert sorted(leaving) == sorted(shown)  # each once, whatever it is
    assert not bench.join.held
    assert all(one.is_done for one in bench.join._copied.values())
    alone = not (reach[0] & reach[1]) or 0 in {sum(one[0] == fork for one in copied) for fork in (0, 1)}
    for number, stream in enumerate(sent):
        if faults[number] == "none" and alone:
            # In its place: behind what came before it on this input, ahead of what came behind it. Usage may leave earlier.
            mine = [id(one) for one in stream if not isinstance(one, UsageElement)]
            assert [one for one in leaving if one in set(mine)] == mine
        data = [id(one) for one in stream if isinstance(one, TextElement)]
        assert [one for one in leaving if one in set(data)] == data


@given(
    turns=st.lists(st.integers(0, 3), max_size=6),
    capacity=st.integers(1, 3),
    order=st.lists(st.integers(0, 2), max_size=80),
    constant=st.booleans(),
)
async def test_constants_are_told_apart_however_far_one_branch_is_behind(turns, capacity, order, constant) -> None:
    """semantics 4.5: a boundary that is one object each time leaves once for each time that it was sent."""
    join = ControlJoin(2, {0: frozenset({0, 1})})
    edges = [open_channel(64) for _ in range(4)]  # into the two branches, and out of them
    fork = open_fork("fork", [edges[0][0], edges[1][0]], joins=[(join, 0)])
    end = MergeEnd("merge", [edges[2][1], edges[3][1]], ALL, join=join)
    boundary, got = TurnEnd(), []
    for turn, count in enumerate(turns):
        for number in range(count):
            fork.send_nowait(text(f"{turn}.{number}"))
        fork.send_nowait(boundary if constant else TurnEnd())

    def move(branch: int) -> None:
        if edges[branch][1].backlog and len(edges[branch + 2][1].backlog) < capacity:
            edges[branch + 2][0].send_nowait(edges[branch][1].receive_nowait())

    for step in [*order, *([0, 1, 2] * 200)]:
        if step < 2:
            move(step)
        else:
            with contextlib.suppress(anyio.WouldBlock):
                got.append(end.receive_nowait())
    assert [sorted(turn.split()) for turn in words(got).split("|")] == [
        *(sorted([f"{turn}.{number}" for number in range(count)] * 2) for turn, count in enumerate(turns)),
        [],
    ]
    assert not join._copied
