"""A stage on trial: how it is made, what goes in, what must come out; and the runs that its checks make.

Above: the modules with the rules of stages, `check_stage`. Below: `runtime`, `stages`, `_conformance`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

import anyio

from ..elements import EndOfStream, ErrorElement, StreamElement, TextElement
from ..errors import OutputClosedError
from ..runtime import PipelineBuilder, PipelineConfig
from ..stages import MapStage, StageKind, as_stage
from ._conformance import BACKENDS, Trial, Variant
from ._tasks import assert_no_tasks_left, name_of, tasks_of_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

    from ..observe import Event
    from ..runtime import KillSwitch, Pipeline, Run
    from ..stages import StageLike

__all__ = [
    "SOME_STAGE_VARIANTS",
    "STAGE_VARIANTS",
    "CountingSource",
    "Ends",
    "StageCase",
    "StageTrial",
    "agree",
    "brief",
    "collected",
    "data_of",
    "expected",
    "given",
    "has_fusion",
    "heavy_variants",
    "lengths",
    "need_input",
    "need_output",
    "nothing_left",
    "pipeline_of",
    "reference",
    "resource_tasks",
    "running",
    "take",
    "unfinished",
]

_SHOWN: Final = 6
"""Most elements that a report writes out."""
_MIDDLE: Final = 2
_WIDE: Final = 1000
"""Capacity of the edges of a reference run: nothing ever waits for room."""


@dataclasses.dataclass(slots=True, kw_only=True)
class StageCase:
    """What is known of the stage on trial."""

    make: Callable[[], StageLike]
    """Returns the stage, in any form."""
    element: Callable[[int], StreamElement] | None
    """Returns the element number i of its input; None for a stage that generates."""
    model: Callable[[list[StreamElement]], Iterable[StreamElement | str]] | None = None
    """Returns what it must send for an input."""
    emits: tuple[type[StreamElement], ...] | None = None
    """The types that it may send; None: what it declares."""
    key: Callable[[StreamElement], object] | None = None
    """What of an element must be the same in every run; None: all of it."""
    deterministic: bool = True
    """Whether the same input gives the same output."""
    ordered: bool = True
    """Whether it does so in the same order."""
    timed: bool = False
    """Whether what it sends depends on when elements come."""
    max_elements: int = 50
    """Longest input that is tried."""
    examples: int = 5
    """How many random inputs are tried."""
    poison: StreamElement | None = None
    """An element on which it fails."""
    deps: object = None
    """What it finds as `run.deps`."""
    name: str = ""
    """Its name in the graph."""
    kind: StageKind = StageKind.TRANSFORM
    """Its kind."""
    has_resources: bool = False
    """Whether its runs share something that a pipeline opens for them."""
    _references: dict[tuple[StreamElement, ...], list[StreamElement]] = dataclasses.field(
        default_factory=dict[tuple[StreamElement, ...], list[StreamElement]]
    )
    _enough: dict[tuple[StreamElement, ...], int] = dataclasses.field(
        default_factory=dict[tuple[StreamElement, ...], int]
    )
    _pipelines: dict[tuple[object, ...], Pipeline] = dataclasses.field(
        default_factory=dict[tuple[object, ...], "Pipeline"]
    )

    def __post_init__(self) -> None:
        spec = as_stage(self.make())
        self.name, self.kind, self.has_resources = spec.name, spec.kind, bool(spec.resources)
        if self.emits is None:
            self.emits = spec.emits

    @property
    def reads(self) -> bool:
        """Whether it has an input."""
        return self.kind is not StageKind.GENERATE

    @property
    def sends(self) -> bool:
        """Whether it has an output."""
        return self.kind is not StageKind.SINK

    def shared_pipeline(self, trial: StageTrial) -> Pipeline:
        """Return one pipeline for all event loops, of the capacity and fusion that the variant says."""
        key = trial.variant.settings
        if key not in self._pipelines:
            self._pipelines[key] = pipeline_of(trial)
        return self._pipelines[key]

    async def wanted(self, trial: StageTrial, items: Sequence[StreamElement]) -> int:
        """Return how many elements of an input leave it wanting more, found out once; all, but where it ends by itself."""
        key = tuple(items)
        if key not in self._enough:
            most = 0
            while most < len(key) and not await _ends_by_itself(trial, key[: most + 1]):
                most += 1
            self._enough[key] = most
        return self._enough[key]

    async def reference(self, items: Sequence[StreamElement]) -> list[StreamElement]:
        """Return what the stage sends for an input where nothing ever waits for room, found out once."""
        key = tuple(items)
        if key not in self._references:
            config = PipelineConfig(buffer_size=_WIDE)
            pipeline = PipelineBuilder(config).chain(self.make()).build()
            async with pipeline.execute(key if self.reads else None, deps=self.deps) as run:
                self._references[key] = [one async for one in run if not isinstance(one, EndOfStream)]
            await pipeline.shutdown()
        return self._references[key]


StageTrial = Trial[StageCase]
"""What the check of a rule about stages is given."""


def has_fusion() -> bool:
    """Say whether adjacent stages of a pipeline can share a task."""
    return "fuse" in PipelineConfig.__struct_fields__


def _variants(capacities: tuple[int, ...]) -> tuple[Variant, ...]:
    fusions = ("unfused", "fused") if has_fusion() else ("unfused",)
    return tuple(
        Variant(backend, (("fusion", fusion), ("capacity", capacity)))
        for backend in BACKENDS
        for capacity in capacities
        for fusion in fusions
    )


STAGE_VARIANTS: Final = _variants((1, 2, 16))
"""Every event loop, every capacity that is a case of its own, sharing a task with its neighbours and not."""
SOME_STAGE_VARIANTS: Final = tuple(
    one
    for place, one in enumerate(STAGE_VARIANTS)
    if not has_fusion() or (place + place // 2 % 3 + place // 6) % 2 == 0
)
"""Half of them, in which any two of these circumstances meet."""


def heavy_variants(variants: Sequence[Variant]) -> Sequence[Variant]:
    """Return those in which costly rules are tried: the smallest capacity at which a stage and its neighbours all are at work."""
    return [one for one in variants if one["capacity"] == _MIDDLE] or variants


def pipeline_of(
    trial: StageTrial,
    *,
    before: Sequence[StageLike] = (),
    behind: Sequence[StageLike] = (),
    listener: Callable[[Event], object] | None = None,
    build: Callable[[PipelineBuilder], object] | None = None,
    capacity: int | None = None,
    limits: Mapping[str, float] = MappingProxyType({}),
) -> Pipeline:
    """Return a new pipeline with a new stage in the variant's circumstances.

    Args:
        trial: The trial.
        before: Stages before it; left out where it generates.
        behind: Stages behind it; left out where it is a sink.
        listener: Hears of every event.
        build: Called with the builder at last.
        capacity: Of its edges, where the variant's is of no use.
        limits: Time limits of `PipelineConfig`.
    """
    case, settings = trial.subject, dict(trial.variant.settings)
    size = capacity if capacity is not None else cast("int", settings["capacity"])
    config = PipelineConfig().replace(buffer_size=size, **limits)
    first, last = list(before), list(behind)
    if has_fusion():
        is_fused = settings["fusion"] == "fused"
        config = config.replace(fuse=is_fused)
        if is_fused:
            first, last = [*first, _passing("before")], [_passing("behind"), *last]
    stages = [*(first if case.reads else ()), case.make(), *(last if case.sends else ())]
    builder = PipelineBuilder(config).chain(*stages)
    if listener is not None:
        builder.on_event(listener)
    if build is not None:
        build(builder)
    pipeline = builder.build()
    if case.has_resources:
        trial.deferred.append(pipeline.shutdown)
    return pipeline


async def nothing_left(before: frozenset[object]) -> None:
    """Check that all tasks begun since then have ended, but those that hold what runs share.

    Raises:
        AssertionError: Tasks are left; the message says where each waits.
    """
    await assert_no_tasks_left(before | resource_tasks())


def resource_tasks() -> frozenset[object]:
    """Return the tasks that hold what the runs of a pipeline share: they outlive the runs."""
    return frozenset[object](one for one in tasks_of_loop() if name_of(one).startswith("resource "))


def _passing(name: str) -> StageLike:
    return MapStage(_same, name=f"pass {name}", accepts=StreamElement)


def _same(element: StreamElement) -> StreamElement:
    return element


async def _ends_by_itself(trial: StageTrial, items: Sequence[StreamElement]) -> bool:
    """Say whether a stage ends although its input is still open."""
    ends = Ends(trial)
    async with pipeline_of(trial, capacity=_WIDE, listener=ends).execute(deps=trial.subject.deps) as run:
        for item in items:
            try:
                await run.send(item)
            except OutputClosedError:
                return True
        await trial.rest(60)
        return "stage.completed" in ends.names


async def unfinished(trial: StageTrial, items: list[StreamElement]) -> list[StreamElement]:
    """Return as much of an input as leaves the stage wanting more; skip the rule where nothing does."""
    if not items:
        return items
    wanted = await trial.subject.wanted(trial, items)
    if not wanted:
        trial.skip("the stage has enough after one element")
    return items[:wanted]


class CountingSource:
    """A source that says how much it gave, and whether it was closed.

    Args:
        items: What it gives.
        forever: Whether it begins again, a second after the last one.
        pause_s: How long it waits before each element.
        failure: What it raises at its end.
    """

    def __init__(
        self,
        items: Sequence[StreamElement],
        *,
        forever: bool = False,
        pause_s: Callable[[], float] | None = None,
        failure: Exception | None = None,
    ) -> None:
        self.items = items
        self.forever = forever
        self.pause_s = pause_s
        self.failure = failure
        self.begun: int = 0
        self.closed: int = 0
        self.given: list[StreamElement] = []
        self.tasks: list[int] = []

    async def stream(self) -> AsyncGenerator[StreamElement]:
        """Give the elements. Cancellation: it is closed."""
        self.begun += 1
        self.tasks.append(anyio.get_current_task().id)
        try:
            while True:
                for item in self.items:
                    if self.pause_s is not None:
                        await anyio.sleep(self.pause_s())
                    self.given.append(item)
                    yield item
                if not self.forever:
                    break
                await anyio.sleep(1)  # before a sink, which never waits, virtual time would stand still
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed += 1
            self.tasks.append(anyio.get_current_task().id)


def given(trial: StageTrial, items: Sequence[StreamElement], how: str = "") -> None:
    """Tell the trial which input is tried next, and how."""
    shown = (
        "no input"
        if not trial.subject.reads
        else f"{len(items)} element{'s' * (len(items) > 1)}: {brief(items)}"
        if items
        else "an empty input"
    )
    trial.given(f"{shown}{'; ' if how else ''}{how}")


def brief(items: Sequence[object]) -> str:
    """Return elements in words, the first ones of many."""
    told = ", ".join(f"{one!r:.80}" for one in items[:_SHOWN])
    return f"[{told}{', …' if len(items) > _SHOWN else ''}]"


def need_input(trial: StageTrial) -> None:
    """Skip the rule for a stage that generates."""
    if not trial.subject.reads:
        trial.skip("the stage generates: it has no input")


def need_output(trial: StageTrial) -> None:
    """Skip the rule for a sink."""
    if not trial.subject.sends:
        trial.skip("the stage is a sink: it has no output")


def lengths(trial: StageTrial, *wanted: int) -> list[list[StreamElement]]:
    """Return inputs of some lengths, from short to long, none longer than the case allows; one empty one without an input."""
    make = trial.subject.element
    if make is None:
        return [[]]
    most = trial.subject.max_elements
    return [[make(i) for i in range(length)] for length in sorted({min(length, most) for length in wanted})]


def running(
    trial: StageTrial,
    pipeline: Pipeline,
    source: CountingSource | Sequence[StreamElement] = (),
    *,
    kill_switch: KillSwitch | None = None,
) -> Run:
    """Return a run on a source; on none where the stage generates."""
    elements = source.stream() if isinstance(source, CountingSource) and pipeline.takes_source else source
    given = cast("Sequence[StreamElement]", elements) if pipeline.takes_source else None
    return pipeline.execute(given, deps=trial.subject.deps, kill_switch=kill_switch)


async def collected(
    trial: StageTrial, pipeline: Pipeline, source: CountingSource | Sequence[StreamElement] = ()
) -> list[StreamElement]:
    """Return all that a run gives, without its end."""
    async with running(trial, pipeline, source) as run:
        return [element async for element in run if not isinstance(element, EndOfStream)]


class Ends:
    """A listener that knows the events of the stage on trial, and when they came.

    Args:
        trial: The trial.
    """

    def __init__(self, trial: StageTrial) -> None:
        self.events: list[Event] = []
        self._stage = trial.subject.name

    def __call__(self, event: Event) -> None:
        if event.stage == self._stage:
            self.events.append(event)

    @property
    def names(self) -> list[str]:
        """Names of the events, in order."""
        return [event.name for event in self.events]


def data_of(elements: Iterable[StreamElement]) -> list[StreamElement]:
    """Return the elements without the end, and without the notice of a failure."""
    return [
        one
        for one in elements
        if not isinstance(one, EndOfStream) and not (isinstance(one, ErrorElement) and one.fatal)
    ]


async def reference(trial: StageTrial, items: Sequence[StreamElement]) -> list[StreamElement]:
    """Return what the stage itself sends for an input in the easiest circumstances."""
    return await trial.subject.reference(items)


async def expected(trial: StageTrial, items: Sequence[StreamElement]) -> list[StreamElement]:
    """Return what must come out for an input: what the model says, else what the stage sends in the easiest circumstances."""
    case = trial.subject
    if case.model is None or not case.sends:
        return await reference(trial, items)
    return [TextElement(one) if isinstance(one, str) else one for one in case.model(list(items))]


def agree(
    trial: StageTrial, got: Sequence[StreamElement], wanted: Sequence[StreamElement], what: str = "it sent"
) -> None:
    """Fail unless two outputs say the same, as far as the case demands."""
    case = trial.subject
    if not case.deterministic:
        return
    key = case.key if case.key is not None else _same
    mine, its = [key(one) for one in got], [key(one) for one in wanted]
    same = mine == its if case.ordered else Counter(map(repr, mine)) == Counter(map(repr, its))
    if same:
        return
    place = next(
        (i for i, (one, other) in enumerate(zip(mine, its, strict=False)) if one != other), min(len(mine), len(its))
    )
    first = f"from #{place} on {brief(mine[place:])} and not {brief(its[place:])}"
    trial.require(False, f"{what} {len(mine)} elements where {len(its)} were expected, {first}")


async def take(run: Run, count: int) -> list[StreamElement]:
    """Return the next elements of a run, fewer where it ends before."""
    got: list[StreamElement] = []
    with contextlib.suppress(StopAsyncIteration):
        while len(got) < count:
            got.append(await anext(run))
    return got
