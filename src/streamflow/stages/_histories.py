"""Histories in pieces that must not be divided: a tool call and its results, a question and all that answers it.

Above: `_history`, `_budget`, `context`. Below: `elements`.
Rules: a unit is one message, or a message with tool calls and the messages with their results right behind it. A result whose call
is not there is no unit: no model accepts it. A call whose results are not all there is one only where the history ends with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..elements import MessageElement

__all__ = ["flat", "turns_in", "units_of"]


def units_of(messages: Iterable[MessageElement]) -> list[list[MessageElement]]:
    """Return a history in units, oldest first; what belongs to none is left out."""
    units: list[list[MessageElement]] = []
    open_calls: set[str] = set()
    is_divided = False
    for element in messages:
        results = {one.call_id for one in element.message.tool_results}
        if results:
            if units and results <= open_calls:
                units[-1].append(element)
                open_calls = (open_calls - results) | {call.call_id for call in element.message.tool_calls}
            else:
                is_divided = is_divided or bool(results & open_calls)
            continue
        if open_calls or is_divided:
            units.pop()  # calls that nobody has answered, and something was said behind them
        is_divided = False
        units.append([element])
        open_calls = {call.call_id for call in element.message.tool_calls}
    if is_divided:
        units.pop()
    return units


def turns_in(units: Sequence[list[MessageElement]]) -> list[list[MessageElement]]:
    """Return units joined to turns: each begins with what a person says; what stands before the first is one, too."""
    turns: list[list[MessageElement]] = []
    was_user = False
    for unit in units:
        is_user = unit[0].message.role == "user"
        if not turns or (is_user and not was_user):
            turns.append([])
        turns[-1].extend(unit)
        was_user = is_user
    return turns


def flat(units: Iterable[Iterable[MessageElement]]) -> list[MessageElement]:
    """Return the messages of units, in order."""
    return [element for unit in units for element in unit]
