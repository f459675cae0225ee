"""Graphs with several heads and several leaves: a source for each head, an output for each leaf, nested pipelines, named ports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import anyio
import pytest

from streamflow import (
    BaseStage,
    DataElement,
    EndOfStream,
    ErrorElement,
    MapStage,
    PassthroughStage,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    SendEnd,
    StageError,
    StreamElement,
    TextElement,
    TurnEnd,
    Usage,
    UsageElement,
    stage,
)
from streamflow.errors import RunStateError, SourceError
from streamflow.testing import assert_all_stages_stopped, assert_no_tasks_left, tasks_alive


def passing(name: str) -> PassthroughStage:
    return PassthroughStage(name)


def texts(*words: str) -> list[TextElement]:
    return [TextElement(word) for word in words]


def two_heads(capacity: int = 16) -> Pipeline:
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).add(passing("ears"), passing("eyes"))
    return builder.merge(passing("mind"), "ears", "eyes").build()


def two_leaves(capacity: int = 16) -> Pipeline:
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(passing("a"))
    return builder.branch("a", passing("x"), passing("y")).build()


@stage
async def fragile(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    async for element in stream:
        if element.text == "bad":
            raise ValueError(element.text)
        yield element


# Several heads


@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_each_head_is_fed_by_its_own_source(capacity: int) -> None:
    """semantics 4.3: `source={"name": …}`; the merge is fair and keeps the order of each input."""

    async def words() -> AsyncIterator[str]:
        for number in range(20):
            yield f"b{number}"

    result = await two_heads(capacity).run({"ears": [f"a{number}" for number in range(20)], "eyes": words()})

    got = [one.text for one in result.elements if isinstance(one, TextElement)]
    assert [one for one in got if one.startswith("a")] == [f"a{number}" for number in range(20)]
    assert [one for one in got if one.startswith("b")] == [f"b{number}" for number in range(20)]


async def test_one_source_for_several_heads_is_refused_with_the_way_out() -> None:
    """semantics 4.3: which is meant must be said."""
    with pytest.raises(SourceError, match=r"2 stages take a source; give one for each, as \{'ears': …, 'eyes': …\}"):
        two_heads().execute("x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ears": "x"}, "there is no source for 'eyes'"),
        ({"ears": "x", "eyes": "y", "nose": "z"}, "'nose' takes no source"),
        ({"ears": "x", "eyes": 5}, "cannot be iterated"),
    ],
)
async def test_a_source_that_does_not_fit_is_refused(given, message: str) -> None:
    """how we work 5: what is missing or too much is named."""
    with pytest.raises(SourceError, match=message):
        two_heads().execute(given)


async def test_a_single_head_may_be_named_too() -> None:
    """semantics 4.3."""
    pipeline = PipelineBuilder().chain(passing("a")).build()

    assert (await pipeline.run({"a": ["x", "y"]})).text == "xy"


async def test_without_a_source_every_head_is_fed_by_hand() -> None:
    """semantics 5.2: `run.send(…, to=)` and `run.close_input()` for a live session with several inputs."""
    async with two_heads().execute() as run:
        await run.send("x", to="ears")
        assert await anext(run) == TextElement("x")
        await run.send("y", to="eyes")
        run.close_input("ears")
        assert await anext(run) == TextElement("y")
        run.close_input("eyes")
        assert [type(one) async for one in run] == [EndOfStream]


async def test_all_inputs_are_closed_at_once_where_none_is_named() -> None:
    """semantics 5.2."""
    async with two_heads().execute() as run:
        run.close_input()
        assert [type(one) async for one in run] == [EndOfStream]


async def test_an_input_that_is_not_named_or_not_there_is_refused() -> None:
    """how we work 5: names the heads."""
    async with two_heads().execute() as run:
        with pytest.raises(RunStateError, match="several inputs; say for which stage it is: to= one of 'ears', 'eyes'"):
            await run.send("x")
        with pytest.raises(RunStateError, match="there is no input 'nose'"):
            await run.send("x", to="nose")


async def test_run_without_a_source_is_run_with_empty_ones() -> None:
    """semantics 5.2."""
    assert (await two_heads().run()).elements == ()


async def test_a_source_that_fails_ends_the_others() -> None:
    """semantics 5.6: what is beside is cancelled and closed; what is behind drains."""
    closed = False

    async def endless() -> AsyncIterator[TextElement]:
        nonlocal closed
        try:
            while True:
                await anyio.sleep(1)
                yield TextElement("x")
        finally:
            closed = True

    async def broken() -> AsyncIterator[TextElement]:
        yield TextElement("y")
        await anyio.sleep(2.5)
        raise OSError("microphone gone")

    got: list[StreamElement] = []
    with pytest.raises(StageError, match=r"'source of eyes' failed: OSError: microphone gone"):
        async with two_heads().execute({"ears": endless(), "eyes": broken()}) as run:
            got.extend([element async for element in run])
            raise AssertionError

    await assert_all_stages_stopped()
    assert closed


# Several leaves


@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_each_leaf_can_be_read_alone(capacity: int) -> None:
    """semantics 4.3: `run.output(name)`, each with the control elements; the run's own output then has no more of them."""
    got: dict[str, list[StreamElement]] = {}

    async with two_leaves(capacity).execute([*texts(*map(str, range(20))), TurnEnd()]) as run:

        async def read(name: str) -> None:
            got[name] = [element async for element in run.output(name)]

        async with anyio.create_task_group() as readers:
            readers.start_soon(read, "x")
            readers.start_soon(read, "y")
        assert [type(one) async for one in run] == [EndOfStream]

    assert got["x"] == got["y"] == [*texts(*map(str, range(20))), TurnEnd()]


async def test_the_other_leaves_stay_the_output_of_the_run() -> None:
    """semantics 4.3: one leaf alone."""
    got: list[StreamElement] = []

    async with two_leaves().execute(["1", "2"]) as run:
        alone = run.output("x")

        async def read() -> None:
            got.extend([element async for element in alone])

        async with anyio.create_task_group() as readers:
            readers.start_soon(read)
            rest = (await run.result()).elements

    assert got == texts("1", "2")
    assert rest == tuple(texts("1", "2"))


async def test_the_only_leaf_can_be_read_by_name() -> None:
    """semantics 4.3: a program that reads outputs by name need not know how many there are."""
    async with PipelineBuilder().chain(passing("a")).build().execute(["1", "2"]) as run:
        assert [element async for element in run.output("a")] == texts("1", "2")
        assert [type(one) async for one in run] == [EndOfStream]


async def test_the_run_is_over_only_when_the_stages_behind_its_outputs_are() -> None:
    """semantics 5.6: the run's own output has nothing to give, and waits for the others all the same."""
    async with two_leaves(1).execute(map(str, range(9))) as run:
        x, y = run.output("x"), run.output("y")
        ended_s = 0.0

        async def end() -> None:
            nonlocal ended_s
            assert [type(one) async for one in run] == [EndOfStream]
            ended_s = anyio.current_time()

        async def read(stream: AsyncIterator[StreamElement]) -> None:
            async for _ in stream:
                await anyio.sleep(1)

        began_s = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end)
            tasks.start_soon(read, x)
            tasks.start_soon(read, y)

    assert ended_s - began_s == 7  # when the last one had room behind the eighth


async def test_letting_go_of_one_output_ends_that_branch_alone(no_gc: None) -> None:
    """semantics 4.4: the others go on."""
    async with two_leaves(1).execute(map(str, range(10))) as run:
        async for _element in run.output("x"):
            break
        assert (await run.result()).elements == tuple(texts(*map(str, range(10))))


@pytest.mark.parametrize("name", ["nowhere", "a", ""])
async def test_an_output_that_is_not_there_is_refused(name: str) -> None:
    """how we work 5: names those that are there."""
    async with two_leaves().execute("1") as run:
        with pytest.raises(RunStateError, match=f"there is no output {name!r}; {run.run_id} has 'x', 'y'"):
            run.output(name)


async def test_an_output_is_taken_once() -> None:
    """semantics 2.1: one task reads an edge."""
    async with two_leaves().execute("1") as run:
        run.output("x")
        with pytest.raises(RunStateError, match="the output 'x' was taken before"):
            run.output("x")


async def test_a_failure_ends_every_output_with_its_notice_and_is_raised_by_the_run() -> None:
    """semantics 5.6: once, by the run: here when it is left."""
    got: dict[str, list[StreamElement]] = {}
    builder = PipelineBuilder().chain(fragile, passing("b")).branch("b", passing("x"), passing("y"))

    with pytest.raises(StageError, match="'fragile'"):
        async with builder.build().execute(["good", "bad"]) as run:

            async def read(name: str) -> None:
                got[name] = [element async for element in run.output(name)]

            async with anyio.create_task_group() as readers:
                readers.start_soon(read, "x")
                readers.start_soon(read, "y")

    for elements in got.values():
        assert [type(one) for one in elements] == [TextElement, ErrorElement]
        assert isinstance(elements[-1], ErrorElement)
        assert elements[-1].fatal


async def test_outputs_end_when_the_run_is_cancelled() -> None:
    """semantics 5.6: cancelled by the caller: nothing more."""
    before = tasks_alive()
    async with two_leaves().execute() as run:
        x = run.output("x")
        await run.send("1")
        assert await anext(x) == TextElement("1")
        run.cancel()
        assert [element async for element in x] == []

    await assert_no_tasks_left(before)


async def test_control_leaves_once_where_all_leaves_are_the_output() -> None:
    """semantics 4.5: the consumer of a fair merge sees a boundary once, and usage counts once."""
    usage = UsageElement(Usage(output_tokens=3), final=True)

    result = await two_leaves(2).run([*texts("1"), usage, TurnEnd(), *texts("2"), TurnEnd()])

    assert [type(one).__name__ for one in result.elements].count("TurnEnd") == 2
    assert result.usage == Usage(output_tokens=3)


# Nested pipelines


async def test_a_nested_pipeline_runs_as_a_part_of_the_outer_one() -> None:
    """semantics 4.1, 1.6: its stages are called `name/stage`, and its end is not seen."""
    inner = PipelineBuilder(PipelineConfig(buffer_size=3)).chain(passing("a"), fragile).build()
    outer = PipelineBuilder().chain(passing("first"), inner.as_stage("left"), inner.as_stage("right"), passing("last"))
    pipeline = outer.build()

    result = await pipeline.run(["x", "y"])
    with pytest.raises(StageError) as caught:
        await pipeline.run(["x", "bad"])

    assert result.elements == tuple(texts("x", "y"))
    assert caught.value.stage == "left/fragile"
    async with pipeline.execute("x") as run:
        await run.result()
    capacities = {name: edge.counts.capacity for name, edge in run.stats().edges.items()}
    assert capacities["left/a → left/fragile"] == 3
    assert capacities["first → left/a"] == 16


async def test_a_nested_pipeline_with_branches_is_joined_where_it_ends() -> None:
    """semantics 4.1, 4.3: its output is the merge of its leaves."""
    inner = PipelineBuilder().chain(passing("a")).branch("a", passing("x"), passing("y")).build()
    outer = PipelineBuilder().chain(inner.as_stage("both"), passing("last")).build()

    result = await outer.run([*texts("1"), TurnEnd()])

    assert result.elements == (*texts("1", "1"), TurnEnd())


# Named ports


class Split(BaseStage):
    """Text of even length to one side, the rest to the other."""

    outputs: Mapping[str, type[StreamElement]] = {"even": TextElement, "odd": TextElement}

    async def process(self, input: ReceiveEnd[TextElement], outputs: Mapping[str, SendEnd[TextElement]]) -> None:
        async for element in input:
            await outputs["odd" if len(element.text) % 2 else "even"].send(element)


class Pair(BaseStage):
    """One text from each side, together."""

    inputs: Mapping[str, type[StreamElement]] = {"left": TextElement, "right": TextElement}

    async def process(self, inputs: Mapping[str, ReceiveEnd[TextElement]], output: SendEnd[DataElement]) -> None:
        async for left in inputs["left"]:
            try:
                right = await inputs["right"].receive()
            except anyio.EndOfStream:
                return
            await output.send(DataElement("pair", [left.text, right.text]))


@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_a_stage_with_named_outputs_says_itself_where_each_element_goes(capacity: int) -> None:
    """semantics 3.5: `process(input, outputs)`."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(Split())
    builder.connect("split:even", MapStage(lambda e: TextElement(f"{e.text}!"), name="bang", accepts=TextElement))
    pipeline = builder.build()

    async with pipeline.execute(["a", "bb", "ccc", "dd"]) as run:
        odd = run.output("split:odd")
        got: list[StreamElement] = []

        async def read() -> None:
            got.extend([element async for element in odd])

        async with anyio.create_task_group() as readers:
            readers.start_soon(read)
            assert (await run.result()).elements == tuple(texts("bb!", "dd!"))

    assert got == texts("a", "ccc")


@pytest.mark.parametrize("capacity", [1, 2, 16])
async def test_what_a_stage_with_named_outputs_does_not_accept_goes_to_all_that_do(capacity: int) -> None:
    """semantics 1.4, 3.5: control passes it by to every output, and is joined below; data to each reader that accepts it."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(Split())
    builder.merge(passing("end"), "split:even", "split:odd")

    result = await builder.build().run([*texts("a"), TurnEnd(), *texts("bb"), TurnEnd()])

    assert [one.text if isinstance(one, TextElement) else "|" for one in result.elements] == ["a", "|", "bb", "|"]


async def test_a_stage_with_named_inputs_reads_each_as_it_likes() -> None:
    """semantics 3.5: `process(inputs, output)`; a port without an edge is a head with a source of its own."""
    pipeline = PipelineBuilder().chain(Pair()).build()

    result = await pipeline.run({"pair:left": ["a", "b", "c"], "pair:right": ["1", "2"]})

    assert result.elements == (DataElement("pair", ["a", "1"]), DataElement("pair", ["b", "2"]))
