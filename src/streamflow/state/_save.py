"""The stage that stores a turn as a unit, before its end is told; also when the client has gone.

Above: users. Below: `_turn_writer`, `stages`.

When is what stored: the end of a turn is passed on after its commit, so who has seen it can rely on it. A turn that ends in any
other way (an interruption, a failure, a cancelled or abandoned run) is stored as cut, with what was said, if its answer had begun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..elements import (
    ErrorElement,
    MessageElement,
    StreamElement,
    TextElement,
    ThinkingElement,
    ToolResultElement,
    TurnEnd,
    TurnReset,
    TurnStart,
)
from ..errors import ConfigError
from ..stages import BaseStage, Resource, StageKind
from ._checks import checked_seconds, checked_store
from ._turn_input import Desk, TurnInput, checked_conversation
from ._turn_writer import TurnWriter, WriterSettings

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ..stages import Accepts, OnInterrupt, RunContext
    from ._protocol import StateStore
    from ._turn_input import ConversationOf

__all__ = ["StateStoreSaveStage"]


class StateStoreSaveStage(BaseStage):
    """Store each turn of a conversation as a unit, before its `TurnEnd` is passed on.

    In: the `TurnInput` of a loading stage, which tells whose turn it is and what was asked; the messages and fragments of the
    answer.
    Out: everything but the `TurnInput`, as it came; the `TurnEnd` of a stored turn has `conversation`, `turn` and `revision` in
    its metadata.

    A turn holds the new messages of the user and each `MessageElement` of the answer. Of a turn that is cut it holds what was said:
    the whole messages, the text and the thoughts of an unfinished one, and a result for each tool call, the real one as far as a
    `ToolResultElement` has brought it. Nothing is stored of a turn whose answer had not begun.

    The commit is shielded from cancellation, and has a deadline. It says which revision the turn was made on: if somebody else was
    first, the turn is not stored and `StateConflictError` tells. A commit that failed in passing is tried again under the same id,
    so that it is never doubled.

    Flow:
        emits: each element as it comes; `TurnEnd` after the commit.
        backpressures: while the output is full, and during a commit; holds one element.
        completes: when the input ends, after the commit of a turn that had no `TurnEnd`.
        fails: `StateConflictError` if somebody else was first; `StateError` if the store fails or is too slow. Then the `TurnEnd`
            is not passed on.
        cancels: stores what was said of the turn as cut; a failure of that is logged.
        interrupts: as any other end of a turn: the model's stage sends the cut message and the `TurnEnd`.

    Args:
        store: An open store, or a `Resource` that opens one.
        conversation: Whose turns they are, where no loading stage says it; as for `StateStoreLoadStage`.
        mode: `incremental`: the turn is appended. `log`: each message is stored as soon as it is whole, so that little is lost if
            the process ends; the turn is cut until it has ended. `full`: the messages that pass this stage in a turn, those of the
            history too, take the place of all that was stored; for pipelines that change the history.
        cut: What becomes of a turn that is cut: `store` or `drop`.
        on_conflict: What happens if somebody else was first: `fail`, or `append` behind what is there.
        marks: Whether the `TurnEnd` of a stored turn tells where it is stored; say no on a branch, where the copies of a
            `TurnEnd` must stay alike to be joined.
        commit_timeout_s: How long a commit may take, all tries together, in seconds. Keep it below the run's
            `shutdown_timeout_s`.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.

    Source: seed 001 (StateStoreSaveStage), seeds 003 and 004.
    """

    kind: StageKind = StageKind.TRANSFORM
    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = (
        TurnInput,
        TurnStart,
        TextElement,
        ThinkingElement,
        MessageElement,
        ToolResultElement,
        TurnReset,
        ErrorElement,
        TurnEnd,
    )
    emits: Accepts | None = (
        TurnStart,
        TextElement,
        ThinkingElement,
        MessageElement,
        ToolResultElement,
        TurnReset,
        ErrorElement,
        TurnEnd,
    )

    def __init__(
        self,
        store: StateStore | Resource[StateStore],
        *,
        conversation: ConversationOf = None,
        mode: Literal["incremental", "log", "full"] = "incremental",
        cut: Literal["store", "drop"] = "store",
        on_conflict: Literal["fail", "append"] = "fail",
        marks: bool = True,
        commit_timeout_s: float = 5.0,
        name: str = "save",
    ) -> None:
        super().__init__(name)
        checked_store(store, name)
        checked_conversation(conversation, name)
        for field, given, allowed in (
            ("mode", mode, ("incremental", "log", "full")),
            ("cut", cut, ("store", "drop")),
            ("on_conflict", on_conflict, ("fail", "append")),
        ):
            if given not in allowed:
                names = ", ".join(map(repr, allowed))
                raise ConfigError(field, f"stage {name!r}: give one of {names}, got {given!r:.80}")
        self.resources: tuple[Resource[object], ...] = (store,) if isinstance(store, Resource) else ()
        if mode != "incremental" and cut == "drop":
            raise ConfigError("cut", f"stage {name!r}: mode={mode!r} stores cut turns; say mode='incremental'")
        if mode == "full" and on_conflict == "append":
            raise ConfigError("on_conflict", f"stage {name!r}: mode='full' appends nothing; say on_conflict='fail'")
        self._store = store
        self._settings = WriterSettings(
            mode=mode,
            conversation=conversation,
            keeps_cut=cut == "store",
            appends=on_conflict == "append",
            marks=bool(marks),
            timeout_s=checked_seconds(commit_timeout_s, "commit_timeout_s"),
        )

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        desk = Desk.for_saver(run.run_id)
        desk.enter()
        try:
            store = await run.resource(self._store) if isinstance(self._store, Resource) else self._store
            writer = TurnWriter(self._settings, store, desk, run)
            try:
                async for element in input:
                    passed = await writer.take(element)
                    if passed is not None:
                        await output.send(passed)
            except BaseException:
                await writer.abandon()
                raise
            await writer.finish()
        finally:
            desk.leave(run.run_id)
