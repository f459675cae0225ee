"""Routes, balances, taps and essential branches in running pipelines. Semantics 4.15 – 4.18."""

from __future__ import annotations

from collections import Counter, defaultdict

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import (
    DROP,
    AudioElement,
    DataElement,
    ErrorElement,
    MapAsyncStage,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    Router,
    SinkStage,
    StageError,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.errors import RoutingError
from streamflow.stages import TakeStage
from streamflow.testing import EdgeLedger, assert_all_stages_stopped, cancel_sweep

SOUND = AudioElement(b"\0\0")


def marking(name, accepts=TextElement):
    """A stage that writes its name behind each text."""
    return MapStage(
        lambda element: TextElement(f"{element.text}>{name}"), name=name, accepts=accepts, emits=TextElement
    )


def texts(elements):
    return [one.text for one in elements if isinstance(one, TextElement)]


def first_letter(element):
    return element.text[0]


# Routes


@pytest.mark.parametrize("priority", [False, True], ids=["plain", "lanes"])
async def test_each_element_goes_one_way_and_control_leaves_the_join_once(priority) -> None:
    """semantics 4.15, 4.9: data is not doubled by a diamond; a turn stays together."""
    router = Router.by_rules((lambda element: element.text < "c", marking("low")), (lambda _: True, marking("high")))
    builder = PipelineBuilder(PipelineConfig(priority=priority)).route(PassthroughStage("in"), router, default=DROP)
    pipeline = builder.merge(PassthroughStage("out"), "low", "high").build()
    with EdgeLedger() as ledger:
        result = await pipeline.run([*map(TextElement, "adbe"), TurnEnd(index=0), TextElement("a"), TurnEnd(index=1)])
    ends = [number for number, one in enumerate(result.elements) if isinstance(one, TurnEnd)]
    assert sorted(texts(result.elements[: ends[0]])) == ["a>low", "b>low", "d>high", "e>high"]
    assert texts(result.elements[ends[0] :]) == ["a>low"]
    assert len(ends) == 2
    ledger.check(ended=True)


async def test_content_goes_by_its_type_and_the_rest_to_the_default() -> None:
    """semantics 4.15: also a subclass; what is dropped by declaration is counted as `unrouted`."""

    class LoudElement(TextElement, frozen=True):
        pass

    builder = PipelineBuilder().add(PassthroughStage("t"), PassthroughStage("s"), PassthroughStage("rest"))
    routes = {TextElement: "t", AudioElement: "s"}
    source = [TextElement("a"), SOUND, LoudElement("b"), DataElement("x"), TurnEnd()]
    for default, expected in (("rest", {}), (DROP, {"unrouted": 1})):
        clone = builder.clone() if default == "rest" else PipelineBuilder().add(*map(PassthroughStage, "ts"))
        pipeline = clone.route(PassthroughStage("in"), Router.by_type(routes), default=default).build()
        got = defaultdict(list)

        async def read(name, elements, got=got):
            got[name] = [element async for element in elements]

        async with pipeline.execute(source) as run, anyio.create_task_group() as readers:
            for leaf in pipeline.graph.leaves:
                readers.start_soon(read, leaf.stage, run.output(leaf.stage))
        assert got["t"] == [source[0], source[2], TurnEnd()]
        assert got["s"] == [SOUND, TurnEnd()]
        assert got["rest"] == ([DataElement("x"), TurnEnd()] if default == "rest" else [])
        assert run.stats().stages["in"].dropped == expected


async def test_whose_turn_it_is_begins_anew_in_each_run() -> None:
    """semantics 4.15, 3.4: runs at the same time share no state either."""
    router = Router.round_robin(marking("a"), marking("b"))
    pipeline = PipelineBuilder().route(PassthroughStage("in"), router).build()
    results = []

    async def once():
        results.append(sorted(texts((await pipeline.run(list("123"))).elements)))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(once)
    results.append(sorted(texts((await pipeline.run("1")).elements)))
    assert results == [["1>a", "2>b", "3>a"]] * 3 + [["1>a"]]
    assert sorted(texts((await pipeline.run(list("123"))).elements)) == ["1>a", "2>b", "3>a"]


def fails(_element):
    message = "no idea"
    raise ValueError(message)


@pytest.mark.parametrize(
    ("router", "cause"),
    [
        (Router.by_rules((fails, "a")), ValueError),
        (Router.by_function(lambda _: "z", "a"), RoutingError),
        (Router.by_key(lambda _: None, "a"), RoutingError),
        (Router.by_rules((lambda _: True, "s")), RoutingError),
    ],
    ids=["rule", "name", "key", "type"],
)
async def test_a_rule_that_fails_is_a_failure_of_the_stage_that_sends(router, cause) -> None:
    """semantics 4.15, 6.1: with the element's number; what was sent before arrives."""
    builder = PipelineBuilder().add(PassthroughStage("in"))
    builder.add(MapStage(lambda one: one, name="s", accepts=AudioElement) if router.choices == ("s",) else marking("a"))
    builder.chain(PassthroughStage("first"), "in").route("in", router, default=DROP if router.may_miss else None)
    run = builder.build().execute(["1", "2"])
    with pytest.raises(StageError) as caught:
        async for _ in run:
            pass
    assert caught.value.stage == "in"
    assert caught.value.index == 0
    assert isinstance(caught.value.__cause__, cause)


async def test_what_passes_the_stage_by_is_routed_and_asked_about_once() -> None:
    """semantics 4.15, 3.3: behind the results of what the stage took before."""
    asked = []

    def by_type_name(element):
        asked.append(element)
        return type(element).__name__

    builder = PipelineBuilder(PipelineConfig(buffer_size=1)).add(marking("in"))
    targets = [PassthroughStage("TextElement"), PassthroughStage("AudioElement")]
    builder.route("in", Router.by_function(by_type_name, *targets), default=DROP)
    pipeline = builder.merge(PassthroughStage("out"), *targets).build()
    source = [TextElement("1"), SOUND, TextElement("2"), SOUND] * 10
    result = await pipeline.run(source)
    assert len(asked) == 40
    assert Counter(map(type, result.elements)) == {TextElement: 20, AudioElement: 20}


async def test_a_stage_that_has_enough_ends_its_branch_alone() -> None:
    """semantics 4.15, 4.7: the rest for it is dropped and counted; in turn, the others take its place."""
    for router, expected in (
        (Router.by_function(first_letter, "a", "b"), {"no_more_needed"}),
        (Router.round_robin("a", "b"), set()),
    ):
        builder = PipelineBuilder(PipelineConfig(buffer_size=1)).add(TakeStage(1, name="a"), PassthroughStage("b"))
        builder.route(PassthroughStage("in"), router, default=DROP if router.may_miss else None)
        pipeline = builder.build()
        async with pipeline.execute([f"{'ab'[number % 2]}{number}" for number in range(40)]) as run:
            got = texts([element async for element in run])
        dropped = run.stats().stages["in"].dropped
        assert set(dropped) == expected
        lost = run.stats().edges["in → a"].counts.discarded.get("no_more_needed", 0) + sum(dropped.values())
        assert len(got) + lost == 40
        if not expected:
            assert len(got) >= 38


async def test_a_slow_branch_stops_what_comes_behind_unless_its_edge_is_wide() -> None:
    """semantics 4.15: head-of-line blocking, and the way out."""

    async def slow(element: TextElement) -> TextElement:
        await anyio.sleep(10)
        return element

    for buffer, time in ((1, 50), (16, 0)):
        builder = (
            PipelineBuilder(PipelineConfig(buffer_size=1))
            .add(PassthroughStage("in"))
            .connect("in", slow, buffer=buffer)
        )
        builder.route("in", Router.by_rules((lambda one: one.text == "s", "slow")), default=PassthroughStage("fast"))
        async with builder.build().execute([*"sssssss", "x"]) as run:
            begun = anyio.current_time()
            async for element in run:
                if isinstance(element, TextElement) and element.text == "x":
                    assert anyio.current_time() - begun == pytest.approx(time)


@pytest.mark.parametrize("way", ["route", "balance"])
async def test_one_port_can_route_while_another_is_a_plain_edge(way) -> None:
    """semantics 4.13, 4.15: the stage says what goes to which port; what passes it by goes one way on each."""

    @stage(outputs={"x": TextElement, "y": TextElement})
    async def sort(input, outputs):
        async for element in input:
            await outputs["x" if element.text < "5" else "y"].send(element)

    sort.accepts = TextElement
    builder = PipelineBuilder().add(sort, PassthroughStage("a"), PassthroughStage("b"), PassthroughStage("y"))
    builder.connect("sort:y", "y")
    if way == "route":
        builder.route("sort:x", Router.round_robin("a", "b"))
    else:
        builder.balance("sort:x", "a", "b")
    pipeline = builder.tap("sort:y", SinkStage(lambda _: None, name="t")).build()
    async with pipeline.execute([*map(TextElement, "123789"), *[DataElement("d")] * 4, TurnEnd()]) as run:
        got = [element async for element in run]
    counts = {name: edge.counts.received for name, edge in run.stats().edges.items()}
    assert counts["sort:x → a"] + counts["sort:x → b"] == 3 + 4 + 2
    assert counts["sort:y → y"] == counts["sort:y → t"] == 3 + 4 + 1
    assert sorted(texts(got)) == list("123789")
    assert sum(isinstance(one, TurnEnd) for one in got) == 1


class Drawn:
    """Routers that were drawn, each with the model of where it sends an element; `None`: nowhere."""

    NAMES = "abc"

    @staticmethod
    def make(kind):
        number = {name: place for place, name in enumerate(Drawn.NAMES)}
        match kind:
            case "rules":
                rules = [(lambda element, name=name: element.text[0] == name, name) for name in Drawn.NAMES]
                return Router.by_rules(
                    *rules
                ), lambda n, element: element.text[0] if element.text[0] in number else None
            case "function":
                router = Router.by_function(
                    lambda element: {"x": None}.get(element.text[0], element.text[0]), *Drawn.NAMES
                )
                return router, lambda n, element: element.text[0] if element.text[0] in number else None
            case "round_robin":
                return Router.round_robin(*Drawn.NAMES), lambda n, _: Drawn.NAMES[n % 3]
            case "weight":
                return Router.by_weight({"a": 2, "b": 1, "c": 1}), lambda n, _: "abca"[n % 4]
            case _:
                return Router.by_key(first_letter, *Drawn.NAMES), None


@given(
    kind=st.sampled_from(["rules", "function", "round_robin", "weight", "key"]),
    letters=st.lists(st.sampled_from("abcx/"), max_size=40),
    capacity=st.sampled_from([1, 2, 16]),
    has_default=st.booleans(),
    takes=st.none() | st.integers(1, 5),
    tapped=st.booleans(),
)
async def test_each_branch_gets_its_part_in_order_and_nothing_is_lost(
    *, kind, letters, capacity, has_default, takes, tapped
) -> None:
    """semantics 4.15, 4.17: any router, any stream, a branch that has enough; a tap changes nothing."""
    router, model = Drawn.make(kind)
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity))
    builder.add(*map(PassthroughStage, "bc"), PassthroughStage("a") if takes is None else TakeStage(takes, name="a"))
    default = ("rest" if has_default else DROP) if router.may_miss else None
    if default == "rest":
        builder.add(PassthroughStage("rest"))
    builder.route(PassthroughStage("in"), router, default=default)
    if tapped:
        builder.tap("in", SinkStage(lambda _: None, name="t"), buffer=1)
    source = [TurnEnd(index=n) if one == "/" else TextElement(f"{one}{n}") for n, one in enumerate(letters)]
    pipeline = builder.build()
    got = defaultdict(list)

    async def read(name, elements):
        got[name] = [element async for element in elements]

    with EdgeLedger() as ledger:
        async with pipeline.execute(source) as run, anyio.create_task_group() as readers:
            for leaf in pipeline.graph.leaves:
                readers.start_soon(read, leaf.stage, run.output(leaf.stage))
    ledger.check(ended=True)
    data = [one for one in source if isinstance(one, TextElement)]
    ways = {id(one): model(n, one) if model else None for n, one in enumerate(data)}
    dropped = sum(run.stats().stages["in"].dropped.values())
    dropped += sum(sum(edge.counts.discarded.values()) for name, edge in run.stats().edges.items() if name == "in → a")
    for name in ("bc" if takes is not None else "abc") if model else "":
        if takes is None or kind in ("rules", "function"):
            mine = [one for one in source if isinstance(one, TurnEnd) or ways[id(one)] == name]
            assert got[name] == mine
    for elements in got.values():
        order = [source.index(one) for one in elements]
        assert order == sorted(order)
    arrived = Counter(one.text for elements in got.values() for one in elements if isinstance(one, TextElement))
    assert set(arrived.values()) <= {1}
    unrouted = sum(ways[id(one)] is None for one in data) if model and default is DROP else 0
    if takes is None:
        assert len(arrived) + unrouted == len(data)
        assert dropped == unrouted


async def test_a_route_can_be_cancelled_at_any_moment() -> None:
    """semantics 7.1, 4.15: nothing is left, whatever waits."""
    router = Router.by_key(first_letter, marking("a"), marking("b"))
    builder = PipelineBuilder(PipelineConfig(buffer_size=1)).route(PassthroughStage("in"), router)
    builder.balance("a", *map(PassthroughStage, "xy")).tap("b", SinkStage(lambda _: None, name="t"))
    pipeline = builder.branch("b", PassthroughStage("z"), essential=[PassthroughStage("w")]).build()

    async def scenario():
        async with pipeline.execute([f"{letter}" for letter in "abch"]) as run:
            async for _ in run:
                await anyio.lowlevel.checkpoint()

    async def check(_):
        await assert_all_stages_stopped()

    await cancel_sweep(scenario, check=check)


# Balances


async def test_work_goes_to_whoever_is_free() -> None:
    """semantics 4.16: with one slow worker and one quick one, the quick one does what the slow one cannot."""
    done = defaultdict(list)

    def worker(name, seconds):
        async def work(element: TextElement) -> TextElement:
            await anyio.sleep(seconds)
            done[name].append(element.text)
            return element

        return MapAsyncStage(work, concurrency=1, name=name)

    builder = PipelineBuilder().balance(PassthroughStage("in"), worker("slow", 10), worker("quick", 1), buffer=1)
    source = [str(number) for number in range(24)]
    async with builder.build().execute(source) as run:
        begun = anyio.current_time()
        got = texts([element async for element in run])
        assert anyio.current_time() - begun <= 30
    assert sorted(got, key=int) == source
    assert len(done["slow"]) <= 4
    assert all(several == sorted(several, key=int) for several in done.values())


async def test_when_a_worker_has_enough_the_others_do_the_rest() -> None:
    """semantics 4.16: only what it had taken, or was sent, is lost; when all have gone, the source is told."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=1)).balance(
        PassthroughStage("in"), TakeStage(2, name="a"), PassthroughStage("b")
    )
    async with builder.build().execute([str(number) for number in range(50)]) as run:
        got = texts([element async for element in run])
    stats = run.stats()
    assert len(got) + stats.edges["in → a"].counts.discarded.get("no_more_needed", 0) == 50
    assert stats.stages["in"].dropped == {}


# Taps


@pytest.mark.parametrize("main", ["consumer", "stage", "branches", "route", "balance"])
@pytest.mark.parametrize(
    "config", [{}, {"priority": True}, {"metrics": True, "tracing": True, "idle_timeout_s": 50.0}], ids=str
)
async def test_a_tap_that_stands_still_slows_nobody(main, config) -> None:
    """semantics 4.17: the main path has everything at once; what the tap missed is counted."""
    seen = []

    async def look(element):
        await anyio.sleep(5)
        seen.append(element)

    builder = PipelineBuilder(PipelineConfig(buffer_size=4, **config)).tap(
        PassthroughStage("in"), SinkStage(look, name="t")
    )
    first, second = PassthroughStage("x"), PassthroughStage("y")
    match main:
        case "stage":
            builder.chain("in", first)
        case "branches":
            builder.branch(
                "in",
                marking("x"),
                MapStage(lambda one: one, name="y", accepts=AudioElement),
                otherwise=second.__class__("z"),
            )
        case "route":
            builder.route("in", Router.round_robin(first, second))
        case "balance":
            builder.balance("in", first, second)
    async with builder.build().execute([str(number) for number in range(100)]) as run:
        begun, got = anyio.current_time(), []
        async for element in run:
            if isinstance(element, TextElement):
                got.append(int(element.text.partition(">")[0]))
                assert anyio.current_time() == begun
    assert sorted(got) == list(range(100))
    tap = run.stats().edges["in → t"].counts
    assert tap.sent == 100
    assert tap.received == len(seen) == 100 - tap.discarded["overflow"]
    assert texts(seen) == sorted(texts(seen), key=int)


async def test_the_run_ends_though_only_a_tap_still_listens() -> None:
    """semantics 4.17: with a source that gives nothing more, when the consumer's path has had enough."""
    stopped = []

    async def source():
        try:
            yield "1"
            yield "2"
            await anyio.sleep_forever()
        finally:
            stopped.append(True)

    seen = []
    builder = PipelineBuilder().chain(PassthroughStage("in"), TakeStage(1, name="out"))
    pipeline = builder.tap("in", SinkStage(seen.append, name="t")).build()
    with anyio.fail_after(5):
        result = await pipeline.run(source())
    assert texts(result.elements) == ["1"]
    assert stopped == [True]
    assert "1" in texts(seen)


async def test_a_tap_that_has_enough_or_ends_in_the_output_changes_nothing_else() -> None:
    """semantics 4.17, 4.11: its end is ignored; what it sends on is an output of its own."""
    builder = PipelineBuilder().tap(PassthroughStage("in"), TakeStage(1, name="one"))
    result = await builder.build().run(["1", "2", "3"])
    assert sorted(texts(result.elements)) == ["1", "1", "2", "3"]


# Essential branches


async def test_with_its_essential_branch_a_fork_ends_and_what_feeds_it() -> None:
    """semantics 4.18: also while the source gives nothing more; the other branch completes what it has."""

    async def source():
        for text in "123":
            yield text
        await anyio.sleep_forever()

    builder = PipelineBuilder().branch(
        PassthroughStage("in"), PassthroughStage("b"), essential=[TakeStage(2, name="a")]
    )
    with anyio.fail_after(5):
        result = await builder.build().run(source())
    got = texts(result.elements)
    assert result.reason == "done"
    assert Counter(got) >= Counter(["1", "1", "2", "2"])


async def test_a_failure_beside_an_essential_branch_is_told_as_ever() -> None:
    """semantics 4.18, 6.1: no branch is taken for one that has had enough."""
    builder = PipelineBuilder().branch(
        PassthroughStage("in"), PassthroughStage("b"), essential=[MapStage(fails, name="a")]
    )
    elements = []
    with pytest.raises(StageError) as caught:
        async for element in builder.build().execute("1"):
            elements.append(element)
    assert caught.value.stage == "a"
    assert [one.stage for one in elements if isinstance(one, ErrorElement)] == ["a"]


# The bound


@pytest.mark.parametrize("way", ["route", "balance", "tap", "dynamic"])
async def test_what_is_in_flight_is_bounded(way) -> None:
    """semantics 5.5: behind a consumer that does not read, for each way to divide a stream."""
    made = []

    def source():
        for number in range(1000):
            made.append(number)
            yield TurnEnd(index=number) if number % 2 else TextElement(str(number))

    builder = PipelineBuilder(PipelineConfig(buffer_size=3)).add(*map(PassthroughStage, "abc"))
    match way:
        case "route":
            builder.route("a", Router.round_robin("b", "c"))
        case "balance":
            builder.balance("a", "b", "c")
        case "tap":
            builder.chain("a", "b", "c").tap("b", SinkStage(lambda _: anyio.sleep_forever(), name="t"))
        case _:
            builder.chain("a", "b", "c").branch("b", dynamic=True)
    pipeline = builder.build()
    async with pipeline.execute(source()) as run:
        await anext(run)
        await anyio.sleep(1)
        inside = sum(edge.counts.buffered for edge in run.stats().edges.values())
        assert inside <= pipeline.max_in_flight
        assert len(made) <= pipeline.max_in_flight + 1


@pytest.mark.parametrize("way", ["route", "balance", "branch"])
async def test_an_ordered_merge_restores_the_order_below_any_of_them(way) -> None:
    """semantics 4.15, 4.16: what went different ways comes back in the order of the source; a tap and guests see no marker."""

    async def slow(element: TextElement) -> TextElement:
        await anyio.sleep(7)
        return element

    builder = PipelineBuilder(PipelineConfig(buffer_size=2)).add(PassthroughStage("in"), PassthroughStage("quick"))
    builder.add(MapAsyncStage(slow, concurrency=1, name="slow"))
    match way:
        case "route":
            builder.route(
                "in",
                Router.by_function(lambda one: "slow" if one.text < "5" else "quick", "slow", "quick"),
                default=DROP,
            )
        case "balance":
            builder.balance("in", "slow", "quick")
        case _:
            builder.branch("in", "slow", "quick", dynamic=True)
    seen = []
    builder.tap("in", SinkStage(seen.append, name="t"), buffer=100)
    pipeline = builder.merge(PassthroughStage("out"), "slow", "quick", policy="ordered").build()
    source = [str(number) for number in (9, 1, 8, 2, 7, 7, 3, 6, 4)]
    async with pipeline.execute(source) as run:
        guest = run.subscribe("in", buffer=100) if way == "branch" else None
        got = texts([element async for element in run])
    assert got == [text for text in source for _ in range(2 if way == "branch" else 1)]
    assert texts(seen) == source
    if guest is not None:
        assert [element async for element in guest] == [TextElement(text) for text in source]


async def test_a_tap_that_fails_fails_alone() -> None:
    """semantics 4.17, 6.8: it is told as failed, and the main path has everything."""
    builder = PipelineBuilder().tap(PassthroughStage("in"), SinkStage(fails, name="t"))
    failed = []
    builder.on_event(lambda event: failed.append(event.stage) if event.name == "stage.failed" else None)
    result = await builder.build().run(["1", "2", "3"])
    assert texts(result.elements) == ["1", "2", "3"]
    assert result.reason == "done"
    assert failed == ["t"]


async def test_a_branch_may_be_optional_beside_an_essential_one() -> None:
    """semantics 4.18, 6.8: the one may fail, the other ends the fork."""
    builder = PipelineBuilder().branch(
        PassthroughStage("in"), essential=[TakeStage(2, name="a")], optional=[MapStage(fails, name="b")]
    )
    pipeline = builder.build()
    (fork,) = pipeline.graph.forks
    assert [str(one) for one in (*fork.essential, *fork.optional)] == ["a", "b"]
    again = type(pipeline).from_dict(pipeline.to_dict(), {node.name: node.stage for node in pipeline.graph.nodes})
    for one in (pipeline, again):
        result = await one.run(["1", "2", "3"])
        assert texts(result.elements) == ["1", "2"]
