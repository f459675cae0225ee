"""How a response looks in the terminal: text as it arrives, tools as notes of one line.

Above: `_chat`. Below: `_screen`, `apps`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..apps import StepReset, StepShown

if TYPE_CHECKING:
    from ..apps import ChatMessage, ChatServiceEvent, ProcessStep
    from ._screen import Screen

__all__ = ["Showing", "waiting_calls"]

_MAX_SHOWN = 200


class Showing:
    """Shows the events of responses, and what was said before.

    Args:
        screen: Where.
        quiet: Whether the texts of answers are shown alone.
    """

    def __init__(self, screen: Screen, *, quiet: bool) -> None:
        self._screen = screen
        self._quiet = quiet
        self._step = ""
        self.calls: dict[str, ProcessStep] = {}
        """The calls that were shown, by their ids."""

    def begin(self) -> None:
        """Show that an answer begins."""
        self._step = ""
        if not self._quiet:
            self._screen.write("bot> ")

    def show(self, event: ChatServiceEvent) -> None:
        """Show an event; what is not for this user is left out."""
        if isinstance(event, StepShown):
            self._show_step(event.step)
        elif isinstance(event, StepReset):
            self._step = ""
            self._note("(the model has begun its answer anew)")

    def _show_step(self, step: ProcessStep) -> None:
        is_new, self._step = step.id != self._step, step.id
        match step.type:
            case "text":
                if is_new and step.index:
                    self._screen.end_line()  # not behind the text of the round before
                self._screen.write(step.content)
            case "thinking":
                if is_new:
                    self._note("(thinking)")
            case "tool_call":
                self.calls[step.tool_call_id] = step
                self._note(f"[{step.name} {_cut(step.arguments)}]")
            case "tool_result":
                ended = "" if step.success else f" ({step.status})" if step.status != "ok" else " (no success)"
                self._note(f"[{step.name}{ended} → {_cut(step.content)}]")

    def past(self, message: ChatMessage) -> None:
        """Show what was said before."""
        if message.role == "user":
            self._screen.line(f"you> {message.text}")
            return
        self.begin()
        for step in message.steps:
            self._show_step(step)
        if message.status == "cut":
            self._screen.line("(not finished)")
        self._screen.end_line()
        self._screen.line()

    def _note(self, text: str) -> None:
        if not self._quiet:
            self._screen.note(text)


def waiting_calls(message: ChatMessage) -> list[ProcessStep]:
    """Return the calls of an answer that wait for a person: of one that was stopped otherwise, each has a result that says so."""
    ended = {step.tool_call_id for step in message.steps if step.type == "tool_result"}
    return [step for step in message.steps if step.type == "tool_call" and step.tool_call_id not in ended]


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"
