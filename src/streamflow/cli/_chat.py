"""`streamflow chat`: what the user says goes through route → prompt → model, and the answer appears as it arrives.

Above: `_main`. Below: `apps`, `_connect`, `_messages`, `_screen`.
"""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio

from .. import __version__
from ..apps import DEFAULT_SYSTEM, ChatSession, chat_pipeline
from ..elements import TextElement
from ..errors import RunTimeoutError, StageError, StreamflowError
from ..runtime import PipelineConfig
from ._connect import open_connection
from ._messages import Messages

if TYPE_CHECKING:
    from typing import TextIO

    from ._options import ChatOptions
    from ._screen import Screen

__all__ = ["DONE", "FAILED", "INTERRUPTED", "chat", "one_line"]

DONE, FAILED, INTERRUPTED = 0, 1, 130
"""Exit codes: ended by the user or the input; an answer failed; Ctrl-C."""

_WELCOMES = {
    "terminal": "Type a message and press Enter. Ctrl-C stops an answer; /quit or Ctrl-D ends the chat.",
    "pipe": "",
    "bundle": "Nobody types and nothing was piped in, so this is the bundled conversation.",
}


async def chat(options: ChatOptions, screen: Screen, stdin: TextIO | None) -> int:
    """Hold a chat, and return the exit code.

    Raises:
        StreamflowError: If it cannot begin.
    """
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async with anyio.create_task_group() as group, AsyncExitStack() as stack:
            talk = _Talk(options, screen, stdin, group.cancel_scope)

            async def watch() -> None:
                async for _ in signals:
                    talk.interrupt()

            group.start_soon(watch)
            code = await talk.hold(stack)
            group.cancel_scope.cancel()
    if talk.failure is not None:
        raise talk.failure
    return INTERRUPTED if talk.is_interrupted else code
