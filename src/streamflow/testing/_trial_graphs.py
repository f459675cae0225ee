"""Graphs drawn at random for a trial of the runtime, as plain data: their stages, how they fork and join, what runs through them.

Above: `_trial_reference`, which says what comes out; `_trial_bench`, which builds them. Below: nothing.

A graph is a chain of blocks, and a block is a stage, a fan (branches that meet again), a loop or a nested pipeline, whose insides
are chains in turn. So each has one head and one leaf, and a reference can tell what comes out without tasks. What it cannot tell is
not drawn: a zip needs inputs whose order is known, an order needs branches that treat each element for itself.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from ..graph import PolicyName

__all__ = [
    "Block",
    "Blocks",
    "Fan",
    "FanKind",
    "Loop",
    "Nest",
    "Step",
    "StepKind",
    "TrialGraph",
    "draw_graph",
    "steps_of",
]

StepKind = Literal["map", "process", "generator", "async", "concurrent", "pass", "filter", "double", "gather"]
"""What a stage does: marks what it takes (in five forms), passes it on, leaves some out, makes two of one, or one of each turn."""

FanKind = Literal["copy", "route", "balance", "tap"]
"""How a fan divides what it gets."""

_MARKING: Final[tuple[StepKind, ...]] = ("map", "process", "generator", "async", "concurrent")
_SINGLE: Final[tuple[StepKind, ...]] = (*_MARKING, *_MARKING, "pass", "filter", "double")
"""Kinds that treat each element for itself."""
_MOST_DEPTH: Final = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One stage."""

    name: str
    kind: StepKind
    pause: int = 0
    """How often it lets others run for each element, where its form can."""
    fails_at: int | None = None
    """The ordinal of the element that it raises at; None: it never does."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fan:
    """Branches that meet again: stages `<name>.in` and `<name>.out`, or a tap, which `<name>.tap` reads."""

    name: str
    how: FanKind
    arms: tuple[Blocks, ...]
    policy: PolicyName = "arrival"


@dataclasses.dataclass(frozen=True, slots=True)
class Loop:
    """Stages that elements come back to: `<name>.in`, the body, `<name>.end`."""

    name: str
    body: Blocks


@dataclasses.dataclass(frozen=True, slots=True)
class Nest:
    """A pipeline in the place of a stage."""

    name: str
    body: Blocks


Block: TypeAlias = "Step | Fan | Loop | Nest"
Blocks: TypeAlias = "tuple[Block, ...]"


@dataclasses.dataclass(frozen=True, slots=True)
class TrialGraph:
    """A graph, and what runs through it."""

    blocks: Blocks
    turns: tuple[int, ...]
    """How many elements each turn has."""
    ends_last: bool = True
    """Whether the last turn ends with a boundary, too."""
    capacity: int = 1
    lanes: bool = False
    """Whether edges have priority lanes, and elements priorities."""
    seed: int = 0
    """Of the pauses, and of what bounds single edges."""

    def __str__(self) -> str:
        told = f"turns of {', '.join(map(str, self.turns))}{'' if self.ends_last else ', the last one open'}"
        lanes = ", lanes" if self.lanes else ""
        return f"{_told(self.blocks)}; {told}; capacity {self.capacity}{lanes}; seed {self.seed}"


def steps_of(blocks: Blocks) -> Iterator[Step]:
    """Yield the stages of blocks that are stages, at any depth, in order."""
    for one in blocks:
        if isinstance(one, Step):
            yield one
        elif isinstance(one, Fan):
            for arm in one.arms:
                yield from steps_of(arm)
        else:
            yield from steps_of(one.body)


def _told(blocks: Blocks) -> str:
    return " → ".join(map(_told_of, blocks))


def _told_of(one: Block) -> str:
    if isinstance(one, Step):
        return one.name if one.fails_at is None else f"{one.name}!{one.fails_at}"
    if isinstance(one, Fan):
        arms = " | ".join(_told(arm) for arm in one.arms)
        return f"{one.name}:{one.how}({arms})" + ("" if one.how == "tap" else f":{one.policy}")
    return f"{one.name}({_told(one.body)})"


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    """What is known of what flows at one place of a graph."""

    in_order: bool = True
    """All of it is in one known order."""
    is_firm: bool = True
    """It is known for each element what comes of it."""
    keeps_turns: bool = True
    """It is known which turn each element is in."""
    is_open: bool = True
    """Anything may follow; else only stages that mark or pass."""


class _Drawer:
    def __init__(self, source: random.Random, most: int, without: Sequence[str], *, lanes: bool) -> None:
        self._random = source
        self._left = most
        self._without = frozenset(without)
        self._lanes = lanes
        self._count = 0

    def blocks(self, known: _Known, depth: int = 0, *, least: int = 1) -> tuple[Blocks, _Known]:
        made: list[Block] = []
        wanted = self._random.randint(least, 3)
        while len(made) < wanted and (self._left > 0 or len(made) < least):
            block, known = self._block(known, depth)
            made.append(block)
        return tuple(made), known

    def _may_have(self, what: str) -> bool:
        return what not in self._without

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{what}{self._count}"

    def _block(self, known: _Known, depth: int) -> tuple[Block, _Known]:
        chosen = self._random.random()
        if depth < _MOST_DEPTH and known.is_open:
            if chosen < 0.6 and self._left >= 4:
                return self._fan(known, depth)
            if 0.6 <= chosen < 0.66 and self._left >= 2 and "nest" not in self._without:
                name = self._name("n")
                body, after = self.blocks(known, depth + 1)
                return Nest(name, body), after
            may_loop = known.is_firm and depth < 2 and "loop" not in self._without and not self._lanes
            if 0.66 <= chosen < 0.74 and self._left >= 3 and may_loop:
                self._left -= 2
                name = self._name("l")
                body = self._plain(self._random.randint(0, 2))
                return Loop(name, body), dataclasses.replace(known, in_order=False, keeps_turns=False)
        may_gather = known.is_open and known.keeps_turns and known.is_firm and "gather" not in self._without
        if may_gather and chosen > 0.9:
            return self._step("gather"), dataclasses.replace(known, in_order=True)
        kinds: tuple[StepKind, ...] = _SINGLE if known.is_open else (*_MARKING, "pass")
        return self._step(self._random.choice(kinds)), known

    def _step(self, kind: StepKind) -> Step:
        self._left -= 1
        return Step(self._name(kind), kind, self._random.randint(0, 2))

    def _plain(self, count: int) -> Blocks:
        """Draw stages that treat each element for itself."""
        return tuple(self._step(self._random.choice(_SINGLE)) for _ in range(count))

    def _fan(self, known: _Known, depth: int) -> tuple[Block, _Known]:
        hows: list[FanKind] = ["copy", "copy", "copy", "tap"]
        if known.is_firm:
            hows.extend(("route", "route", "balance"))
        lawful: list[FanKind] = [one for one in hows if self._may_have(one)]
        how = self._random.choice(lawful)
        name = self._name(how)
        if how == "tap":
            self._left -= 2
            return Fan(name, how, ()), known
        self._left -= 2
        count = 3 if self._left > 3 and self._random.random() < 0.3 else 2
        policy = self._random.choice(self._policies(known, how))
        if policy == "zip_latest":
            count = 2
        arms: list[Blocks] = []
        after: list[_Known] = []
        for _ in range(count):
            if how == "balance" or policy == "ordered":
                arm, result = self._plain(self._random.randint(1, 2)), known
                if how == "balance":  # the first stage tells which way an element went
                    arm = (self._step(self._random.choice(_MARKING)), *arm[1:])
            elif policy in ("zip", "zip_latest"):
                arm, result = self._plain(self._random.randint(1, 2)), known
            else:
                arm, result = self.blocks(known, depth + 1)
                if not result.is_open:  # what follows such a join is not known
                    arm, result = self._plain(1), known
            arms.append(arm)
            after.append(result)
        if policy == "barrier" and not all(one.keeps_turns for one in after):
            policy = "arrival"
        return Fan(name, how, tuple(arms), policy), _known_behind(known, after, how, policy)

    def _policies(self, known: _Known, how: FanKind) -> list[PolicyName]:
        found: list[PolicyName] = ["arrival", "priority"]
        if known.keeps_turns:
            found.append("barrier")
        if not self._lanes:
            found.extend(("ordered", "ordered", "concat", "concat"))
            is_exact = known.in_order and known.is_firm and known.keeps_turns and how != "balance"
            if is_exact:
                found.extend(("zip", "zip", "zip", "zip_latest"))
            if how == "copy" and known.is_firm:
                found.extend(("race", "race"))
        return [one for one in found if self._may_have(one)]


def _known_behind(known: _Known, arms: list[_Known], how: FanKind, policy: PolicyName) -> _Known:
    """Return what is known of what a fan gives."""
    is_firm = all(one.is_firm for one in arms) and how != "balance"
    in_order = all(one.in_order for one in arms)
    keeps_turns = all(one.keeps_turns for one in arms)
    if policy in ("zip_latest", "race"):
        return _Known(in_order=False, is_firm=False, keeps_turns=False, is_open=False)
    if policy == "ordered":
        return _Known(known.in_order, is_firm, known.keeps_turns)
    if policy == "zip":
        return _Known()
    if policy == "concat":
        return _Known(in_order=in_order and how != "balance", is_firm=is_firm, keeps_turns=False)
    if policy == "barrier":
        return _Known(in_order=in_order and how != "balance", is_firm=is_firm, keeps_turns=keeps_turns)
    return _Known(in_order=False, is_firm=is_firm, keeps_turns=keeps_turns)


def draw_graph(source: random.Random, *, most: int = 12, elements: int = 12, without: Sequence[str] = ()) -> TrialGraph:
    """Draw a graph.

    Args:
        source: Where chance comes from; the same one in the same state draws the same graph.
        most: About how many stages it has at most.
        elements: How many elements run through it at most.
        without: What it must not have: kinds of stages and fans, policies, `loop`, `nest`, `lanes`.
    """
    lanes = "lanes" not in without and source.random() < 0.12
    drawer = _Drawer(source, source.randint((most + 1) // 2, most), without, lanes=lanes)
    blocks, _ = drawer.blocks(_Known(), least=1 + (most > 6))
    turns = [source.randint(0, 6) for _ in range(source.randint(1, 4))]
    while sum(turns) > elements:
        turns.pop()
    return TrialGraph(
        blocks,
        tuple(turns) or (1,),
        ends_last=source.random() < 0.7,
        capacity=4 if lanes else source.choice([1, 1, 2, 3, 16]),
        lanes=lanes,
        seed=source.randint(0, 9999),
    )
