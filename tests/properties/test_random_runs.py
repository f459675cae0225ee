"""Random graphs against a reference that needs no tasks: same output, each boundary once and in its place, same failure, no hang.

Held: semantics 3.1, 3.3, 4.3–4.5, 5.4–5.6; SF-59 and SF-60 for graphs. Each example runs with random pauses on both loops; on
virtual time a hang is an error.
"""

from __future__ import annotations

import dataclasses
import random
import re
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterable

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from streamflow import (
    AudioElement,
    ControlElement,
    DataElement,
    EndOfStream,
    ErrorElement,
    Pipeline,
    PipelineBuilder,
    PipelineConfig,
    ReceiveEnd,
    Run,
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
from streamflow.testing import EdgeLedger, assert_all_stages_stopped, cancel_sweep

# What is drawn


@dataclasses.dataclass(frozen=True)
class Step:
    """One stage."""

    number: int
    kind: str
    accepts: str
    """The letters of what it takes: t for texts, s for sounds, d for other data."""
    parents: tuple[int, ...]
    limit: int = 0
    """How many elements it takes before it fails, or returns."""
    pause: int = 0
    """How often it lets others run for each element."""

    @property
    def name(self) -> str:
        return f"{self.kind}{self.number}"


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A graph, and what runs through it."""

    steps: tuple[Step, ...]
    rests: frozenset[int]
    """Stages that take what no other branch of their parent does."""
    turns: dict[int, tuple[str, ...]]
    """For each head, the letters of what its source gives; a turn each, ended by a boundary except for the last one."""
    capacity: int
    constant: bool
    """Whether all ends of turns are one object."""
    seed: int

    def children(self, number: int) -> list[int]:
        return [one.number for one in self.steps if number in one.parents]

    @property
    def heads(self) -> list[int]:
        return [one.number for one in self.steps if not one.parents]

    @property
    def leaves(self) -> list[int]:
        return [one.number for one in self.steps if one.kind != "sink" and not self.children(one.number)]

    def of_kind(self, *kinds: str) -> list[Step]:
        return [one for one in self.steps if one.kind in kinds]


HARMLESS = ["map", "pass", "filter", "double", "gather", "sink"]
TAKES = {"pass": "tsd", "gather": "t", "filter": "t", "double": "t", "keep": "t", "own": "t", "both": "t"}
LETTERS = st.text("ttssdu", max_size=8)


@st.composite
def graphs(draw: st.DrawFn, *further: str, heads: int = 1) -> Drawn:
    """Draw a graph of at most 8 stages; `further` are kinds that it may have besides the harmless ones."""
    count = draw(st.integers(1, 8))
    steps: list[Step] = []
    for number in range(count):
        before = [one.number for one in steps if one.kind != "sink"]
        parents: set[int] = set()
        if number >= heads and before:
            parents = draw(st.sets(st.sampled_from(before), min_size=1, max_size=3))
        kind = draw(st.sampled_from([*HARMLESS, *further]))
        if kind == "sink" and not parents:
            kind = "pass"
        accepts = TAKES.get(kind) or draw(st.sampled_from(["t", "s", "ts"]))
        pause, limit = draw(st.integers(0, 2)), draw(st.integers(0, 5))
        steps.append(Step(number, kind, accepts, tuple(sorted(parents)), limit, pause))
    rests = [
        children[-1]
        for children in ([one.number for one in steps if one.parents[:1] == (number,)] for number in range(count))
        if len(children) > 1 and len(steps[children[-1]].parents) == 1 and draw(st.booleans())
    ]
    first = [one.number for one in steps if not one.parents]
    turns = {number: tuple(draw(st.lists(LETTERS, min_size=1, max_size=5))) for number in first}
    return Drawn(
        steps=tuple(steps),
        rests=frozenset(rests),
        turns=turns,
        capacity=draw(st.sampled_from([1, 2, 3, 16])),
        constant=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32)),
    )


# What it is when it runs

TYPES: dict[str, type[StreamElement]] = {"t": TextElement, "s": AudioElement, "d": DataElement}


class Bench:
    """The pipeline of a drawn graph, its sources, and what its sinks got."""

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn
        self.sunk: dict[int, list[StreamElement]] = {one.number: [] for one in drawn.of_kind("sink")}
        self.random = random.Random(drawn.seed)
        builder = PipelineBuilder(PipelineConfig(buffer_size=drawn.capacity))
        for one in drawn.steps:
            builder.add(self._stage(one))
        for one in drawn.steps:
            names = [drawn.steps[child].name for child in drawn.children(one.number) if child not in drawn.rests]
            rest = [drawn.steps[child].name for child in drawn.children(one.number) if child in drawn.rests]
            if len(names) + len(rest) > 1:
                builder.branch(one.name, *names, otherwise=rest[0] if rest else None)
            elif names:
                builder.connect(one.name, names[0])
        for one in drawn.steps:
            if len(one.parents) > 1:
                builder.merge(one.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.pipeline: Pipeline = builder.build()

    def _stage(self, step: Step) -> object:
        accepts = tuple(TYPES[letter] for letter in step.accepts)
        takes_ends = step.kind in {"gather", "keep", "own", "both"}

        async def work(input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
            await getattr(self, f"_{step.kind}")(step, input, output)

        kind = {"sink": StageKind.SINK, "gather": StageKind.ACCUMULATE}.get(step.kind, StageKind.TRANSFORM)
        return stage(name=step.name, accepts=(*accepts, TurnEnd) if takes_ends else accepts, kind=kind)(work)

    async def _pause(self, times: int) -> None:
        for _ in range(times):
            if self.random.random() < 0.5:
                await checkpoint()
            elif self.random.random() < 0.2:
                await anyio.sleep(self.random.random())

    async def _map(self, step: Step, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async for element in input:
            await self._pause(step.pause)
            await output.send(marked(element, step.name))

    async def _pass(self, step: Step, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async for element in input:
            await self._pause(step.pause)
            await output.send(element)

    async def _filter(self, step: Step, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async for element in input:
            await self._pause(step.pause)
            if is_let_through(path_of(element)):
                await output.send(element)

    async def _double(self, step: Step, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async for element in input:
            await self._pause(step.pause)
            await output.send(marked(element, f"{step.name}a"))
            await output.send(marked(element, f"{step.name}b"))

    async def _gather(self, step: Step, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        kept: list[str] = []
        async for element in input:
            await self._pause(step.pause)
            if isinstance(element, TextElement):
                kept.append(f"{element.text}/{step.name}")
                continue
            if kept:
                await output.send(DataElement("gathered", list(kept)))
                kept.clear()
            await output.send(element)
        if kept:
            await output.send(DataElement("gathered", list(kept)))

    async def _early(self, step: Step, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        left = step.limit
        while left:
            await output.send(marked(await input.receive(), step.name))
            left -= 1

    async def _fail(self, step: Step, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        left = step.limit
        async for element in input:
            await self._pause(step.pause)
            if not left:
                raise ValueError(step.name)
            left -= 1
            await output.send(marked(element, step.name))

    async def _keep(self, step: Step, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async for element in input:
            await self._pause(step.pause)
            if isinstance(element, TextElement):
                await output.send(marked(element, step.name))

    async def _own(self, step: Step, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async for element in input:
            await self._pause(step.pause)
            await output.send(
                marked(element, step.name)
                if isinstance(element, TextElement)
                else element.replace(id=f"own{step.number}")
            )

    async def _both(self, step: Step, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        async for element in input:
            await self._pause(step.pause)
            if isinstance(element, TextElement):
                await output.send(marked(element, step.name))
            else:
                await output.send(element)
                await output.send(element.replace(id=f"own{step.number}"))

    async def _sink(self, step: Step, input: ReceiveEnd[StreamElement], _output: SendEnd[StreamElement]) -> None:
        async for element in input:
            await self._pause(step.pause)
            self.sunk[step.number].append(element)

    def source(self, head: int) -> list[StreamElement]:
        """Return what the source of a head gives."""
        end, made = TurnEnd(id=f"{head}"), []
        for number, turn in enumerate(self.drawn.turns[head]):
            if number:
                made.append(end if self.drawn.constant else end.replace(index=number))
            made += [TurnStart(index=number, id=f"{head}")] if number % 2 else []
            for place, letter in enumerate(turn):
                name = f"{head}:{number}.{place}"
                made.append(element_of(letter, name))
        return made

    def sources(self) -> dict[str, AsyncIterator[StreamElement]]:
        return {self.drawn.steps[head].name: self._fed(self.source(head)) for head in self.drawn.heads}

    async def _fed(self, elements: list[StreamElement]) -> AsyncIterator[StreamElement]:
        for element in elements:
            await self._pause(1)
            yield element


def element_of(letter: str, name: str) -> StreamElement:
    match letter:
        case "t":
            return TextElement(name)
        case "s":
            return AudioElement(b"", id=name)
        case "d":
            return DataElement("other", [name])
        case _:
            return UsageElement(Usage(), id=name)


def marked(element: StreamElement, name: str) -> StreamElement:
    if isinstance(element, TextElement):
        return TextElement(f"{element.text}/{name}")
    return element.replace(id=f"{element.id}/{name}")


def path_of(element: StreamElement) -> str:
    return element.text if isinstance(element, TextElement) else element.id


def is_let_through(path: str) -> bool:
    return int(re.match(r"\d+:\d+\.(\d+)", path)[1]) % 2 == 0


# What once went wrong


HELD_BACK = Drawn(  # a merge, behind a stage that has kept a boundary, holds back the next one
    steps=(
        Step(0, "pass", "tsd", ()),
        Step(1, "pass", "tsd", (0,)),
        Step(2, "keep", "t", (0, 1), pause=1),
        Step(3, "map", "t", (1, 2)),
        *(Step(number, "map", "t", (0,)) for number in range(4, 8)),
    ),
    rests=frozenset(),
    turns={0: ("", "dd", "", "")},
    capacity=1,
    constant=False,
    seed=0,
)

HELD_UP = Drawn(  # what keeps the boundary to itself stands still, because the boundary is held back further down
    steps=(
        Step(0, "map", "t", ()),
        Step(1, "pass", "tsd", (0,)),
        Step(2, "keep", "t", (0, 1)),
        Step(3, "pass", "tsd", (0, 1, 2)),
        Step(4, "keep", "t", (0, 2)),
    ),
    rests=frozenset(),
    turns={0: ("", "", "t")},
    capacity=1,
    constant=False,
    seed=0,
)
CROSSED = (
    Drawn(  # two inputs show a boundary, and the one that a stage has sent in its place, in different orders (on trio)
        steps=(
            Step(0, "pass", "tsd", ()),
            Step(1, "own", "t", (0,)),
            Step(2, "pass", "tsd", (0, 1)),
            Step(3, "filter", "t", (0, 1)),
            *(Step(number, "map", "t", (0,)) for number in (4, 5, 6, 7)),
        ),
        rests=frozenset(),
        turns={0: ("ddddd", "")},
        capacity=3,
        constant=False,
        seed=0,
    )
)
CROSSED_BELOW = Drawn(  # the same, with a fork below that copies both
    steps=(
        Step(0, "pass", "tsd", ()),
        Step(1, "own", "t", (0,)),
        Step(2, "pass", "tsd", (0, 1)),
        *(Step(number, "map", "t", (0,)) for number in (3, 4)),
        Step(5, "map", "t", (0, 1)),
        Step(6, "pass", "tsd", (2,)),
        Step(7, "map", "t", (2,)),
    ),
    rests=frozenset(),
    turns={0: ("ddd", "")},
    capacity=2,
    constant=False,
    seed=0,
)
CROSSED_ALIKE = Drawn(  # the same, where both forks lead to the very same inputs
    steps=(
        Step(0, "pass", "tsd", ()),
        Step(1, "own", "t", (0,)),
        Step(2, "gather", "t", (0, 1)),
        Step(3, "pass", "tsd", (0, 1), pause=2),
    ),
    rests=frozenset(),
    turns={0: ("ds", "dt", "")},
    capacity=4,
    constant=False,
    seed=0,
)
OVERTAKEN = Drawn(  # two ways with a boundary of a stage's own, of which one leads through two merges
    steps=(
        Step(0, "pass", "tsd", ()),
        Step(1, "own", "t", (0,)),
        Step(2, "double", "t", (0, 1)),
        Step(3, "double", "t", (1, 2)),
        Step(4, "pass", "tsd", (2,)),
    ),
    rests=frozenset(),
    turns={0: ("", "ddd", "tdd", "", "dt")},
    capacity=16,
    constant=False,
    seed=0,
)
STANDING_STILL = Drawn(  # a stage makes boundaries of those that another one has made
    steps=(
        Step(0, "pass", "tsd", ()),
        Step(1, "own", "t", (0,)),
        Step(2, "pass", "tsd", (0, 1)),
        Step(3, "own", "t", (1,)),
        Step(4, "pass", "tsd", (1, 2, 3)),
        Step(5, "pass", "tsd", (3,)),
        Step(6, "pass", "tsd", (2,)),
    ),
    rests=frozenset(),
    turns={0: ("", "", "", "")},
    capacity=1,
    constant=False,
    seed=0,
)
SENT_BEHIND = Drawn(  # what a stage has sent behind a boundary says nothing of a way that does not lead through it
    steps=(
        Step(0, "pass", "tsd", (), pause=2),
        Step(1, "both", "t", (0,)),
        Step(2, "pass", "tsd", (0,), pause=2),
        Step(3, "keep", "t", (1,)),
        Step(4, "pass", "tsd", (1,)),
        Step(5, "pass", "tsd", (2, 3)),
    ),
    rests=frozenset(),
    turns={0: ("", "d", "s")},
    capacity=1,
    constant=True,
    seed=4,
)
FULL = Drawn(  # more is sent behind a boundary than edges hold, and who could take it waits to send
    steps=(
        Step(0, "pass", "tsd", ()),
        Step(1, "both", "t", (0,)),
        Step(2, "both", "t", (1,)),
        Step(3, "keep", "t", (0, 1, 2)),
        Step(4, "pass", "tsd", (2, 3)),
        Step(5, "pass", "tsd", (3,)),
    ),
    rests=frozenset(),
    turns={0: ("", "", "")},
    capacity=2,
    constant=False,
    seed=0,
)
IN_VAIN = Drawn(  # a merge is held up by another one that waits in vain, and has to wait until that gives up (on trio)
    steps=(
        Step(0, "pass", "tsd", ()),
        Step(1, "pass", "tsd", (0,)),
        Step(2, "keep", "t", (0,)),
        Step(3, "own", "t", (1,)),
        Step(4, "gather", "t", (2,)),
        Step(5, "pass", "tsd", (0, 3), pause=2),
        Step(6, "double", "t", (4, 5), pause=2),
        Step(7, "own", "t", (2, 5)),
    ),
    rests=frozenset(),
    turns={0: ("", "t", "", "", "sts")},
    capacity=2,
    constant=False,
    seed=2249817189,
)
CROSSING = Drawn(  # two boundaries, of two sources, are each held back where the other one is waited for
    steps=(
        Step(0, "map", "t", ()),
        Step(1, "pass", "tsd", ()),
        Step(2, "double", "t", (0,)),
        Step(3, "double", "t", (0, 1, 2)),
        Step(4, "gather", "t", (0, 1, 2)),
    ),
    rests=frozenset(),
    turns={0: ("", "t", "t"), 1: ("", "")},
    capacity=1,
    constant=False,
    seed=0,
)


# What it must be


@dataclasses.dataclass(frozen=True)
class Token:
    """One element of the reference: what it is called, and how it has come."""

    letter: str
    path: str
    route: tuple[int, ...] = ()

    @property
    def turn(self) -> tuple[int, int]:
        """Its head, and which turn it is of."""
        head, turn = re.match(r"(\d+):(\d+)", self.path).groups()
        return int(head), int(turn)

    @property
    def way(self) -> str:
        """Where it has been, as far as that can be seen on it."""
        head, _, rest = self.path.partition("/")
        return f"{self.letter}{head.split(':')[0]}/{rest}"


def tokens_of(elements: Iterable[StreamElement]) -> list[Token]:
    """Return the data among elements; gathered texts one by one."""
    found = []
    for one in elements:
        if isinstance(one, DataElement):
            found += [Token("d", str(path)) for path in one.value]
        elif not isinstance(one, ControlElement):
            found.append(Token("t" if isinstance(one, TextElement) else "s", path_of(one)))
    return found


class Reference:
    """What arrives where, computed stage by stage; what depends on time is left to whoever compares."""

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn
        self.arrived: dict[int, list[Token]] = {one.number: [] for one in drawn.steps}
        self.left: dict[int, list[Token]] = {one.number: [] for one in drawn.steps}
        self.taken: Counter[int] = Counter()
        for head in drawn.heads:
            for number, turn in enumerate(drawn.turns[head]):
                self.arrived[head] += [
                    Token(letter, f"{head}:{number}.{place}") for place, letter in enumerate(turn) if letter != "u"
                ]
        for step in drawn.steps:
            for token in self.arrived[step.number]:
                for made in self.made(step, token):
                    self._leave(step.number, dataclasses.replace(made, route=(*made.route, step.number)))

    def made(self, step: Step, token: Token) -> list[Token]:
        """Return what a stage makes of an element."""
        if token.letter not in step.accepts:
            return [] if step.kind == "sink" else [token]
        self.taken[step.number] += 1
        mark = [dataclasses.replace(token, path=f"{token.path}/{step.name}{end}") for end in ("", "a", "b")]
        match step.kind:
            case "pass" | "sink":
                return [token]
            case "filter":
                return [token] if is_let_through(token.path) else []
            case "double":
                return mark[1:]
            case "gather":
                return [dataclasses.replace(mark[0], letter="d")]
            case _:
                return mark[:1]

    def _leave(self, number: int, token: Token) -> None:
        self.left[number].append(token)
        children = self.drawn.children(number)
        plain = [one for one in children if one not in self.drawn.rests]
        takers = [one for one in plain if token.letter in self.drawn.steps[one].accepts]
        if len(children) == 1:
            takers = children
        for one in takers or [one for one in children if one in self.drawn.rests]:
            self.arrived[one].append(token)

    def out(self) -> list[Token]:
        """Return what leaves the run."""
        return [token for leaf in self.drawn.leaves for token in self.left[leaf]]

    def reached(self, head: int) -> bool:
        """Say whether there is a way from a head to the output."""
        found = {head}
        for step in self.drawn.steps:
            if found.intersection(step.parents) and step.kind != "sink":
                found.add(step.number)
        return bool(found.intersection(self.drawn.leaves))

    def single_ways(self) -> set[str]:
        """Return the ways that only one route leads: what came by them is in the order of the source."""
        routes: dict[str, set[tuple[int, ...]]] = {}
        for token in self.out():
            routes.setdefault(token.way, set()).add(token.route)
        return {way for way, those in routes.items() if len(those) == 1}


def plain(tokens: Iterable[Token]) -> Counter[tuple[str, str]]:
    return Counter((one.letter, one.path) for one in tokens)


def order_key(path: str) -> tuple[int, int]:
    turn, place = re.match(r"\d+:(\d+)\.(\d+)", path).groups()
    return int(turn), int(place)


def assert_in_order(got: list[Token], reference: Reference, *, prefix: bool) -> None:
    """Check the order of what came by each single way: that of the source, without a gap, or a beginning of it."""
    for way in reference.single_ways():
        wanted = sorted({one.path for one in reference.out() if one.way == way}, key=order_key)
        mine = [one.path for one in got if one.way == way]
        assert mine == (wanted[: len(mine)] if prefix else wanted), way


def turns_of(elements: Iterable[StreamElement]) -> list[list[StreamElement]]:
    """Return the elements turn by turn, without the boundaries."""
    turns: list[list[StreamElement]] = [[]]
    for one in elements:
        if isinstance(one, TurnEnd):
            turns.append([])
        else:
            turns[-1].append(one)
    return turns


def control_of(elements: Iterable[StreamElement]) -> list[StreamElement]:
    return [one for one in elements if isinstance(one, ControlElement)]


def built(drawn: Drawn) -> Bench:
    """Return the pipeline; give the example up if its graph is refused."""
    from streamflow import BuildError

    try:
        return Bench(drawn)
    except BuildError as refused:
        event(f"refused: {refused.findings[0].kind}")
        assume(condition=False)
        raise


def assert_balanced(ledger: EdgeLedger, *, ended: bool = True) -> None:
    """Check the account of every edge; where elements are kept aside they leave in another order than that of the edge."""
    for name, record in ledger.edges.items():
        found = record.findings(ended=ended)
        if "→ gather" in name:
            found = [one for one in found if "lost or overtaken" not in one and "with a capacity of" not in one]
        assert not found, ledger.report(ended=ended)


async def collected(run: Run) -> tuple[list[StreamElement], StageError | None]:
    """Return what a run gives, and what it raises."""
    got: list[StreamElement] = []
    try:
        with anyio.fail_after(100_000):  # of virtual time: where all wait for each other, trio's clock runs on
            async with run:
                async for element in run:
                    got.append(element)
    except StageError as error:
        return got, error
    return got, None


async def run_to_its_end(drawn: Drawn) -> tuple[Bench, Reference, list[StreamElement]]:
    """Run a graph that does not fail, and return it with its reference and with what has left it."""
    bench = built(drawn)
    with EdgeLedger() as ledger:
        got, error = await collected(bench.pipeline.execute(bench.sources()))
    await assert_all_stages_stopped()
    assert_balanced(ledger)
    assert error is None
    return bench, Reference(drawn), got


# The properties


@given(graphs())
async def test_a_random_graph_does_what_its_reference_says(drawn: Drawn) -> None:
    """semantics 3.3, 4.4, 4.5: every copy arrives, in its order, turn by turn; each control element once and in its place."""
    bench, reference, got = await run_to_its_end(drawn)

    end = got.pop()
    assert isinstance(end, EndOfStream)
    assert (end.reason, end.totals.elements) == ("done", len(got))
    for number, sunk in bench.sunk.items():
        assert plain(tokens_of(sunk)) == plain(one for one in reference.left[number])
    if not drawn.leaves:
        assert not got
        return
    (head,) = drawn.heads
    source = bench.source(head)
    boundaries = (TurnEnd, TurnStart)
    assert [one for one in got if isinstance(one, boundaries)] == [one for one in source if isinstance(one, boundaries)]
    assert Counter(map(repr, control_of(got))) == Counter(map(repr, control_of(source)))
    event(f"{len(drawn.leaves)} leaves, {sum(len(one.parents) > 1 for one in drawn.steps)} merges")
    for number, turn in enumerate(turns_of(got)):
        assert plain(tokens_of(turn)) == plain(one for one in reference.out() if one.turn == (head, number))
        assert control_of(turn) == control_of(turns_of(source)[number])
    assert_in_order(tokens_of(got), reference, prefix=False)


@example(CROSSING)
@given(graphs(heads=2))
async def test_several_sources_run_into_one_graph(drawn: Drawn) -> None:
    """semantics 4.3: one source for each head; nothing of either is lost, joined or out of order."""
    assume(len(drawn.heads) == 2)
    bench, reference, got = await run_to_its_end(drawn)

    got.pop()
    assert plain(tokens_of(got)) == plain(reference.out())
    wanted = [one for head in drawn.heads if reference.reached(head) for one in control_of(bench.source(head))]
    assert Counter(map(repr, control_of(got))) == Counter(map(repr, wanted))
    assert_in_order(tokens_of(got), reference, prefix=False)


@given(graphs())
async def test_each_leaf_alone_gets_its_own_and_all_control(drawn: Drawn) -> None:
    """semantics 4.3, 4.5: `run.output()` of every leaf, read side by side; boundaries once at each, and every turn whole."""
    bench, reference = built(drawn), Reference(drawn)
    got: dict[int, list[StreamElement]] = {leaf: [] for leaf in drawn.leaves}

    async def read(leaf: int, output: AsyncIterator[StreamElement]) -> None:
        async for element in output:
            got[leaf].append(element)

    with EdgeLedger() as ledger, anyio.fail_after(100_000):
        async with bench.pipeline.execute(bench.sources()) as run, anyio.create_task_group() as tasks:
            for leaf in drawn.leaves:
                tasks.start_soon(read, leaf, run.output(drawn.steps[leaf].name))
            rest = [element async for element in run]
    await assert_all_stages_stopped()
    assert_balanced(ledger)

    assert [type(one) for one in rest] == [EndOfStream]
    (head,) = drawn.heads
    for leaf, elements in got.items():
        assert control_of(elements) == control_of(bench.source(head))
        for number, turn in enumerate(turns_of(elements)):
            assert plain(tokens_of(turn)) == plain(one for one in reference.left[leaf] if one.turn == (head, number))


@given(graphs("early", "keep", "own"))
async def test_stages_that_end_early_or_keep_boundaries_stop_nobody_else(drawn: Drawn) -> None:
    """semantics 3.1, 4.5, 5.5: the run ends; what leaves it is in order, and each boundary leaves at most once."""
    assume(drawn.of_kind("early", "keep", "own"))
    _, reference, got = await run_to_its_end(drawn)

    assert isinstance(got.pop(), EndOfStream)
    assert not plain(tokens_of(got)) - plain(reference.out())
    assert_in_order(tokens_of(got), reference, prefix=True)
    assert len([one for one in got if isinstance(one, TurnEnd)]) <= len(boundaries_out(drawn))


@example(CROSSED)
@example(CROSSED_BELOW)
@example(CROSSED_ALIKE)
@example(HELD_BACK)
@example(HELD_UP)
@example(OVERTAKEN)
@example(STANDING_STILL)
@example(SENT_BEHIND)
@example(FULL)
@example(IN_VAIN)
@given(graphs("own", "both", "keep"))
async def test_turns_stay_whole_whatever_stages_make_of_boundaries(drawn: Drawn) -> None:
    """semantics 4.9: each boundary leaves once, a stage's own ones too, and behind all of its turn, by whichever ways that came."""
    assume(drawn.of_kind("own", "both", "keep"))
    bench, reference, got = await run_to_its_end(drawn)

    assert isinstance(got.pop(), EndOfStream)
    assert plain(tokens_of(got)) == plain(reference.out())
    assert_in_order(tokens_of(got), reference, prefix=False)
    ends = [one for one in got if isinstance(one, TurnEnd)]
    assert len(ends) == len(boundaries_out(drawn))
    (head,) = drawn.heads
    passing = let_through(drawn)
    if passing.isdisjoint(drawn.leaves):
        return
    mine = [one for one in bench.source(head) if isinstance(one, TurnEnd)]
    assert [one for one in ends if one.id == f"{head}"] == mine
    turns = turns_of(one for one in got if not isinstance(one, TurnEnd) or one.id == f"{head}")
    # What accumulates where no boundary comes keeps what it has for as long as it likes.
    late = {one.number for one in drawn.of_kind("gather")} - passing
    keeping = {(one.letter, one.path) for one in reference.out() if late.intersection(one.route)}
    for number, turn in enumerate(turns):
        wanted = plain(one for one in reference.out() if one.turn == (head, number))
        found = plain(tokens_of(turn))
        assert {one: found[one] for one in found.keys() - keeping} == {
            one: wanted[one] for one in wanted.keys() - keeping
        }
    if not drawn.constant and not drawn.of_kind("both"):
        place = 1
        for one in ends:
            assert one.index == place, "a boundary of a stage's own is in the turn that it was made of"
            place += one.id == f"{head}"


def boundaries_out(drawn: Drawn) -> set[object]:
    """Return the ends of turns that leave: each is what it was made of and by whom, or its number."""
    leaving: dict[int, set[object]] = {}
    for step in drawn.steps:
        coming: set[object] = set().union(*(leaving[parent] for parent in step.parents))
        if not step.parents:
            coming = {(step.number, turn) for turn in range(1, len(drawn.turns[step.number]))}
        if step.kind in ("keep", "sink"):
            coming = set()
        made = {(step.name, one) for one in coming} if step.kind in ("own", "both") else set()
        leaving[step.number] = made if step.kind == "own" else coming | made
    return set().union(*(leaving[leaf] for leaf in drawn.leaves))


def let_through(drawn: Drawn) -> set[int]:
    """Return the stages that pass on the boundaries of the source, which have come to them by one way at least."""
    found: set[int] = set()
    for step in drawn.steps:
        if step.kind not in ("keep", "own", "sink") and (not step.parents or found.intersection(step.parents)):
            found.add(step.number)
    return found


@given(graphs("fail"))
async def test_a_failing_stage_ends_the_run_as_it_must(drawn: Drawn) -> None:
    """semantics 5.6: data, one fatal error element, the end, then one error that names the stage; and nothing is left."""
    failing = drawn.of_kind("fail")
    assume(failing)
    bench, reference = built(drawn), Reference(drawn)
    with EdgeLedger() as ledger:
        got, error = await collected(bench.pipeline.execute(bench.sources()))
    await assert_all_stages_stopped()
    assert_balanced(ledger)

    end = got.pop()
    assert isinstance(end, EndOfStream)
    fatal = [one for one in got if isinstance(one, ErrorElement)]
    if error is None:
        assert (end.reason, fatal) == ("done", [])
        assert all(reference.taken[one.number] <= one.limit for one in failing)
        return
    event("failed")
    assert end.reason == "error"
    assert [one.fatal for one in fatal] == [True]
    assert fatal[0].stage == error.stage
    assert any(error.stage == one.name and reference.taken[one.number] > one.limit for one in failing)
    assert isinstance(error.__cause__, ValueError)
    assert str(error.__cause__) == error.stage
    assert not plain(tokens_of(got)) - plain(reference.out())
    if not drawn.of_kind("gather"):
        assert_in_order(tokens_of(got), reference, prefix=True)
    (head,) = drawn.heads
    wanted = [one for one in bench.source(head) if isinstance(one, TurnEnd)]
    ends = [one for one in got if isinstance(one, TurnEnd)]
    assert ends == wanted[: len(ends)]


@given(graphs("early", "keep", "fail"), st.integers(0, 12), st.sampled_from(["break", "cancel", "alone"]))
async def test_a_consumer_that_leaves_early_leaves_nothing_behind(drawn: Drawn, taken: int, how: str) -> None:
    """semantics 5.1, 5.5; SF-59: whichever way it leaves, every stage ends and every edge's account adds up."""
    bench = built(drawn)
    with EdgeLedger() as ledger, anyio.fail_after(100_000):
        try:
            if how == "break":
                async for _ in bench.pipeline.execute(bench.sources()):
                    taken -= 1
                    if taken < 0:
                        break
            elif how == "cancel":
                with anyio.CancelScope() as scope:
                    async with bench.pipeline.execute(bench.sources()) as run, anyio.create_task_group() as tasks:
                        tasks.start_soon(cancel_after, scope, taken * 5)
                        async for _ in run:
                            pass
                        scope.cancel()
            else:
                await take_one_leaf_only(bench, taken)
        except* StageError:
            pass
    await assert_all_stages_stopped()
    assert_balanced(ledger, ended=False)


async def cancel_after(scope: anyio.CancelScope, rounds: int) -> None:
    for _ in range(rounds):
        await checkpoint()
    scope.cancel()


async def take_one_leaf_only(bench: Bench, taken: int) -> None:
    """Iterate one leaf, let go of it, then iterate the rest."""
    async with bench.pipeline.execute(bench.sources()) as run:
        if bench.drawn.leaves:
            leaf = bench.drawn.leaves[taken % len(bench.drawn.leaves)]
            output = run.output(bench.drawn.steps[leaf].name)
            if len(bench.drawn.leaves) == 1:
                async for _ in output:
                    taken -= 1
                    if taken < 0:
                        break
            del output
        async for _ in run:
            pass


DIAMOND = Drawn(
    steps=(
        Step(0, "pass", "tsd", ()),
        Step(1, "map", "t", (0,), pause=1),
        Step(2, "gather", "t", (0,)),
        Step(3, "pass", "tsd", (2,)),
        Step(4, "double", "t", (2,)),
        Step(5, "sink", "s", (0,), pause=2),
        Step(6, "pass", "tsd", (1, 3, 4)),
    ),
    rests=frozenset({3}),
    turns={0: ("tstu", "ts", "t")},
    capacity=1,
    constant=True,
    seed=0,
)


@pytest.mark.parametrize("how", ["scope", "native", "timeout"])
@pytest.mark.parametrize("capacity", [1, 2])
async def test_a_graph_that_is_cancelled_at_any_tick_leaves_nothing_behind(how, capacity) -> None:
    """semantics 2.3, 5.5: a fork in a fork, a merge, a sink: no task, no source and no element is left, whenever it happens."""
    ledger = EdgeLedger()

    async def scenario() -> None:
        nonlocal ledger
        bench = Bench(dataclasses.replace(DIAMOND, capacity=capacity))
        with EdgeLedger() as ledger:
            async with bench.pipeline.execute(bench.source(0)) as run:
                async for _ in run:
                    pass

    async def check(_outcome: object) -> None:
        await assert_all_stages_stopped()
        assert_balanced(ledger, ended=False)

    await cancel_sweep(scenario, how=how, check=check)
