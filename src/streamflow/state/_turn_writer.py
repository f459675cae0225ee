"""What a saving stage does with one turn after the other: note, commit, tell.

Above: `_save`. Below: `_turn_log`, `_turn_input`, `_protocol`.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Literal

import anyio

from ..elements import TextElement, TurnEnd
from ..errors import StateConflictError, StateError
from ._protocol import Turn
from ._turn_input import TurnInput, conversation_of
from ._turn_log import TurnLog

if TYPE_CHECKING:
    from ..elements import Message, StreamElement
    from ..stages import RunContext
    from ._protocol import StateStore, TurnStatus
    from ._turn_input import ConversationOf, Desk

__all__ = ["TurnWriter", "WriterSettings"]

_PAUSES_S = (0.05, 0.2, 0.8)
"""How long to wait before each further try of a commit that may succeed later, in seconds."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WriterSettings:
    """How turns are stored; see `StateStoreSaveStage`."""

    mode: Literal["incremental", "log", "full"]
    """What a commit writes."""
    conversation: ConversationOf
    """Whose turns they are, where no loading stage says it."""
    keeps_cut: bool
    """Whether cut turns are stored."""
    appends: bool
    """Whether a turn is appended behind one that was first."""
    marks: bool
    """Whether the `TurnEnd` is told where its turn is stored."""
    timeout_s: float
    """How long a commit may take."""


class TurnWriter:
    """What a saving stage knows in one run: the turn that is open, and how to store it."""

    def __init__(self, settings: WriterSettings, store: StateStore, desk: Desk, run: RunContext[object]) -> None:
        self._settings = settings
        self._store = store
        self._desk = desk
        self._run = run
        self._log = self._new_log()
        self._closing: tuple[TurnStatus, bool] | None = None

    async def take(self, element: StreamElement) -> StreamElement | None:
        """Note what an element says of the turn, store what is to be stored, and return what is passed on."""
        if isinstance(element, TurnInput):
            await self.finish()
            self._log = self._new_log(element)
            return None
        if isinstance(element, TurnEnd):
            return await self._end(element)
        is_new = self._log.note(element)
        if is_new and self._settings.mode == "log":
            await self._commit("cut", self._log.messages())
        return element

    async def finish(self) -> None:
        """Store a turn that had no `TurnEnd`, as the end of the input or the next turn has shown."""
        if self._log.has_begun:
            await self._close("cut" if self._log.is_cut() else "whole")
        self._settle()

    async def abandon(self) -> None:
        """Store what was said of a turn that will have no end. Raises nothing: something else is being raised."""
        try:
            if self._log.has_begun and not self._log.is_broken:
                # asyncio cancels through a shield: what was being stored is stored again, under its id.
                status, is_open = self._closing or ("cut", False)
                await self._close(status, is_open=is_open)
        except Exception as bad:  # noqa: BLE001 - something else is being raised
            # Without its text, which may be a user's own and repeat what was said.
            self._run.logger.error("a cut turn could not be stored: %s", type(bad).__name__)  # noqa: TRY400
        finally:
            self._settle()

    async def _end(self, end: TurnEnd) -> TurnEnd:
        if not self._log.has_begun:
            self._settle()
            return end
        is_cut = end.stop_reason in {"interrupted", "error", "approval"} or self._log.is_cut()
        waits = end.stop_reason == "approval"  # for results: the calls stay open
        told = await self._close("cut" if is_cut else "whole", is_open=waits)
        self._settle()
        return end if told is None or not self._settings.marks else end.with_metadata(**told)

    async def _close(self, status: TurnStatus, *, is_open: bool = False) -> dict[str, str | int] | None:
        """Store the turn for good; returns what its end tells, None if nothing was stored."""
        self._closing = status, is_open
        messages = self._log.messages() if is_open else self._log.completed()
        if not messages or (status == "cut" and not self._settings.keeps_cut):
            return None
        revision = await self._commit(status, messages)
        conversation = self._owner()
        self._run.emit(
            "state.committed",
            {"conversation": conversation, "turn": self._log.id, "revision": revision, "status": status},
        )
        return {"conversation": conversation, "turn": self._log.id, "revision": revision}

    def _settle(self) -> None:
        if self._log.asked is not None:
            self._desk.settle(self._log.asked.turn)
        self._log, self._closing = self._new_log(), None

    def _new_log(self, asked: TurnInput | None = None) -> TurnLog:
        return TurnLog(asked, keeps_history=self._settings.mode == "full")

    def _owner(self) -> str:
        asked, first = self._log.asked, self._log.first
        if asked is not None:
            return asked.conversation
        return conversation_of(self._settings.conversation, self._run, TextElement("") if first is None else first)

    async def _commit(self, status: TurnStatus, messages: tuple[Message, ...]) -> int:
        """Store the turn as it is now, shielded and under the deadline; returns the revision that this has made."""
        turn = Turn(self._log.id, messages, status)
        conversation = self._owner()
        if self._settings.mode == "full":
            self._log.check_history(self._run.stage)
            write = functools.partial(self._store.replace, conversation, (turn,))
        else:
            write = functools.partial(self._store.append, conversation, turn)
        try:
            with anyio.fail_after(self._settings.timeout_s, shield=True):
                self._log.revision = await self._try(write)
        except TimeoutError:
            self._log.is_broken = True
            limit = f"{self._settings.timeout_s:g} s"
            message = f"stage {self._run.stage!r}: the commit took longer than {limit}; raise commit_timeout_s"
            raise StateError("timeout", message, retryable=True) from None
        except Exception:
            self._log.is_broken = True
            raise
        return self._log.revision

    async def _try(self, write: functools.partial[Any]) -> int:
        expected = self._log.revision
        for pause_s in (*_PAUSES_S, None):
            try:
                return int(await write(expected=expected))
            except StateConflictError as bad:
                if bad.winner == self._log.id and bad.actual == (expected or 0) + 1:
                    return bad.actual  # an earlier try, whose answer was lost
                if not self._settings.appends or expected is None or bad.expected is None:
                    raise
                expected = None
            except StateError as bad:
                if not bad.retryable or pause_s is None:
                    raise
            await anyio.sleep(pause_s or 0)
        raise AssertionError  # the last try has returned or raised
