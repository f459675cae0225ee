"""One call of a chain of legacy code: each link runs around the rest, and the rest really runs inside its `next`.

Above: `_adapter`. Below: `_shapes` (what a link is), `_next`, `_interceptor`, `_context`, `_outcome`, `_reply`, `_threads`. Rules:

1. *`next` runs the rest once.* It may be called again after the rest has failed, and then what the failed try has left is taken
   back: messages, outcomes, the answer, and by a `TurnReset` the fragments that were sent.
2. *A failure is an exception on its way out*, whoever reports it in whatever form, so that middleware around it can catch it. An
   early end is none: the links return, and call nothing further down.
3. *What a link does not call, does not run.* The request then ends here, unless there is an answer: who keeps it back means it.
4. *An interceptor that raises fails the call.* In the package that interceptors come from it is logged, and the call goes on: so a
   check that breaks lets everything through.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio

from ..elements import StreamElement
from ..errors import MiddlewareError
from ._interceptor import Interception
from ._messages import Response, read
from ._next import Mark, Next
from ._outcome import LegacyFailure, Outcome, Status, cancellation_in, outcome_of
from ._reply import Hook
from ._threads import invoke, run_in_thread

if TYPE_CHECKING:
    from ._context import MiddlewareContext
    from ._next import Rest
    from ._reply import Reply
    from ._shapes import Link
    from ._threads import Home

__all__ = ["Call", "Settings"]


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What an adapter was told."""

    stage: str
    """Name of the adapter."""
    response_key: str
    """Where the answer stands in returned data."""
    max_attempts: int
    """Most tries of one call."""
    backoff_s: float
    """Wait before the second try, in seconds; doubled each time."""


class Call:
    """One call of a chain, for one request.

    Args:
        links: The chain, outermost first.
        ctx: What its links are given.
        reply: Where fragments go.
        settings: What the adapter was told.
        home: The thread of the event loop.
    """

    def __init__(
        self, links: Sequence[Link], ctx: MiddlewareContext, reply: Reply, settings: Settings, home: Home
    ) -> None:
        self.ctx = ctx
        """What the links are given."""
        self.reply = reply
        """Where fragments go."""
        self.settings = settings
        """What the adapter was told."""
        self.ended = False
        """Whether the end of the chain was reached."""
        self.cancelled: str | None = None
        """Why an early end was asked for; None: it was not."""
        self.elements: list[StreamElement] = []
        """Elements that the links made themselves."""
        self.artifacts: list[tuple[str, object]] = []
        """Artifacts, with the names of the links that gave them."""
        self.given: list[str] = []
        """Names of the links and stages that gave something; what, is in the outputs of the context."""
        self._links = links
        self._targets = [link.make() for link in links]
        self._home = home
        ctx.stream_mode = any(link.streams for link in links)
        ctx.on_chunk_sent_by(partial(reply.stream, ctx))
        for link, target in zip(links, self._targets, strict=True):
            if link.hook is not None:
                reply.hooks.append(Hook(link.hook, getattr(target, link.hook)))

    async def run(self) -> None:
        """Run the chain.

        Raises:
            MiddlewareError: If a link reports a failure, or breaks its contract.
            Exception: What a link raises.
        """
        await self._run_from(0)

    async def _run_from(self, place: int) -> None:
        if self.cancelled is not None or self.ctx.short_circuit:
            return
        if place == len(self._links):
            self.ended = True
            return
        link, target = self._links[place], self._targets[place]
        rest = partial(self._run_from, place + 1)
        if link.shape == "around":
            await self._run_around(link, target, rest)
        elif link.shape == "interceptor":
            await Interception(self, link, target).run(rest)
        else:
            await self._run_call(link, target, rest)

    async def _run_call(self, link: Link, target: object, rest: Rest) -> None:
        """Call what answers, again if its status says so, then run what stands behind it."""
        mark = Mark(self)
        attempt = 1
        while (outcome := await self._try_once(link, target)).status is Status.RETRY:
            said = LegacyFailure(outcome.error or outcome.reason)
            if attempt >= self.settings.max_attempts:
                what = f"asked for a retry after try {attempt}, the last one that max_attempts allows"
                raise self.failure("retries_exhausted", link, what) from said
            delay_s = self.settings.backoff_s * 2 ** (attempt - 1)
            self.ctx.emit_event("middleware.retry", {"middleware": link.name, "attempt": attempt, "delay_s": delay_s})
            mark.note_failure(said)
            await anyio.sleep(delay_s)
            await mark.rewind()
            attempt += 1
        self.take(link, link.name, outcome)
        await rest()

    async def _try_once(self, link: Link, target: object) -> Outcome:
        self.ctx.enter(link.name)
        given = (self.ctx.input_text or "") if link.wants_text else self.ctx
        try:
            value = await invoke(link.function(target), given)
            if not isinstance(value, StreamElement) and isinstance(value, AsyncIterable | Iterator):
                await self._stream(cast("AsyncIterable[object] | Iterator[object]", value))
                return Outcome()
        except Exception as error:
            outcome = cancellation_in(error)
            if outcome is None:
                raise
            return outcome
        return outcome_of(value, self.settings.response_key, self.who(link))

    async def _stream(self, source: AsyncIterable[object] | Iterator[object]) -> None:
        """Send what a handler streams. It is closed in the end, by the task that iterates it."""
        self.ctx.stream_mode = True
        before = self.ctx.response
        fragments: AsyncIterator[object] = aiter(source) if isinstance(source, AsyncIterable) else _Stepped(source)
        try:
            async for fragment in fragments:
                if not await self.reply.stream(self.ctx, fragment):
                    break
        finally:
            close: Any = getattr(fragments, "aclose", None)
            if close is not None:
                await close()
        if self.ctx.response is before:
            # Also an empty one: an answer that was filtered away is not the lack of one.
            self.ctx.response = Response(self.reply.text)

    async def _run_around(self, link: Link, target: object, rest: Rest) -> None:
        """Call middleware that runs the rest by itself."""
        next_ = Next(self, link, rest, self._home)
        self.ctx.enter(link.name)
        try:
            value = await invoke(link.function(target), self.ctx, next_)
        except Exception as error:
            outcome = cancellation_in(error)
            if outcome is None:
                raise
        else:
            if value is None or value is self.ctx or value is next_.answer:
                return
            outcome = outcome_of(value, self.settings.response_key, self.who(link))
        self.take(link, link.name, outcome)
        self.ended = self.ended or outcome.status is Status.SKIP

    def take(self, link: Link, name: str, outcome: Outcome) -> None:
        """Note what a link gave.

        Raises:
            MiddlewareError: If it reports a failure.
        """
        ctx = self.ctx
        for event in outcome.events:
            ctx.emit_event(str(read(event, "type", "name") or "middleware.event"), read(event, "data") or {})
        if outcome.status in {Status.FAIL, Status.RETRY}:
            kind = read(outcome.data, "error_type")
            what = (
                "reported a failure"
                if outcome.status is Status.FAIL
                else "asked for a retry, which only a call can have"
            )
            told = f"{what} ({kind})" if isinstance(kind, str) and kind.isidentifier() else what
            raise self.failure("failed", link, told) from LegacyFailure(outcome.error or outcome.reason)
        if outcome.status is Status.CANCEL:
            self.cancelled = outcome.reason
            return
        for part, part_outcome in outcome.parts.items():
            self.take(link, part, part_outcome)
        self.artifacts += [(name, artifact) for artifact in outcome.artifacts]
        self.elements += outcome.elements
        ctx.messages.extend(outcome.messages)
        if outcome.response is not None:
            ctx.response = outcome.response
        if outcome.data or outcome.status is Status.SKIP:
            ctx.outputs.pop(name, None)  # so that it stands last
            ctx.outputs[name] = outcome
            self.given.append(name)

    def who(self, link: Link) -> str:
        """Return how a link is called in errors."""
        return f"stage {self.settings.stage!r}: its middleware {link.name!r}"

    def failure(self, code: str, link: Link, what: str) -> MiddlewareError:
        """Return the error for what a link did, to be raised from what it said."""
        return MiddlewareError(code, f"{self.who(link)} {what}; what it said is the cause of this error")


class _Stepped:
    """A blocking iterator, one step at a time in a worker thread."""

    def __init__(self, source: Iterator[object]) -> None:
        self._source = source

    def __aiter__(self) -> _Stepped:
        return self

    async def __anext__(self) -> object:
        item = await run_in_thread(lambda: next(self._source, self))
        if item is self:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close a generator. What it does then may block, and is waited for."""
        if inspect.isgenerator(self._source):
            with anyio.CancelScope(shield=True):
                await run_in_thread(self._source.close)
