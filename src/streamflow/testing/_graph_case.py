"""A pipeline on trial: how it is built, what it is fed, and what a run of it gives.

Above: `_graph_rules`, `_graph_endings`, `_check_pipeline`. Below: `runtime`, `_ledger`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

import anyio

from ..elements import EndOfStream, StreamElement
from ..runtime import Pipeline, PipelineConfig
from ._harness import assert_all_stages_stopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ..runtime import PipelineBuilder, Run
    from ._conformance import Trial
    from ._ledger import EdgeLedger

__all__ = ["Counting", "Make", "PipelineCase", "collected", "config_of", "require_same", "settled"]

Make: TypeAlias = "Callable[[PipelineConfig], PipelineBuilder]"
"""Returns a new builder of the graph on trial, with these settings."""


@dataclasses.dataclass
class PipelineCase:
    """A pipeline on trial."""

    make: Make
    """Returns a new builder."""
    elements: Sequence[StreamElement]
    """What its source gives."""
    expected: Sequence[StreamElement] | None
    """What it makes of that; None: what its first run gives."""
    ordered: bool
    """Whether its output is always in the same order."""
    keeps_unread: bool
    """Whether it keeps elements that edges do not count, as accumulators do that are passed by late."""
    pipelines: dict[PipelineConfig, Pipeline] = dataclasses.field(default_factory=dict[PipelineConfig, Pipeline])
    """Those that have been built: each is used in every check and on every event loop."""

    def pipeline(self, config: PipelineConfig) -> Pipeline:
        """Return the pipeline with these settings: one object for all its runs."""
        found = self.pipelines.get(config)
        if found is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what `build()` warns of is for its author
                found = self.pipelines[config] = self.make(config).build()
        return found


class Counting:
    """A source that counts what was asked of it, and how often it was closed."""

    def __init__(self, elements: Sequence[StreamElement], error: Exception | None = None) -> None:
        self.asked: int = 0
        """How many elements it has given."""
        self.closed: int = 0
        """How often it was closed."""
        self._elements = elements
        self._error = error

    async def __call__(self) -> AsyncIterator[StreamElement]:
        """Give the elements, then fail, if there is something to fail with."""
        try:
            for element in self._elements:
                self.asked += 1
                yield element
            if self._error is not None:
                raise self._error
        finally:
            self.closed += 1


def config_of(trial: Trial[PipelineCase]) -> PipelineConfig:
    """Return the settings of the variant."""
    return PipelineConfig(buffer_size=int(str(trial.variant["capacity"])), fuse=trial.variant["stages"] == "fused")


async def collected(
    run: Run, begun: Callable[[], object] | None = None
) -> tuple[list[StreamElement], EndOfStream | None, Exception | None]:
    """Return what a run gives, its end, and what it raises then; `begun` is called once it has been started."""
    got: list[StreamElement] = []
    end: EndOfStream | None = None
    try:
        async with run:
            if begun is not None:
                begun()
            async for element in run:
                if isinstance(element, EndOfStream):
                    end = element
                else:
                    got.append(element)
    except Exception as error:  # noqa: BLE001 - looked at by the check
        return got, end, error
    return got, end, None


async def settled(trial: Trial[PipelineCase], ledger: EdgeLedger | None = None) -> None:
    """Fail if a stage is alive, or the account of an edge does not add up."""
    await assert_all_stages_stopped()
    await anyio.lowlevel.checkpoint()
    if ledger is not None and not trial.subject.keeps_unread:
        ledger.check()


def require_same(trial: Trial[PipelineCase], got: Sequence[StreamElement], what: str) -> None:
    """Fail unless a run gave what it has to give."""
    case = trial.subject
    if case.expected is None:
        case.expected = list(got)
    wanted = list(case.expected)
    if case.ordered:
        trial.require(list(got) == wanted, f"{what} gave {list(got)!r:.300}, not {wanted!r:.300}")
    else:
        counts = Counter(map(repr, got)), Counter(map(repr, wanted))
        missing, surplus = list((counts[1] - counts[0]).elements()), list((counts[0] - counts[1]).elements())
        trial.require(not missing and not surplus, f"{what} lacked {missing!r:.200} and had besides {surplus!r:.200}")
