"""Messages whose text was changed, part by part.

Above: the guard stages. Below: `_guard_window` (what an edit is), `elements`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..elements import Message, Part, TextPart, ToolCallPart, ToolResultPart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._guard_window import Edit

__all__ = ["edited_message", "edited_text"]


def edited_text(text: str, edits: Sequence[Edit], *, start: int = 0, end: int | None = None) -> str:
    """Return a part of a text with its edits; one that begins before the part is not said again.

    Args:
        text: All of the text.
        edits: Its edits, in order, without overlaps.
        start: Where the part begins.
        end: Where it ends; None: at the end of the text.
    """
    at, until = start, len(text) if end is None else end
    said: list[str] = []
    for edit in edits:
        if edit.end <= at or edit.start >= until:
            continue
        if edit.start >= at:
            said.append(text[at : edit.start] + edit.text)
        at = min(edit.end, until)
    return "".join([*said, text[at:until]])


def edited_message(message: Message, edits: Sequence[Edit], stop_at: int | None, refusal: str) -> Message:
    """Return a message whose text says what was shown of it.

    Args:
        message: The message as it was made.
        edits: What was replaced in its text.
        stop_at: Where its text was ended; None: it was not. Then its tool calls are left out, and the stop reason is
            `content_filter`, so that no tool runs.
        refusal: What is said behind that.
    """
    text = message.text
    until = len(text) if stop_at is None else min(stop_at, len(text))
    if isinstance(message.content, str):
        content: str | list[Part] = edited_text(text, edits, end=until) + ("" if stop_at is None else refusal)
    else:
        content = _edited_parts(message, edits, until, is_stopped=stop_at is not None)
        if stop_at is not None and refusal:
            content.append(TextPart(refusal))
    stop_reason = message.stop_reason if stop_at is None else "content_filter"
    return msgspec.structs.replace(message, content=content, stop_reason=stop_reason)


def _edited_parts(message: Message, edits: Sequence[Edit], until: int, *, is_stopped: bool) -> list[Part]:
    text = message.text + "".join(result.text for result in message.tool_results)
    at, result_at = 0, len(message.text)
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            end = min(at + len(part.text), until)
            said = edited_text(text, edits, start=at, end=max(at, end)) if at < until or not is_stopped else ""
            at += len(part.text)
            if said or not part.text:
                parts.append(TextPart(said))
        elif isinstance(part, ToolResultPart) and any(edit.end > result_at for edit in edits):
            end = result_at + len(part.text)
            said = edited_text(text, edits, start=result_at, end=end)
            parts.append(part if said == part.text else msgspec.structs.replace(part, content=said))
            result_at = end
        elif not is_stopped or (at < until and not isinstance(part, ToolCallPart)):
            parts.append(part)
    return parts
