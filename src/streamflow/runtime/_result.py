"""What a whole run gave.

Above: `_run`, `_pipeline`. Below: `elements`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._records import Record
from ..elements import (
    EndOfStream,
    EndReason,
    ErrorElement,
    Message,
    MessageElement,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnReset,
    TurnStart,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..errors import StageError
    from ._stats import RunStats

__all__ = ["Result", "Timings", "result_of"]


class Timings(Record, frozen=True):
    """How long a run took, on the event loop's clock."""

    total_s: float
    """From the start to the end, in seconds."""
    first_element_s: float | None
    """From the start to the first output, in seconds; None when there was none."""


class Result(Record, frozen=True):
    """What a whole run gave, and how it ended."""

    elements: tuple[StreamElement, ...]
    """All output, in order, without the `EndOfStream`."""
    run_id: str
    """Identity of the run."""
    reason: EndReason
    """Why the run ended."""
    usage: Usage
    """What the run's models used, summed."""
    timings: Timings
    """How long it took."""
    failures: tuple[StageError, ...] = ()
    """Failures of stages that did not end the run: of isolated inputs, and of optional branches."""
    stats: RunStats | None = None
    """What the run has done, and what limited it; None without `metrics`."""

    @property
    def text(self) -> str:
        """The text fragments, joined, without those that a `TurnReset` took back."""
        turns: list[list[TextElement]] = [[]]
        for one in self.elements:
            if isinstance(one, TextElement):
                turns[-1].append(one)
            elif isinstance(one, (TurnStart, TurnEnd)):
                turns.append([])
            elif isinstance(one, TurnReset):
                turns[-1] = [text for text in turns[-1] if one.answer and text.id != one.answer]
        return "".join(text.text for turn in turns for text in turn)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole messages."""
        return tuple(one.message for one in self.elements if isinstance(one, MessageElement))

    @property
    def response(self) -> str:
        """Text of the last message of the assistant; the text fragments, joined, when there is none."""
        answers = [one for one in self.messages if one.role == "assistant"]
        return answers[-1].text if answers else self.text

    @property
    def errors(self) -> tuple[ErrorElement, ...]:
        """The error elements; none of them ended the run, since a failure is raised instead."""
        return tuple(one for one in self.elements if isinstance(one, ErrorElement))


def result_of(
    elements: Sequence[StreamElement],
    run_id: str,
    timings: Timings,
    failures: tuple[StageError, ...] = (),
    stats: RunStats | None = None,
    *,
    reason: EndReason = "cancelled",
) -> Result:
    """Return the result of a run that gave `elements`, its `EndOfStream` last if it came to that; else it ended for `reason`."""
    end = elements[-1] if elements and isinstance(elements[-1], EndOfStream) else None
    return Result(
        elements=tuple(elements if end is None else elements[:-1]),
        run_id=run_id,
        reason=reason if end is None else end.reason,
        usage=(None if end is None else end.totals.usage) or Usage(),
        timings=timings,
        failures=failures,
        stats=stats,
    )
