"""`streamflow chat`: a chat service in a terminal. What the model says appears as it arrives, and what its tools do.

Above: `_main`. Below: `apps`, `_messages`, `_history`, `_showing`, `_screen`.
"""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, NamedTuple

import anyio

from .. import __version__
from ..apps import ChatDone, ChatError, ChatService
from ..errors import ConfigError, RunTimeoutError, StageError, StreamflowError
from ..runtime import PipelineConfig
from ._history import ChosenConversation, list_conversations
from ._messages import Messages
from ._screen import DONE, FAILED, INTERRUPTED, MISUSED
from ._showing import Showing, waiting_calls

if TYPE_CHECKING:
    from typing import TextIO

    from ..agents import Tools
    from ..apps import ChatStream
    from ..state import StateStore
    from ._connect import Connection
    from ._options import ChatOptions
    from ._screen import Screen

__all__ = ["Setup", "chat"]

_WELCOMES = {
    "terminal": "Type a message and press Enter. Ctrl-C stops an answer; /quit or Ctrl-D ends the chat.",
    "pipe": "",
    "bundle": "Nothing was piped in and there is no terminal, so this is the bundled conversation.",
}

_SHUTDOWN_S = 2.0  # a user who has pressed Ctrl-C does not wait ten seconds for a stage that hangs
_MAX_PAST = 20  # messages that are shown of a conversation that goes on


class Setup(NamedTuple):
    """What a chat is held with."""

    connection: Connection
    """Who answers."""
    tools: Tools
    """What the model may call."""
    store: StateStore
    """Where the conversations are kept; opened for the time of the chat."""


async def chat(options: ChatOptions, setup: Setup, screen: Screen, stdin: TextIO | None) -> int:
    """Hold a chat, or list the conversations, and return the exit code. All that goes wrong is told on `screen`."""
    logging.getLogger("streamflow").addHandler(logging.NullHandler())  # what goes wrong is told once, by the chat
    code = INTERRUPTED
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async with anyio.create_task_group() as group:
            talk = _Talk(options, setup, screen, stdin)

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

    def __init__(self, options: ChatOptions, setup: Setup, screen: Screen, stdin: TextIO | None) -> None:
        self._options = options
        self._connection, self._tools, self._store = setup
        self._screen = screen
        self._messages = Messages(stdin, screen, echo=not options.quiet)
        self._showing = Showing(screen, quiet=options.quiet)
        self._answering: anyio.CancelScope | None = None
        self._response: ChatStream | None = None

    def stop_answer(self) -> bool:
        """End the answer that is under way, and say whether there was one and the chat goes on.

        The first time it is asked to stop, so that what was said is kept; the second time it is cancelled.
        """
        scope, response = self._answering, self._response
        if scope is None or scope.cancel_called or self._messages.come_from != "terminal":
            return False
        if response is not None:
            self._response = None
            response.stop()
        else:
            scope.cancel()
        return True

    async def hold(self) -> int:
        """Welcome the user, converse, and return the exit code."""
        config = PipelineConfig(timeout_s=self._options.timeout_s, shutdown_timeout_s=_SHUTDOWN_S)
        try:
            async with self._store as store, self._connection.opened:
                service = ChatService(store, self._connection.provider, tools=self._tools, config=config)
                if self._options.list:
                    await list_conversations(service, self._screen)
                    return DONE
                chosen = ChosenConversation(service, self._options)
                await chosen.choose()
                await self._welcome(service, chosen)
                return await self._converse(service, chosen)
        except StreamflowError as error:
            self._screen.error(str(error))
            return MISUSED if isinstance(error, ConfigError) else FAILED

    async def _welcome(self, service: ChatService, chosen: ChosenConversation) -> None:
        """Say what this is, wait for a first message, and show what was said before."""
        if not self._options.quiet:
            self._screen.line(f"streamflow {__version__} · chat\n{self._connection.notice}")
            if len(self._tools):
                self._screen.line(f"Tools: {', '.join(one.name for one in self._tools)}.")
        await self._messages.open(self._options.wait_s)
        if self._options.quiet:
            return
        if welcome := _WELCOMES[self._messages.come_from]:
            self._screen.line(welcome)
        if chosen.resumed is None:
            self._screen.line()
            return
        said = await service.messages(chosen.resumed.id)
        left_out = f", without {len(said) - _MAX_PAST} earlier messages" if len(said) > _MAX_PAST else ""
        self._screen.line(f"This is conversation {chosen.resumed.id}{left_out}.\n")
        for message in said[-_MAX_PAST:]:
            self._showing.past(message)

    async def _converse(self, service: ChatService, chosen: ChosenConversation) -> int:
        if chosen.resumed is not None and self._messages.come_from == "terminal":
            await self._ask_again(service, chosen.resumed.id)
        while (text := await self._messages.next_message()) is not None:
            succeeded = await self._answer(service, await chosen.id_for(text), text)
            if self._screen.is_gone or not (succeeded or self._messages.come_from == "terminal"):
                return FAILED
        self._screen.end_line()
        return DONE

    async def _answer(self, service: ChatService, conversation: str, text: str) -> bool:
        """Show the answer to `text` as it arrives, and say whether one came; an answer that the user stopped is one."""
        self._showing.begin()
        return await self._follow(service, conversation, service.stream_response(conversation, text))

    async def _ask_again(self, service: ChatService, conversation: str) -> None:
        """Ask about the calls that a conversation has left waiting, and show the rest of that answer."""
        said = await service.messages(conversation, last=1)
        waiting = waiting_calls(said[-1]) if said else []
        if waiting:
            self._showing.calls.update({step.tool_call_id: step for step in waiting})
            decisions = {step.tool_call_id: await self._consents(step.tool_call_id) for step in waiting}
            self._showing.begin()
            await self._follow(service, conversation, service.resume(conversation, decisions))

    async def _follow(self, service: ChatService, conversation: str, response: ChatStream) -> bool:
        """Show a response, and what follows when the user has been asked; says whether an answer came."""
        while True:
            pending, error = await self._show(response)
            if error is not None:
                self._screen.error(error)
                return False
            if not pending or self._screen.is_gone:
                break
            response = service.resume(conversation, {call: await self._consents(call) for call in pending})
        self._screen.end_line()
        if not self._options.quiet:
            self._screen.line()
        return True

    async def _show(self, response: ChatStream) -> tuple[tuple[str, ...], str | None]:
        """Show a response; returns the calls that wait for a person, and what went wrong, None if nothing has."""
        last: ChatDone | ChatError | None = None
        try:
            with anyio.CancelScope() as self._answering:
                async with response as self._response:
                    async for event in response:
                        self._showing.show(event)
                        if isinstance(event, ChatDone | ChatError):
                            last = event
                        if self._screen.is_gone:
                            break
        except StreamflowError as error:
            return (), _cause_of(error)
        finally:
            self._answering = self._response = None
        was_stopped = isinstance(last, ChatDone) and last.stop_reason == "interrupted"
        if was_stopped or last is None or (isinstance(last, ChatError) and last.code == "cancelled"):
            if not self._screen.is_gone:
                self._screen.line("(stopped)")
            return (), None
        if isinstance(last, ChatError):
            return (), last.content if response.failure is None else _cause_of(response.failure)
        return last.pending, None

    async def _consents(self, call_id: str) -> bool:
        """Ask the user whether a call may run; where nobody can be asked, it may not."""
        step = self._showing.calls.get(call_id)
        what = call_id if step is None else f"{step.name} {step.arguments}"
        self._screen.end_line()
        if self._messages.come_from != "terminal":
            self._screen.note(f"(nobody can be asked, so this does not run: {what})")
            return False
        return await self._messages.consents(f"Run {what}?")


def _cause_of(error: StreamflowError) -> str:
    """Return what went wrong in the words of whoever knows best."""
    if isinstance(error, RunTimeoutError):
        return f"no whole answer within {error.limit_s:g} s; give more time with --timeout-s"
    cause = error.__cause__
    return str(cause if isinstance(error, StageError) and isinstance(cause, StreamflowError) else error)
