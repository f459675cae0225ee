"""The stage that guards an answer while it streams: nothing forbidden is shown first.

Above: users. Below: `_guard_window`, `_edited`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..elements import (
    ControlElement,
    DataElement,
    Interrupt,
    MessageElement,
    StreamElement,
    TextElement,
    TurnEnd,
    TurnReset,
    TurnStart,
)
from ..errors import ConfigError
from ._admission import EVERYTHING
from ._checks import checked_count
from ._contract import BaseStage, StageKind
from ._edited import edited_message
from ._guard_checks import GUARD, Guards, decision_element, told_of
from ._guard_window import GuardedText

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts
    from ._context import RunContext
    from ._guard_checks import OnGuardFailure
    from ._guardrails import GuardFunction, Guardrail
    from ._turns import OnInterrupt

__all__ = ["GuardBy", "GuardStreamStage"]

GuardBy = Literal["characters", "sentences"]
"""What is let through at a time: characters, as soon as it is certain; or whole sentences."""

_MAX_WAITING = 1000  # other elements behind text that is held, as for every stage that accumulates


class GuardStreamStage(BaseStage):
    r"""Guard an answer while it streams: hold back a window of text, and let through what no guard has anything against.

    ```python
    GuardStreamStage([WordGuard(["secret"]), RegexGuard(r"\d{16}", action="replace", text="[card]", reach=16)])
    ```

    In: `TextElement`s, the fragments of an answer; its `MessageElement`, of the role assistant; all else.
    Out: the same, in the same order. Text that no guard objects to is not changed, and fragments keep their headers; a fragment
    may be divided. Where a guard replaces, the rest stays as it is. Where one denies, the text ends in front of what it found;
    `refusal` is said; and nothing more of the answer follows, tool calls neither, but its whole and control. Where one aborts, an
    `Interrupt` ends the model's call as well, and drops what is still on its way, as every interruption does. The `MessageElement`
    always says what was shown, in stop reason `content_filter` if it was denied, and its metadata `guard` names the guard.
    Each decision is a `DataElement` named `guard` that no interruption drops: `guard`, `action`, `reason`, `stage`, `message`.

    What is shown depends on the text alone, not on how it came in fragments, as long as no match is longer than what is held back.
    `ThinkingElement`s and the texts inside tool calls are not looked at.

    Flow:
        emits: text once `hold_chars` characters are behind it, the rest when the message, the turn or the input ends.
        backpressures: while the output is full, and while a guard is asked; holds the text, and at most 1,000 other elements
            that stand behind it: what is more leaves before it.
        completes: when the input ends, after the rest.
        cancels: drops what it holds.
        interrupts: forgets the text that may be dropped.

    Args:
        guards: Guards, or functions of a text, in the order in which they are asked. A function is shown all text that is held
            back, with some that has been let through in front.
        hold_chars: How many characters are held back; None: as many as the guards say they need, 100 for a function.
        by: `characters`, or `sentences`: only whole sentences are let through, which fits guards that understand.
        max_chars: Longest sentence or match, in characters, that is held whole.
        refusal: What is said in the place of what was denied.
        timeout_s: Longest time that a guard may take at once, in seconds. One that is not async is not stopped.
        on_failure: What is decided if a guard raises or takes too long: `deny`, or `allow`.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong, or a guard has to see the whole text; the field is named.
    """

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = EVERYTHING
    emits: Accepts | None = EVERYTHING

    def __init__(
        self,
        guards: Iterable[Guardrail | GuardFunction],
        *,
        hold_chars: int | None = None,
        by: GuardBy = "characters",
        max_chars: int = 4000,
        refusal: str = "I cannot help with that.",
        timeout_s: float = 10.0,
        on_failure: OnGuardFailure = "deny",
        name: str = "guard_stream",
    ) -> None:
        super().__init__(name)
        self._guards = Guards(guards, timeout_s, on_failure, self.name)
        if self._guards.names_of_wholes:
            guard = self._guards.names_of_wholes[0]
            raise ConfigError("guards", f"stage {name!r}: {guard!r} has to see a whole text; use GuardMessageStage")
        if by not in ("characters", "sentences"):
            raise ConfigError("by", f"stage {name!r}: give 'characters' or 'sentences', got {by!r:.80}")
        self._by_sentence = by == "sentences"
        self._hold = self._guards.reach if hold_chars is None else checked_count(hold_chars, "hold_chars", self.name)
        if self._hold < self._guards.least_reach:
            message = f"{self._hold} is less than a guard has to see at once; give {self._guards.least_reach} or more"
            raise ConfigError("hold_chars", f"stage {name!r}: {message}")
        self._max_chars = checked_count(max_chars, "max_chars", self.name)
        self._refusal = refusal
        self.max_held: int | None = self._max_chars + 3 * self._hold + _MAX_WAITING + 2

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        text = GuardedText(
            self._guards,
            self._hold,
            by_sentence=self._by_sentence,
            max_held=self._max_chars,
            max_waiting=_MAX_WAITING,
        )
        epoch = run.epoch
        async for element in input:
            if epoch != run.epoch:
                epoch = run.epoch
                text.forget_stale()
            await self._take(element, text, output)
        await self._advance(text, None, output, final=True)

    async def _take(self, element: StreamElement, text: GuardedText, output: SendEnd[StreamElement]) -> None:
        match element:
            case MessageElement() if element.message.role == "assistant":
                await self._advance(text, element, output, final=True)
                await self._send_whole(element, text, output)
            case TurnEnd() | TurnStart():
                await self._advance(text, element, output, final=True)
                is_denied = isinstance(element, TurnEnd) and text.is_denied
                await output.send(element.replace(stop_reason="content_filter") if is_denied else element)
                text.is_denied = False
                text.clear()
            case TurnReset():
                text.clear()
                await output.send(element)
            case _:
                is_over = text.stopped is not None and not isinstance(element, (ControlElement, MessageElement))
                if is_over and not isinstance(element, TextElement) and not _is_decision(element):
                    return
                for other in text.add(element):
                    await output.send(other)
                if isinstance(element, TextElement):
                    await self._advance(text, element, output)

    async def _advance(
        self,
        text: GuardedText,
        header: StreamElement | None,
        output: SendEnd[StreamElement],
        *,
        final: bool = False,
    ) -> None:
        """Send what may be shown now, and what was decided."""
        for element in await text.advance(final=final):
            await output.send(element)
        found, text.found = text.found, []
        for one in found:
            if one.stops and (said := one.decision.text or self._refusal):
                await output.send(TextElement(said, id="" if header is None else header.id, interruptible=False))
            await output.send(decision_element(one, self.name, header, self._refusal))
            if one.decision.action == "abort":
                await output.send(Interrupt(f"guard {one.guard!r}: {one.decision.reason}"))

    async def _send_whole(self, whole: MessageElement, text: GuardedText, output: SendEnd[StreamElement]) -> None:
        """Send the whole, which says what was shown; what came without fragments, or with others, is looked at anew."""
        told = text
        if not text.is_all_of(whole.message.text):
            told = GuardedText(
                self._guards, self._hold, by_sentence=False, max_held=self._max_chars, max_waiting=_MAX_WAITING
            )
            told.add(TextElement(whole.message.text))
            await told.advance(final=True)
            if text.stopped is not None and told.stopped is None:
                told.stopped, told.stopped_at = text.stopped, 0
            if text.stopped is None:
                for one in told.found:
                    await output.send(decision_element(one, self.name, whole, self._refusal))
        stop, edits = told.stopped, told.edits
        stop_at = None if stop is None else told.stopped_at
        text.is_denied = text.is_denied or stop is not None
        text.clear()
        if stop is None and not edits:
            await output.send(whole)
            return
        said = "" if stop is None else stop.decision.text or self._refusal
        message = edited_message(whole.message, edits, stop_at, said)
        await output.send(whole.replace(message=message).with_metadata(**{GUARD: told_of(stop, self.name)}))


def _is_decision(element: StreamElement) -> bool:
    return isinstance(element, DataElement) and element.name == GUARD
