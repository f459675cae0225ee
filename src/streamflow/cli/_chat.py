"""`streamflow chat`: what the user says goes through route → prompt → model, and the answer appears as it arrives.

Above: `_main`. Below: `apps`, `_messages`, `_screen`.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import anyio

from .. import __version__
from ..apps import DEFAULT_SYSTEM, ChatSession, chat_pipeline
from ..elements import TextElement
from ..errors import RunTimeoutError, SourceError, StageError, StreamflowError
from ..runtime import PipelineConfig
from ._messages import Messages

if TYPE_CHECKING:
    from typing import TextIO

    from ._connect import Connection
    from ._options import ChatOptions
    from ._screen import Screen

__all__ = ["DONE", "FAILED", "INTERRUPTED", "MISUSED", "chat"]

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: ended by the user or the input; it could not go on; a wrong option; Ctrl-C."""

_WELCOMES = {
    "terminal": "Type a message and press Enter. Ctrl-C stops an answer; /quit or Ctrl-D ends the chat.",
    "pipe": "",
    "bundle": "Nothing was piped in and there is no terminal, so this is the bundled conversation.",
}

_SHUTDOWN_S = 2.0  # a user who has pressed Ctrl-C does not wait ten seconds for a stage that hangs


async def chat(options: ChatOptions, connection: Connection, screen: Screen, stdin: TextIO | None) -> int:
    """Hold a chat, and return the exit code. All that goes wrong is told on `screen`."""
    code = INTERRUPTED
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async with anyio.create_task_group() as group:
            talk = _Talk(options, connection, screen, stdin)

            async def watch() -> None:
                async for _ in signals:
                    if not talk.stop_answer():
                        group.cancel_scope.cancel()

            group.start_soon(watch)
            code = await talk.hold()
            group.cancel_scope.cancel()
    if code == INTERRUPTED:
        screen.error("interrupted")
    return code


class _Talk:
    """One chat, from the welcome to the end."""

    def __init__(self, options: ChatOptions, connection: Connection, screen: Screen, stdin: TextIO | None) -> None:
        self._options = options
        self._connection = connection
        self._screen = screen
        self._messages = Messages(stdin, screen, echo=not options.quiet)
        self._answering: anyio.CancelScope | None = None

    def stop_answer(self) -> bool:
        """End the answer that is under way, and say whether there was one and the chat goes on."""
        scope = self._answering
        if scope is None or scope.cancel_called or self._messages.come_from != "terminal":
            return False
        scope.cancel()
        return True

    async def hold(self) -> int:
        """Welcome the user, converse, and return the exit code."""
        pipeline = chat_pipeline(
            self._connection.provider,
            system=DEFAULT_SYSTEM if self._options.system is None else self._options.system,
            config=PipelineConfig(timeout_s=self._options.timeout_s, shutdown_timeout_s=_SHUTDOWN_S),
        )
        if not self._options.quiet:
            self._screen.line(f"streamflow {__version__} · chat\n{self._connection.notice}")
        try:
            await self._messages.open(self._options.wait_s)
            self._welcome()
            async with self._connection.opened:
                return await self._converse(ChatSession(pipeline))
        except SourceError as error:
            self._screen.error(str(error))
            return FAILED

    def _welcome(self) -> None:
        if not self._options.quiet:
            if welcome := _WELCOMES[self._messages.come_from]:
                self._screen.line(welcome)
            self._screen.line()

    async def _converse(self, session: ChatSession) -> int:
        while (text := await self._messages.next_message()) is not None:
            succeeded = await self._answer(session, text)
            if self._screen.is_gone or not (succeeded or self._messages.come_from == "terminal"):
                return FAILED
        self._screen.end_line()
        return DONE

    async def _answer(self, session: ChatSession, text: str) -> bool:
        """Show the answer to `text` as it arrives, and say whether one came; an answer that the user stopped is one."""
        if not self._options.quiet:
            self._screen.write("bot> ")
        try:
            with anyio.CancelScope() as self._answering:
                async with session.reply(text) as reply:
                    async for element in reply:
                        if isinstance(element, TextElement):
                            self._screen.write(element.text)
                        if self._screen.is_gone:
                            break
            if self._answering.cancelled_caught:
                self._screen.line("(stopped)")
        except StreamflowError as error:
            self._screen.error(_cause_of(error))
            return False
        finally:
            self._answering = None
        self._screen.end_line()
        if not self._options.quiet:
            self._screen.line()
        return True


def _cause_of(error: StreamflowError) -> str:
    """Return what went wrong in the words of whoever knows best."""
    if isinstance(error, RunTimeoutError):
        return f"no whole answer within {error.limit_s:g} s; give more time with --timeout-s"
    cause = error.__cause__
    return str(cause if isinstance(error, StageError) and isinstance(cause, StreamflowError) else error)
