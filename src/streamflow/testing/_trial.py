"""One run of a drawn graph, watched from outside, and what must be so of every run, however it ends.

Above: `_runtime_graphs`, the rules that are tried on random graphs. Below: `_trial_bench`, `_trial_reference`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Final

import anyio
from anyio.lowlevel import checkpoint

from ..elements import ControlElement, EndOfStream, ErrorElement, TextElement, TurnEnd
from ._harness import assert_all_stages_stopped
from ._ledger import EdgeLedger
from ._trial_bench import TrialBench
from ._trial_graphs import steps_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..elements import StreamElement
    from ..runtime import Run
    from ._trial_graphs import TrialGraph
    from ._trial_reference import Got

__all__ = ["Ending", "Seen", "account_wrong", "control_wrong", "run_graph"]

_LIMIT_S: Final = 100_000.0
"""Longest time of one run, of virtual seconds: where tasks of a broken runtime wait for ever, trio's clock runs on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """How a run is cut short, if it is."""

    how: str = ""
    """`break`, `cancel` or `interrupt`; empty: it is not."""
    after: int = 0
    """When: after so many elements for the consumer, or so many checkpoints of a task beside it."""


@dataclasses.dataclass(slots=True)
class Seen:
    """What came of one run."""

    bench: TrialBench
    """What ran."""
    ledger: EdgeLedger = dataclasses.field(default_factory=EdgeLedger)
    """The account of its edges, if they were watched."""
    elements: list[StreamElement] = dataclasses.field(default_factory=list["StreamElement"])
    """What came out."""
    error: Exception | None = None
    """What it raised."""

    @property
    def texts(self) -> Got:
        """The texts, each with the number of boundaries before it."""
        found: Got = []
        turn = 0
        for one in self.elements:
            turn += isinstance(one, TurnEnd)
            if isinstance(one, TextElement):
                found.append((turn, one.text))
        return found


async def run_graph(
    drawn: TrialGraph,
    *,
    watched: bool = False,
    settings: Mapping[str, object] | None = None,
    ending: Ending | None = None,
) -> Seen:
    """Run a graph to its end, or to the end that it is given, and return what came of it.

    Raises:
        AssertionError: The run did not end, or left stages behind.
    """
    ending = ending or Ending()
    seen = Seen(TrialBench(drawn, settings or {}))
    run = seen.bench.pipeline.execute(seen.bench.source())
    with seen.ledger if watched else contextlib.nullcontext():
        with anyio.move_on_after(_LIMIT_S) as limit:
            try:
                await _consume(run, seen, ending)
            except Exception as error:  # noqa: BLE001 - what it raises is what is looked at
                seen.error = error
            except BaseExceptionGroup as several:
                seen.error = several.exceptions[0] if isinstance(several.exceptions[0], Exception) else None
        if limit.cancelled_caught:
            raise AssertionError(f"the run did not end\nit gave {seen.texts}")
    await assert_all_stages_stopped()
    return seen


async def _consume(run: Run, seen: Seen, ending: Ending) -> None:
    if ending.how == "break":
        async with run:
            async for element in run:
                seen.elements.append(element)
                if len(seen.elements) > ending.after:
                    return
    elif ending.how:
        with anyio.CancelScope() as scope:
            async with run, anyio.create_task_group() as tasks:
                tasks.start_soon(_strike, run, ending, scope)
                async for element in run:
                    seen.elements.append(element)
                tasks.cancel_scope.cancel()
    else:
        async with run:
            async for element in run:
                seen.elements.append(element)


async def _strike(run: Run, ending: Ending, scope: anyio.CancelScope) -> None:
    for number in range(ending.after):
        await (anyio.sleep(0.1) if number % 4 == 3 else checkpoint())
    if ending.how == "cancel":
        scope.cancel()
    else:
        run.interrupt()


def control_wrong(seen: Seen, *, is_whole: bool) -> str | None:
    """Return what is wrong with the boundaries and the end of what came; None if nothing is.

    Args:
        seen: What came.
        is_whole: Whether the run came to its own end.
    """
    wanted = [one for one in seen.bench.elements() if isinstance(one, TurnEnd)]
    ends = [one for one in seen.elements if isinstance(one, TurnEnd)]
    if ends != (wanted if is_whole else wanted[: len(ends)]):
        return f"boundaries {[one.index for one in ends]} came, of {[one.index for one in wanted]}"
    if not is_whole:
        return None
    if not seen.elements or not isinstance(seen.elements[-1], EndOfStream):
        return "the last element is not the end"
    own = Counter(repr(one) for one in seen.bench.elements() if isinstance(one, ControlElement))
    came = Counter(
        repr(one) for one in seen.elements if isinstance(one, ControlElement) and not isinstance(one, _OF_RUN)
    )
    if came != own:
        return f"control lost {[*(own - came)]}, too much {[*(came - own)]}"
    end = seen.elements[-1]
    if end.reason != ("done" if seen.error is None else "error"):
        return f"the end says {end.reason!r}, and the run raised {seen.error!r}"
    if end.totals.elements != len(seen.elements) - 1:
        return f"the end counts {end.totals.elements} of {len(seen.elements) - 1} elements"
    return None


_OF_RUN: Final = (EndOfStream, ErrorElement)


def account_wrong(seen: Seen, *, ended: bool) -> str | None:
    """Return what is wrong with the accounts of the edges; None if nothing is.

    Where a stage gathers, what it does not take is kept aside and leaves behind its results. An edge that was given more room
    holds more than it did.
    """
    gathering = {one.name for one in steps_of(seen.bench.drawn.blocks) if one.kind == "gather"}
    for name, record in seen.ledger.edges.items():
        found = record.findings(ended=ended)
        if name.partition(" → ")[2].rpartition("/")[2] in gathering:
            found = [
                one for one in found if "lost or over" not in one and "with a cap" not in one and "overtook" not in one
            ]
        if name in seen.bench.grown:
            found = [one for one in found if "with a capacity" not in one]
        if found:
            return f"{record}: {'; '.join(found)}"
    return None
