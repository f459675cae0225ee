"""The stage that runs the tool calls of a stream.

Above: users. Below: `_calls`, `_tools`, `stages`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from ..elements import (
    ControlElement,
    DataElement,
    Message,
    MessageElement,
    StreamElement,
    ToolCallElement,
    ToolCallPart,
    ToolDecisionElement,
    ToolResultElement,
    TurnEnd,
    open_calls,
    survives_interruption,
)
from ..stages import BaseStage, StageKind, turn_scope
from ._calls import Calls
from ._tools import Repeats, as_tools

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import StopReason
    from ..stages import Accepts, Bypass, OnInterrupt, RunContext
    from ._tools import ToolLike, Tools

__all__ = ["ToolStage", "sender"]


class ToolStage(BaseStage):
    """Run the tools that a model asks for, and send what they give.

    In: `ToolCallElement`, the `MessageElement` that they are part of, and `TurnEnd`; `ToolDecisionElement`, before the calls that
    it is about. Other elements pass through as they come.
    Out: what came in; behind a message with calls, or behind the calls at `TurnEnd` if there is no message, one `ToolResultElement`
    for each call, in the order of the calls, and the message of role `tool` that holds them. What tools tell while they work comes
    as it comes. If a call waits for a person, the `TurnEnd` has the stop reason `approval` and names it in `pending`.

    Tools run only if the message, or without one the `TurnEnd`, has the stop reason `tool_calls`. In any other case, and when its
    arguments cannot be used, a call gets a result that says so. Calls of a loaded history (`metadata["history"]`) do not run again;
    those that wait at its end do at the `TurnEnd`, as was decided.

    Flow:
        emits: results as soon as they and those of all calls before them are there; what came in at once.
        backpressures: while the output is full; takes no elements while tools run.
        completes: when the input ends; calls whose message has not come are answered as cancelled.
        fails: with what is no `Exception`, such as `KeyboardInterrupt`; a tool that fails gives a result that says so.
        cancels: ends the tools; sends nothing while unwinding.
        interrupts: ends the tools; each call that has no result gets one with the status `cancelled`.

    Args:
        tools: Tools, or typed functions; `Tools` with the rules under which they run.
        name: Name in the graph.

    Raises:
        ConfigError: If two tools have one name, or one cannot be described.

    Source: seed 004.
    """

    kind: StageKind = StageKind.ACCUMULATE
    bypass: Bypass = "early"
    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = (ToolCallElement, MessageElement, ToolDecisionElement, TurnEnd)
    emits: Accepts | None = (
        ToolCallElement,
        MessageElement,
        ToolResultElement,
        DataElement,
        TurnEnd,
    )

    def __init__(self, tools: Tools | Iterable[ToolLike], *, name: str = "tools") -> None:
        super().__init__(name)
        self._tools = as_tools(tools)

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        work = _Work(self._tools, output, run.deps)
        async for element in input:
            match element:
                case ToolCallElement():
                    work.held.append(element)
                    await output.send(element)
                case ToolDecisionElement():
                    work.decisions[element.call_id] = element
                case MessageElement(message=message) if element.metadata.get("history") is True:
                    work.history.append(message)
                    await output.send(element)
                case MessageElement(message=message) if message.tool_calls:
                    work.history.clear()
                    await output.send(element)
                    await work.deal(message, message.stop_reason)
                case MessageElement():
                    work.history.clear()  # what was waited for there is closed by what is said now
                    await output.send(element)
                case TurnEnd():
                    await work.resume()
                    await output.send(await work.end(element))
                case _:
                    await output.send(element)
        await work.resume()
        await work.end(TurnEnd("interrupted"))


class _Work:
    """What one run of the stage has in hand."""

    def __init__(self, tools: Tools, output: SendEnd[StreamElement], deps: object) -> None:
        self.held: list[ToolCallElement] = []
        self.history: list[Message] = []
        self.decisions: dict[str, ToolDecisionElement] = {}
        self._tools = tools
        self._send = sender(output)
        self._deps = deps
        self._pending: tuple[str, ...] = ()
        self._repeats = Repeats(tools.max_repeats)

    async def resume(self) -> None:
        """Go on with the calls that wait at the end of the history, if persons have decided."""
        found = open_calls(self.history) if self.decisions else None
        self.history.clear()
        if found is not None:
            message, answered = found
            await self.deal(message, message.stop_reason, answered)

    async def deal(
        self, message: Message, stop_reason: StopReason | None, answered: frozenset[str] = frozenset()
    ) -> None:
        """Run the calls of a message, or answer them as not run, but for those that have been answered."""
        calls = Calls(self._tools, self._send, deps=self._deps, repeats=self._repeats, decisions=self.decisions)
        known, self.held = self.held, []
        async with turn_scope() as turn, calls:
            for call in known:
                calls.know(call)
            calls.adopt(message, answered=answered)
            if stop_reason == "tool_calls":
                await calls.run()
            else:
                await calls.refuse(stop_reason or "stop")
        if turn.interrupted:
            await calls.settle()
        self._pending += calls.pending

    async def end(self, end: TurnEnd) -> TurnEnd:
        """Deal with calls that came without a message; returns what is to be sent as the end of the turn."""
        if self.held:
            parts = [ToolCallPart(call.call_id, call.name, call.args, call.raw) for call in self.held]
            await self.deal(Message("assistant", parts, id=self.held[0].id), end.stop_reason)
        if self._pending:
            end = end.replace(stop_reason="approval", pending=self._pending)
        self._pending = ()
        self._repeats = Repeats(self._tools.max_repeats)
        self.decisions = {}
        return end


def sender(output: SendEnd[StreamElement]) -> Callable[[StreamElement], Awaitable[None]]:
    """Return what sends into `output`; what an interruption leaves is sent even if it waits for room when one comes."""

    async def send(element: StreamElement) -> None:
        if isinstance(element, ControlElement) or survives_interruption(element):
            with anyio.CancelScope(shield=True):
                await output.send(element)
        else:
            await output.send(element)

    return send
