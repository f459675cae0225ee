"""The stage that puts what was said before in front of what is said now.

Above: users. Below: `_protocol`, `stages`, `elements`.
"""

from __future__ import annotations

import dataclasses
import uuid
from typing import TYPE_CHECKING

from ..elements import (
    MessageElement,
    Metadata,
    TextElement,
    ToolDecisionElement,
    TurnEnd,
    open_calls,
    repair_history,
)
from ..errors import ElementError
from ..stages import BaseStage, Resource, StageKind, as_message
from ._checks import checked_store, checked_whole
from ._turn_input import Desk, TurnInput, checked_conversation, conversation_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sized

    from ..channels import ReceiveEnd, SendEnd
    from ..stages import Accepts, OnInterrupt, RunContext
    from ._protocol import History, StateStore, Turn
    from ._turn_input import ConversationOf

__all__ = ["StateStoreLoadStage"]

HISTORY = Metadata({"history": True})
"""What the elements of loaded messages carry."""


class StateStoreLoadStage(BaseStage):
    """Load what was said before in a conversation, and send it before the messages of the turn.

    In: `MessageElement` and `TextElement`, each a whole message of the user; `ToolDecisionElement`; `TurnEnd`. Other elements pass
    through in order.
    Out, for each turn with a message, or with a decision that it waits for: a `TurnInput` for the saving stage; the decisions; the
    history, each message a `MessageElement` with `metadata["history"]`; the messages of the turn, as they came; the `TurnEnd`, if
    one came.

    The history is lawful, however it was stored: each tool call is followed by its result, see `repair_history()`; results that a
    turn brings for calls of the history are moved to them. Where a saving stage is at work in the same run, the next turn is loaded
    after that has dealt with the one before.

    A turn that waits for a person goes on, in this run or another, when decisions about calls of it come in and no message with
    them: it is sent as it was stored, its open calls at the end, and the saving stage continues it under its id. Without such a
    decision, and if anything was said after it, its calls are closed as cancelled.

    ```python
    PipelineBuilder().chain(StateStoreLoadStage(store, last=20), ProviderStage(provider), StateStoreSaveStage(store))
    ```

    Flow:
        emits: on `TurnEnd`; for the rest when the input ends.
        backpressures: while the output is full, and while the turn before is not stored; holds at most `max_messages` messages.
        completes: when the input ends, after the last turn.
        fails: `StateError` if the store fails, or nobody says whose turn it is; `ElementError` if a turn has more than
            `max_messages` messages.
        cancels: drops what it holds.

    Args:
        store: An open store, or a `Resource` that opens one.
        conversation: Whose turns they are: an id, or a function of the run and the first message of a turn. None: what
            `metadata["conversation"]` of that message says, else `conversation` of the run's `deps`.
        last: Only the last messages of the history, so many; None: all. A turn that goes on is never divided.
        since: Only what was committed after this revision; a function is asked in each turn.
        max_messages: Most new messages of one turn, and most decisions.
        announces: Whether a `TurnInput` is sent; say no where no saving stage follows.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.

    Source: seed 001 (StateStoreLoadStage), seed 004.
    """

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"  # what it keeps are wholes
    accepts: Accepts | None = (TextElement, MessageElement, ToolDecisionElement, TurnEnd)
    emits: Accepts | None = (TurnInput, MessageElement, ToolDecisionElement, TurnEnd)

    def __init__(
        self,
        store: StateStore | Resource[StateStore],
        *,
        conversation: ConversationOf = None,
        last: int | None = None,
        since: int | Callable[[RunContext[object]], int] = 0,
        max_messages: int = 1000,
        announces: bool = True,
        name: str = "load",
    ) -> None:
        super().__init__(name)
        checked_store(store, name)
        checked_conversation(conversation, name)
        if last is not None:
            checked_whole(last, "last")
        if not callable(since):
            checked_whole(since, "since")
        self.max_held: int | None = checked_whole(max_messages, "max_messages", least=1)
        self.resources: tuple[Resource[object], ...] = (store,) if isinstance(store, Resource) else ()
        self._store = store
        self._conversation = conversation
        self._last = last
        self._since = since
        self._announces = announces

    async def process(
        self,
        input: ReceiveEnd[TextElement | MessageElement | ToolDecisionElement | TurnEnd],
        output: SendEnd[TurnInput | MessageElement | ToolDecisionElement | TurnEnd],
        run: RunContext[object],
    ) -> None:
        """Run the stage."""
        store = await run.resource(self._store) if isinstance(self._store, Resource) else self._store
        held: list[MessageElement] = []
        decided: list[ToolDecisionElement] = []
        turn = ""
        async for element in input:
            match element:
                case TurnEnd():
                    if held or decided:
                        turn = await self._send_turn(store, _Held(held, decided), turn, output, run)
                        held, decided = [], []
                    await output.send(element)
                case ToolDecisionElement():
                    self._check_room(decided, "decisions")
                    decided.append(element)
                case _:
                    self._check_room(held, "messages")
                    held.append(as_message(element))
        if held or decided:
            await self._send_turn(store, _Held(held, decided), turn, output, run)

    def _check_room(self, held: Sized, what: str) -> None:
        if len(held) == self.max_held:
            raise ElementError(
                f"stage {self.name!r}: more than {self.max_held} {what} in one turn; send TurnEnd in time, or raise "
                "max_messages"
            )

    async def _send_turn(
        self,
        store: StateStore,
        held: _Held,
        before: str,
        output: SendEnd[TurnInput | MessageElement | ToolDecisionElement | TurnEnd],
        run: RunContext[object],
    ) -> str:
        """Send one turn behind its history; returns its id, empty if there was only a decision about nothing that waits.

        Args:
            store: Where the history is.
            held: What has come in.
            before: Id of the turn before, empty for the first one.
            output: Where to.
            run: The run.
        """
        desk = Desk.of_run(run.run_id)
        if before and desk is not None:
            await desk.wait_for(before)
        conversation = conversation_of(self._conversation, run, held.first)
        since = self._since(run) if callable(self._since) else self._since
        last = (
            self._last if held.messages or self._last is None else max(self._last, 1)
        )  # the turn that waits is wanted
        history = await store.load(conversation, last=last, since=since)
        waiting = None if held.messages else _waiting(history, held.decisions)
        turn = waiting.id if waiting is not None else uuid.uuid4().hex if held.messages else ""
        new = tuple(one.message for one in held.messages) if waiting is None else waiting.messages
        if turn and self._announces:
            await output.send(TurnInput(conversation=conversation, turn=turn, revision=history.revision, messages=new))
        for decision in held.decisions:
            await output.send(decision)
        if turn:
            for element in self._put_together(history, held.messages, waiting):
                await output.send(element)
        return turn

    def _put_together(
        self, history: History, held: list[MessageElement], waiting: Turn | None
    ) -> Iterator[MessageElement]:
        """Give the messages that a model may read, as elements; a turn that waits as it was stored, at the end."""
        kept = len(waiting.messages) if waiting is not None else 0
        old = history.messages
        if self._last is not None:
            old = old[len(old) - min(max(self._last, kept), len(old)) :]
        fresh = {id(one.message): one for one in held}
        cut = {id(turn.messages[-1]) for turn in history.turns if turn.status == "cut" and turn is not waiting}
        end = len(old) - kept
        for message in (*repair_history((*old[:end], *(one.message for one in held))), *old[end:]):
            found = fresh.get(id(message))
            yield found if found is not None else MessageElement(message, metadata=HISTORY, cut=id(message) in cut)


@dataclasses.dataclass(frozen=True, slots=True)
class _Held:
    """What has come in for a turn: messages, decisions, or both."""

    messages: list[MessageElement]
    decisions: list[ToolDecisionElement]

    @property
    def first(self) -> MessageElement | ToolDecisionElement:
        """What says whose turn it is."""
        return self.messages[0] if self.messages else self.decisions[0]


def _waiting(history: History, decided: list[ToolDecisionElement]) -> Turn | None:
    """Return the newest turn if it waits for one of these decisions."""
    newest = history.turns[-1] if history.turns else None
    found = open_calls(newest.messages) if newest is not None and newest.status == "cut" else None
    if found is None:
        return None
    message, answered = found
    waits = {call.call_id for call in message.tool_calls} - answered
    return newest if any(one.call_id in waits for one in decided) else None
