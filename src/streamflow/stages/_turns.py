"""What of a stage an interruption cancels, where the stage says it itself: `turn_scope()`.

Above: users, the concurrent stages, `runtime`, which sweeps. Below: `_context`, `channels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import anyio

from ..elements import survives_interruption
from ._context import current_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from ..channels import Fence
    from ..elements import StreamElement
    from ._context import RunContext

__all__ = ["OnInterrupt", "Swept", "TurnScope", "Turns", "turn_scope", "turns_of"]

OnInterrupt = Literal["reenter", "fence"]
"""What an interruption does to the body of a stage that has work in hand; see `BaseStage.on_interrupt`."""


class Swept(Protocol):
    """What of a stage knows itself what an interruption drops of it."""

    def sweep(self) -> None:
        """Drop it, and cancel the helpers that work for it. One step: nothing else runs in between."""
        ...


class Turns:
    """What one stage in one run has told about interruptions, and what the last one did to it.

    Args:
        outer: Of the stage that runs this one inside itself: scopes are open there too, and what is fenced is that stage.
    """

    def __init__(self, outer: Turns | None = None) -> None:
        self._outer = outer
        self.epoch: int = 0
        """How many times the run has been interrupted."""
        self.scopes: dict[TurnScope, None] = {}
        """The turn scopes that are open."""
        self.fence: Fence | None = None
        """Stands around the stage; None: nothing is fenced."""
        self.swept: Swept | None = None
        """Looks after its own, and needs neither fence nor cancellation; None: nobody does."""
        self.on_left: Callable[[TurnScope], None] | None = None
        """Called when a scope that an interruption has cancelled is left."""

    def enter(self, scope: TurnScope) -> None:
        """Know that a scope is opened. What the stage does in it is new work, if it has no other."""
        if self._outer is not None:
            self._outer.enter(scope)
            return
        if not self.scopes and self.fence is not None and not self.fence.is_cancelled:
            self.fence.lift()
        self.scopes[scope] = None

    def leave(self, scope: TurnScope) -> None:
        """Know that a scope is left, whichever way."""
        if self._outer is not None:
            self._outer.leave(scope)
            return
        self.scopes.pop(scope, None)
        if scope.interrupted and self.on_left is not None:
            self.on_left(scope)


def turns_of(run: RunContext[object]) -> Turns:
    """Return what a stage has told, to be told more."""
    if run.turns is None:
        run.turns = Turns(None if run.outer is None else turns_of(run.outer))
    return run.turns


class TurnScope:
    """The part of a stage that an interruption cancels. Made by `turn_scope()`; entered once."""

    def __init__(self, work_for: StreamElement | None) -> None:
        self.interrupted: bool = False
        """Whether an interruption has cancelled it."""
        self.stays: bool = work_for is not None and survives_interruption(work_for)
        """Whether no interruption cancels it."""
        self._scope = anyio.CancelScope()
        self._turns: Turns | None = None

    def interrupt(self) -> None:
        """Cancel what runs inside, unless it stays. Idempotent."""
        if not self.stays:
            self.interrupted = True
            self._scope.cancel()

    async def __aenter__(self) -> Self:
        self._turns = turns_of(current_run())
        self._scope.__enter__()
        self._turns.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._turns is not None:
            self._turns.leave(self)
        return bool(self._scope.__exit__(kind, error, traceback))


def turn_scope(work_for: StreamElement | None = None) -> TurnScope:
    """Return a scope around the work of a stage that an interruption is to cancel, while the stage itself goes on.

    ```python
    async for question in input:
        async with turn_scope(question) as turn:
            await answer(question, output)
        if turn.interrupted:
            await output.send(what_was_said)  # a whole: it passes the fence
    ```

    An interruption cancels what runs inside, and nothing else of the stage; the cancellation ends where the scope is left. While a
    stage has a scope open, that takes the place of its `on_interrupt`; so a stage that does all its work in scopes says
    `on_interrupt="fence"`. What the stage sends after it was interrupted is dropped, wholes, control and what is not interruptible
    excepted, until it takes its next element or opens its next scope. Scopes may be nested, and opened in helper tasks.

    Args:
        work_for: The element that the work is for. If it is one that an interruption does not drop, the scope is not cancelled,
            and what the stage sends meanwhile passes. None: it is cancelled in any case.

    Cancellation: one from elsewhere passes through.

    Raises:
        RunStateError: When it is entered outside of a stage.

    Source: semantics 5.11.
    """
    return TurnScope(work_for)
