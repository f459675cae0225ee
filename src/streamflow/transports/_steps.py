"""The steps of an answer, numbered: thoughts, texts, tool calls and their results, in the order in which they are shown.

Above: `_process_steps`, `apps`. Below: `elements`. Pure: nothing here waits.

Rules: one counter numbers all steps of a response, from 0 and without gaps. A step of text is what was said without a break of its
kind inside one message. The calls of a message are told when it is whole, before their tools run, and each result behind them. When
a message is whole it is compared with what was shown of it, and what is missing is told; so the steps that were shown are exactly
those that can be made of the messages that were stored.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from ..elements import (
    DataPart,
    MessageElement,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    ToolResultElement,
    ToolStatus,
    TurnReset,
    TurnStart,
    thaw,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..elements import Message, StreamElement, ToolCallPart, ToolResultPart

__all__ = ["ProcessStep", "StepChange", "StepKind", "StepReader", "StepReset", "StepShown", "steps_of"]

StepKind = Literal["thinking", "text", "tool_call", "tool_result"]
"""What a step is."""


class ProcessStep(msgspec.Struct, frozen=True, gc=False):
    """One step of an answer."""

    id: str
    """`step-N`, where N is the index."""
    index: int
    """Its place in the response, from 0, without gaps."""
    type: StepKind
    """What it is."""
    content: str = ""
    """Text of the thoughts, the answer or the result."""
    id_ref: str = ""
    """Of a call: the provider's id of it. Of a result: the `id` of the step with its call, empty if that is in another response."""
    tool_call_id: str = ""
    """Of a call and of its result: the provider's id of the call."""
    name: str = ""
    """Name of the tool."""
    arguments: str = ""
    """Arguments of a call, as the model wrote them."""
    status: ToolStatus | None = None
    """How the call of a result ended."""
    success: bool = True
    """Whether it gave what was asked for: not if it failed, nor if it is a JSON object that says `"success": false`."""

    def to_dict(self) -> dict[str, object]:
        """Return the step as it is sent: the fields of its type."""
        told: dict[str, object] = {"id": self.id, "index": self.index, "type": self.type}
        if self.type == "tool_call":
            told |= {"id_ref": self.id_ref, "tool_call_id": self.tool_call_id}
            return told | {"name": self.name, "arguments": self.arguments}
        if self.type == "tool_result":
            told |= {"id_ref": self.id_ref, "tool_call_id": self.tool_call_id, "name": self.name}
            return told | {"content": self.content, "status": self.status, "success": self.success}
        return told | {"content": self.content}


class StepShown(msgspec.Struct, frozen=True, gc=False):
    """A step, or a piece of one, that is to be shown."""

    step: ProcessStep
    """The step; with `delta`, its content is the new piece alone."""
    delta: bool = False
    """Whether the content is to be added to what was shown of this step."""


class StepReset(msgspec.Struct, frozen=True, gc=False):
    """Steps are to be forgotten, because a model has begun an answer anew; their numbers are given again."""

    index: int
    """The first one that is forgotten; those behind it are, too."""


StepChange: TypeAlias = StepShown | StepReset
"""What a client does next to its list of steps."""


@dataclasses.dataclass(slots=True)
class _Open:
    """A step of text in the answer that is under way."""

    kind: StepKind
    index: int
    length: int = 0
    texts: list[str] | None = None


class StepReader:
    """Makes steps of the elements of a response.

    Args:
        snapshots: Whether a step of text is told whole each time that it grows, as in the seed, and not by pieces alone.
        after: Messages of the same turn whose steps another response has shown: the numbers go on.
    """

    def __init__(self, *, snapshots: bool = False, after: Iterable[Message] = ()) -> None:
        self._snapshots = False
        self._next = 0
        self._turn_from = 0
        self._answer = ""
        self._shown: list[_Open] = []
        self._refs: dict[str, str] = {}
        self._answered: set[str] = set()
        for message in after:
            for _ in self.read(message):
                pass
        self._snapshots = snapshots
        self._turn_from = self._next

    def take(self, element: StreamElement) -> Iterator[StepChange]:
        """Give what one element shows. What an agent inside another one says is none of the response's steps."""
        match element:
            case TurnReset(answer=answer):
                yield from self._forget(answer)
            case TurnStart():
                self._turn_from = self._next
                self._shown = []
            case _ if "agent" in element.metadata or element.metadata.get("history") is True:
                pass
            case TextElement(text=text, path=()) if text:
                yield self._say("text", text, element.id)
            case ThinkingElement(text=text) if text:
                yield self._say("thinking", text, element.id)
            case MessageElement(message=message):
                yield from self.read(message)
            case ToolResultElement(preliminary=False):
                yield from self._result(element.part)
            case _:
                pass

    def read(self, message: Message) -> Iterator[StepChange]:
        """Give what a whole message shows beyond what was shown of it."""
        if message.role == "assistant":
            yield from self._complete(message)
            for call in message.tool_calls:
                yield self._call(call)
        for result in message.tool_results:
            yield from self._result(result)

    def _say(self, kind: StepKind, text: str, answer: str) -> StepShown:
        if answer != self._answer:
            self._answer, self._shown = answer, []
        last = self._shown[-1] if self._shown else None
        if last is None or last.kind != kind:
            last = _Open(kind, self._number(), texts=[] if self._snapshots else None)
            self._shown.append(last)
        return self._grow(last, text)

    def _grow(self, one: _Open, text: str) -> StepShown:
        one.length += len(text)
        if one.texts is not None:
            one.texts.append(text)
            text = "".join(one.texts)
        return StepShown(ProcessStep(f"step-{one.index}", one.index, one.kind, text), one.texts is None)

    def _complete(self, message: Message) -> Iterator[StepChange]:
        """Tell what of a message was not shown: an interruption drops what is on its way."""
        if self._shown and message.id and self._answer and message.id != self._answer:
            self._shown = []
        whole = _texts_of(message)
        fits = len(self._shown) <= len(whole) and all(
            one.kind == kind and one.length <= len(text) for one, (kind, text) in zip(self._shown, whole, strict=False)
        )
        if not fits:
            yield from self._forget_from(self._shown[0].index)
        for place, (kind, text) in enumerate(whole):
            if place >= len(self._shown):
                self._shown.append(_Open(kind, self._number(), texts=[] if self._snapshots else None))
            one = self._shown[place]
            if one.length < len(text):
                yield self._grow(one, text[one.length :])
        self._answer, self._shown = "", []

    def _call(self, call: ToolCallPart) -> StepShown:
        index = self._number()
        step = f"step-{index}"
        self._refs[call.call_id] = step
        self._answered.discard(call.call_id)
        written = call.raw or msgspec.json.encode(thaw(call.args)).decode()
        return StepShown(
            ProcessStep(
                step,
                index,
                "tool_call",
                id_ref=call.call_id,
                tool_call_id=call.call_id,
                name=call.name,
                arguments=written,
            )
        )

    def _result(self, result: ToolResultPart) -> Iterator[StepShown]:
        """Give the step of a result, once: it comes by itself, and then in its message."""
        if result.call_id in self._answered:
            return
        self._answered.add(result.call_id)
        index = self._number()
        content = _content_of(result)
        yield StepShown(
            ProcessStep(
                f"step-{index}",
                index,
                "tool_result",
                content,
                self._refs.get(result.call_id, ""),
                result.call_id,
                result.name,
                status=result.status,
                success=result.status == "ok" and not _says_no(content),
            )
        )

    def _forget(self, answer: str) -> Iterator[StepReset]:
        if answer and answer != self._answer:
            return  # nothing of it was shown
        if not answer:
            yield from self._forget_from(self._turn_from)
        elif self._shown:
            yield from self._forget_from(self._shown[0].index)

    def _forget_from(self, begin: int) -> Iterator[StepReset]:
        self._shown = []
        if begin < self._next:
            self._next = begin
            yield StepReset(begin)

    def _number(self) -> int:
        self._next += 1
        return self._next - 1


def steps_of(messages: Iterable[Message]) -> tuple[ProcessStep, ...]:
    """Return the steps of a stored turn: those that were shown when it was answered.

    Args:
        messages: Of one turn, oldest first; what the user has said is no step.
    """
    reader = StepReader()
    return tuple(
        change.step for message in messages for change in reader.read(message) if isinstance(change, StepShown)
    )


def _texts_of(message: Message) -> list[tuple[StepKind, str]]:
    """Return the texts and thoughts of a message; those of one kind that follow each other are one."""
    told: list[tuple[StepKind, str]] = []
    for part in message.parts:
        if not isinstance(part, TextPart | ThinkingPart) or not part.text:
            continue
        kind: StepKind = "text" if isinstance(part, TextPart) else "thinking"
        before = told.pop()[1] if told and told[-1][0] == kind else ""
        told.append((kind, before + part.text))
    return told


def _content_of(result: ToolResultPart) -> str:
    """Return a result as text: JSON values as JSON, media by their kind."""
    if isinstance(result.content, str):
        return result.content
    texts: list[str] = []
    for part in result.content:
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, DataPart):
            texts.append(msgspec.json.encode(thaw(part.value)).decode())
        else:
            texts.append(f"[{type(part).__name__.removesuffix('Part').lower()}]")
    return "\n".join(texts)


def _says_no(content: str) -> bool:
    """Say whether a result is a JSON object that says of itself that it is no success."""
    if not content.startswith("{") or '"success"' not in content:
        return False
    try:
        value = msgspec.json.decode(content, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError):
        return False
    return value.get("success") is False
