"""Messages between two worlds: ours, and the dicts and objects that legacy code reads and writes.

Above: `_request`, `_outcome`, `_context`, `_adapter`. Below: `elements`.
What legacy code gives is read by name, as a key or as an attribute: a dict of `role` and `content` is as good as an object.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ..elements import JsonValue, Message, MessageElement, Part, TextPart, ToolCallPart, ToolResultPart, freeze
from ..errors import StreamflowError

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["LegacyMessage", "Response", "as_message", "read", "text_in", "to_json"]

_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "ai", "model"), "assistant"),
    **dict.fromkeys(("tool", "function"), "tool"),
}


class LegacyMessage(dict[str, Any]):
    """A message as legacy code reads it: a plain dict of `role` and `content`, and the same as attributes.

    Tool calls and results have the keys of the OpenAI chat format. What is neither text nor tool stays in `source`.
    """

    def __init__(self, message: Message, metadata: Mapping[str, object]) -> None:
        super().__init__(role=message.role, content=message.text)
        self.source: Message = message
        """The message as it came, with all its parts."""
        self.timestamp: datetime | None = None
        """When it was said; never known here."""
        self.metadata: dict[str, object] = dict(metadata)
        """What travelled with it."""
        if message.name is not None:
            self["name"] = message.name
        if message.tool_calls:
            self["tool_calls"] = [_openai_call(call) for call in message.tool_calls]
        if message.tool_results:
            self["tool_call_id"] = message.tool_results[0].call_id
            self["content"] = "".join(result.text for result in message.tool_results)
        self._as_given = dict(self)

    @property
    def role(self) -> str:
        """Who speaks."""
        return cast("str", self["role"])

    @role.setter
    def role(self, role: str) -> None:
        self["role"] = role

    @property
    def content(self) -> str:
        """The text."""
        return cast("str", self["content"])

    @content.setter
    def content(self, content: str) -> None:
        self["content"] = content

    @property
    def is_untouched(self) -> bool:
        """Whether nobody has changed it."""
        return dict(self) == self._as_given

    def to_dict(self) -> dict[str, object]:
        """Return what a stored message of the legacy kind has."""
        return {"role": self.role, "content": self.content, "timestamp": None, "metadata": self.metadata}


@dataclasses.dataclass(slots=True)
class Response:
    """The answer, as the chain makes it of what it streams; legacy code may change it, or put anything else in its place."""

    content: str = ""
    """The text."""
    role: str = "assistant"
    """Who speaks."""
    tool_calls: list[object] = dataclasses.field(default_factory=list[object])
    """Tools that the answer wants to be called."""
    metadata: dict[str, object] = dataclasses.field(default_factory=dict[str, object])
    """What is known about it."""


def read(value: object, *names: str) -> Any:
    """Return the first of the named keys or attributes that `value` has and that is not None; else None."""
    for name in names:
        found: Any
        found = (
            cast("Mapping[str, object]", value).get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        )
        if found is not None:
            return found
    return None


def text_in(value: object) -> str | None:
    """Return the text that `value` is, or carries as its response, content or text; None if there is none."""
    if isinstance(value, str):
        return value
    found = read(value, "final_response", "content", "response", "text", "delta")
    return found if isinstance(found, str) else None


def as_message(value: object) -> Message | None:
    """Return a message of ours, a text, or what legacy code uses as a message, as one of ours; None if it is none of them."""
    if isinstance(value, MessageElement):
        return value.message
    if isinstance(value, Message):
        return value
    if isinstance(value, LegacyMessage) and value.is_untouched:
        return value.source
    role = _ROLES.get(str(read(value, "role") or "assistant").lower())
    if role is None:
        return None
    content = read(value, "content")
    if isinstance(content, list | tuple):
        return _of_parts(role, cast("Iterable[object]", content))
    calls = [one for one in map(_call_part, read(value, "tool_calls") or ()) if one is not None]
    text = text_in(value)
    if text is None and not calls:
        return None
    if role == "tool":
        call_id = str(read(value, "tool_call_id", "call_id") or "")
        return Message("tool", [ToolResultPart(call_id, text or "", name=str(read(value, "name") or ""))])
    kept = value.source.parts if isinstance(value, LegacyMessage) else ()
    others = [one for one in kept if not isinstance(one, TextPart | ToolCallPart)]
    if not calls and not others:
        return Message(cast("Any", role), text or "")
    return Message(cast("Any", role), [*([TextPart(text)] if text else []), *others, *calls])


def _of_parts(role: str, content: Iterable[object]) -> Message | None:
    """Return a message of our own parts, or of `{"type": "text", "text": …}`."""
    parts: list[Part] = []
    for one in content:
        if isinstance(one, Part):
            parts.append(one)
        elif isinstance(text := read(one, "text"), str):
            parts.append(TextPart(text))
        else:
            return None
    return Message(cast("Any", role), parts)


def _openai_call(call: ToolCallPart) -> dict[str, object]:
    arguments = call.raw or json.dumps(msgspec.to_builtins(dict(call.args), enc_hook=dict))
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _call_part(given: object) -> ToolCallPart | None:
    if isinstance(given, ToolCallPart):
        return given
    function = read(given, "function") or given
    name = read(function, "name")
    if not isinstance(name, str):
        return None
    args = read(function, "arguments", "args")
    raw = args if isinstance(args, str) else ""
    if raw:
        try:
            args = json.loads(raw)
        except ValueError:
            args = {}
    known = cast("dict[str, JsonValue]", args) if isinstance(args, dict) else {}
    return ToolCallPart(str(read(given, "id", "call_id") or ""), name, known, raw)


def to_json(values: Mapping[str, object]) -> tuple[dict[str, JsonValue], list[str]]:
    """Return what can be JSON of a mapping, and the keys whose values cannot.

    Dates, ids, enums, dataclasses and objects with `to_dict()` or `model_dump()` become what they are usually encoded as.
    """
    kept: dict[str, JsonValue] = {}
    lost: list[str] = []
    for key, value in values.items():
        try:
            kept[str(key)] = freeze(msgspec.to_builtins(value, str_keys=True, enc_hook=_plain))
        except (StreamflowError, TypeError, ValueError, RecursionError):
            lost.append(str(key))
    return kept, lost


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    for method in ("to_dict", "model_dump"):
        convert = getattr(value, method, None)
        if callable(convert):
            return convert()
    raise TypeError(f"{type(value).__name__} is no JSON value")
