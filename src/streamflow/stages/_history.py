"""The stage that keeps the latest of a history.

Above: users. Below: `_conversing`, `_histories`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigError
from ._checks import checked_count
from ._conversing import ConversationStage
from ._histories import flat, turns_in, units_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..elements import MessageElement, StreamElement
    from ._context import RunContext

__all__ = ["HistoryWindowStage"]


class HistoryWindowStage(ConversationStage):
    """Send the latest messages, or turns, of a conversation; a tool call and its results are never divided.

    In: `MessageElement`s, the conversation of one turn, oldest first; `TextElement`s, each a whole message of the user; `TurnEnd`.
    Out, for each turn: all system messages; as many of the latest messages as allowed, just as they came and in their order; the
    `TurnEnd`, if one came. A call with more results than fit is left out with all of them, and so is a result without a call. What
    is newest is always sent, also if it is more than allowed: a call with its results, or one message.

    Flow:
        emits: on `TurnEnd`; for the rest when the input ends.
        backpressures: while the output is full; holds at most `max_messages` messages.
        completes: when the input ends, after the last turn.
        fails: `ElementError` if a turn has more than `max_messages` messages.
        cancels: drops what it holds.
        interrupts: keeps the messages that it holds.

    Args:
        messages: Most messages, system messages apart; None: no limit.
        turns: Most turns, each from what a person says up to the next such message; None: no limit.
        max_messages: Most messages that come in in one turn.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong, or there is no limit; the field is named.
    """

    def __init__(
        self,
        messages: int | None = None,
        *,
        turns: int | None = None,
        max_messages: int = 10_000,
        name: str = "history_window",
    ) -> None:
        super().__init__(name, max_messages)
        if messages is None and turns is None:
            raise ConfigError("messages", f"stage {name!r}: no limit; give messages= or turns=")
        self._messages = None if messages is None else checked_count(messages, "messages", self.name)
        self._turns = None if turns is None else checked_count(turns, "turns", self.name)

    async def assemble(self, messages: list[MessageElement], run: RunContext[object]) -> Sequence[StreamElement]:
        """Return the system messages and the latest others."""
        system = [one for one in messages if one.message.role == "system"]
        units = units_of(one for one in messages if one.message.role != "system")
        if self._turns is not None:
            units = units_of(flat(turns_in(units)[-self._turns :]))
        if self._messages is not None:
            units = _latest(units, self._messages)
        return [*system, *flat(units)]


def _latest(units: list[list[MessageElement]], limit: int) -> list[list[MessageElement]]:
    kept, count = 0, 0
    for unit in reversed(units):
        count += len(unit)
        if kept and count > limit:
            break
        kept += 1
    return units[len(units) - kept :]
