"""What is left of an answer that was interrupted: a whole with what had been sent.

Above: `_stage`. Below: `elements`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elements import (
    Message,
    MessageElement,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    ToolCallElement,
    ToolCallPart,
)

if TYPE_CHECKING:
    from ..elements import Part, StreamElement

__all__ = ["Sent"]


class Sent:
    """Keeps what was sent of one answer."""

    def __init__(self) -> None:
        self._id = ""
        self._parts: list[tuple[type, list[str], ToolCallPart | None]] = []

    def note(self, element: StreamElement) -> None:
        """Know that a fragment, or a whole tool call, has been sent."""
        self._id = self._id or element.id
        if isinstance(element, ToolCallElement):
            if element.error is None:
                call = ToolCallPart(element.call_id, element.name, element.args, element.raw)
                self._parts.append((ToolCallPart, [], call))
        elif isinstance(element, (TextElement, ThinkingElement)):
            kind = TextPart if isinstance(element, TextElement) else ThinkingPart
            if not self._parts or self._parts[-1][0] is not kind:
                self._parts.append((kind, [], None))
            self._parts[-1][1].append(element.text)

    def cut(self) -> MessageElement | None:
        """Return the message that has come of it, cut short; None if nothing had been sent."""
        if not self._parts:
            return None
        parts: list[Part] = []
        for kind, texts, call in self._parts:
            if call is not None:
                parts.append(call)
            else:
                text = "".join(texts)
                parts.append(TextPart(text) if kind is TextPart else ThinkingPart(text))
        content = parts[0].text if len(parts) == 1 and isinstance(parts[0], TextPart) else parts
        message = Message("assistant", content, id=self._id, stop_reason="interrupted")
        return MessageElement(message, id=self._id, cut=True)
