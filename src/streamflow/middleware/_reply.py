"""What one turn sends: fragments as they come, through the hooks of all middleware, and in the end the whole.

Above: `_adapter`, `_chain`. Below: `channels`, `_messages`, `_threads`. Its rules:

1. *The whole equals its fragments.* Where it turns out otherwise (another try, another answer), a `TurnReset` tells whoever shows
   them to forget the fragments so far, and they are sent anew.
2. *A reader that has gone cancels the call.* Middleware meets a cancellation there, which it cannot take for a failure of what it
   wraps, and not `OutputClosedError`, which it might try again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from ..elements import Message, MessageElement, StreamElement, TextElement, TurnReset
from ..errors import MiddlewareError, OutputClosedError
from ._messages import LegacyMessage, Response, read, text_in
from ._threads import invoke

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..channels import SendEnd
    from ..elements import JsonValue, StopReason
    from ._context import MiddlewareContext
    from ._shapes import HookKind

__all__ = ["Fragment", "Hook", "Reply"]


class Fragment:
    """A fragment of a streamed answer, as a `stream_chunk` hook sees it: to look at, and to change."""

    __slots__ = ("_before", "delta", "finish_reason", "metadata", "raw")

    def __init__(self, raw: object, delta: str, before: list[str]) -> None:
        self.raw = raw
        """What the handler gave."""
        self.delta = delta
        """The text; empty: nothing is sent."""
        self.finish_reason: object = read(raw, "finish_reason")
        """Why the model stopped, as far as this fragment says."""
        self.metadata: dict[str, object] = {}
        """Notes of hooks to each other."""
        self._before = before

    @property
    def text(self) -> str:
        """As `delta`."""
        return self.delta

    @property
    def content(self) -> str:
        """The whole text so far, this fragment included."""
        return "".join(self._before) + self.delta

    def drop(self) -> None:
        """Send nothing of it."""
        self.delta = ""

    def __str__(self) -> str:
        return self.delta


class Hook:
    """One middleware's hook, for one request."""

    def __init__(self, kind: HookKind, function: Callable[..., object]) -> None:
        self._kind = kind
        self._function = function

    async def see(self, ctx: MiddlewareContext, fragment: Fragment) -> None:
        """Let the hook change the fragment."""
        if self._kind == "on_chunk":
            given = await invoke(self._function, ctx, fragment.delta)
            fragment.delta = "" if given is None else _text_of(given, fragment.delta)
            return
        given = await invoke(self._function, ctx, fragment)
        if isinstance(given, Exception):
            raise given
        if given is not None and given is not fragment:
            fragment.delta = _text_of(given, fragment.delta)


def _text_of(given: object, otherwise: str) -> str:
    text = text_in(given)
    return otherwise if text is None else text


def _fragment_text(chunk: object) -> str:
    """Return the text of what a handler streams; empty for one that only tells of something else, as usage."""
    text = text_in(chunk)
    if (
        text is None
        and not isinstance(chunk, Mapping)
        and not any(hasattr(chunk, name) for name in ("delta", "content"))
    ):
        message = f"a {type(chunk).__name__} was streamed, which is no fragment; yield text, or objects with a delta or content"
        raise MiddlewareError("bad_result", message)
    return text or ""


class Reply:
    """The answer to one turn, on its way out.

    Args:
        output: Where it goes.
        scope: Around the call; cancelled when the reader of `output` has gone.
        name: Name of the stage, from which ids are made.
        turn: Which turn, from 0.
    """

    def __init__(self, output: SendEnd[StreamElement], scope: anyio.CancelScope, name: str, turn: int) -> None:
        self.hooks: list[Hook] = []
        """The chunk hooks of all middleware, outermost first."""
        self.fragments: list[str] = []
        """The texts that have been sent since the last reset."""
        self.gone: OutputClosedError | None = None
        """Set when the reader of the output has gone."""
        self._output = output
        self._scope = scope
        self._base = f"{name}-{turn}"
        self._turn = turn
        self._count = 0

    @property
    def text(self) -> str:
        """What has been streamed so far."""
        return "".join(self.fragments)

    async def send(self, element: StreamElement) -> None:
        """Send an element as it is. Cancellation: as `SendEnd.send()`."""
        try:
            await self._output.send(element)
        except OutputClosedError as gone:
            self.gone = gone
            self._scope.cancel()
            await anyio.lowlevel.checkpoint()
            raise

    async def stream(self, ctx: MiddlewareContext, chunk: object) -> bool:
        """Send one fragment through the hooks, and on.

        Returns:
            Whether more is wanted.
        """
        if not _wants_more(ctx):
            return False
        if isinstance(chunk, StreamElement) and not isinstance(chunk, TextElement | MessageElement):
            await self.send(chunk)
            return True
        if isinstance(chunk, MessageElement | Message | LegacyMessage | Response):
            ctx.response = chunk
            return True
        fragment = Fragment(chunk, _fragment_text(chunk), self.fragments)
        for hook in self.hooks:
            if fragment.delta:
                await hook.see(ctx, fragment)
            if not _wants_more(ctx):
                return False
        if fragment.delta:
            await self.send(TextElement(fragment.delta, id=self._id))
            self.fragments.append(fragment.delta)
        return True

    async def reset(self, reason: str) -> None:
        """Tell whoever shows the fragments to forget them; nothing, if none were sent."""
        if self.fragments:
            await self.send(TurnReset(reason, index=self._turn))
            self.fragments.clear()
            self._count += 1

    async def finish(
        self, messages: list[Message], metadata: dict[str, JsonValue], *, cut: StopReason | None = None
    ) -> None:
        """Send the messages of the answer, the last one with `metadata`; their text as well, unless it was streamed.

        Args:
            messages: What the assistant and its tools have said.
            metadata: What goes on with the last of them.
            cut: Why the streamed text is not the whole of what was to be said; None: it is.
        """
        said = [one.text for one in messages if one.role == "assistant"]
        is_cut = cut is not None and said[-1:] == [self.text]
        if self.fragments and self.text not in {"".join(said), *said[-1:]}:
            await self.reset("the answer is another one")
        streamed = self.fragments
        is_last_streamed = bool(streamed) and self.text == (said[-1] if said else None)
        for place, message in enumerate(messages):
            is_last = place == len(messages) - 1
            id = self._id if is_last and is_last_streamed else "" if streamed else self._id
            if not streamed and message.role == "assistant" and message.text:
                await self.send(TextElement(message.text, id=id))
            whole = MessageElement(message, id=id, cut=is_last and is_cut)
            if whole.cut:
                whole = whole.replace(message=_stopped(message, cut))
            await self.send(whole.with_metadata(**metadata) if is_last and metadata else whole)
            self._count += 1

    @property
    def _id(self) -> str:
        return f"{self._base}-{self._count}" if self._count else self._base


def _wants_more(ctx: MiddlewareContext) -> bool:
    return not ctx.stream_interrupted


def _stopped(message: Message, why: StopReason | None) -> Message:
    return Message(message.role, message.content, message.id, message.name, why, message.metadata)
