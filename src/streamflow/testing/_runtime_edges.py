"""The rules of edges, forks and merges that need a scenario: who is waited for, what goes first, what a cancelled wait leaves.

Above: `_check_runtime`. Below: `_runtime_parts`, `runtime`, `_conformance`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from ..channels import ReceiveEnd, SendEnd, Weight
from ..elements import Priority, StreamElement, TextElement, TurnEnd
from ..graph import Prioritized, Router
from ..runtime import PipelineBuilder, PipelineConfig
from ..stages import CollectStage, MapStage, PassthroughStage, SinkStage, TakeStage, stage
from ._conformance import rule
from ._harness import assert_all_stages_stopped
from ._ledger import EdgeLedger
from ._runtime_parts import (
    CAPACITIES,
    LONG_S,
    cancel_after,
    copying,
    late,
    one_each,
    outcome_of,
    parity,
    send_in_tries,
    slowly,
    texts,
    waking,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from ._conformance import Trial
    from ._runtime_graphs import RuntimeCase

__all__: list[str] = []


@rule("RT-19", "What is urgent overtakes data that waits, and never control.", holds="2.6", subject="runtime")
async def _urgent(trial: Trial[RuntimeCase]) -> None:
    trial.given("8 normal elements, a boundary, 8 normal ones and a critical one, before the first is taken")
    elements: list[StreamElement] = texts(8)
    elements += [TurnEnd(), *(TextElement(f"b{number}") for number in range(8))]
    elements.append(TextElement("critical", priority=Priority.CRITICAL))
    config = PipelineConfig(buffer_size=64, priority=True)
    pipeline = PipelineBuilder(config).chain(copying("a")).build()
    async with pipeline.execute(elements) as run:
        await anyio.sleep(1)
        got = [element async for element in run]
    words = words_of(got)
    order = ["TurnEnd" if isinstance(one, TurnEnd) else one.text if isinstance(one, TextElement) else "" for one in got]
    fence, place = order.index("TurnEnd"), order.index("critical")
    trial.require(len(words) == 17, f"{words} came")
    trial.require(fence < place, f"it passed the boundary: {order}")
    trial.require(place == fence + 1, f"it waited for {place - fence - 1} elements that it could have passed: {order}")
    trial.require([one for one in words if one != "critical"] == words_of(elements)[:16], f"order lost: {words}")


@rule(
    "RT-20", "A merge by preference gives what the first input has, before all else.", holds="4.23", subject="runtime"
)
async def _preferred(trial: Trial[RuntimeCase]) -> None:
    trial.given("two inputs that are full when the merge is first read")
    builder = PipelineBuilder(PipelineConfig(buffer_size=8))
    builder.add(copying("first"), copying("second"))

    @stage(name="late")
    async def late(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        await anyio.sleep(5)
        async for element in input:
            await output.send(element)

    pipeline = builder.merge(late, "second", "first", policy="priority").build()
    sources = {
        "first": [TextElement(f"a{one}") for one in range(4)],
        "second": [TextElement(f"b{one}") for one in range(4)],
    }
    got = words_of(await outcome_of(pipeline, sources))
    trial.require(got == ["b0", "b1", "b2", "b3", "a0", "a1", "a2", "a3"], f"{got} came")


@rule("RT-21", "A tap that stands still slows nobody.", holds="4.17", subject="runtime")
async def _tapped(trial: Trial[RuntimeCase]) -> None:
    for capacity in CAPACITIES:
        trial.given(f"a tap that takes a minute for each element; capacity {capacity}")

        async def dawdle(_: TextElement) -> None:
            await anyio.sleep(60)

        builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(copying("a"))
        pipeline = builder.tap("a", SinkStage(dawdle, name="slow")).build()
        async with pipeline.execute(texts(40)) as run:
            began_s = anyio.current_time()
            got = 0
            async for element in run:
                got += isinstance(element, TextElement)
                if got == 40:
                    break
            took_s = anyio.current_time() - began_s
        trial.require(took_s == 0, f"the main path took {took_s:g} s")
        await assert_all_stages_stopped()


@rule(
    "RT-22",
    "Where one branch of a fork has enough, the others get everything.",
    holds="4.7",
    subject="runtime",
)
async def _outlived(trial: Trial[RuntimeCase]) -> None:
    for capacity in CAPACITIES:
        trial.given(f"a branch that takes 2 of 20, beside one that takes all; capacity {capacity}")
        builder = PipelineBuilder(PipelineConfig(buffer_size=capacity))
        builder.add(copying("in"), TakeStage(2, name="few"), copying("all"), PassthroughStage("out"))
        pipeline = builder.branch("in", "few", "all").merge("out", "few", "all").build()
        with EdgeLedger() as ledger:
            got = Counter(words_of(await outcome_of(pipeline, texts(20))))
        ledger.check(ended=True)
        wanted = Counter(words_of(texts(20))) + Counter(["0", "1"])
        trial.require(got == wanted, f"lost {[*(wanted - got)]}, too much {[*(got - wanted)]}")


@rule("RT-23", "A balance gives no work to one who is busy while another is free.", holds="4.16", subject="runtime")
async def _balanced(trial: Trial[RuntimeCase]) -> None:
    trial.given("a worker that needs a minute for each element, beside one that is quick; an element a second")
    done: list[str] = []

    async def slow(element: TextElement) -> None:
        await anyio.sleep(60)
        done.append(f"slow {element.text}")

    async def quick(element: TextElement) -> None:
        await anyio.sleep(0.1)
        done.append(f"quick {element.text}")

    async def source() -> AsyncIterator[StreamElement]:
        for one in texts(20):
            await anyio.sleep(1)
            yield one

    builder = PipelineBuilder(PipelineConfig(buffer_size=4)).add(copying("in"))
    pipeline = builder.balance("in", SinkStage(slow, name="slow"), SinkStage(quick, name="quick")).build()
    await outcome_of(pipeline, source())
    share = sum(one.startswith("slow") for one in done)
    trial.require(len(done) == 20, f"{len(done)} of 20 were done: {done}")
    trial.require(share <= 2, f"the slow one was given {share} of 20, and the quick one was free")


@rule("RT-24", "A route sends each element one way, and only there.", holds="4.15", subject="runtime")
async def _routed(trial: Trial[RuntimeCase]) -> None:
    trial.given("odd ones and even ones, to two sinks")
    sunk: dict[str, list[StreamElement]] = {"even": [], "odd": []}
    builder = PipelineBuilder(PipelineConfig(buffer_size=2)).add(copying("in"))
    builder.add(*(CollectStage(into, name=name) for name, into in sunk.items()))
    router = Router.by_function(parity, "even", "odd")
    await outcome_of(builder.route("in", router, default="even").build(), texts(11))
    seen = {name: words_of(into) for name, into in sunk.items()}
    wanted = {"even": [str(one) for one in range(0, 11, 2)], "odd": [str(one) for one in range(1, 11, 2)]}
    trial.require(seen == wanted, f"{seen} came")


@rule("RT-25", "With weights, each input of a merge gets its share, and none starves.", holds="4.23", subject="runtime")
async def _weighted(trial: Trial[RuntimeCase]) -> None:
    trial.given("two inputs of weights 3 and 1 that always have something")
    builder = PipelineBuilder(PipelineConfig(buffer_size=16)).add(copying("first"), copying("second"), late("out"))
    pipeline = builder.merge("out", "first", "second", policy=Prioritized((3, 1))).build()
    sources = {name: [TextElement(name[0]) for _ in range(12)] for name in ("first", "second")}
    got = "".join(words_of(await outcome_of(pipeline, sources)))
    firsts = got[:16].count("f")
    trial.require(firsts == 12, f"of the first 16 elements {firsts} are of the first input: {got}")
    trial.require("ffff" not in got[:12], f"the second input waited for too many: {got}")


@rule("RT-26", "What can wait does not wait for ever, however much is urgent.", holds="2.6", subject="runtime")
async def _not_starved(trial: Trial[RuntimeCase]) -> None:
    trial.given("one element of low priority among 120 that are urgent, an edge that always has one of those")
    urgent: list[StreamElement] = [TextElement(f"u{one}", priority=Priority.HIGH) for one in range(120)]
    elements = [*urgent[:10], TextElement("low", priority=Priority.LOW), *urgent[10:]]

    async def pressing() -> AsyncIterator[StreamElement]:  # async: another source is asked only when the edge is empty
        for element in elements:
            yield element

    pipeline = PipelineBuilder(PipelineConfig(buffer_size=8, priority=True)).chain(late("a")).build()
    got = words_of(await outcome_of(pipeline, pressing()))
    trial.require(len(got) == 121, f"{len(got)} of 121 came")
    trial.require(got.index("low") <= 10 + 33, f"{got.index('low') - 10} passed it")


@rule(
    "RT-30",
    "A wait for an element that is cancelled takes nothing: who asks again gets it, in its turn.",
    holds="2.3",
    subject="runtime",
)
async def _asked_again(trial: Trial[RuntimeCase]) -> None:
    for capacity, ticks in itertools.product((1, 2), range(6)):
        trial.given(
            f"a stage whose wait is cancelled {ticks} turns after it began, again and again; capacity {capacity}"
        )

        @stage(name="impatient", helpers=True)
        async def impatient(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            while True:
                found: list[TextElement] = []
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(cancel_after, tasks.cancel_scope, ticks)  # noqa: B023 - awaited in this round
                    with suppress(anyio.EndOfStream):
                        found.append(await input.receive())
                    tasks.cancel_scope.cancel()
                if found:
                    await output.send(found[0])
                elif input.at_end:
                    return
                await checkpoint()

        builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(copying("a"), impatient)
        got = words_of(await outcome_of(builder.build(), slowly(8)))
        trial.require(got == [*"01234567"], f"{got} came")


@rule(
    "RT-31",
    "A wait for room that is cancelled has sent nothing: who sends again has sent once.",
    holds="2.3",
    subject="runtime",
)
async def _sent_again(trial: Trial[RuntimeCase]) -> None:
    for capacity, ticks in itertools.product((1, 2), range(6)):
        trial.given(
            f"a stage whose wait for room is cancelled after {ticks} turns, again and again; capacity {capacity}"
        )

        @stage(name="impatient", helpers=True)
        async def impatient(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            async for element in input:
                await send_in_tries(output, element, ticks)  # noqa: B023 - awaited in this round

        builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(impatient, waking("b"))
        got = words_of(await outcome_of(builder.build(), texts(8)))
        trial.require(got == [*"01234567"], f"{got} came")


@rule(
    "RT-32", "Tasks that wait for room on one edge all get their turn, in their order.", holds="2.4", subject="runtime"
)
async def _in_turn(trial: Trial[RuntimeCase]) -> None:
    for capacity, ticks in ((1, 0), (2, 3), (16, 1), *((1, ticks) for ticks in range(1, 16))):
        what = "five tasks of a stage that send three elements each"
        trial.given(f"{what}, two of them in tries of {ticks} turns; capacity {capacity}")

        @stage(name="crowd", helpers=True)
        async def crowd(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            async for _ in input:
                pass

            async def send(name: str) -> None:
                for number in range(3):
                    element = TextElement(f"{name}{number}")
                    if name in "ab":
                        await send_in_tries(output, element, ticks)  # noqa: B023 - awaited in this round
                    else:
                        await output.send(element)

            async with anyio.create_task_group() as tasks:
                for name in "abcde":
                    tasks.start_soon(send, name)

        builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).chain(crowd, waking("b"))
        got = words_of(await outcome_of(builder.build(), []))
        wanted = sorted(f"{name}{number}" for name in "abcde" for number in range(3))
        trial.require(sorted(got) == wanted, f"{got} came")
        for name in "abcde":
            own = [one for one in got if one[0] == name]
            trial.require(own == sorted(own), f"order lost: {own}")


@rule("RT-34", "A fork goes no faster than its slowest branch.", holds="4.6", subject="runtime")
async def _slowest(trial: Trial[RuntimeCase]) -> None:
    for capacity in CAPACITIES:
        trial.given(f"two branches, one of which stands still; capacity {capacity}")
        seen: list[StreamElement] = []

        async def stand(_: TextElement) -> None:
            await anyio.sleep(LONG_S)

        builder = PipelineBuilder(PipelineConfig(buffer_size=capacity)).add(copying("in"))
        builder.branch("in", SinkStage(stand, name="stands"), CollectStage(seen, name="runs"))
        async with builder.build().execute(texts(60)):
            await anyio.sleep(1)
            # What the sink has taken makes room for one, but who waits for room is woken when half of it is there.
            given = len(seen) in {capacity, capacity + 1}
            trial.require(given, f"the other branch was given {len(seen)} of {capacity + 1}")
        await assert_all_stages_stopped()


@rule(
    "RT-33",
    "A loop whose way out is bounded by weight gives all that goes around, and ends.",
    holds="4.27",
    subject="runtime",
)
async def _weighed_loop(trial: Trial[RuntimeCase]) -> None:
    for capacity in (1, 2):
        trial.given(f"words that lose a letter each round, a way out of that weight; capacity {capacity}")

        @stage(name="decide", outputs={"again": TextElement, "done": TextElement})
        async def decide(input: ReceiveEnd[TextElement], outputs: Mapping[str, SendEnd[TextElement]]) -> None:
            async for element in input:
                if len(element.text) > 1:
                    await outputs["again"].send(TextElement(element.text[1:]))
                else:
                    await outputs["done"].send(element)

        async def later(element: TextElement) -> TextElement:
            await anyio.sleep(1)
            return element

        config = PipelineConfig(buffer_size=capacity)
        builder = PipelineBuilder(config).chain(PassthroughStage("in"), MapStage(later, name="later"), decide)
        builder.feedback("decide:again", "in", buffer=20).add(PassthroughStage("out"))
        builder.connect("decide:done", "out", weight=Weight(2, "letters", one_each))
        words = ["abc", "de", "f", "ghi", "jk"]
        got = sorted(words_of(await outcome_of(builder.build(), [TextElement(one) for one in words])))
        trial.require(got == ["c", "e", "f", "i", "k"], f"{got} came")
