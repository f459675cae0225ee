"""Rules of failure: what fails is told once, where it was, behind what came before it; what is no business of a stage passes it by.

Above: `check_stage`, which loads them. Below: `_stage_case`. Source: Reactive Streams (1.4, 1.7), Pekko's supervision.
"""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator  # noqa: TC003 - the runtime reads the annotations of stages
from typing import TYPE_CHECKING

from ..elements import AudioElement, ControlElement, ErrorElement, StreamElement, TurnReset, Usage, UsageElement
from ..errors import StageError
from ..stages import StageKind, Supervision, as_stage
from ._conformance import rule
from ._stage_case import (
    CountingSource,
    Ends,
    StageTrial,
    agree,
    brief,
    collected,
    data_of,
    given,
    lengths,
    need_input,
    need_output,
    nothing_left,
    pipeline_of,
    reference,
    running,
    take,
    unfinished,
)
from ._tasks import tasks_alive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..runtime import Pipeline, PipelineBuilder
    from ..stages import Directive

__all__: list[str] = []


class PlantedError(Exception):
    """What the neighbours of the stage on trial fail with."""


async def _failed_run(
    trial: StageTrial, pipeline: Pipeline, source: CountingSource | Sequence[StreamElement]
) -> tuple[list[StreamElement], StageError, list[StreamElement]]:
    """Return what a run gave, the failure that it ended with, and what came after that."""
    got: list[StreamElement] = []
    async with running(trial, pipeline, source) as run:
        try:
            async for element in run:
                got.append(element)  # noqa: PERF401 - it is kept when the run fails
        except StageError as error:
            return got, error, await take(run, 2)
    raise AssertionError("the failure was not raised")


def _need_poison(trial: StageTrial) -> StreamElement:
    if trial.subject.poison is None:
        trial.skip("nothing was given on which the stage fails: poison=")
    return trial.subject.poison


@rule(
    "SF-35",
    "A failure on any element comes behind what was sent before it, as one StageError, and then nothing more.",
    holds="6.1",
    subject="stage",
)
async def _fails_on_an_element(trial: StageTrial) -> None:
    poison = _need_poison(trial)
    for items in lengths(trial, 0, 1, 3):
        given(trial, [*items, poison], "the last one makes it fail")
        got, error, after = await _failed_run(trial, pipeline_of(trial), [*items, poison])
        trial.require(error.stage == trial.subject.name, f"the error names the stage {error.stage!r}")
        trial.require(not after, f"after the error there came {brief(after)}")
        fatal = [one for one in got if isinstance(one, ErrorElement) and one.fatal]
        trial.require(len(fatal) == 1, f"{len(fatal)} fatal error elements came out")
        whole = await reference(trial, items)
        if trial.subject.kind is StageKind.TRANSFORM and trial.subject.ordered:
            agree(trial, data_of(got), whole)
        else:
            trial.require(
                len(data_of(got)) <= len(whole), f"{brief(data_of(got))} came out, and {brief(whole)} without a failure"
            )


@rule(
    "SF-36",
    "A failure does not cancel the body of the consumer; it is raised when the next element is asked for.",
    holds="6.3",
    subject="stage",
)
async def _fails_while_consumer_works(trial: StageTrial) -> None:
    need_input(trial)
    items = await unfinished(trial, lengths(trial, 3)[-1])
    given(trial, items, "then the source fails; the consumer works for ten seconds")
    source = CountingSource(items, failure=PlantedError())
    raised, worked = False, False
    async with running(trial, pipeline_of(trial), source) as run:
        await trial.rest(10)
        worked = True
        try:
            async for _ in run:
                pass
        except StageError as error:
            raised = error.stage == "source"
    trial.require(
        worked and raised, "the failure was not raised at the next pull" if worked else "the body was cancelled"
    )


@rule(
    "SF-37",
    "Of several failures at the same time one is raised, and the others are kept beside it.",
    holds="6.2",
    subject="stage",
)
async def _several_failures(trial: StageTrial) -> None:
    need_input(trial)
    need_output(trial)
    items = await unfinished(trial, lengths(trial, 3)[-1])

    async def fails(stream: AsyncIterator[StreamElement]) -> AsyncIterator[StreamElement]:
        async for element in stream:
            yield element
        raise PlantedError("behind")

    given(trial, items, "then the source fails, and the stage behind fails at its end")
    source = CountingSource(items, failure=PlantedError("before"))
    _, error, after = await _failed_run(trial, pipeline_of(trial, behind=[fails]), source)
    trial.require(error.stage == "source", f"the first failure was in the source, and {error.stage!r} was told")
    trial.require(not after, f"after the error there came {brief(after)}")
    kept = [one.stage for one in error.suppressed]
    trial.require(len(kept) <= 1 and "source" not in kept, f"beside it there were {kept}")


@rule(
    "SF-38",
    "A source is closed once, by the task that read it, and what it raises is told as its failure, behind its data.",
    holds="5.3",
    subject="stage",
)
async def _source_is_closed(trial: StageTrial) -> None:
    need_input(trial)
    for some in lengths(trial, 0, 1, 3):
        items = await unfinished(trial, some)
        for failure in (None, PlantedError()):
            given(trial, items, "then the source fails" if failure else "")
            source = CountingSource(items, failure=failure)
            if failure is None:
                got = await collected(trial, pipeline_of(trial), source)
            else:
                got, error, _ = await _failed_run(trial, pipeline_of(trial), source)
                trial.require(error.stage == "source", f"the error names the stage {error.stage!r}")
            agree(trial, data_of(got), await reference(trial, items))
            trial.require(source.closed == 1, f"the source was closed {source.closed} times")
            trial.require(len(set(source.tasks)) == 1, "the source was closed by another task than read it")


@rule(
    "SF-39",
    "The cause of a failure is the stage's own exception, and its traceback ends in the stage's code.",
    holds="6.2",
    subject="stage",
)
async def _cause(trial: StageTrial) -> None:
    poison = _need_poison(trial)
    given(trial, [poison])
    _, error, _ = await _failed_run(trial, pipeline_of(trial), [poison])
    cause = error.__cause__
    trial.require(cause is not None, "the error has no cause")
    frames = traceback.extract_tb(cause.__traceback__ if cause is not None else None)
    trial.require(frames, "the cause has no traceback")
    trial.require(error.index in {0, None}, f"the error names the element #{error.index}, it was #0")


@rule("SF-40", "Error elements pass unchanged in their place, and stop nothing.", holds="1.5", subject="stage")
async def _error_elements(trial: StageTrial) -> None:
    await _passes_by(trial, [ErrorElement("planted", "from elsewhere", "elsewhere")])


@rule(
    "SF-42",
    "A supervised stage goes on after a failure as it was told, and whoever decides is asked once.",
    holds="6.4",
    subject="stage",
)
async def _supervised(trial: StageTrial) -> None:
    poison = _need_poison(trial)
    if trial.subject.kind is StageKind.ACCUMULATE:
        trial.skip("the stage accumulates: what it held when it failed is lost with it")
    need_output(trial)
    items = lengths(trial, 3)[-1]
    asked: list[Exception] = []

    def decide(error: Exception) -> None:
        asked.append(error)

    calls = as_stage(trial.subject.make()).calls

    def supervise(builder: PipelineBuilder) -> None:
        directive: Directive = "resume" if calls == "several" else "restart"
        builder.supervise(trial.subject.name, Supervision(directive, decide=decide, min_backoff_s=0, jitter=0))

    for place in range(len(items) + 1):
        asked.clear()
        fed = [*items[:place], poison, *items[place:]]
        given(trial, fed, f"#{place} makes it fail; it is supervised")
        got = await collected(trial, pipeline_of(trial, build=supervise), fed)
        trial.require(len(asked) == 1, f"the decider was asked {len(asked)} times")
        first, second = await reference(trial, items[:place]), await reference(trial, items[place:])
        agree(trial, got, [*first, *second])


@rule("SF-75", "What a stage does not accept keeps its place and is untouched.", holds="3.3", subject="stage")
async def _foreign_data(trial: StageTrial) -> None:
    await _passes_by(trial, [AudioElement(b"")])


@rule("SF-76", "Control that a stage does not name keeps its place among the data.", holds="1.4", subject="stage")
async def _control(trial: StageTrial) -> None:
    await _passes_by(trial, [TurnReset(), UsageElement(Usage(input_tokens=1)), TurnReset()])


async def _passes_by(trial: StageTrial, candidates: list[StreamElement]) -> None:
    """Send what the stage does not accept before and behind its input, and alone."""
    need_input(trial)
    accepts = as_stage(trial.subject.make()).accepts
    aside = [one for one in candidates if not _is_accepted(one, accepts)]
    if not aside:
        trial.skip(f"the stage accepts {brief(candidates)}")
    if not trial.subject.sends:
        given(trial, aside)
        trial.require(not await collected(trial, pipeline_of(trial), aside), "a sink let something past")
        return
    given(trial, aside * 10)
    got = await collected(trial, pipeline_of(trial), aside * 10)
    passed = [one for one in got if any(one is other for other in aside)]
    trial.require(passed == aside * 10, f"of {len(aside * 10)} elements {len(passed)} came past it")
    empty = await reference(trial, [])
    trial.require(
        len(got) == len(passed) + len(empty) or not trial.subject.deterministic, f"it sent {brief(got)} of its own"
    )
    for some in lengths(trial, 1, 3):
        items = await unfinished(trial, some)
        alone = await reference(trial, items)
        for fed, wanted in (([*aside, *items], [*aside, *alone]), ([*items, *aside], [*alone, *aside])):
            given(trial, fed)
            got = await collected(trial, pipeline_of(trial), fed)
            passed = [one for one in got if any(one is other for other in aside)]
            trial.require(passed == aside, f"{brief(passed)} came past it untouched of {brief(aside)}")
            if trial.subject.kind is StageKind.ACCUMULATE and fed[0] is items[0]:
                # What comes behind its input may leave before what it holds, or behind: as it is there when the stage flushes.
                agree(trial, [one for one in got if not any(one is other for other in aside)], alone)
            else:
                agree(trial, got, wanted)


def _is_accepted(element: StreamElement, accepts: Sequence[type[StreamElement]]) -> bool:
    if isinstance(element, ControlElement):
        return any(issubclass(one, ControlElement) and isinstance(element, one) for one in accepts)
    return isinstance(element, tuple(accepts))


@rule(
    "SF-71",
    "Each beginning and each end of a stage is told once, in order, however it ends.",
    holds="10.2",
    subject="stage",
)
async def _events(trial: StageTrial) -> None:
    items = lengths(trial, 3)[-1]
    for how in ("read to its end", "left at once", "the source fails"):
        if how == "the source fails" and not trial.subject.reads:
            continue
        given(trial, items, how)
        before, ends = tasks_alive(), Ends(trial)
        source = CountingSource(items, failure=PlantedError() if how == "the source fails" else None)
        try:
            async with running(trial, pipeline_of(trial, listener=ends), source) as run:
                if how != "left at once":
                    async for _ in run:
                        pass
        except StageError:
            pass
        await nothing_left(before)
        names = [name for name in ends.names if name.startswith("stage.")]
        trial.require(
            names in ([], ["stage.started", names[-1]]) and "stage.started" not in names[1:],
            f"its events were {', '.join(names)}",
        )
        trial.require(names or how == "left at once", "nothing was told of it")
