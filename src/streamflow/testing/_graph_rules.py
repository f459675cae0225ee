"""The rules of a pipeline about what it gives: the same each time, whatever the edges hold and whoever runs first.

Above: `_check_pipeline`. Below: `_graph_case`, `_conformance`. How runs end is in `_graph_endings`.
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING

import anyio

from ..elements import EndOfStream
from ..errors import BuildError, CycleError
from ..runtime import Pipeline, PipelineBuilder
from ..stages import PassthroughStage
from ._chaos import chaos
from ._conformance import Trial, rule
from ._graph_case import Counting, PipelineCase, collected, config_of, require_same, settled
from ._ledger import EdgeLedger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..elements import StreamElement
    from ..observe import Event
    from ..runtime import Run

__all__ = ["started"]


def started(trial: Trial[PipelineCase], pipeline: Pipeline, elements: Sequence[StreamElement] | None = None) -> Run:
    """Return a new run on the elements of the trial."""
    given = trial.subject.elements if elements is None else elements
    return pipeline.execute(list(given) if pipeline.takes_source else None)


@rule(
    "SF-02",
    "A run gives what it has to give, then its end, and every edge's account adds up.",
    holds="5.6",
    subject="graph",
)
async def gives_its_output(trial: Trial[PipelineCase]) -> None:
    trial.given(f"{len(trial.subject.elements)} elements")
    with EdgeLedger() as ledger:
        got, end, error = await collected(started(trial, trial.subject.pipeline(config_of(trial))))
    trial.require(error is None, f"it raised {error!r}")
    trial.require(end is not None and end.reason == "done", f"its end is {end!r}")
    require_same(trial, got, "the run")
    await settled(trial, ledger)


@rule("SF-01", "An empty input ends a run.", holds="5.6", subject="graph")
async def an_empty_input_ends_it(trial: Trial[PipelineCase]) -> None:
    pipeline = trial.subject.pipeline(config_of(trial))
    if not pipeline.takes_source:
        trial.skip("it takes no source")
    trial.given("no elements")
    _, end, error = await collected(started(trial, pipeline, ()))
    trial.require(error is None and end is not None, f"it ended with {end!r} and {error!r}")
    await settled(trial)


@rule(
    "SF-09",
    "Runs share nothing: a second one, and several at a time, give what the first gave.",
    holds="3.4",
    subject="graph",
)
async def runs_share_nothing(trial: Trial[PipelineCase]) -> None:
    pipeline = trial.subject.pipeline(config_of(trial))
    for count in (1, 1, 3):
        trial.given(f"{count} at a time, on a pipeline that has run before")
        found: list[list[StreamElement]] = []

        async def run(found: list[list[StreamElement]] = found) -> None:
            found.append((await collected(started(trial, pipeline)))[0])

        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(run)
        for got in found:
            require_same(trial, got, f"one of {count} runs")
    await settled(trial)


@rule(
    "SF-12",
    "A consumer that stops stops the source: no more is pulled than may be in flight.",
    holds="5.5",
    subject="graph",
)
async def a_source_is_held_up(trial: Trial[PipelineCase]) -> None:
    pipeline = trial.subject.pipeline(config_of(trial))
    most = pipeline.max_in_flight
    if most is None or not pipeline.takes_source or not trial.subject.elements:
        trial.skip("it takes no source, or cannot say how much it holds")
    trial.given("a consumer that takes one element and stops for 1000 s")
    source = Counting([*trial.subject.elements] * (3 * most + 3))
    async with pipeline.execute(source()) as run:
        async for _ in run:
            break
        await anyio.sleep(1000)
        asked = source.asked
        await anyio.sleep(1000)
        trial.require(asked == source.asked, f"it went on pulling: {asked}, then {source.asked}")
        expected = trial.subject.expected
        if expected is not None and len(expected) >= len(
            trial.subject.elements
        ):  # else some vanish inside, as they must
            trial.require(asked <= most + 1, f"it pulled {asked}, one was taken, and {most} may be in flight")
    trial.require(source.closed == 1, f"the source was closed {source.closed} times")
    await settled(trial)


@rule("SF-13", "A slow consumer gets all of it, and is not taken for a deadlock.", holds="14.2", subject="graph")
async def a_slow_consumer_gets_all(trial: Trial[PipelineCase]) -> None:
    trial.given("a consumer that takes a second for each element")
    got: list[StreamElement] = []
    async with started(trial, trial.subject.pipeline(config_of(trial))) as run:
        async for element in run:
            await anyio.sleep(1)
            if not isinstance(element, EndOfStream):
                got.append(element)
    require_same(trial, got, "the slow run")
    await settled(trial)


@rule(
    "SF-51",
    "What the source gave is after a run what it was before: nobody writes into elements.",
    holds="1.1",
    subject="graph",
)
async def elements_stay_as_they_are(trial: Trial[PipelineCase]) -> None:
    pipeline = trial.subject.pipeline(config_of(trial))
    if not pipeline.takes_source:
        trial.skip("it takes no source")
    trial.given("elements compared with copies of them from before")
    elements = copy.deepcopy(list(trial.subject.elements))
    await collected(started(trial, pipeline, elements))
    changed = [one for one, before in zip(elements, trial.subject.elements, strict=True) if one != before]
    trial.require(not changed, f"changed: {changed!r:.200}")


@rule("SF-57", "An edge that closes a cycle is refused at `build()`, with the way round.", holds="4.1", subject="graph")
async def cycles_are_refused(trial: Trial[PipelineCase]) -> None:
    data = trial.subject.pipeline(config_of(trial)).graph
    takers = {one.name for one in data.nodes if one.inputs}
    forward = next((one for one in data.forward_edges if one.source.stage in takers), None)
    if forward is None:
        trial.skip("it has no edge between two stages that take elements")
    trial.given(f"one more edge: {forward.target} → {forward.source}")
    builder = trial.subject.make(config_of(trial)).connect(str(forward.target), str(forward.source))
    try:
        builder.build()
    except BuildError as error:
        found = isinstance(error, CycleError) or any(one.kind == "cycle" for one in error.findings)
        found = found or any(one.stage == forward.target.stage for one in error.findings)
        trial.require(found, f"it was refused for another reason: {error}")
    else:
        trial.require(holds=False, otherwise="it was built")


@rule("SF-59", "Whoever runs first, a run gives the same.", holds="5.6", subject="graph", level="stochastic")
async def any_order_gives_the_same(trial: Trial[PipelineCase]) -> None:
    for seed in range(3 * trial.effort):
        trial.given(f"chaos(seed={seed})")
        with chaos(seed), EdgeLedger() as ledger:
            got, _, error = await collected(started(trial, trial.subject.pipeline(config_of(trial))))
        trial.require(error is None, f"it raised {error!r}")
        require_same(trial, got, "the run")
        await settled(trial, ledger)


@rule(
    "SF-60",
    "A stage that passes everything on, and nesting in another pipeline, change nothing.",
    holds="4.12",
    subject="graph",
)
async def a_pass_through_changes_nothing(trial: Trial[PipelineCase]) -> None:
    config = config_of(trial)
    inner = trial.subject.pipeline(config)
    if len(inner.graph.leaves) != 1:
        trial.skip("it has not one output")
    trial.given("the pipeline as a stage, and one behind it that passes everything on")
    outer = PipelineBuilder(config).chain(inner.as_stage("inner"), PassthroughStage(name="outer pass-through")).build()
    got, _, error = await collected(started(trial, outer))
    trial.require(error is None, f"it raised {error!r}")
    require_same(trial, got, "the outer run")
    await settled(trial)


@rule("SF-71", "Each stage tells its beginning once and its end once, in this order.", holds="10.2", subject="graph")
async def events_come_once(trial: Trial[PipelineCase]) -> None:
    trial.given("a listener that keeps all events")
    told: list[Event] = []
    pipeline = trial.subject.make(config_of(trial)).on_event(told.append).build()
    await collected(started(trial, pipeline))
    for node in pipeline.graph.nodes:
        names = [one.name for one in told if getattr(one, "stage", None) == node.name]
        life = [one for one in names if one in ("stage.started", "stage.completed", "stage.failed", "stage.cancelled")]
        trial.require(
            len(life) == 2 and life[0] == "stage.started" and life[1] != life[0], f"{node.name!r} told {life}"
        )


@rule("SF-72", "A listener that raises changes nothing.", holds="10.1", subject="graph")
async def listeners_change_nothing(trial: Trial[PipelineCase]) -> None:
    trial.given("a listener that raises at every event")

    def refuse(_event: Event) -> None:
        message = "the listener failed on purpose"
        raise RuntimeError(message)

    pipeline = trial.subject.make(config_of(trial)).on_event(refuse).build()
    log = logging.getLogger("streamflow.observe")
    was_disabled, log.disabled = log.disabled, True
    try:
        got, _, error = await collected(started(trial, pipeline))
    finally:
        log.disabled = was_disabled
    trial.require(error is None, f"it raised {error!r}")
    require_same(trial, got, "the run")
