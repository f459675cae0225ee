"""The rules of the runtime that are tried on random graphs: what comes out, however the run ends, and what must change nothing.

Above: `_check_runtime`. Below: `_trial`, `_trial_graphs`, `_trial_reference`, `_conformance`.

Graphs are drawn from small to large, so what is told first is small. The seed of an example is told with it:
`check_runtime(seed=…)` begins with that one.
"""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Final

from ..elements import EndOfStream, ErrorElement
from ..errors import PipelineDeadlockError, StageError
from ..runtime import PipelineConfig
from ._chaos import chaos
from ._conformance import rule
from ._trial import Ending, account_wrong, control_wrong, run_graph
from ._trial_bench import InjectedError
from ._trial_graphs import Fan, Loop, Nest, Step, TrialGraph, draw_graph, steps_of
from ._trial_reference import differences, flow_of, parts_missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ._conformance import Trial
    from ._trial import Seen
    from ._trial_graphs import Block, Blocks

__all__ = ["RuntimeCase", "cut_short", "fails", "same_everywhere", "whole"]

_FEW: Final = 25
"""Examples of a rule in each variant, unless more effort is asked for."""
_MOST: Final = 12
"""Stages of the largest graphs."""


@dataclasses.dataclass(frozen=True, slots=True)
class RuntimeCase:
    """What the rules of the runtime are given."""

    seed: int = 0
    """Where examples begin."""
    examples: int = _FEW
    """How many a rule tries in each variant."""


def examples(trial: Trial[RuntimeCase], without: Sequence[str] = ()) -> Iterator[tuple[TrialGraph, random.Random]]:
    """Yield graphs, from small to large, and tell each; with each what further chance comes from."""
    count = trial.subject.examples * trial.effort
    for number in range(count):
        seed = trial.subject.seed + number
        source = random.Random(seed)  # noqa: S311 - chance that can be repeated
        most = 2 + number * (_MOST - 2) // count
        drawn = draw_graph(source, most=most, without=without)
        trial.given(f"{drawn} (example {seed})")
        yield drawn, source


def whole(drawn: TrialGraph, seen: Seen) -> str | None:
    """Return how a run that nothing disturbed differs from its reference; None if it does not."""
    if seen.error is not None:
        return f"it raised {seen.error!r}"
    wrong = differences(flow_of(drawn), seen.texts, in_order=not drawn.lanes) or control_wrong(seen, is_whole=True)
    if wrong is None and seen.bench.source_closed != 1:
        wrong = f"its source was closed {seen.bench.source_closed} times"
    return wrong


def cut_short(drawn: TrialGraph, seen: Seen) -> str | None:
    """Return why what came of a run that was left early cannot be a beginning; None if it can."""
    if seen.error is not None:
        return f"it raised {seen.error!r}"
    return parts_missing(flow_of(drawn), seen.texts, in_order=not drawn.lanes) or control_wrong(seen, is_whole=False)


@rule(
    "RT-01",
    "Whatever forks, joins, loops and nested pipelines a graph has: what comes out is what its reference says.",
    holds="4.6",
    subject="runtime",
)
async def _whole(trial: Trial[RuntimeCase]) -> None:
    for drawn, _ in examples(trial):
        wrong = whole(drawn, await run_graph(drawn))
        trial.require(wrong is None, wrong or "")


@rule(
    "RT-02",
    "No edge holds more than its bound, and what each has sent is what it gave, dropped or still has.",
    holds="2.5",
    subject="runtime",
)
async def _accounts(trial: Trial[RuntimeCase]) -> None:
    for drawn, _ in examples(trial):
        seen = await run_graph(drawn, watched=True)
        wrong = whole(drawn, seen) or account_wrong(seen, ended=True)
        trial.require(wrong is None, wrong or "")


@rule(
    "RT-03",
    "A stage that fails ends the run behind what was sent, with one error that names it, and nothing is left.",
    holds="6.1",
    subject="runtime",
)
async def _failure(trial: Trial[RuntimeCase]) -> None:
    for drawn, source in examples(trial):
        broken = fails(drawn, source)
        if broken is None:
            continue
        trial.given(f"{broken} ({trial.shown_by.rpartition('(')[2]}")
        is_watched = source.random() < 0.5  # then no stages are fused
        seen = await run_graph(broken, watched=is_watched)
        wrong = _failed(broken, seen) or account_wrong(seen, ended=True)
        trial.require(wrong is None, wrong or "")


def fails(drawn: TrialGraph, source: random.Random) -> TrialGraph | None:
    """Return the graph with one stage that fails; None if it has none that can."""
    able = [one for one in steps_of(drawn.blocks) if one.kind in ("map", "process", "generator", "async", "concurrent")]
    if not able:
        return None
    chosen = source.choice(able)
    broken = dataclasses.replace(chosen, fails_at=source.randint(0, 4))
    return dataclasses.replace(drawn, blocks=_with(drawn.blocks, chosen, broken))


def _with(blocks: Blocks, before: Step, after: Step) -> Blocks:
    """Return blocks with one stage replaced."""

    def changed(one: Block) -> Block:
        if isinstance(one, Step):
            return after if one is before else one
        if isinstance(one, Fan):
            return dataclasses.replace(one, arms=tuple(_with(arm, before, after) for arm in one.arms))
        return dataclasses.replace(one, body=_with(one.body, before, after))

    return tuple(changed(one) for one in blocks)


def _failed(drawn: TrialGraph, seen: Seen) -> str | None:
    if seen.error is None:
        return whole(drawn, seen)  # it did not take so many elements
    culprits = {one.name for one in steps_of(drawn.blocks) if one.fails_at is not None}
    error = seen.error
    if not isinstance(error, StageError) or error.stage.rpartition("/")[2] not in culprits:
        return f"it raised {error!r}, and {culprits} failed"
    if not isinstance(error.__cause__, InjectedError) or str(error.__cause__) not in culprits:
        return f"the cause is {error.__cause__!r}"
    end = seen.elements[-1] if seen.elements else None
    if not isinstance(end, EndOfStream) or end.reason != "error":
        return f"the last element is {end!r}"
    notices = [one for one in seen.elements if isinstance(one, ErrorElement)]
    if len(notices) != 1 or not notices[0].fatal:
        return f"the notices are {notices!r}"
    if notices[0].stage != error.stage:
        return f"the notice names {notices[0].stage!r}, and the error {error.stage!r}"
    if any(one.kind == "gather" for one in steps_of(drawn.blocks)):
        return control_wrong(seen, is_whole=False)  # what a cut turn is gathered to is its own
    healthy = dataclasses.replace(drawn, blocks=_healed(drawn.blocks))
    return parts_missing(flow_of(healthy), seen.texts, in_order=False) or control_wrong(seen, is_whole=False)


def _healed(blocks: Blocks) -> Blocks:
    for one in steps_of(blocks):
        if one.fails_at is not None:
            return _with(blocks, one, dataclasses.replace(one, fails_at=None))
    return blocks


@rule(
    "RT-04",
    "A run that is cancelled at any moment leaves nothing behind, and what had come is a beginning of what would have.",
    holds="7.1",
    subject="runtime",
)
async def _cancelled(trial: Trial[RuntimeCase]) -> None:
    for drawn, source in examples(trial):
        ending = Ending("cancel", source.randint(0, 60))
        await _cut(trial, drawn, ending)


@rule(
    "RT-05",
    "A run whose consumer leaves early ends, source and all, and what had come is a beginning of what would have.",
    holds="5.1",
    subject="runtime",
)
async def _abandoned(trial: Trial[RuntimeCase]) -> None:
    for drawn, source in examples(trial):
        await _cut(trial, drawn, Ending("break", source.randint(0, 8)))


async def _cut(trial: Trial[RuntimeCase], drawn: TrialGraph, ending: Ending) -> None:
    trial.given(f"{trial.shown_by}; {ending.how} after {ending.after}")
    seen = await run_graph(drawn, watched=True, ending=ending)
    wrong = cut_short(drawn, seen) or account_wrong(seen, ended=False)
    trial.require(wrong is None, wrong or "")


@rule(
    "RT-06",
    "A run that is interrupted at any moment goes on to its end, with all control, and makes nothing of what was dropped.",
    holds="15.1",
    subject="runtime",
)
async def _interrupted(trial: Trial[RuntimeCase]) -> None:
    # What is dropped leaves gaps, so nothing is drawn that makes one element of several.
    for drawn, source in examples(trial, without=("gather", "zip", "zip_latest", "race", "loop")):
        ending = Ending("interrupt", source.randint(0, 40))
        trial.given(f"{trial.shown_by}; {ending.how} after {ending.after}")
        seen = await run_graph(drawn, watched=True, ending=ending)
        wrong = None if seen.error is None else f"it raised {seen.error!r}"
        wrong = wrong or parts_missing(flow_of(drawn), seen.texts, in_order=False) or control_wrong(seen, is_whole=True)
        wrong = wrong or account_wrong(seen, ended=True)
        trial.require(wrong is None, wrong or "")


@rule(
    "RT-07",
    "Whoever runs first: under a scheduler that goes wild, what comes out is what the reference says.",
    holds="4.6",
    subject="runtime",
)
async def _wild(trial: Trial[RuntimeCase]) -> None:
    for drawn, source in examples(trial):
        with chaos(source.randint(0, 2**16)):
            wrong = whole(drawn, await run_graph(drawn))
        trial.require(wrong is None, wrong or "")


@rule(
    "RT-08",
    "Another capacity, a further stage that passes all on, a part that is nested, watched edges: the same result, or the same "
    "failure of the same stage.",
    holds="3.2",
    subject="runtime",
)
async def _metamorphic(trial: Trial[RuntimeCase]) -> None:
    for drawn, source in examples(trial, without=("race", "lanes")):
        broken = fails(drawn, source) if source.random() < 0.5 else None
        await same_everywhere(trial, broken or drawn, source)


async def same_everywhere(trial: Trial[RuntimeCase], drawn: TrialGraph, source: random.Random) -> None:
    """Require that nothing of what must change nothing changes the result of a graph, or the stage that fails."""
    flow = None if any(one.fails_at is not None for one in steps_of(drawn.blocks)) else flow_of(drawn)
    told: str | None = None
    for what, changed, settings in _changes(drawn, source):
        seen = await run_graph(changed, settings=settings)
        stage = seen.error.stage.rpartition("/")[2] if isinstance(seen.error, StageError) else repr(seen.error)
        if flow is not None:
            wrong = (f"it raised {seen.error!r}" if seen.error else None) or differences(flow, seen.texts)
            trial.require(wrong is None, f"with {what}: {wrong}")
        elif _must_fail(drawn):
            told = told or stage
            trial.require(stage == told, f"with {what} {stage} failed, else {told}")
        else:
            trial.require(not isinstance(seen.error, PipelineDeadlockError), f"with {what}: {seen.error}")


def _must_fail(drawn: TrialGraph) -> bool:
    """Say whether the stage that can fail will: nothing that depends on time is before it."""
    return not any(isinstance(one, Fan) and one.how == "balance" for one in _all_blocks(drawn.blocks)) and not any(
        isinstance(one, Fan) and one.policy in ("zip", "zip_latest") for one in _all_blocks(drawn.blocks)
    )


def _all_blocks(blocks: Blocks) -> Iterator[Block]:
    for one in blocks:
        yield one
        inner = one.arms if isinstance(one, Fan) else (one.body,) if isinstance(one, (Nest, Loop)) else ()
        for body in inner:
            yield from _all_blocks(body)


def _changes(drawn: TrialGraph, source: random.Random) -> Iterator[tuple[str, TrialGraph, dict[str, object]]]:
    """Yield a graph as it is, and changed in ways that must not matter."""
    yield "nothing changed", drawn, {}
    capacity = source.choice([1, 2, 5, 70])
    yield f"capacity {capacity}", dataclasses.replace(drawn, capacity=capacity), {}
    place = source.randint(0, len(drawn.blocks))
    passing = (*drawn.blocks[:place], Step("further", "pass"), *drawn.blocks[place:])
    yield f"a stage more at {place}", dataclasses.replace(drawn, blocks=passing), {}
    nested = (*drawn.blocks[: place - 1], Nest("split", drawn.blocks[max(place - 1, 0) :]))
    if place:
        yield f"a nested part from {place - 1}", dataclasses.replace(drawn, blocks=nested), {}
    yield "watched edges", drawn, {"idle_timeout_s": 50_000.0, "metrics": True}
    if "fuse" in PipelineConfig.__struct_fields__:
        for fuse in (True, False):
            yield f"fuse={fuse}", drawn, {"fuse": fuse}
