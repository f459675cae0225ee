"""The stage that remembers: it learns from turns beside the stream, and never holds it up.

Above: users. Below: `_documents`, `stages`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

import anyio

from ..elements import ErrorElement, MessageElement, StreamElement, TurnEnd
from ..errors import ConfigError
from ..stages import BaseStage, checked_count, checked_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import Message
    from ..stages import Accepts, OnInterrupt, RunContext

__all__ = ["MemoryExtractStage", "MemoryWriter"]


class MemoryWriter(Protocol):
    """Who finds in a turn what is worth to be remembered, and keeps it. One object serves any number of concurrent calls."""

    async def extract(self, messages: Sequence[Message]) -> None:
        """Remember what is worth it of the messages of one turn.

        Cancellation: the turn may be remembered in part.
        """
        ...


class MemoryExtractStage(BaseStage):
    """Give each turn to a memory, beside the stream: everything goes on at once, whatever the memory does.

    In: everything; `MessageElement`s are what is remembered, `TurnEnd` ends a turn.
    Out: everything, as it came. A failure of the memory is an `ErrorElement` with the code `memory_failed`, and nothing else.

    Flow:
        emits: each element at once.
        backpressures: while the output is full; holds the messages of the turn that goes on, at most `max_messages` of them, the
            latest; and at most `max_pending` turns that wait for the memory, of which the oldest gives way, which is told.
        completes: when the input ends and the memory has the turns that wait, or after `drain_timeout_s`.
        cancels: ends what the memory does.

    Args:
        memory: Who remembers.
        max_messages: Most messages of a turn that are remembered.
        max_pending: Most turns that wait.
        timeout_s: Longest time for one turn, in seconds.
        drain_timeout_s: Longest time for the turns that wait at the end, in seconds.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = (MessageElement, TurnEnd)
    emits: Accepts | None = (MessageElement, TurnEnd, ErrorElement)

    def __init__(
        self,
        memory: MemoryWriter,
        *,
        max_messages: int = 100,
        max_pending: int = 10,
        timeout_s: float = 30.0,
        drain_timeout_s: float = 5.0,
        name: str = "memory_extract",
    ) -> None:
        super().__init__(name)
        if not callable(getattr(memory, "extract", None)):
            raise ConfigError("memory", f"stage {name!r}: give an object with extract(messages), got {memory!r:.80}")
        self._memory = memory
        self._max_messages = checked_count(max_messages, "max_messages", name)
        self._max_pending = checked_count(max_pending, "max_pending", name)
        self._timeout_s = checked_seconds(timeout_s, "timeout_s", name)
        self._drain_timeout_s = checked_seconds(drain_timeout_s, "drain_timeout_s", name)

    async def process(
        self,
        input: ReceiveEnd[MessageElement | TurnEnd],
        output: SendEnd[StreamElement],
        run: RunContext[object],
    ) -> None:
        """Run the stage."""
        turn: deque[Message] = deque(maxlen=self._max_messages)
        work = _Work(self._memory, self._timeout_s, self._max_pending, run)
        async for element in input:
            for failure in work.failures():
                await output.send(ErrorElement("memory_failed", failure, stage=self.name))
            if isinstance(element, MessageElement):
                turn.append(element.message)
            elif turn:
                work.add(tuple(turn))
                turn.clear()
            await output.send(element)
        if turn:
            work.add(tuple(turn))
        with anyio.move_on_after(self._drain_timeout_s):
            await work.finish()
        work.stop()
        for failure in work.failures():
            await output.send(ErrorElement("memory_failed", failure, stage=self.name))


class _Work:
    """The turns that wait for the memory, and the one helper that gives them to it."""

    def __init__(self, memory: MemoryWriter, timeout_s: float, max_pending: int, run: RunContext[object]) -> None:
        self._memory = memory
        self._timeout_s = timeout_s
        self._max_pending = max_pending
        self._run = run
        self._pending: deque[tuple[Message, ...]] = deque()
        self._failures: deque[str] = deque(maxlen=max_pending)
        self._scope: anyio.CancelScope | None = None
        self._idle = anyio.Event()
        self._idle.set()

    def add(self, turn: tuple[Message, ...]) -> None:
        """Let a turn wait; begin with it if nothing else is being done."""
        if len(self._pending) == self._max_pending:
            self._pending.popleft()
            self._failures.append("the memory is too slow; the oldest turn that waited is not remembered")
        self._pending.append(turn)
        if self._idle.is_set():
            self._idle = anyio.Event()
            self._run.start_soon(self._work, name="memory")

    def failures(self) -> list[str]:
        """Return what went wrong since this was asked last."""
        told = list(self._failures)
        self._failures.clear()
        return told

    async def finish(self) -> None:
        """Wait until the memory has everything."""
        await self._idle.wait()

    def stop(self) -> None:
        """Give up what is not done."""
        left = len(self._pending) + (self._scope is not None)
        if left:
            self._failures.append(f"the run has ended; {left} turns are not remembered")
        self._pending.clear()
        if self._scope is not None:
            self._scope.cancel()

    async def _work(self) -> None:
        try:
            while self._pending:
                turn = self._pending.popleft()
                try:
                    with anyio.CancelScope() as self._scope, anyio.fail_after(self._timeout_s):
                        await self._memory.extract(turn)
                except Exception as error:  # noqa: BLE001 - a memory that fails stops nothing
                    self._failures.append(f"a turn was not remembered: {type(error).__name__}")
                finally:
                    self._scope = None
        finally:
            self._idle.set()
