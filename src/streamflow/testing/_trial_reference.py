"""What comes out of a drawn graph, told without tasks; and whether something is that, or a part of it.

Above: `_trial`. Below: `_trial_graphs`.

What flows is told as *strands*: sequences each of which keeps its order, while nothing is said about the order between them. An
element of a strand has several *ways* where the runtime may choose (a balance): what came out must be one of them. Where it may
choose for a whole stream (a race), or by time (a zip of the latest), the reference says what is possible.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from ._trial_graphs import Fan, Loop, Nest, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ._trial_graphs import Block, Blocks, TrialGraph

__all__ = [
    "Flow",
    "Got",
    "differences",
    "flow_of",
    "is_kept",
    "key_of",
    "made_by",
    "mark_of",
    "parts_missing",
    "wants_more",
]

Got: TypeAlias = "list[tuple[int, str]]"
"""What came out: each text, with the number of boundaries before it."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Item:
    """One element, or what comes of one."""

    turn: int
    ways: tuple[tuple[str, ...], ...]


_Strand: TypeAlias = "tuple[_Item, ...]"


@dataclasses.dataclass(frozen=True, slots=True)
class Flow:
    """What flows at one place of a graph."""

    strands: tuple[_Strand, ...] = ()
    keeps_turns: bool = True
    """Whether each element is in the turn that is told."""
    races: tuple[Flow, ...] = ()
    """If any, one of these comes, and nothing else."""
    pairs: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    """If any, a zip of the latest of these two, by whichever is first."""
    then: tuple[Callable[[str], tuple[str, ...]], ...] = ()
    """What is done with each of those pairs."""


# What the stages do, here and in the pipeline


def key_of(text: str) -> int:
    """Return a number that a text alone decides about."""
    return sum(map(ord, text))


def is_kept(text: str) -> bool:
    """Say whether filters let a text through."""
    return key_of(text) % 3 != 0


def mark_of(text: str, name: str) -> str:
    """Return what a stage that marks makes of a text."""
    return f"{text}.{name}"


def made_by(step: Step, text: str) -> tuple[str, ...]:
    """Return what a stage makes of one text."""
    if step.kind == "pass":
        return (text,)
    if step.kind == "filter":
        return (text,) if is_kept(text) else ()
    if step.kind == "double":
        return mark_of(text, f"{step.name}a"), mark_of(text, f"{step.name}b")
    return (mark_of(text, step.name),)


def wants_more(text: str, loop: str) -> bool:
    """Say whether a text goes around a loop once more."""
    first, *rounds = text.split(f"~{loop}")
    return len(rounds) < key_of(first) % 3


# The interpreter


def flow_of(drawn: TrialGraph) -> Flow:
    """Return what comes out of a graph."""
    numbers = itertools.count()
    items = tuple(_Item(turn, ((str(next(numbers)),),)) for turn, count in enumerate(drawn.turns) for _ in range(count))
    return _through(drawn.blocks, Flow((items,)))


def _through(blocks: Blocks, flow: Flow) -> Flow:
    for one in blocks:
        flow = _through_block(one, flow)
    return flow


def _through_block(one: Block, flow: Flow) -> Flow:
    if isinstance(one, Nest):
        return _through(one.body, flow)
    if flow.races:
        return dataclasses.replace(flow, races=tuple(_through_block(one, each) for each in flow.races))
    if isinstance(one, Step):
        if one.kind == "gather":
            return _gathered(flow)
        return _each(flow, lambda text: made_by(one, text))
    if isinstance(one, Loop):
        looped = _each(flow, lambda text: _around(one, text))
        strands = tuple((item,) for strand in looped.strands for item in strand)
        return Flow(strands, keeps_turns=False)
    return _fanned(one, flow)


def _each(flow: Flow, make: Callable[[str], tuple[str, ...]]) -> Flow:
    """Treat each text for itself."""
    if flow.pairs is not None:
        return dataclasses.replace(flow, then=(*flow.then, make))
    strands = tuple(tuple(_split(item, make) for item in strand) for strand in flow.strands)
    return dataclasses.replace(flow, strands=tuple(tuple(itertools.chain(*strand)) for strand in strands))


def _split(item: _Item, make: Callable[[str], tuple[str, ...]]) -> tuple[_Item, ...]:
    ways = tuple(tuple(made for text in way for made in make(text)) for way in item.ways)
    if len(ways) == 1:
        return tuple(_Item(item.turn, ((text,),)) for text in ways[0])
    return (_Item(item.turn, ways),)


def _gathered(flow: Flow) -> Flow:
    turns: dict[int, list[str]] = {}
    for turn, text in _texts(flow):
        turns.setdefault(turn, []).append(text)
    made = tuple(_Item(turn, ((f"[{'+'.join(sorted(turns[turn]))}]",),)) for turn in sorted(turns))
    return dataclasses.replace(flow, strands=(made,))


def _around(loop: Loop, text: str) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    for made in _through_texts(loop.body, text):
        found += _around(loop, f"{made}~{loop.name}") if wants_more(made, loop.name) else (made,)
    return found


def _through_texts(blocks: Blocks, text: str) -> tuple[str, ...]:
    """Return what stages that treat each element for itself make of one."""
    texts: tuple[str, ...] = (text,)
    for one in blocks:
        assert isinstance(one, Step), "no other is drawn there"
        texts = tuple(made for each in texts for made in made_by(one, each))
    return texts


def _fanned(fan: Fan, flow: Flow) -> Flow:
    if fan.how == "tap":
        return flow
    if fan.how == "balance":
        ways = tuple(
            tuple(_Item(item.turn, tuple(_through_texts(arm, item.ways[0][0]) for arm in fan.arms)) for item in strand)
            for strand in flow.strands
        )
        if fan.policy == "ordered":
            return dataclasses.replace(flow, strands=ways)
        keeps_turns = flow.keeps_turns and fan.policy != "concat"
        return Flow(tuple((item,) for strand in ways for item in strand), keeps_turns)
    count = len(fan.arms)
    if fan.policy == "ordered":
        routed = fan.how == "route"
        return _each(
            flow,
            lambda text: tuple(
                made
                for number, arm in enumerate(fan.arms)
                if not routed or key_of(text) % count == number
                for made in _through_texts(arm, text)
            ),
        )
    arms = [
        _through(arm, flow if fan.how == "copy" else _routed(flow, number, count))
        for number, arm in enumerate(fan.arms)
    ]
    return _joined(fan, arms)


def _routed(flow: Flow, number: int, count: int) -> Flow:
    return _each(flow, lambda text: (text,) if key_of(text) % count == number else ())


def _joined(fan: Fan, arms: Sequence[Flow]) -> Flow:
    keeps_turns = all(one.keeps_turns for one in arms)
    strands = tuple(strand for one in arms for strand in one.strands)
    in_order = all(len(one.strands) == 1 for one in arms)
    match fan.policy:
        case "race":
            # Control leaves at its first copy, whoever wins, so it is not known where among the data.
            runners = tuple(dataclasses.replace(one, keeps_turns=False) for one in arms if _texts(one))
            return Flow(races=runners or (Flow(),), keeps_turns=False)
        case "zip_latest":
            left, right = (tuple(text for _, text in _texts(one)) for one in arms)
            return Flow(pairs=(left, right), keeps_turns=False)
        case "zip":
            return Flow((_zipped(arms),))
        case "concat":
            joined = (tuple(itertools.chain(*strands)),) if in_order else strands
            return Flow(joined, keeps_turns=False)
        case "barrier" if in_order:
            turns = sorted({item.turn for strand in strands for item in strand})
            return Flow((tuple(item for turn in turns for strand in strands for item in strand if item.turn == turn),))
        case _:
            return Flow(strands, keeps_turns)


def _zipped(arms: Sequence[Flow]) -> _Strand:
    turns = sorted({turn for one in arms for turn, _ in _texts(one)})
    made: list[_Item] = []
    for turn in turns:
        rows = [[text for its, text in _texts(one) if its == turn] for one in arms]
        made += [_Item(turn, ((f"({'|'.join(row)})",),)) for row in zip(*rows, strict=False)]
    return tuple(made)


def _texts(flow: Flow) -> Got:
    """Return the texts of a flow of which it is known what comes of each element."""
    return [(item.turn, text) for strand in flow.strands for item in strand for text in item.ways[0]]


# Judging what came


def differences(flow: Flow, got: Got, *, in_order: bool = True) -> str | None:
    """Return how what came differs from what had to come; None if it does not.

    Args:
        flow: What had to come.
        got: What came.
        in_order: Whether order is promised at all.
    """
    if flow.races:
        found = [differences(one, got, in_order=in_order) for one in flow.races]
        return None if None in found else f"it is none of {len(found)} races; of the first: {found[0]}"
    if flow.pairs is not None:
        return _pairing_wrong(flow.pairs, flow.then, [text for _, text in got])
    came = Counter(text for _, text in got)
    wanted = _chosen(flow, came)
    missing, further = Counter(text for strand in wanted for _, text in strand), came
    if missing != further:
        return f"lost {sorted((missing - further).elements())}, too much {sorted((further - missing).elements())}"
    if flow.keeps_turns and Counter(pair for strand in wanted for pair in strand) != Counter(got):
        return f"a turn has what belongs to another: {got}"
    if in_order:
        for strand in wanted:
            if not _is_within([text for _, text in strand], (text for _, text in got)):
                return f"order lost: {[text for _, text in strand]} is not in {[text for _, text in got]}"
    return None


def parts_missing(flow: Flow, got: Got, *, in_order: bool = True) -> str | None:
    """Return why what came is no part of what had to come, as far as that can be told of a run that was cut short.

    Args:
        flow: What had to come.
        got: What came.
        in_order: Whether what came of each strand must be the beginning of it.
    """
    if flow.pairs is not None or flow.races:
        return None
    came = Counter(text for _, text in got)
    possible = Counter(
        text for strand in flow.strands for item in strand for text in {one for way in item.ways for one in way}
    )
    if came - possible:
        return f"nobody made {sorted((came - possible).elements())}"
    if in_order:
        for strand in flow.strands:
            texts = [text for item in strand if len(item.ways) == 1 for text in item.ways[0]]
            if len(strand) == len(texts) and all(possible[text] == 1 for text in texts):
                own = frozenset(texts)
                mine = [text for _, text in got if text in own]
                if mine != texts[: len(mine)]:
                    return f"{mine} is no beginning of {texts}"
    return None


def _chosen(flow: Flow, came: Counter[str]) -> list[Got]:
    """Return the strands with the way of each element that fits what came."""
    found: list[Got] = []
    for strand in flow.strands:
        texts: Got = []
        for item in strand:
            fitting = (way for way in item.ways if way and all(came[text] for text in way))
            none = () if () in item.ways else item.ways[0]
            texts += [(item.turn, text) for text in next(fitting, none)]
        found.append(texts)
    return found


def _is_within(wanted: Iterable[str], got: Iterable[str]) -> bool:
    """Say whether all that is wanted comes, in that order, perhaps with others between."""
    rest = iter(got)
    return all(text in rest for text in wanted)


def _pairing_wrong(
    pairs: tuple[tuple[str, ...], tuple[str, ...]], then: Sequence[Callable[[str], tuple[str, ...]]], got: list[str]
) -> str | None:
    left, right = pairs
    if not left or not right:
        return None if not got else f"one input is empty, and {got} came"
    known: dict[str, tuple[int, int]] = {}
    for one, other in itertools.product(range(len(left)), range(len(right))):
        texts: tuple[str, ...] = (f"({left[one]}|{right[other]})",)
        for make in then:
            texts = tuple(made for text in texts for made in make(text))
        known[texts[0]] = one, other
    places = [known.get(text) for text in got]
    steps = list(itertools.pairwise(places))
    is_right = bool(places) and places[0] is not None and min(places[0]) == 0
    is_right = is_right and places[-1] == (len(left) - 1, len(right) - 1)
    for before, after in steps:
        if before is None or after is None or (after[0] - before[0], after[1] - before[1]) not in ((0, 1), (1, 0)):
            is_right = False
    return None if is_right else f"{got} is no way through {left} and {right}"
