"""What opens, grows and ends in a stream, whatever the order of its elements: what formats with a strict order are made of.

Above: `_ag_ui`, `_vercel`. Below: `elements`.
Rules, which hold for any sequence of elements: a part grows only while it is open; a call is opened once, closed once, and answered
once, after it was closed; what is open at the end of a turn or a stream is closed there. A whole whose fragments have come says
nothing again; one that comes without them is told as if they had. `TurnReset` takes back what is not whole yet; of what is whole it
names the messages.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from ..elements import (
    MessageElement,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    ToolCallDelta,
    ToolCallElement,
    ToolCallPart,
    ToolResultElement,
    ToolResultPart,
    TurnEnd,
    TurnReset,
    thaw,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..elements import JsonValue, Message, StreamElement

__all__ = [
    "CUT_CALL",
    "CallAnswered",
    "CallClosed",
    "CallGrew",
    "CallOpened",
    "Lifecycle",
    "PartClosed",
    "PartGrew",
    "PartOpened",
    "Step",
    "TakenBack",
    "TextKey",
]

CUT_CALL = "The call was cut off."
"""What is wrong with a call whose arguments never became whole."""

_MAX_OPEN = 64  # parts that are open at a time; more would be merged streams without end, and the oldest is closed

_encode = msgspec.json.Encoder(enc_hook=thaw).encode


class TextKey(msgspec.Struct, frozen=True):
    """Which text, or which thoughts."""

    kind: Literal["text", "thinking"]
    message_id: str
    """Never empty: where an element has no id, one is made up, the same until its whole or the end of the turn."""
    path: tuple[str | int, ...] = ()
    agent: str = ""
    """The agent within an agent that says it; empty for the agent itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class PartOpened:
    """A text, or thoughts, begin or go on after something else."""

    key: TextKey


@dataclasses.dataclass(frozen=True, slots=True)
class PartGrew:
    """There is more of an open part; never empty."""

    key: TextKey
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class PartClosed:
    """A part is over."""

    key: TextKey
    signature: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class CallOpened:
    """A tool is to be called."""

    call_id: str
    name: str
    message_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class CallGrew:
    """There are more arguments of an open call; never empty."""

    call_id: str
    args: str


@dataclasses.dataclass(frozen=True, slots=True)
class CallClosed:
    """The arguments of a call are over."""

    call_id: str
    name: str
    args: Mapping[str, JsonValue]
    error: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class CallAnswered:
    """A call has its result, or a preliminary one."""

    result: ToolResultElement


@dataclasses.dataclass(frozen=True, slots=True)
class TakenBack:
    """What these messages have said so far never was; their parts and calls are not closed, but gone."""

    parts: tuple[TextKey, ...]
    """Those that were open."""
    message_ids: tuple[str, ...]
    calls: Mapping[str, str]
    """All of them: names of tools by call id."""
    open_calls: frozenset[str]
    """Those that were open."""


Step: TypeAlias = PartOpened | PartGrew | PartClosed | CallOpened | CallGrew | CallClosed | CallAnswered | TakenBack
"""One thing that happens."""


@dataclasses.dataclass(slots=True)
class _Call:
    """A call that is known."""

    name: str
    message_id: str
    has_args: bool = False
    is_closed: bool = False
    is_failed: bool = False
    is_answered: bool = False


class Lifecycle:
    """Makes steps of elements. What is no text, thought, call, result or boundary gives none.

    Args:
        prefix: Of the ids that are made up.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._unnamed = 0
        self._open: dict[TextKey, str | None] = {}
        self._calls: dict[str, _Call] = {}
        self._unfinished: dict[str, set[str]] = {}
        self._wholes: dict[str, None] = {}

    def steps(self, element: StreamElement) -> Iterator[Step]:
        """Return what an element brings about, in order. To be iterated at once, and to the end."""
        match element:
            case TextElement():
                yield from self._say(self._key("text", element), element.text)
            case ThinkingElement():
                yield from self._think(element)
            case ToolCallDelta():
                yield from self._grow_call(element)
            case ToolCallElement():
                yield from self._whole_call(element, self._named(element.id))
            case ToolResultElement():
                yield from self._answer(element)
            case MessageElement(message=message):
                yield from self._whole(self._named(element.id or message.id), message)
                if not element.id and message.role == "assistant":
                    self._unnamed += 1
            case TurnReset():
                yield self._take_back(element.answer)
            case TurnEnd():
                yield from self.end()
                self._unfinished.clear()
                self._wholes.clear()
                self._unnamed += 1
            case _:
                pass

    def end(self) -> Iterator[Step]:
        """Close all that is open."""
        yield from self._close_parts()
        yield from self._cut_calls()

    def unanswered(self) -> tuple[str, ...]:
        """Return the ids of the calls that can run and have no result."""
        return tuple(
            call_id
            for call_id, call in self._calls.items()
            if call.is_closed and not (call.is_failed or call.is_answered)
        )

    def knows_call(self, call_id: str) -> bool:
        """Say whether a call is there and was not taken back."""
        return call_id in self._calls

    def _named(self, id: str) -> str:
        return id or f"{self._prefix}-{self._unnamed}"

    def _key(self, kind: Literal["text", "thinking"], element: TextElement | ThinkingElement) -> TextKey:
        agent = element.metadata.get("agent") if element.metadata else ""
        path = element.path if isinstance(element, TextElement) else ()
        return TextKey(kind, self._named(element.id), path, agent if isinstance(agent, str) else "")

    def _say(self, key: TextKey, text: str) -> Iterator[Step]:
        if not text:
            return
        if key not in self._open:
            yield from self._close_parts(key.message_id, other_than=key.kind)
            if not key.agent:  # the whole of what an inner agent says goes to the agent that has called it
                yield from self._close_agents()
                self._unfinished.setdefault(key.message_id, set()).add(key.kind)
            if len(self._open) >= _MAX_OPEN:
                yield self._close(next(iter(self._open)))
            self._open[key] = None
            yield PartOpened(key)
        yield PartGrew(key, text)

    def _think(self, element: ThinkingElement) -> Iterator[Step]:
        key = self._key("thinking", element)
        yield from self._say(key, element.text)
        if element.signature is not None and key in self._open:
            self._open[key] = element.signature
            yield self._close(key)

    def _grow_call(self, delta: ToolCallDelta) -> Iterator[Step]:
        call = self._calls.get(delta.call_id)
        if call is None:
            yield from self._open_call(delta.call_id, delta.name, self._named(delta.id))
            call = self._calls[delta.call_id]
        if delta.args and not call.is_closed:
            call.has_args = True
            yield CallGrew(delta.call_id, delta.args)

    def _open_call(self, call_id: str, name: str, message_id: str) -> Iterator[Step]:
        yield from self._close_parts(message_id)
        self._calls[call_id] = _Call(name, message_id)
        self._unfinished.setdefault(message_id, set())
        yield CallOpened(call_id, name, message_id)

    def _whole_call(self, whole: ToolCallElement, message_id: str) -> Iterator[Step]:
        if whole.call_id not in self._calls:
            yield from self._open_call(whole.call_id, whole.name, message_id)
        call = self._calls[whole.call_id]
        if call.is_closed:
            return
        if not call.has_args:
            yield CallGrew(whole.call_id, whole.raw or _encode(whole.args).decode())
        call.is_closed, call.is_failed = True, whole.error is not None
        yield CallClosed(whole.call_id, call.name, whole.args, whole.error)

    def _answer(self, result: ToolResultElement) -> Iterator[Step]:
        call = self._calls.get(result.call_id)
        if call is None:  # one of which nobody has told, such as one that a person has decided about
            yield from self._whole_call(ToolCallElement(result.call_id, result.name), self._named(""))
        elif not call.is_closed:
            yield from self._cut_calls(result.call_id)
        call = self._calls[result.call_id]
        if not call.is_answered:
            call.is_answered = not result.preliminary
            yield CallAnswered(result)

    def _whole(self, message_id: str, message: Message) -> Iterator[Step]:
        """Tell what a whole message holds and no fragment has said; then nothing of it is open."""
        if message.role == "assistant":
            said = self._unfinished.get(message_id, set[str]()).copy()
            for part in message.parts:
                match part:
                    case TextPart(text) if "text" not in said:
                        yield from self._say(TextKey("text", message_id), text)
                    case ThinkingPart(text, signature) if "thinking" not in said:
                        yield from self._say(key := TextKey("thinking", message_id), text)
                        if key in self._open:
                            self._open[key] = signature
                            yield self._close(key)
                    case ToolCallPart():
                        whole = ToolCallElement(part.call_id, part.name, part.args, part.raw)
                        yield from self._whole_call(whole, message_id)
                    case _:
                        pass
            yield from self._close_parts(message_id)
            for call_id in [one for one, call in self._calls.items() if call.message_id == message_id]:
                yield from self._cut_calls(call_id)
            self._unfinished.pop(message_id, None)
            self._wholes[message_id] = None
        for part in message.parts:
            if isinstance(part, ToolResultPart):
                yield from self._answer(ToolResultElement(part.call_id, part.name, part.content, part.status))

    def _take_back(self, answer: str) -> TakenBack:
        """Forget one answer of the turn, or all that is not whole; of what is whole only the ids are told."""
        wholes = [id for id in self._wholes if not answer or id == answer]
        ids = {id for id in self._unfinished if not answer or id == answer}
        parts = tuple(key for key in self._open if key.message_id in ids)
        for key in parts:
            del self._open[key]
        calls = {
            call_id: call for call_id, call in self._calls.items() if call.message_id in ids and not call.is_answered
        }
        for call_id in calls:
            del self._calls[call_id]
        for id in ids:
            del self._unfinished[id]
        for id in wholes:
            del self._wholes[id]
        self._unnamed += 1
        names = {call_id: call.name for call_id, call in calls.items()}
        open_calls = frozenset(call_id for call_id, call in calls.items() if not call.is_closed)
        return TakenBack(parts, (*wholes, *sorted(ids)), names, open_calls)

    def _close(self, key: TextKey) -> PartClosed:
        return PartClosed(key, self._open.pop(key))

    def _close_parts(self, message_id: str | None = None, *, other_than: str = "") -> Iterator[Step]:
        """Close the open parts: those of one message, or all."""
        for key in list(self._open):
            if (message_id is None or key.message_id == message_id) and key.kind != other_than:
                yield self._close(key)

    def _close_agents(self) -> Iterator[Step]:
        for key in [one for one in self._open if one.agent]:
            yield self._close(key)

    def _cut_calls(self, only: str | None = None) -> Iterator[Step]:
        """Close the calls that are open, or one of them, as cut off."""
        for call_id, call in list(self._calls.items()):
            if not call.is_closed and only in {None, call_id}:
                call.is_closed = call.is_failed = True
                yield CallClosed(call_id, call.name, {}, CUT_CALL)
