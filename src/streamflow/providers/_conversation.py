"""What a stage remembers of a conversation that goes on: the latest messages, in a form that every server takes.

Above: `_stage`. Below: `elements`.
Rules: what is remembered begins with a message of a person, so no answer stands without its question and no tool result without its
call. Each call has a result: one that got none, because it was interrupted, is answered as cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elements import Message, ToolResultPart

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Conversation"]


class Conversation:
    """The latest messages of earlier turns.

    Args:
        limit: Most messages that are remembered, system messages apart, of which as many are.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._system: list[Message] = []
        self._messages: list[Message] = []

    def with_turn(self, turn: Iterable[Message]) -> tuple[Message, ...]:
        """Return the conversation with the messages of a turn behind it; what it knows already, by id, it does not repeat."""
        known = {message.id for message in (*self._system, *self._messages) if message.id}
        new = [message for message in turn if not message.id or message.id not in known]
        system = [*self._system, *(one for one in new if one.role == "system" and one not in self._system)]
        said = [*self._messages, *(one for one in new if one.role != "system")]
        return (*system, *_settled(said))

    def remember(self, conversation: Iterable[Message], answer: Message | None) -> None:
        """Take what was asked, and what was answered, as what has been said so far."""
        asked = list(conversation)
        if not self._limit:
            return
        self._system = [one for one in asked if one.role == "system"][-self._limit :]
        said = [one for one in asked if one.role != "system"]
        if answer is not None:
            said.append(answer)
        said = said[-self._limit :]
        first = next(
            (place for place, one in enumerate(said) if one.role == "user" and not one.tool_results), len(said)
        )
        self._messages = said[first:]


def _settled(messages: list[Message]) -> list[Message]:
    """Return the messages, with a result for each call that has none."""
    answered = {result.call_id for message in messages for result in message.tool_results}
    settled: list[Message] = []
    for message in messages:
        settled.append(message)
        open_calls = [call for call in message.tool_calls if call.call_id not in answered]
        if open_calls:
            results = [
                ToolResultPart(call.call_id, "The call was cancelled.", name=call.name, status="cancelled")
                for call in open_calls
            ]
            settled.append(Message("tool", results))
    return settled
