"""Merges by policy in runs: every way in which both inputs can end, for every policy; turns, graphs, named inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    DROP,
    AudioElement,
    BaseStage,
    BatchElement,
    CollectStage,
    ControlElement,
    DataElement,
    EndOfStream,
    ErrorElement,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    Router,
    SendEnd,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnStart,
    Usage,
    UsageElement,
    stage,
)
from streamflow.graph import Barrier, MergePolicy, Ordered, Prioritized, Zip, ZipLatest
from streamflow.testing import EdgeLedger, assert_all_stages_stopped, cancel_sweep

POLICIES: dict[str, str | MergePolicy] = {
    "arrival": "arrival",
    "concat": "concat",
    "zip": "zip",
    "zip_latest": "zip_latest",
    "barrier": "barrier",
    "priority": "priority",
    "weights": Prioritized((3, 1)),
    "race": "race",
    "sorted": Ordered(key=lambda one: one.text),
    "ordered": "ordered",
}

every_policy = pytest.mark.parametrize("policy", [*POLICIES])
every_capacity = pytest.mark.parametrize("capacity", [1, 4])


def text(word: object) -> TextElement:
    return TextElement(str(word))


def passing(name: str) -> PassthroughStage:
    return PassthroughStage(name)


def words(elements) -> list[object]:
    """Return elements as they are easily read; the end of the run is left out."""
    return [
        tuple(words(one.items))
        if isinstance(one, BatchElement)
        else one.text
        if isinstance(one, TextElement)
        else type(one).__name__
        for one in elements
        if not isinstance(one, EndOfStream)
    ]


# The full matrix of how inputs end

INPUTS: dict[str, tuple[int, int | None]] = {
    "empty": (0, None),
    "one": (1, None),
    "several": (5, None),
    "fails at once": (0, 0),
    "fails late": (5, 3),
}
"""How many elements a branch gives, and before which of them it fails."""


class Failing(Exception):  # noqa: N818 - what a test raises
    pass


def branch(name: str, kind: str) -> object:
    count, failing = INPUTS[kind]

    @stage(name=name, accepts=TextElement)
    async def work(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        given = 0
        async for element in input:
            if failing == given:
                raise Failing(name)
            if given == count:
                return  # early: the others go on
            await output.send(text(f"{element.text}{name}"))
            given += 1
        if failing is not None:
            raise Failing(name)

    return work


def two_branches(policy: str, left: str, right: str, capacity: int) -> Pipeline:
    """Return a fork and a join where an order is to be restored, else two branches with a source each."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).add(branch("l", left), branch("r", right))
    if policy == "ordered":
        builder.branch(passing("in"), "l", "r")
    return builder.merge(passing("out"), "l", "r", policy=POLICIES[policy]).build()


def whole(kind: str, name: str) -> list[str]:
    return [f"{number}{name}" for number in range(INPUTS[kind][0])]


def expected(policy: str, left: list[str], right: list[str]) -> list[object] | None:
    """Return what leaves when nothing fails; None where that depends on time."""
    match policy:
        case "concat" | "barrier":
            return [*left, *right]
        case "zip":
            return list(zip(left, right, strict=False))
        case "sorted":
            return sorted([*left, *right])
        case "ordered":
            return sorted([*left, *right])
        case "zip_latest" if not left or not right:
            return []
        case "race" if not left or not right:
            return [*left, *right]
        case _:
            return None


@pytest.mark.slow
@every_policy
@every_capacity
async def test_however_both_inputs_end_the_run_ends_as_it_must(policy: str, capacity: int) -> None:
    """semantics 4.20-4.23, 5.6: empty, short, failing at once or late, on both sides; accounts agree and nothing is left."""
    for left in INPUTS:
        for right in INPUTS:
            pipeline = two_branches(policy, left, right, capacity)
            source = [text(number) for number in range(5)]
            got: list[StreamElement] = []
            error: StageError | None = None
            with EdgeLedger() as ledger, anyio.fail_after(100):
                run = pipeline.execute(source if policy == "ordered" else {"l": source, "r": source})
                try:
                    async for element in run:
                        got.append(element)
                except StageError as raised:
                    error = raised
            await assert_all_stages_stopped()
            case = f"{policy}: {left} and {right}"
            failing = [name for name, kind in (("l", left), ("r", right)) if INPUTS[kind][1] is not None]
            data = words(one for one in got if not isinstance(one, ControlElement))
            lefts, rights = whole(left, "l"), whole(right, "r")
            if error is not None:
                assert error.stage in failing, case
                assert isinstance(error.__cause__, Failing)
                assert sum(isinstance(one, ErrorElement) and one.fatal for one in got) == 1 or policy == "race", case
                assert isinstance(got[-1], EndOfStream), case
            else:
                ledger.check(ended=True)
                # Who is closed because nobody needs more may not come to fail.
                assert not failing or policy in ("zip", "zip_latest", "race"), case
                if not failing:
                    assert data == (expected(policy, lefts, rights) or data), case
                    assert isinstance(got[-1], EndOfStream)
            flat = [word for one in data for word in (one if isinstance(one, tuple) else (one,))]
            assert {*flat} <= {*lefts, *rights}, case
            if policy in ("arrival", "priority", "weights") and not failing:
                assert Counter(flat) == Counter([*lefts, *rights]), case
            if policy == "race":
                assert flat in (lefts[: len(flat)], rights[: len(flat)]), case
            if policy == "zip_latest" and not failing and lefts and rights:
                assert data[-1] == (lefts[-1], rights[-1]), case


@every_policy
@every_capacity
@pytest.mark.parametrize("taken", [0, 2])
async def test_a_consumer_that_leaves_early_leaves_nothing_behind(policy: str, capacity: int, taken: int) -> None:
    """semantics 5.1, 5.5: whatever the merge holds back."""
    pipeline = two_branches(policy, "several", "several", capacity)
    source = [text(number) for number in range(5)]
    with EdgeLedger() as ledger, anyio.fail_after(100):
        async with pipeline.execute(source if policy == "ordered" else {"l": source, "r": source}) as run:
            for _ in range(taken):
                await anext(run)
    await assert_all_stages_stopped()
    ledger.check()


@pytest.mark.slow
@every_policy
@pytest.mark.parametrize("how", ["scope", "native"])
async def test_a_merge_that_is_cancelled_at_any_tick_leaves_nothing_behind(policy: str, how: str) -> None:
    """semantics 2.3, 5.5: no task and no element is left, whenever it happens."""
    ledger = EdgeLedger()

    async def scenario() -> None:
        nonlocal ledger
        pipeline = two_branches(policy, "several", "one", 1)
        source = [text(number) for number in range(3)]
        with EdgeLedger() as ledger:
            async with pipeline.execute(source if policy == "ordered" else {"l": source, "r": source}) as run:
                async for _ in run:
                    pass

    async def check(_outcome: object) -> None:
        await assert_all_stages_stopped()
        ledger.check()

    await cancel_sweep(scenario, how=how, check=check)


async def test_a_function_of_a_policy_that_raises_fails_the_stage_that_reads() -> None:
    """semantics 4.22, 5.6: with the exception of the function as the cause, and the run ends."""

    def combine(_left: StreamElement, _right: StreamElement) -> TextElement:
        raise Failing

    for policy in (Zip(combine), ZipLatest(combine), Ordered(key=lambda one: one.nothing)):
        builder = PipelineBuilder().add(branch("l", "several"), branch("r", "several"))
        pipeline = builder.merge(passing("out"), "l", "r", policy=policy).build()
        with pytest.raises(StageError) as raised:
            await pipeline.run({"l": ["0"], "r": ["0"]})
        assert raised.value.stage == "out"
        assert isinstance(raised.value.__cause__, (Failing, AttributeError))


async def test_a_turn_that_is_longer_than_a_barrier_may_hold_fails_the_stage_that_reads() -> None:
    """semantics 4.23: with the way out in the message."""
    builder = PipelineBuilder().add(branch("l", "several"), branch("r", "several"))
    pipeline = builder.merge(passing("out"), "l", "r", policy=Barrier(max_held=3)).build()
    with pytest.raises(StageError) as raised:
        await pipeline.run({"l": ["0"] * 4, "r": []})
    assert "max_held" in str(raised.value.__cause__)
    assert raised.value.stage == "out"


async def test_what_found_no_partner_is_in_the_statistics() -> None:
    """semantics 4.22, 10.2: by the stage that reads the merge, under `unpaired`."""
    builder = (
        PipelineBuilder().branch(passing("in"), passing("l"), "few").merge(passing("out"), "l", "few", policy="zip")
    )
    pipeline = builder.add(stage(few)).build()
    async with pipeline.execute([text(0), text(1), text(2), TurnEnd(), text(3)]) as run:
        got = words([element async for element in run])
        assert run.stats().stages["out"].discarded == {"unpaired": 2}
    assert got == [("0", "0"), "TurnEnd", ("3", "3")]


async def few(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        if int(element.text) % 3 == 0:
            yield element


# Turns through forks and joins

HOW_MANY: dict[str, Callable[[int], int]] = {
    "same": lambda _number: 1,
    "half": lambda number: number % 2,
    "none": lambda _number: 0,
    "double": lambda _number: 2,
}


def making(name: str, kind: str, pause: float) -> object:
    """Return a stage that makes so many of each text, slowly."""

    @stage(name=name, accepts=TextElement)
    async def work(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            for copy in range(HOW_MANY[kind](int(element.text))):
                await anyio.sleep(pause)
                yield text(f"{int(element.text):03}{name}{copy}")

    return work


turns = st.lists(st.integers(0, 3), max_size=3)


@pytest.mark.slow
@given(
    sizes=turns,
    kinds=st.lists(st.sampled_from([*HOW_MANY]), min_size=2, max_size=3),
    pauses=st.lists(st.sampled_from([0, 1, 2.5]), min_size=3, max_size=3),
    capacity=st.sampled_from([1, 2, 16]),
    policy=st.sampled_from(["arrival", "ordered", "zip", "zip_latest", "barrier", "priority", "sorted"]),
)
async def test_turns_stay_whole_by_every_policy_that_reads_all_inputs(sizes, kinds, pauses, capacity, policy) -> None:
    """semantics 4.9, 4.20-4.23: each boundary leaves once, behind all of its turn; usage once; data as the policy says."""
    if policy in ("zip", "sorted"):
        capacity = 64  # they wait for one input while another fills up
    names = "abc"[: len(kinds)]
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity))
    builder.branch(passing("in"), *map(making, names, kinds, pauses))
    pipeline = builder.merge(passing("out"), *names, policy=POLICIES[policy]).build()
    source: list[StreamElement] = []
    wanted: list[tuple[list[list[str]], int]] = []
    count = 0
    for number, size in enumerate(sizes):
        source += [TurnStart(index=number), *(text(count + place) for place in range(size))]
        source += [UsageElement(Usage(), id=str(number)), TurnEnd(index=number)]
        made = [
            [f"{place:03}{name}{copy}" for place in range(count, count + size) for copy in range(HOW_MANY[kind](place))]
            for name, kind in zip(names, kinds, strict=True)
        ]
        wanted.append((made, number))
        count += size
    with EdgeLedger() as ledger, anyio.fail_after(10_000):
        result = await pipeline.run(source)
    ledger.check(ended=True)
    assert [one for one in result.elements if isinstance(one, (TurnStart, TurnEnd))] == [
        one for one in source if isinstance(one, (TurnStart, TurnEnd))
    ]
    assert sum(isinstance(one, UsageElement) for one in result.elements) == len(sizes)
    got: list[list[object]] = [[]]
    for one in result.elements:
        if isinstance(one, TurnEnd):
            got.append([])
        elif not isinstance(one, ControlElement):
            got[-1] += words([one])
    for (made, _), turn in zip(wanted, got, strict=False):
        everything = [word for one in made for word in one]
        if policy == "zip":
            assert turn == list(zip(*made, strict=False))
        elif policy == "barrier":
            assert turn == everything
        elif policy in ("sorted", "ordered"):
            assert turn == sorted(everything)
        elif policy != "zip_latest":
            assert Counter(turn) == Counter(everything)


async def test_a_race_in_a_turn_takes_the_first_answer_and_stops_the_others() -> None:
    """semantics 4.23: a start of a turn decides nothing and waits for nobody; the loser's stage is told that no more is needed."""
    builder = PipelineBuilder().branch(passing("in"), making("a", "same", 5), making("b", "same", 1))
    pipeline = builder.merge(passing("out"), "a", "b", policy="race").build()
    with anyio.fail_after(100):
        result = await pipeline.run([TurnStart(), text(1), text(2), TurnEnd()])
    assert words(result.elements) == ["TurnStart", "001b0", "002b0", "TurnEnd"]


# Orders in graphs


@pytest.mark.slow
@given(
    count=st.integers(0, 5),
    kinds=st.lists(st.sampled_from([*HOW_MANY]), min_size=4, max_size=4),
    pauses=st.lists(st.sampled_from([0, 1, 2.5]), min_size=4, max_size=4),
    capacity=st.sampled_from([1, 2, 16]),
)
async def test_an_order_goes_through_forks_and_merges_between(count, kinds, pauses, capacity) -> None:
    """semantics 4.20: chains, an inner fork that is merged as it comes, a branch that goes elsewhere too; causes in order."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity))
    a, b, c, d = map(making, "abcd", kinds, pauses)
    sunk: list[StreamElement] = []
    builder.branch(passing("in"), passing("inner"), c, d).branch("inner", a, b)
    builder.merge(passing("half"), "a", "b").chain("c", passing("c2"))
    builder.merge(passing("out"), "half", "c2", "d", policy="ordered")
    builder.branch("d", CollectStage(sunk, name="sink"))
    source: list[StreamElement] = []
    for number in range(count):
        source += [text(number), *([TurnEnd(index=number)] if number % 3 == 2 else [])]
    with EdgeLedger() as ledger, anyio.fail_after(10_000):
        result = await builder.build().run(source)
    ledger.check(ended=True)
    ends = [one for one in source if isinstance(one, TurnEnd)]
    assert [one for one in result.elements if isinstance(one, TurnEnd)] == ends
    got = [str(one) for one in words(result.elements) if one != "TurnEnd"]
    made = [
        (number, "abcd".index(name))
        for number in range(count)
        for name, kind in zip("abcd", kinds, strict=True)
        for _ in range(HOW_MANY[kind](number))
    ]
    assert sorted((int(one[:3]), "abcd".index(one[3])) for one in got) == made
    # Of one element by input: what the inner merge gives (a and b, as they come), then c, then d.
    rank = {"a": 0, "b": 0, "c": 1, "d": 2}
    assert [(int(one[:3]), rank[one[3]]) for one in got] == sorted((int(one[:3]), rank[one[3]]) for one in got)


async def test_an_order_goes_on_past_a_stage_that_ends_early_where_others_write_on() -> None:
    """semantics 3.1, 4.20: what it had not taken does not come, and is not waited for."""

    @stage
    async def early(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        await output.send(text(f"{(await input.receive()).text}e"))

    builder = PipelineBuilder(PipelineConfig(buffer_size=2)).add(passing("other"))
    builder.branch(passing("in"), early, passing("b")).merge(passing("mid"), "early", "other")
    pipeline = builder.merge(passing("out"), "mid", "b", policy="ordered").build()
    got: list[object] = []
    with anyio.fail_after(100):
        async with pipeline.execute() as run, anyio.create_task_group() as tasks:

            async def read() -> None:
                async for element in run:
                    got.extend(words([element]))

            tasks.start_soon(read)
            for number in range(6):
                await run.send(str(number), to="in")
            await anyio.sleep(1)
            assert got == ["0e", "0", "1", "2", "3", "4", "5"]
            run.close_input("other")
            run.close_input("in")
    assert got == ["0e", "0", "1", "2", "3", "4", "5"]


async def test_one_order_can_be_restored_twice() -> None:
    """semantics 4.20: by a merge of two branches, and below it by one of that and the third; no marker leaves the run."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=1))
    builder.branch(passing("in"), making("a", "same", 3), making("b", "double", 1), making("c", "half", 0))
    builder.merge(passing("half"), "a", "b", policy="ordered")
    pipeline = builder.merge(passing("out"), "half", "c", policy="ordered").build()
    with anyio.fail_after(1000):
        result = await pipeline.run([text(number) for number in range(6)])
    got = words(result.elements)
    assert got == sorted(got)
    assert len(got) == 6 + 12 + 3


@pytest.mark.parametrize("capacity", [1, 16])
async def test_an_order_may_begin_inside_another_and_end_behind_it(capacity: int) -> None:
    """semantics 4.20: a merge may stand on one branch of a fork whose order is restored below, and restore another one's."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity))
    builder.branch(passing("in"), making("b", "same", 2), passing("c")).branch("b", "c", passing("out")).connect(
        "c", "out"
    )
    builder.merge("c", "in", "b", policy="ordered")
    pipeline = builder.merge("out", "b", "c", policy="ordered").build()
    with anyio.fail_after(1000):
        result = await pipeline.run([*(text(number) for number in range(6)), TurnEnd(), text(6)])
    got = [int(one.text[:3]) for one in result.elements if isinstance(one, TextElement)]
    assert got == [number for number in range(7) for _ in range(3)]  # each by three ways
    ends = [place for place, one in enumerate(result.elements) if isinstance(one, TurnEnd)]
    assert ends == [3 * 6]


@pytest.mark.filterwarnings("ignore::streamflow.BuildWarning")  # what it holds back has a bound
async def test_an_accumulator_on_one_way_keeps_the_order_of_what_it_gives() -> None:
    """semantics 3.3, 4.20: markers wait beside it, and its result is that of the first element that it has gathered."""

    class Gather(BaseStage):
        accepts = (TextElement, TurnEnd)
        kind = StageKind.ACCUMULATE
        max_held = 10

        async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            held: list[str] = []
            async for element in input:
                if isinstance(element, TextElement):
                    held.append(element.text)
                    continue
                await output.send(text("+".join(held)))
                held.clear()
                await output.send(element)

    builder = PipelineBuilder().branch(passing("in"), Gather("gather"), passing("pass"))
    pipeline = builder.merge(passing("out"), "gather", "pass", policy="ordered").build()
    with anyio.fail_after(100):
        result = await pipeline.run([text(0), text(1), TurnEnd(), text(2), TurnEnd()])
    assert words(result.elements) == ["0+1", "0", "1", "TurnEnd", "2", "2", "TurnEnd"]


@pytest.mark.parametrize("priority", [False, True])
async def test_policies_hold_on_edges_with_lanes(priority: bool) -> None:
    """semantics 2.6, 4.20: a marker is a fence, so the urgent passes nothing that an order depends on."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=4, priority=priority))
    builder.branch(passing("in"), making("a", "same", 2), making("b", "double", 0))
    pipeline = builder.merge(passing("out"), "a", "b", policy="ordered").build()
    with anyio.fail_after(1000):
        result = await pipeline.run([text(number) for number in range(9)])
    assert words(result.elements) == sorted(words(result.elements))
    assert len(words(result.elements)) == 27


async def test_a_live_run_is_drained_through_every_policy() -> None:
    """semantics 5.4: `close_input()` lets everything arrive that was sent."""
    for policy in POLICIES:
        pipeline = two_branches(policy, "several", "several", 4)
        async with pipeline.execute() as run:
            for number in range(2):
                for to in (None,) if policy == "ordered" else ("l", "r"):
                    await run.send(str(number), to=to)
            run.close_input()
            with anyio.fail_after(100):
                got = words([element async for element in run])
        assert len(got) == {"zip": 2, "zip_latest": len(got), "race": 2}.get(policy, 4), policy


# Named inputs


class Pair(BaseStage):
    """Reads one of each of its two inputs, in turns."""

    inputs: Mapping[str, type[StreamElement]] = {"left": TextElement, "right": TextElement}

    async def process(self, inputs: Mapping[str, ReceiveEnd[TextElement]], output: SendEnd[DataElement]) -> None:
        async for left in inputs["left"]:
            try:
                right = await inputs["right"].receive()
            except anyio.EndOfStream:
                return
            await output.send(DataElement("pair", [left.text, right.text]))


class Both(Pair):
    """Reads its two inputs side by side."""

    async def process(self, inputs: Mapping[str, ReceiveEnd[TextElement]], output: SendEnd[DataElement]) -> None:
        async def copy(side: str) -> None:
            async for element in inputs[side]:
                await output.send(DataElement(side, element.text))

        async with anyio.create_task_group() as tasks:
            for side in inputs:
                tasks.start_soon(copy, side)


@pytest.mark.parametrize("capacity", [1, 2, 16])
@pytest.mark.parametrize("both", [False, True])
async def test_control_that_passes_a_stage_with_several_inputs_by_leaves_once(capacity: int, both: bool) -> None:
    """semantics 4.24: copies that come by several inputs are one element again behind the stage, whoever reads them how."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).add(passing("in"), (Both if both else Pair)("pair"))
    builder.branch("in", "pair:left", "pair:right")
    end = TurnEnd()
    usage = [UsageElement(Usage(input_tokens=number)) for number in range(3)]
    source = [text(1), end, usage[0], text(2), usage[1], end, TurnStart(), usage[2], AudioElement(b"")]
    with EdgeLedger() as ledger, anyio.fail_after(100):
        result = await builder.build().run(source)
    ledger.check(ended=True)
    control = [one for one in result.elements if isinstance(one, ControlElement)]
    assert control == [one for one in source if isinstance(one, ControlElement)]
    data = [one for one in result.elements if isinstance(one, DataElement)]
    if both:
        assert Counter(one.name for one in data) == {"left": 2, "right": 2}
    else:
        assert [one.value for one in data] == [("1", "1"), ("2", "2")]


async def test_a_copy_that_the_stage_takes_at_one_input_is_its_own_matter() -> None:
    """semantics 4.24: what it takes it has, and what passes it by at another input passes it by."""

    class Takes(Both):
        inputs: Mapping[str, type[StreamElement] | tuple[type[StreamElement], ...]] = {
            "left": (TextElement, TurnEnd),
            "right": TextElement,
        }

        async def process(self, inputs, output) -> None:
            async for element in inputs["left"]:
                taken.append(element)
            async for _ in inputs["right"]:
                pass

    taken: list[StreamElement] = []
    builder = PipelineBuilder().add(passing("in"), Takes("takes")).branch("in", "takes:left", "takes:right")
    ends = [TurnEnd(index=number) for number in range(3)]
    result = await builder.build().run([*ends, text(1)])
    assert taken == [*ends, text(1)]
    assert [one for one in result.elements if isinstance(one, TurnEnd)] == ends


@pytest.mark.slow
@pytest.mark.parametrize("how", ["scope", "native"])
async def test_a_stage_with_several_inputs_that_is_cancelled_at_any_tick_leaves_nothing_behind(how: str) -> None:
    """semantics 2.3, 4.24: an element is on one side of the stage, never on both, whenever it happens."""
    ledger = EdgeLedger()

    async def scenario() -> None:
        nonlocal ledger
        builder = PipelineBuilder(PipelineConfig(buffer_size=1)).add(passing("in"), Both("both"))
        builder.branch("in", "both:left", "both:right")
        with EdgeLedger() as ledger:
            async with builder.build().execute([text(1), TurnEnd(), text(2), TurnEnd()]) as run:
                ends = [one async for one in run if isinstance(one, TurnEnd)]
                assert len(ends) == 2

    async def check(_outcome: object) -> None:
        await assert_all_stages_stopped()
        ledger.check()

    await cancel_sweep(scenario, how=how, check=check)


async def test_an_order_holds_where_a_fork_above_has_copied_the_next_boundary_already() -> None:
    """semantics 4.20: it is still to come to the fork whose order is restored, and so behind all that this one has sent."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=1)).tap("top", CollectStage([], name="tap"))
    builder.connect(passing("top"), passing("in"), buffer=16).add(making("a", "same", 0), making("b", "same", 3))
    builder.route("in", Router.by_function(lambda element: "ba"[int(element.text) % 2], "a", "b"), default=DROP)
    pipeline = builder.merge(passing("out"), "a", "b", policy="ordered").build()
    turns = [element for number in range(12) for element in (text(number), *[TurnEnd()] * (number % 4 == 3))]
    result = await pipeline.run(turns)
    got = [int(one.text[:3]) for one in result.elements if isinstance(one, TextElement)]
    assert got == [*range(12)]
