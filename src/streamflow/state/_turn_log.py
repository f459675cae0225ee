"""What a saving stage has seen of one turn: pure bookkeeping.

Above: `_save`. Below: `elements`.
"""

from __future__ import annotations

import itertools
import uuid
from typing import TYPE_CHECKING

from ..elements import (
    ErrorElement,
    Message,
    MessageElement,
    Part,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    ToolResultElement,
    TurnReset,
    TurnStart,
    with_results,
)
from ..errors import StateError

if TYPE_CHECKING:
    from ..elements import StreamElement, ToolResultPart
    from ._turn_input import TurnInput

__all__ = ["TurnLog"]


class TurnLog:
    """The messages of one turn, and what is there of the next one. Holds one turn: its stage does not outlive a run.

    Args:
        asked: What a loading stage has told; None: there is none, or it has told nothing yet.
        keeps_history: Whether messages of the history are part of what is stored.
    """

    def __init__(self, asked: TurnInput | None = None, *, keeps_history: bool = False) -> None:
        self.asked: TurnInput | None = asked
        """What a loading stage has told."""
        self.id: str = uuid.uuid4().hex if asked is None else asked.turn
        """Names the turn."""
        self.revision: int | None = None if asked is None else asked.revision
        """The revision that the turn was made on; after a commit of it, the one that this has made."""
        self.has_begun: bool = False
        """Whether anything of an answer was seen."""
        self.is_broken: bool = False
        """Whether a commit has failed, so that there is nothing to be gained by another one."""
        self.first: StreamElement | None = None
        """The first message that was seen, where no loading stage has told whose turn it is."""
        self._keeps_history = keeps_history
        self._has_history = False
        self._messages: list[Message] = []
        self._fragments: list[TextElement | ThinkingElement] = []
        self._results: dict[str, ToolResultPart] = {}
        self._was_cut = False

    def note(self, element: StreamElement) -> bool:
        """Note what an element says; returns whether it was a message that is new."""
        match element:
            case MessageElement():
                return self._note_message(element)
            case TextElement() | ThinkingElement() if (
                "agent" not in element.metadata
            ):  # else it is of an agent that was called
                self.has_begun = True
                self._fragments.append(element)
            case ToolResultElement(preliminary=False):
                self.has_begun = True
                self._results.setdefault(element.call_id, element.part)
            case TurnStart():
                self.has_begun = True
            case TurnReset(answer=answer) if answer:
                self._messages = [one for one in self._messages if one.id != answer]
                self._fragments = [one for one in self._fragments if one.id != answer]
            case TurnReset():
                self._messages = [one for one in self._messages if one.role in {"user", "system"}]
                self._fragments.clear()
                self._results.clear()
            case ErrorElement(fatal=True):
                self._was_cut = True
            case _:
                pass
        return False

    def _note_message(self, element: MessageElement) -> bool:
        message = element.message
        if self.first is None:
            self.first = element
        is_old = element.metadata.get("history") is True
        self._has_history = self._has_history or is_old
        if (is_old and not self._keeps_history) or (not self._keeps_history and self._was_asked(message)):
            return False
        self._messages.append(message)
        if is_old or message.role in {"user", "system"}:
            return False
        self.has_begun = True
        self._was_cut = self._was_cut or element.cut
        self._fragments.clear()
        return True

    def _was_asked(self, message: Message) -> bool:
        return self.asked is not None and any(message is one or message == one for one in self.asked.messages)

    def is_cut(self) -> bool:
        """Say whether the turn was cut short, as far as is known: a message of it is, or there are fragments of one."""
        return self._was_cut or bool(self._fragments)

    def messages(self) -> tuple[Message, ...]:
        """Return the whole messages, those that were asked first."""
        asked = self.asked.messages if self.asked is not None and not self._keeps_history else ()
        return (*asked, *self._messages)

    def completed(self) -> tuple[Message, ...]:
        """Return what is stored if nothing more comes: what was said of an unfinished message, a result for each call, too."""
        messages = with_results(self.messages(), self._results)
        parts = _parts_of(self._fragments)
        if not parts:
            return messages
        content = parts[0].text if len(parts) == 1 and isinstance(parts[0], TextPart) else parts
        return (*messages, Message("assistant", content, id=self._fragments[-1].id, stop_reason="interrupted"))

    def check_history(self, stage: str) -> None:
        """Do nothing if what is stored may take the place of what there is.

        Raises:
            StateError: `no_history`, if there is a history, and nothing of it has passed.
        """
        if self.asked is not None and self.revision and not self._has_history:
            raise StateError(
                "no_history",
                f"stage {stage!r}: mode='full' would forget the history, of which nothing has passed this stage; say "
                "mode='incremental', or place it where the history passes",
            )


def _parts_of(fragments: list[TextElement | ThinkingElement]) -> list[Part]:
    """Return what fragments come to, in their order."""
    parts: list[Part] = []
    for kind, group in itertools.groupby(fragments, type):
        ones = list(group)
        text = "".join(one.text for one in ones)
        signature = next((one.signature for one in reversed(ones) if isinstance(one, ThinkingElement)), None)
        if text:
            parts.append(TextPart(text) if kind is TextElement else ThinkingPart(text, signature))
    return parts
