"""The tool calls in a stream of OpenAI's chat completions, of OpenAI and its many imitators. Waits for nothing.

Above: providers. Below: `_tool_calls`.
On this wire nothing says where a call ends, and what says where one begins is often wrong or missing. Where a fragment belongs:

1. An id that is known names its call, whatever the index says. The whole arguments once more under it add nothing.
2. An id that is new begins a call, also on an index that is in use; only a call without an id takes it as its own.
3. Without an id, the index names the call that was last begun on it, and a new index begins one. Without an index it is the call
   that was touched last.
4. But a fragment without an id whose name cannot be that call's, or that repeats the name when the arguments are already complete,
   begins a call. So does the second entry with a name in one list, when neither has an id or an index.

A name is set once. Before the first characters of the arguments it may still grow, because there are servers that cut it in pieces
and others that repeat it, longer or not; that is why nothing of a call is given out before. A call without an id gets one then.

There are servers whose every fragment says the arguments from their beginning. That cannot be known before the end: an object may
hold itself once more. So it is looked for only where the fragments one behind the other are no JSON, and then the whole says the
last one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

from ._tool_calls import OpenCall, ToolCallPiece, ToolCalls, field, parse_arguments, text_field, text_of_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ChatToolCalls"]


class ChatToolCalls(ToolCalls):
    """Make tool calls of the `tool_calls` in the deltas of one streamed chat completion.

    ```python
    calls = ChatToolCalls(id="chatcmpl-1")
    for chunk in chunks:
        for piece in calls.take(chunk["choices"][0]["delta"].get("tool_calls")):
            print(piece)
    pieces = calls.finish(truncated=finish_reason == "length")
    ```

    All calls become whole at `finish()`: before it the wire does not say that one is. The old form with one `function_call` in a
    delta is `take([{"function": function_call}])`.

    Args:
        id: Of the message that the calls belong to: all elements carry it, and ids that are made up begin with it.
        max_calls: Most calls in one message.
        max_args_chars: Longest arguments of one call, in characters.

    Raises:
        ConfigError: If a limit is not positive.
    """

    def __init__(self, *, id: str, max_calls: int = 128, max_args_chars: int = 1_000_000) -> None:
        super().__init__(id=id, max_calls=max_calls, max_args_chars=max_args_chars)
        self._by_id: dict[str, OpenCall] = {}
        self._by_index: dict[int, OpenCall] = {}
        self._last: OpenCall | None = None

    def take(self, tool_calls: object) -> list[ToolCallPiece]:
        """Take the `tool_calls` of one delta, and return the fragments in it. Null, and what is no list of objects, is nothing.

        Raises:
            DecodeError: If there are more calls than `max_calls`, or arguments longer than `max_args_chars`.
        """
        pieces: list[ToolCallPiece] = []
        if not isinstance(tool_calls, list | tuple):
            return pieces
        is_second = False
        for entry in cast("list[object]", tool_calls):
            if isinstance(entry, dict):
                self._take_entry(cast("dict[str, object]", entry), pieces, is_second=is_second)
                is_second = True
        return pieces

    def _end(self, call: OpenCall, pieces: list[ToolCallPiece], *, truncated: bool = False) -> None:
        """Give out the whole call."""
        if len(call.parts) > 1 and all(later.startswith(sooner) for sooner, later in pairwise(call.parts)):
            last = call.parts[-1]
            if parse_arguments("".join(call.parts))[1] is not None and parse_arguments(last)[1] is None:
                call.parts[:] = [last]
        super()._end(call, pieces, truncated=truncated)

    def _take_entry(self, entry: Mapping[str, object], pieces: list[ToolCallPiece], *, is_second: bool) -> None:
        index = entry.get("index")
        call_id, function = text_field(entry, "id"), entry.get("function")
        name, args = text_field(function, "name"), text_of_arguments(field(function, "arguments"))
        if not (call_id or name or args):
            return  # an empty entry announces nothing
        place = index if isinstance(index, int) else None
        call = self._by_id.get(call_id) if call_id else None
        if call is None:
            call = self._last if place is None else self._by_index.get(place)
            is_separate = is_second and place is None and not call_id and bool(name)
            if call is None or is_separate or _begins_anew(call, call_id, name, args):
                call = self._begin()
            if call_id:
                self._by_id[call_id] = call
        elif len(args) == call.size and args and call.says(args):
            return  # there are servers that end with all calls once more
        if place is not None:
            self._by_index[place] = call
        self._last = call
        call.wire_id = call.wire_id or call_id
        if not call.is_told:
            call.call_id = call.wire_id
            call.name = _grown(call.name, name)
        if args:
            self._add(call, args, pieces)
        elif call.size and call.name and not call.is_told:
            self._tell(call, pieces)


def _begins_anew(call: OpenCall, call_id: str, name: str, args: str) -> bool:
    """Return whether a fragment, of no known id, belongs to another call than the one at its place."""
    if call_id and call.wire_id:
        return True
    if not name or not call.name:
        return False
    if name == call.name:
        return bool(args.strip()) and call.is_complete()
    # A piece of the name, or the name once more and longer, comes before the arguments; and a name in pieces can only be told
    # from two names where an id has said that the call is one.
    grows = name.startswith(call.name) or call.name.startswith(name) or bool(call.wire_id)
    return bool(call.size) or not grows


def _grown(name: str, piece: str) -> str:
    """Return a name after one more piece of it: the same again, the same and longer, or what comes next."""
    if not piece or name.startswith(piece):
        return name
    return piece if piece.startswith(name) else name + piece
