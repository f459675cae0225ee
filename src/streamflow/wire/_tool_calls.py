"""What all accumulators of tool calls share: an open call, its limits, its arguments, and how it becomes whole.

Above: `_anthropic_calls`, `_chat_calls`, `_responses_calls`. Below: `_json_stream`, `elements`, `errors`.
Fragments are kept in a list and joined once, when the call is whole, so a call costs what it is long. Nothing of a fragment is
parsed before that. A fragment is given out once its call has a name and an id; what came before is given out with it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn, TypeAlias, cast

import msgspec

from ..elements import EMPTY_METADATA, JsonValue, Metadata, ToolCallDelta, ToolCallElement, freeze
from ..errors import ConfigError, DecodeError, JsonStreamError
from ._json_stream import JsonStream

__all__ = [
    "OpenCall",
    "ToolCallPiece",
    "ToolCalls",
    "field",
    "parse_arguments",
    "text_field",
    "text_of_arguments",
    "without_surrogates",
]

ToolCallPiece: TypeAlias = ToolCallDelta | ToolCallElement
"""What an accumulator gives: the fragments of a call, then the whole call, once."""

_KINDS: Final[dict[type, str]] = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def parse_arguments(raw: str) -> tuple[Mapping[str, JsonValue], str | None]:
    """Return the arguments of a tool call and None, or no arguments and what is wrong with their text.

    Nothing at all means no arguments: a model that calls a tool without any may write `{}`, spaces, or nothing.

    Args:
        raw: What the model wrote.
    """
    if not raw.strip():
        return EMPTY_METADATA, None
    value: object
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        # Read once more, by the reader that tells cut off from wrong, says where, and forgives a lone surrogate.
        reader = JsonStream(max_chars=len(raw))
        try:
            reader.feed(raw)
            value = reader.finish()
        except JsonStreamError as error:
            if error.truncated:
                return EMPTY_METADATA, f"the arguments were cut off after {len(raw)} characters"
            return EMPTY_METADATA, f"the arguments are invalid JSON: {error}"
    if not isinstance(value, dict):
        return EMPTY_METADATA, f"the arguments are no JSON object but {_KINDS[type(value)]}"
    try:
        return cast("Metadata", freeze(cast("object", value))), None
    except DecodeError as error:  # JSON, and yet no element may hold it: an integer beyond 64 bits, or too deep
        return EMPTY_METADATA, f"the arguments cannot be used: {error}"


class OpenCall:
    """A call whose arguments are still arriving."""

    __slots__ = (
        "_read",
        "_reader",
        "call_id",
        "free_text",
        "index",
        "is_told",
        "is_whole",
        "name",
        "parts",
        "size",
        "wire_id",
    )

    def __init__(self, index: int, call_id: str = "", name: str = "", *, free_text: bool = False) -> None:
        self.index = index
        """Which of the calls of one message, as our elements count them."""
        self.call_id = call_id
        """Its id; empty as long as it has none. Once a fragment has been given out it stands, whatever the wire says later."""
        self.wire_id = call_id
        """The id that the wire has given it; empty as long as it has given none."""
        self.name = name
        """Name of the tool; empty as long as the wire has not said it."""
        self.free_text = free_text
        """Whether the arguments are no JSON but a text."""
        self.parts: list[str] = []
        """The fragments so far."""
        self.size = 0
        """Characters in them."""
        self.is_told = False
        """Whether a fragment has been given out, so that id and name stand."""
        self.is_whole = False
        """Whether the whole call has been given out."""
        self._reader: JsonStream | None = None
        self._read = 0

    def says(self, args: str) -> bool:
        """Return whether the arguments so far are this whole JSON document."""
        return "".join(self.parts) == args and self.is_complete()

    def is_complete(self) -> bool:
        """Return whether the arguments so far are a whole JSON document. Reads only what came since the last time."""
        if not self.parts or not self.parts[-1].rstrip().endswith(("}", "]")):
            return False
        reader = self._reader = self._reader or JsonStream(max_chars=sys.maxsize)
        with contextlib.suppress(JsonStreamError):
            while self._read < len(self.parts):
                self._read += 1
                reader.feed(self.parts[self._read - 1])
        return reader.is_complete


class ToolCalls:
    """What the accumulators share.

    Args:
        id: Of the message that the calls belong to: all elements carry it, and ids that are made up begin with it.
        max_calls: Most calls in one message.
        max_args_chars: Longest arguments of one call, in characters.

    Raises:
        ConfigError: If a limit is not positive.
    """

    def __init__(self, *, id: str, max_calls: int = 128, max_args_chars: int = 1_000_000) -> None:
        for name, value in (("max_calls", max_calls), ("max_args_chars", max_args_chars)):
            if value < 1:
                raise ConfigError(name, f"{value} is no limit; give 1 or more")
        self._id = id
        self._max_calls = max_calls
        self._max_chars = max_args_chars
        self._calls: list[OpenCall] = []

    def finish(self, *, truncated: bool = False) -> list[ToolCallPiece]:
        """End the message: make the calls whole that are still open, in their order, and return what was not given out yet.

        Args:
            truncated: Whether the message was cut off, as by a limit of tokens or a lost connection. A call that was still open
                and whose arguments are not complete then says so; so does one without any.
        """
        pieces: list[ToolCallPiece] = []
        for call in self._calls:
            if not call.is_whole and (call.name or call.size):  # else nothing has announced it but an id
                self._end(call, pieces, truncated=truncated)
        return pieces

    def _begin(self, call_id: str = "", name: str = "", *, free_text: bool = False) -> OpenCall:
        if len(self._calls) >= self._max_calls:
            raise DecodeError(f"a message with more than max_calls={self._max_calls} tool calls; raise the limit")
        call = OpenCall(len(self._calls), call_id, name, free_text=free_text)
        self._calls.append(call)
        return call

    def _add(self, call: OpenCall, args: str, pieces: list[ToolCallPiece]) -> None:
        """Keep a fragment, and give it out if the call has a name."""
        size = call.size = call.size + len(args)
        if size > self._max_chars:
            self._refuse_size()
        if not args.isascii():
            args = without_surrogates(args)
        call.parts.append(args)
        if call.is_told:
            pieces.append(ToolCallDelta(call.call_id, call.name, args, call.index, id=self._id))
        elif call.name:
            self._tell(call, pieces)

    def _refuse_size(self) -> NoReturn:
        limit = f"max_args_chars={self._max_chars}"
        raise DecodeError(f"a tool call whose arguments are longer than {limit}; raise the limit")

    def _tell(self, call: OpenCall, pieces: list[ToolCallPiece]) -> None:
        """Give out all fragments so far as one. From here on, name and id stand."""
        call.is_told = True
        call.call_id = call.call_id or self._made_up_id(call)
        pieces.append(ToolCallDelta(call.call_id, call.name, "".join(call.parts), call.index, id=self._id))

    def _end(self, call: OpenCall, pieces: list[ToolCallPiece], *, truncated: bool = False) -> None:
        """Give out the whole call."""
        call.is_whole = True
        raw = "".join(call.parts)
        args: Mapping[str, JsonValue]
        if call.free_text:
            args, error = Metadata({"input": raw}), "the input was cut off" if truncated else None
        elif truncated and not raw.strip():
            args, error = EMPTY_METADATA, "the arguments were cut off before their first character"
        else:
            args, error = parse_arguments(raw)
        if not call.name:
            args, error = EMPTY_METADATA, "the call names no tool"
        call.call_id = call.call_id or self._made_up_id(call)
        pieces.append(ToolCallElement(call.call_id, call.name, args, raw, error=error, index=call.index, id=self._id))
        call.parts.clear()

    def _made_up_id(self, call: OpenCall) -> str:
        return f"{self._id or 'call'}-{call.index}"


def field(value: object, key: str) -> object:
    """Return the value of a key of what ought to be an object, None where there is none."""
    if type(value) is dict or isinstance(value, Mapping):  # the first is what decoders make, and far cheaper to ask
        return cast("Mapping[str, object]", value).get(key)
    return None


def text_field(value: object, key: str) -> str:
    """Return the text of a key of what ought to be an object, the empty one where there is none."""
    if type(value) is dict or isinstance(value, Mapping):
        text = cast("Mapping[str, object]", value).get(key)
        if isinstance(text, str):
            return text
    return ""


def text_of_arguments(value: object) -> str:
    """Return arguments as text, also those of a server that sends them as an object, or null."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping | Sequence):
        return ""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):  # what no JSON decoder makes
        return ""


def without_surrogates(text: str) -> str:
    """Return the text as it can be encoded: halves of a pair are joined, a lone one becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
