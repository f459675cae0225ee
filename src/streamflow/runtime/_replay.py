"""Playing a recorded run again: its input into a pipeline, and what comes at its points compared with what came then.

Above: users, `testing`, `cli`. Below: `_pipeline`, `_record_points`, `observe` (reading, comparing).

Rules: points are compared in the order in which elements come to them, so the first difference is where something has become
different, and not
where that has led to. Where the pipeline has no such point any more, it is passed over, and said. How the run ended is compared
last. Of a run that was cut short (cancelled, or its recording is), only what is there is compared.
"""

# ruff: noqa: SLF001 - a run is watched before it starts
# pyright: reportPrivateUsage=false
from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import TYPE_CHECKING, cast

import anyio
import anyio.to_thread

from ..elements import EndOfStream, ErrorElement
from ..errors import ConfigError, PipelineDeadlockError, RecordingError, RunAbortedError, RunTimeoutError, StageError
from ..observe import (
    DEFAULT_IGNORED,
    INPUT,
    OUTPUT,
    Difference,
    RecordedFile,
    RecordedRun,
    checked_rules,
    first_difference,
    read_recording,
)
from ._pipeline import Pipeline
from ._record_points import Points, PointWatcher, points_of
from ._sync import check_backend, forbid_inside_a_loop

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Iterable, Sequence

    from ..elements import StreamElement
    from ..observe import Ignored, RecordedElement
    from ._plan import Plan
    from ._run import Run
    from ._sync import BackendName

__all__ = ["Replay", "replay", "replay_sync"]

_CUT = frozenset({None, "cancelled", "interrupt"})


@dataclasses.dataclass(frozen=True, slots=True)
class Replay:
    """What came of playing a recorded run again. True if nothing differs."""

    run_id: str
    """The recorded run."""
    difference: Difference | None
    """The first difference; None: there is none."""
    compared: dict[str, int]
    """How many elements were compared, by point."""
    skipped: tuple[str, ...] = ()
    """Points of the recording that the pipeline does not have."""
    is_changed: bool = False
    """Whether the graph is another one than that which was recorded."""
    elements: tuple[StreamElement, ...] = ()
    """What came out of the run now."""

    def __bool__(self) -> bool:
        return self.difference is None

    def __str__(self) -> str:
        points = ", ".join(f"{count} at {point}" for point, count in self.compared.items()) or "nothing"
        told = [f"{self.run_id}: no difference; compared: {points}"]
        if self.difference is not None:
            told = [f"{self.run_id}: {self.difference}"]
        if self.is_changed:
            told.append("the graph is another one than that which was recorded")
        if self.skipped:
            told.append(f"not compared, as the pipeline has no such point: {', '.join(self.skipped)}")
        return "\n".join(told)


async def replay(
    recording: RecordedRun | RecordedFile | str | os.PathLike[str],
    pipeline: Pipeline,
    *,
    ignore: Iterable[Ignored] = DEFAULT_IGNORED,
    coalesce: bool = False,
    speed: float | None = None,
    deps: object = None,
) -> Replay:
    """Feed a recorded input to a pipeline, and say where what comes first differs from the recording.

    Args:
        recording: The run, or a recording, whose newest run is meant.
        pipeline: The pipeline that was recorded, or a changed one.
        ignore: What does not count as a difference: `ids`, `times`, `usage`, `metadata`, `signatures`, `messages` (of errors),
        `order`.
        coalesce: Whether fragments of one text are compared as one, however it was cut.
        speed: How fast the input comes, by the times in the recording: 1 as then, 2 twice as fast. None: as fast as the pipeline
        takes it.
        deps: What stages find as `run.deps`.

    Cancellation: the run is ended, and its tasks are waited for.

    Raises:
        RecordingError: If the recording cannot be read, has no such input, or lacks elements of it.
        ConfigError: If a rule or the speed is none.
    """
    rules = checked_rules(ignore)
    given = cast("object", speed)
    if given is not None and not (isinstance(given, int | float) and 0 < given < math.inf):
        raise ConfigError("speed", f"a number above 0 was expected, or None, got {given!r:.80}")
    if not isinstance(cast("object", pipeline), Pipeline):
        raise ConfigError("pipeline", f"a Pipeline was expected, got {pipeline!r:.80}; call build() first")
    run, seen = await anyio.to_thread.run_sync(partial(_read, recording))
    feeds = _feeds(run, seen, pipeline._plan)
    at = [one for one in run.points if one not in run.inputs]
    points = _points_there(run, pipeline._plan)
    alone = [
        one.removeprefix(f"{OUTPUT}:") for one in run.outputs if one != OUTPUT and one in {its.point for its in seen}
    ]
    tape = _Tape(points, frozenset(alone))
    source = {head: _paced(items, speed) for head, items in feeds.items()}
    playing = pipeline.execute(source if pipeline.takes_source else None, deps=deps)
    playing._engine.reporter.recorder = tape
    end, elements = await _play(playing, alone)
    is_cut = run.reason in _CUT
    found: Difference | None = None
    compared: dict[str, int] = {}
    for number, point in enumerate(points.names):
        expected = [one.element for one in seen if one.point == point]
        if point not in at:
            continue
        compared[point] = len(expected)
        if found is None:
            found = first_difference(point, expected, tape.seen[number], ignore=rules, coalesce=coalesce, is_cut=is_cut)
    if found is None and not is_cut:
        found = _difference_of_ends(run, end)
    return Replay(
        run.run_id,
        found,
        compared,
        tuple(one for one in at if one not in points.names),
        is_changed=bool(run.fingerprint) and run.fingerprint != pipeline.fingerprint,
        elements=tuple(elements),
    )


def replay_sync(
    recording: RecordedRun | RecordedFile | str | os.PathLike[str],
    pipeline: Pipeline,
    *,
    ignore: Iterable[Ignored] = DEFAULT_IGNORED,
    coalesce: bool = False,
    speed: float | None = None,
    deps: object = None,
    backend: BackendName = "asyncio",
) -> Replay:
    """Do what `replay()` does, blocking. Resources that stages ask for are opened, and closed before it returns.

    Args:
        recording: See `replay()`, also for all others.
        pipeline: What is fed.
        ignore: What does not count as a difference.
        coalesce: Whether fragments of one text are compared as one.
        speed: How fast the input comes.
        deps: What stages find as `run.deps`.
        backend: The event loop.

    Raises:
        SyncInAsyncError: If called inside a running event loop.
        MissingExtraError: If trio is asked for and not installed.
        RecordingError: If the recording cannot be read, has no such input, or lacks elements of it.
        ConfigError: If a rule, the speed or the backend is none.
    """
    forbid_inside_a_loop("replay_sync")
    check_backend(backend)

    async def alone() -> Replay:
        try:
            return await replay(recording, pipeline, ignore=ignore, coalesce=coalesce, speed=speed, deps=deps)
        finally:
            await pipeline._lifetime.close_resources()

    return anyio.run(alone, backend=backend)


class _Tape(PointWatcher):
    """Keeps what comes to the points."""

    def __init__(self, points: Points, alone: frozenset[str]) -> None:
        super().__init__(points)
        self.seen: list[list[StreamElement | None]] = [[] for _ in points.names]
        """The elements, by point."""
        self._alone = alone

    def note(self, point: int, element: StreamElement) -> None:
        """Keep it."""
        self.seen[point].append(element)

    def is_taken(self, leaf: str) -> bool:
        """Say whether a leaf is read alone."""
        return leaf in self._alone


def _read(
    recording: RecordedRun | RecordedFile | str | os.PathLike[str],
) -> tuple[RecordedRun, list[RecordedElement]]:
    """Return a run and all that was seen of it. Blocks."""
    if not isinstance(recording, RecordedRun):
        file = recording if isinstance(recording, RecordedFile) else read_recording(recording)
        recording = file.run()
    return recording, sorted(recording, key=lambda one: one.order)


def _feeds(run: RecordedRun, seen: Sequence[RecordedElement], plan: Plan) -> dict[str, list[RecordedElement]]:
    """Return what each head was fed with.

    Raises:
        RecordingError: If that does not fit to the heads, or is not all there.
    """
    if run.is_headless:
        raise RecordingError(run.file.path, f"the beginning of {run.run_id} was in a file that is gone")
    found: dict[str, list[RecordedElement]] = {}
    heads = list(plan.heads)
    for point in run.inputs:
        name = point.removeprefix(INPUT).removeprefix(":") or (heads[0] if len(heads) == 1 else "")
        found[name] = [one for one in seen if one.point == point]
    if set(found) != set(heads):
        there, wanted = (", ".join(map(repr, names)) or "nothing" for names in (run.inputs, heads))
        raise RecordingError(run.file.path, f"{run.run_id} has recorded {there}, and what takes a source is {wanted}")
    lacking = next((one for items in found.values() for one in items if one.element is None), None)
    if lacking is not None:
        raise RecordingError(
            run.file.path, f"element #{lacking.ordinal} of the input of {run.run_id} is not in it: {lacking.missing}"
        )
    return found


def _points_there(run: RecordedRun, plan: Plan) -> Points:
    """Return the points of a recording that a pipeline has, too."""
    whole = points_of(["edges", *(edge.name for edge in plan.edges)], plan)
    names = tuple(one for one in whole.names if one in run.points)
    numbers = {name: number for number, name in enumerate(names)}

    def kept(places: dict[str, int]) -> dict[str, int]:
        return {edge: numbers[whole.names[place]] for edge, place in places.items() if whole.names[place] in numbers}

    return Points(names, kept(whole.entering), kept(whole.taken), whole.leaves)


async def _paced(items: Sequence[RecordedElement], speed: float | None) -> AsyncIterator[StreamElement]:
    began_s = anyio.current_time()
    for one in items:
        if speed is not None:
            await anyio.sleep_until(began_s + one.at_s / speed)
        assert one.element is not None, "that was checked"
        yield one.element


async def _play(run: Run, alone: Sequence[str]) -> tuple[EndOfStream | ErrorElement | None, list[StreamElement]]:
    """Iterate a run to its end, and the outputs that were taken alone; return how it ended, and what came."""
    elements: list[StreamElement] = []
    end: EndOfStream | None = None
    failure: ErrorElement | None = None

    async def drink(output: AsyncIterator[StreamElement]) -> None:
        async for _ in output:
            pass

    async with run, anyio.create_task_group() as tasks:
        for name in alone:
            tasks.start_soon(drink, run.output(name))
        try:
            async for element in run:
                elements.append(element)
                if isinstance(element, EndOfStream):
                    end = element
                elif isinstance(element, ErrorElement) and element.fatal:
                    failure = element
        except (StageError, RunTimeoutError, RunAbortedError, PipelineDeadlockError):
            pass  # it has been told as an element, and may be what was recorded
    return failure or end, elements


def _difference_of_ends(run: RecordedRun, end: EndOfStream | ErrorElement | None) -> Difference | None:
    expected = _failure(run.code, run.stage) if run.code else str(run.reason)
    got = "nothing" if end is None else end.reason if isinstance(end, EndOfStream) else _failure(end.code, end.stage)
    return None if expected == got else Difference("end", 0, "$.reason", expected, got)


def _failure(code: str, stage: str | None) -> str:
    return f"{code} in {stage or 'the run'}"
