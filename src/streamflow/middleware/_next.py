"""Running the rest of a chain, and running it again: what middleware is given as `next`, and what a failed try leaves behind.

Above: `_chain`, `_interceptor`. Below: `_threads`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

from ..errors import MiddlewareError

if TYPE_CHECKING:
    from ._chain import Call
    from ._shapes import Link
    from ._threads import Home

__all__ = ["Mark", "Next", "Rest"]

Rest = Callable[[], Awaitable[None]]
"""Runs what stands further down the chain."""


class Mark:
    """What was there before a try that may have to be made again."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._messages = list(call.ctx.messages)
        self._outputs = dict(call.ctx.outputs)
        self._given = list(call.given)
        self._counts = len(call.elements), len(call.artifacts), len(call.ctx.artifacts)
        self._short_circuit = call.ctx.short_circuit
        self._added: set[int] = set()

    def note_failure(self, error: BaseException) -> None:
        """Remember what the try has left behind: what is changed from now on prepares the next one."""
        ctx = self._call.ctx
        before = {id(one) for one in self._messages}
        self._added = {id(one) for one in ctx.messages if id(one) not in before}
        if ctx.error is None and isinstance(error, Exception):
            ctx.error = error

    async def rewind(self) -> None:
        """Take back what the try has left behind. Cancellation: as `SendEnd.send()`."""
        call, ctx = self._call, self._call.ctx
        ctx.messages = [one for one in ctx.messages if id(one) not in self._added]
        ctx.outputs, call.given = dict(self._outputs), list(self._given)
        elements, artifacts, notes = self._counts
        del call.elements[elements:], call.artifacts[artifacts:], ctx.artifacts[notes:]
        ctx.response = None
        ctx.short_circuit = self._short_circuit
        ctx.stream_interrupted, ctx.interrupt_reason = False, ""
        await call.reply.reset("another try")


class Next:
    """Runs the rest of the chain: `next()` or `next(ctx)`, awaited, or as it is in a worker thread. Returns the answer so far."""

    def __init__(self, call: Call, link: Link, rest: Rest, home: Home) -> None:
        self._call = call
        self._link = link
        self._rest = rest
        self._home = home
        self._mark: Mark | None = None
        self.state: Literal["idle", "running", "failed", "done"] = "idle"
        """What has become of the rest."""
        self.answer: object = None
        """What it returned to middleware; returned in turn, it is no news."""

    def __call__(self, ctx: object = None) -> object:
        return self._home.run(lambda: self._run(ctx))

    async def _run(self, ctx: object) -> object:
        call = self._call
        if ctx is not None and ctx is not call.ctx:
            message = f"{call.who(self._link)} called next() with another context; change the one that it was given"
            raise MiddlewareError("wrong_context", message)
        if self.state in {"running", "done"}:
            when = (
                "while its first call was running" if self.state == "running" else "after its first call had succeeded"
            )
            message = f"{call.who(self._link)} called next() again {when}; call it again only when it has raised"
            raise MiddlewareError("next_twice", message)
        if self._mark is not None:
            await self._mark.rewind()
        self._mark = Mark(call)
        self.state = "running"
        try:
            await self._rest()
        except BaseException as error:
            self.state = "failed"
            self._mark.note_failure(error)
            raise
        self.state = "done"
        self.answer = call.ctx.response
        return self.answer
