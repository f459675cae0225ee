"""The stages that guard whole messages: what goes to a model, and what came from one.

Above: users. Below: `_guard_checks`, `_edited`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elements import DataElement, Interrupt, MessageElement, StreamElement, TextElement, TurnEnd
from ..errors import ConfigError
from ._checks import check_turn_size, checked_count
from ._contract import BaseStage, StageKind
from ._edited import edited_message
from ._guard_checks import GUARD, Guards, decision_element, told_of
from ._guard_window import without_overlaps
from ._guardrails import GuardView
from ._intent import as_message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import Message, Role
    from ._admission import Accepts
    from ._guard_checks import Found, OnGuardFailure
    from ._guardrails import GuardFunction, Guardrail
    from ._turns import OnInterrupt

__all__ = ["GuardInputStage", "GuardMessageStage"]

_ROLES = ("system", "user", "assistant", "tool")


class _Checked:
    """What guards say of one message."""

    def __init__(self, found: list[Found]) -> None:
        self.stop: Found | None = next((one for one in found if one.stops), None)
        self.edits = without_overlaps((one for one in found if not one.stops), 0)
        self.found: list[Found] = [self.stop] if self.stop is not None else found


class GuardInputStage(BaseStage):
    """Guard what goes to a model, before the model is asked: a turn with a message that is denied asks nobody.

    In: `MessageElement`s, the conversation of one turn; `TextElement`s, each a whole message of the user; `TurnEnd`.
    Out: one `MessageElement` for each, once all guards have seen the turn. Where a guard replaces, the message says so, in its
    metadata `guard` too.
    Where one denies, no message of the turn leaves: the model behind this stage is not asked. A `DataElement` named `guard` tells
    the consumer, with the `message` to show; the `TurnEnd` has the stop reason `content_filter`. `abort` is the same, and an
    `Interrupt` ends what the run is doing.

    Looked at are the messages of `roles` behind the last one of the assistant: what is new. Put this stage right before the model.

    Flow:
        emits: on `TurnEnd`; for the rest when the input ends.
        backpressures: while the output is full, and while a guard is asked; holds at most `max_messages` messages.
        completes: when the input ends, after the last turn.
        fails: `ElementError` if a turn has more than `max_messages` messages.
        cancels: drops what it holds.
        interrupts: keeps the messages of the turn that it is collecting.

    Args:
        guards: Guards, or functions of a text.
        roles: Whose messages are looked at; add `tool` for what tools bring in.
        refusal: What the decision tells the consumer to say.
        max_messages: Most messages of one turn.
        timeout_s: Longest time that a guard may take, in seconds. One that is not async is not stopped.
        on_failure: What is decided if a guard raises or takes too long: `deny`, or `allow`.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = (TextElement, MessageElement, TurnEnd)
    emits: Accepts | None = (MessageElement, DataElement, TurnEnd, Interrupt)

    def __init__(
        self,
        guards: Iterable[Guardrail | GuardFunction],
        *,
        roles: Iterable[Role] = ("user",),
        refusal: str = "I cannot help with that.",
        max_messages: int = 1000,
        timeout_s: float = 10.0,
        on_failure: OnGuardFailure = "deny",
        name: str = "guard_input",
    ) -> None:
        super().__init__(name)
        self._guards = Guards(guards, timeout_s, on_failure, self.name)
        self._roles = _checked_roles(roles, self.name)
        self._refusal = refusal
        self._max_messages = checked_count(max_messages, "max_messages", self.name)
        self.max_held: int | None = self._max_messages

    async def process(
        self, input: ReceiveEnd[TextElement | MessageElement | TurnEnd], output: SendEnd[StreamElement]
    ) -> None:
        """Run the stage."""
        held: list[MessageElement] = []
        async for element in input:
            if isinstance(element, TurnEnd):
                is_denied = await self._send_turn(held, output)
                held = []
                await output.send(element.replace(stop_reason="content_filter") if is_denied else element)
                continue
            check_turn_size(len(held) + 1, self._max_messages, self.name)
            held.append(as_message(element))
        await self._send_turn(held, output)

    async def _send_turn(self, held: list[MessageElement], output: SendEnd[StreamElement]) -> bool:
        """Send the messages of a turn, if nothing is denied; say whether something was."""
        answered = next((place for place in reversed(range(len(held))) if held[place].message.role == "assistant"), -1)
        ready: list[StreamElement] = []
        for place, element in enumerate(held):
            if place <= answered or element.message.role not in self._roles:
                ready.append(element)
                continue
            checked = _Checked(await self._guards.check(GuardView(_shown(element.message))))
            if checked.stop is not None:
                await self._tell(checked.stop, element, output)
                return True
            if not checked.edits:
                ready.append(element)
                continue
            ready.append(_replaced(element, checked, self.name))
            ready.extend(decision_element(one, self.name, element, self._refusal) for one in checked.found)
        for one in ready:
            await output.send(one)
        return False

    async def _tell(self, stop: Found, about: StreamElement, output: SendEnd[StreamElement]) -> None:
        await output.send(decision_element(stop, self.name, about, self._refusal))
        if stop.decision.action == "abort":
            await output.send(Interrupt(f"guard {stop.guard!r}: {stop.decision.reason}"))


class GuardMessageStage(BaseStage):
    """Guard the whole messages of a model: for guards that have to see all of a text, as `JsonSchemaGuard` does.

    In: `MessageElement`s of the assistant; other messages, and tool calls without a text, go on as they are. Fragments pass this
    stage by: ask the model with `mode="whole"`, or do not show them.
    Out: one `MessageElement` for each. Where a guard replaces, its text says so. Where one denies, its text is `refusal` alone: it
    has no tool calls, and the stop reason `content_filter`. Its metadata `guard` tells what was done, and so does a `DataElement`
    named `guard` in front of it. `abort` is the same, and an `Interrupt` ends what the run is doing. The `TurnEnd` of a turn in
    which something was denied has the stop reason `content_filter`.

    Flow:
        emits: each message, once all guards have seen it.
        backpressures: while the output is full, and while a guard is asked; holds one element.

    Args:
        guards: Guards, or functions of a text.
        refusal: What is said in the place of what was denied.
        timeout_s: Longest time that a guard may take, in seconds. One that is not async is not stopped.
        on_failure: What is decided if a guard raises or takes too long: `deny`, or `allow`.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = (MessageElement, TurnEnd)
    emits: Accepts | None = (MessageElement, DataElement, TurnEnd, Interrupt)

    def __init__(
        self,
        guards: Iterable[Guardrail | GuardFunction],
        *,
        refusal: str = "I cannot help with that.",
        timeout_s: float = 10.0,
        on_failure: OnGuardFailure = "deny",
        name: str = "guard_message",
    ) -> None:
        super().__init__(name)
        self._guards = Guards(guards, timeout_s, on_failure, self.name)
        self._refusal = refusal

    async def process(self, input: ReceiveEnd[MessageElement | TurnEnd], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        is_denied = False
        async for element in input:
            if isinstance(element, TurnEnd):
                await output.send(element.replace(stop_reason="content_filter") if is_denied else element)
                is_denied = False
            elif element.message.role != "assistant" or (element.message.tool_calls and not element.message.text):
                await output.send(element)
            else:
                is_denied = await self._send(element, output) or is_denied

    async def _send(self, element: MessageElement, output: SendEnd[StreamElement]) -> bool:
        """Send a message as the guards leave it; say whether it was denied."""
        checked = _Checked(await self._guards.check(GuardView(element.message.text)))
        for one in checked.found:
            await output.send(decision_element(one, self.name, element, self._refusal))
        stop = checked.stop
        if stop is None:
            await output.send(_replaced(element, checked, self.name) if checked.edits else element)
            return False
        said = stop.decision.text or self._refusal
        denied = element.replace(message=edited_message(element.message, (), 0, said))
        await output.send(denied.with_metadata(**{GUARD: told_of(stop, self.name)}))
        if stop.decision.action == "abort":
            await output.send(Interrupt(f"guard {stop.guard!r}: {stop.decision.reason}"))
        return True


def _shown(message: Message) -> str:
    """Return what a guard reads of a message: its text, and what tools have brought."""
    return message.text + "".join(result.text for result in message.tool_results)


def _replaced(element: MessageElement, checked: _Checked, stage: str) -> MessageElement:
    edited = element.replace(message=edited_message(element.message, checked.edits, None, ""))
    return edited.with_metadata(**{GUARD: told_of(None, stage)})


def _checked_roles(roles: Iterable[str], stage: str) -> frozenset[str]:
    given = frozenset((roles,) if isinstance(roles, str) else roles)
    if not given or not given <= set(_ROLES):
        raise ConfigError("roles", f"stage {stage!r}: give some of {', '.join(_ROLES)}, got {roles!r:.80}")
    return given
