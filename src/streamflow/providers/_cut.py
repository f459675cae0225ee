"""What is left of an answer that was interrupted: a whole with what had been sent.

Above: `_answer`. Below: `elements`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..elements import (
    AudioElement,
    AudioPart,
    ControlElement,
    DataElement,
    DataPart,
    ImageElement,
    ImagePart,
    Message,
    MessageElement,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    ToolCallElement,
    ToolCallPart,
    TurnReset,
    UsageElement,
)

if TYPE_CHECKING:
    from ..elements import Part, StreamElement

__all__ = ["Sent"]


class _Growing:
    """A part that fragments add to."""

    def __init__(self, first: TextElement | ThinkingElement | AudioElement) -> None:
        self.kind = type(first)
        self._first = first
        self._texts: list[str] = []
        self._data: list[bytes] = []
        self._signature: str | None = None

    def add(self, element: TextElement | ThinkingElement | AudioElement) -> None:
        self._texts.append(element.text or "")
        if isinstance(element, ThinkingElement):
            self._signature = element.signature or self._signature
        elif isinstance(element, AudioElement):
            self._data.append(element.data)

    def part(self) -> Part:
        text, first = "".join(self._texts), self._first
        if isinstance(first, TextElement):
            return TextPart(text)
        if isinstance(first, ThinkingElement):
            return ThinkingPart(text, self._signature)
        data, rate, channels = b"".join(self._data), first.sample_rate, first.channels
        return AudioPart(data, first.format, sample_rate=rate, channels=channels, transcript=text or None)


class Sent:
    """Keeps what was sent of one answer."""

    def __init__(self) -> None:
        self.id: str = ""
        """The `id` of the answer; empty while nothing of it was sent."""
        self._parts: list[_Growing | Part] = []
        self._usage: UsageElement | None = None

    def note(self, element: StreamElement) -> None:
        """Know that an element of the answer has been sent."""
        if not isinstance(element, ControlElement):
            self.id = self.id or element.id
        match element:
            case UsageElement():
                self._usage = element
            case TurnReset():
                self.id = ""
                self._parts.clear()
            case TextElement() | ThinkingElement() | AudioElement():
                last = self._parts[-1] if self._parts else None
                if not isinstance(last, _Growing) or last.kind is not type(element):
                    last = _Growing(element)
                    self._parts.append(last)
                last.add(element)
            case ToolCallElement():
                if element.error is None:
                    self._parts.append(ToolCallPart(element.call_id, element.name, element.args, element.raw))
            case ImageElement():
                self._parts.append(ImagePart(element.data, element.mime, element.url))
            case DataElement() if not element.transient:
                self._parts.append(DataPart(element.name, element.value))
            case _:
                pass

    def cut(self) -> MessageElement | None:
        """Return the message that has come of it, cut short; None if nothing had been sent."""
        if not self._parts:
            return None
        parts = [part.part() if isinstance(part, _Growing) else part for part in self._parts]
        content = parts[0].text if len(parts) == 1 and isinstance(parts[0], TextPart) else parts
        message = Message("assistant", content, id=self.id, stop_reason="interrupted")
        return MessageElement(message, id=self.id, cut=True)

    def usage_so_far(self) -> UsageElement | None:
        """Return the last usage that was reported, as a final one: what an interrupted call has used, as far as is known."""
        if self._usage is None:
            return None
        return self._usage.replace(usage=msgspec.structs.replace(self._usage.usage, estimated=True), final=True)
