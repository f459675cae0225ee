"""The tool calls in a stream of OpenAI's Responses: added, deltas, done with the full value. Waits for nothing.

Above: providers. Below: `_tool_calls`.
An event belongs to the call of its `item_id`, else of its `output_index`, else to the one that was opened last: there are proxies
that give each event another `item_id`, and servers that leave one of both out. What is done is done: the full value is taken once,
from whichever event brings it first, and later ones that say it again are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from ._tool_calls import OpenCall, ToolCallPiece, ToolCalls, field, text_field, text_of_arguments, without_surrogates

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ResponsesToolCalls"]

_DELTAS: Final = {"response.function_call_arguments.delta": False, "response.custom_tool_call_input.delta": True}
_DONE: Final = {
    "response.function_call_arguments.done": "arguments",
    "response.custom_tool_call_input.done": "input",
}
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})


class ResponsesToolCalls(ToolCalls):
    """Make tool calls of the events of one streamed response.

    Give it every event, as decoded JSON; those that are about no tool call give nothing. Two types of items are calls:
    `function_call`, whose arguments are JSON, and `custom_tool_call`, whose input is any text and becomes the one argument `input`.

    The full value at the end of a call counts: fragments that have not come are made of it, and where it is another text than the
    fragments said, `raw` and `args` are the full value's.

    Args:
        id: Of the message that the calls belong to: all elements carry it, and ids that are made up begin with it.
        max_calls: Most calls in one message.
        max_args_chars: Longest arguments of one call, in characters.

    Raises:
        ConfigError: If a limit is not positive.
    """

    def __init__(self, *, id: str, max_calls: int = 128, max_args_chars: int = 1_000_000) -> None:
        super().__init__(id=id, max_calls=max_calls, max_args_chars=max_args_chars)
        self._by_item: dict[str, OpenCall] = {}
        self._by_output: dict[int, OpenCall] = {}
        self._by_call_id: dict[str, OpenCall] = {}

    def take(self, event: Mapping[str, object]) -> list[ToolCallPiece]:
        """Take an event, and return what it adds: a call's beginning (a fragment without characters), a fragment, a whole call.

        Raises:
            DecodeError: If there are more calls than `max_calls`, or arguments longer than `max_args_chars`.
        """
        pieces: list[ToolCallPiece] = []
        kind = event.get("type")
        if not isinstance(kind, str):
            return pieces
        if kind in _DELTAS:
            call = self._call(event, free_text=_DELTAS[kind])
            args = text_field(event, "delta")
            if args and not call.is_whole:
                self._add(call, args, pieces)
        elif kind in _DONE:
            call = self._call(event, free_text=_DONE[kind] == "input")
            call.name = call.name or text_field(event, "name")
            if call.name and call.call_id and not call.is_whole:  # else the item says both, when it ends
                self._complete(call, text_of_arguments(event.get(_DONE[kind])), pieces)
        elif kind in {"response.output_item.added", "response.output_item.done"}:
            self._take_item(event.get("item"), event, pieces, is_done=kind.endswith("done"))
        elif kind in _ENDS:
            self._take_output(field(event.get("response"), "output"), pieces, truncated=kind != "response.completed")
        return pieces

    def _take_item(
        self, item: object, event: Mapping[str, object], pieces: list[ToolCallPiece], *, is_done: bool
    ) -> None:
        kind = text_field(item, "type")
        if kind not in {"function_call", "custom_tool_call"}:
            return
        call_id, name = text_field(item, "call_id"), text_field(item, "name")
        free_text = kind == "custom_tool_call"
        item_id = text_field(item, "id") or text_field(event, "item_id")
        call = self._by_call_id.get(call_id) or self._known(item_id, event.get("output_index"))
        if call is None or (call_id and call.call_id not in {"", call_id}):
            call = self._begin(call_id, name, free_text=free_text)
        call.free_text = free_text
        self._remember(call, item_id, event.get("output_index"))
        if not call.is_told:
            call.call_id, call.name = call_id or call.call_id, name or call.name
        if call_id:
            self._by_call_id[call_id] = call
        if call.is_whole:
            return
        given = text_of_arguments(field(item, "input" if free_text else "arguments"))
        if is_done:
            self._complete(call, given, pieces, truncated=field(item, "status") == "incomplete")
        elif not call.is_told and call.name:
            self._tell(call, pieces)

    def _take_output(self, output: object, pieces: list[ToolCallPiece], *, truncated: bool) -> None:
        """Take the items of the whole response: calls of which no event has told, or not the end."""
        if isinstance(output, list):
            for place, item in enumerate(cast("list[object]", output)):
                status = field(item, "status")
                if not truncated or status == "completed":
                    self._take_item(item, {"output_index": place}, pieces, is_done=True)

    def _complete(self, call: OpenCall, full: str, pieces: list[ToolCallPiece], *, truncated: bool = False) -> None:
        so_far = "".join(call.parts)
        if full.startswith(so_far):
            rest = full[len(so_far) :]
            if rest:
                self._add(call, rest, pieces)
        elif full:
            if len(full) > self._max_chars:
                self._refuse_size()
            call.parts[:] = [without_surrogates(full)]
        self._end(call, pieces, truncated=truncated)

    def _call(self, event: Mapping[str, object], *, free_text: bool) -> OpenCall:
        item_id, output_index = text_field(event, "item_id"), event.get("output_index")
        call = self._known(item_id, output_index)
        if call is None and not isinstance(output_index, int) and self._calls:
            call = self._calls[-1]
        if call is None:
            call = self._begin(free_text=free_text)
            self._remember(call, item_id, output_index)
        return call

    def _known(self, item_id: str, output_index: object) -> OpenCall | None:
        call = self._by_item.get(item_id) if item_id else None
        if call is None and isinstance(output_index, int):
            call = self._by_output.get(output_index)
        return call

    def _remember(self, call: OpenCall, item_id: str, output_index: object) -> None:
        if item_id:
            self._by_item[item_id] = call
        if isinstance(output_index, int):
            self._by_output[output_index] = call
