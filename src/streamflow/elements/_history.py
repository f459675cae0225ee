"""What a strict model provider accepts as a conversation, and how one that it would refuse is made lawful.

Above: `state`, `agents`, applications. Below: `_messages`. Pure functions.

The rule: right behind a message with tool calls come the results of them, exactly one for each call, in messages that hold nothing
but results; and there are no other results. So no call is ever without its result. A message holds something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..errors import HistoryError
from ._messages import Message, ToolResultPart

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ._messages import ToolCallPart

__all__ = ["NO_RESULT", "check_history", "open_calls", "repair_history", "with_results"]

NO_RESULT = "The call was cancelled before it gave a result."
"""What a model is told in the place of a result that nobody has."""


def check_history(messages: Iterable[Message]) -> None:
    """Return if a strict model provider accepts these messages.

    Args:
        messages: A conversation, oldest first.

    Raises:
        HistoryError: If a tool call has no result right behind it, or two; a result has no call; a message is empty.
    """
    open_calls: dict[str, int] = {}
    for index, message in enumerate(messages):
        results = message.tool_results
        if not message.content:
            raise HistoryError(index, "it is empty; leave it out, or use repair_history()")
        if open_calls and not (results and len(results) == len(message.parts)):
            _refuse_open(open_calls)
        for result in results:
            if open_calls.pop(result.call_id, None) is None:
                raise HistoryError(
                    index, f"result {result.call_id!r} has no call right before it; use repair_history()"
                )
        for call in message.tool_calls:
            if call.call_id in open_calls:
                raise HistoryError(index, f"call {call.call_id!r} is there twice; use repair_history()")
            open_calls[call.call_id] = index
    if open_calls:
        _refuse_open(open_calls)


def repair_history(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Return these messages as a strict model provider accepts them; what is lawful stays as it is, the same objects.

    A call without a result gets one that says that it was cancelled: what the model has asked for stays known, and it is not asked
    again. A result that stands too late is moved to its call. Results without a call, second results, repeated calls of one message
    and empty messages are left out.

    Args:
        messages: A conversation, oldest first.
    """
    given = list(messages)
    kept: list[Message] = []
    index = 0
    while index < len(given):
        message = _without_results(given[index]) if given[index].tool_results else given[index]
        index += 1
        if message is None or not message.content:
            continue
        calls = message.tool_calls
        if not calls:
            kept.append(message)
            continue
        message, calls = _each_once(message, calls)
        kept.append(message)
        wanted = {call.call_id: call for call in calls}
        while wanted and index < len(given) and _is_lawful_answer(given[index], wanted):
            for result in given[index].tool_results:
                del wanted[result.call_id]
            kept.append(given[index])
            index += 1
        if wanted:
            late = _late_results(given[index:], wanted)
            kept.append(_results_of(wanted.values(), late))
    return tuple(kept)


def with_results(messages: tuple[Message, ...], known: Mapping[str, ToolResultPart]) -> tuple[Message, ...]:
    """Return messages whose last calls have results: those that are known, else one that says that the call was cancelled.

    What is there is not touched, so that it is the beginning of what is returned.

    Args:
        messages: What was said in a turn.
        known: Results by call id that have no message yet.
    """
    open_calls: dict[str, ToolCallPart] = {}
    for message in messages:
        if message.tool_calls:
            open_calls = {call.call_id: call for call in message.tool_calls}
        elif not message.tool_results:
            open_calls = {}
        for result in message.tool_results:
            open_calls.pop(result.call_id, None)
    return (*messages, _results_of(open_calls.values(), known)) if open_calls else messages


def open_calls(messages: Sequence[Message]) -> tuple[Message, frozenset[str]] | None:
    """Return the message at the end whose calls have not all a result, and the ids of those that have one; None: there is none.

    Calls that could never run are not open: those of a message that has not the stop reason `tool_calls`.

    Args:
        messages: A conversation, oldest first.
    """
    answered: set[str] = set()
    for message in reversed(messages):
        if message.tool_calls:
            is_open = message.stop_reason == "tool_calls" and any(
                call.call_id not in answered for call in message.tool_calls
            )
            return (message, frozenset(answered)) if is_open else None
        if not message.tool_results:
            return None
        answered.update(result.call_id for result in message.tool_results)
    return None


def _refuse_open(open_calls: Mapping[str, int]) -> None:
    call_id, index = next(iter(open_calls.items()))
    raise HistoryError(index, f"call {call_id!r} has no result right behind it; use repair_history()")


def _is_lawful_answer(message: Message, wanted: Mapping[str, ToolCallPart]) -> bool:
    """Say whether a message holds results of these calls, each once, and nothing else."""
    ids = [result.call_id for result in message.tool_results]
    return bool(ids) and len(ids) == len(message.parts) == len(set(ids)) and all(id in wanted for id in ids)


def _without_results(message: Message) -> Message | None:
    """Return what a message holds beside results, None if that is nothing."""
    rest = [part for part in message.parts if not isinstance(part, ToolResultPart)]
    return msgspec.structs.replace(message, content=rest) if rest else None


def _each_once(message: Message, calls: tuple[ToolCallPart, ...]) -> tuple[Message, tuple[ToolCallPart, ...]]:
    """Return a message without the calls whose id it has already."""
    first = {call.call_id: call for call in reversed(calls)}
    if len(first) == len(calls):
        return message, calls
    parts = [part for part in message.parts if part not in calls or first.get(getattr(part, "call_id", "")) is part]
    message = msgspec.structs.replace(message, content=parts)
    return message, message.tool_calls


def _late_results(rest: Iterable[Message], wanted: Mapping[str, ToolCallPart]) -> dict[str, ToolResultPart]:
    """Return the first result of each call that comes later, as far as no later call has the same id."""
    found: dict[str, ToolResultPart] = {}
    called_again: set[str] = set()
    for message in rest:
        for result in message.tool_results:
            if result.call_id in wanted and result.call_id not in called_again:
                found.setdefault(result.call_id, result)
        called_again.update(call.call_id for call in message.tool_calls)
    return found


def _results_of(calls: Iterable[ToolCallPart], known: Mapping[str, ToolResultPart]) -> Message:
    parts = [
        known.get(call.call_id) or ToolResultPart(call.call_id, NO_RESULT, name=call.name, status="cancelled")
        for call in calls
    ]
    return Message("tool", parts)
