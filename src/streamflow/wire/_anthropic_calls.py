"""The tool calls in a stream of Anthropic's messages: content blocks by index. Waits for nothing.

Above: providers. Below: `_tool_calls`.
A block of type `tool_use` begins with its id and name, has its arguments as `input_json_delta`s, and says when it is whole. Blocks
of other types, those of tools that the server itself runs among them, are no calls of ours and are left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._tool_calls import OpenCall, ToolCallPiece, ToolCalls, field, text_field, text_of_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AnthropicToolCalls"]


class AnthropicToolCalls(ToolCalls):
    """Make tool calls of the events of one streamed Anthropic message.

    Give it every event, as decoded JSON; those that are about no tool call give nothing. A call is whole at its
    `content_block_stop`; without one, when its index is used again, or at `finish()`.

    ```python
    calls = AnthropicToolCalls(id="msg_1")
    for event in events:
        for piece in calls.take(event):
            print(piece)
    pieces = calls.finish()
    ```

    Args:
        id: Of the message that the calls belong to: all elements carry it, and ids that are made up begin with it.
        max_calls: Most calls in one message.
        max_args_chars: Longest arguments of one call, in characters.

    Raises:
        ConfigError: If a limit is not positive.
    """

    def __init__(self, *, id: str, max_calls: int = 128, max_args_chars: int = 1_000_000) -> None:
        super().__init__(id=id, max_calls=max_calls, max_args_chars=max_args_chars)
        self._by_index: dict[object, OpenCall] = {}
        self._given_whole: dict[int, str] = {}  # by our index: arguments that came with the start of the block

    def take(self, event: Mapping[str, object]) -> list[ToolCallPiece]:
        """Take an event, and return what it adds: a call's beginning (a fragment without characters), a fragment, a whole call.

        Raises:
            DecodeError: If there are more calls than `max_calls`, or arguments longer than `max_args_chars`.
        """
        pieces: list[ToolCallPiece] = []
        kind = event.get("type")
        if kind == "content_block_delta":  # first: nearly all events are
            call = self._by_index.get(_index(event))
            if call is not None:
                args = text_field(event.get("delta"), "partial_json")  # no other delta has one
                if args:
                    self._add(call, args, pieces)
        elif kind == "content_block_start":
            self._start(event, pieces)
        elif kind == "content_block_stop":
            self._stop(_index(event), pieces)
        return pieces

    def finish(self, *, truncated: bool = False) -> list[ToolCallPiece]:
        """End the message: make the calls whole that have had no end, in their order, and return them.

        Args:
            truncated: Whether the message was cut off, as by a limit of tokens or a lost connection. A call that was still open
                and whose arguments are not complete then says so; so does one without any.
        """
        pieces: list[ToolCallPiece] = []
        for index in list(self._by_index):
            self._stop(index, pieces, truncated=truncated)
        return pieces

    def _start(self, event: Mapping[str, object], pieces: list[ToolCallPiece]) -> None:
        index = _index(event)
        self._stop(index, pieces)  # a server that forgets to end a block and uses its index again
        block = event.get("content_block")
        if field(block, "type") != "tool_use":
            return
        call = self._begin(text_field(block, "id"), text_field(block, "name"))
        self._by_index[index] = call
        given = field(block, "input")
        if given:  # whole arguments at the start: some servers send no deltas, and some repeat them as deltas
            self._given_whole[call.index] = text_of_arguments(given)
        if call.name:
            self._tell(call, pieces)

    def _stop(self, index: object, pieces: list[ToolCallPiece], *, truncated: bool = False) -> None:
        call = self._by_index.pop(index, None)
        if call is None:
            return
        given = self._given_whole.pop(call.index, "")
        if given and not call.parts:
            self._add(call, given, pieces)
        self._end(call, pieces, truncated=truncated)


def _index(event: Mapping[str, object]) -> object:
    index = event.get("index")
    return index if isinstance(index, int) else None
