"""The stage that is an agent: messages in; what the model says, the tools it calls and their results out.

Above: users, `_nested`. Below: `_turn`, `_limits`, `_tools`, `stages`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import msgspec

from ..elements import (
    AudioElement,
    DataElement,
    ImageElement,
    Message,
    MessageElement,
    StreamElement,
    TextElement,
    ThinkingElement,
    ToolCallDelta,
    ToolCallElement,
    ToolDecisionElement,
    ToolResultElement,
    TurnEnd,
    TurnReset,
    TurnStart,
    Usage,
    UsageElement,
)
from ..errors import ConfigError
from ..observe import start_span
from ..providers import ModelRequest, NamedTool, checked_provider, told_usage
from ..stages import BaseStage, StageKind, check_turn_size, turn_scope
from ._limits import Limits
from ._tool_stage import sender
from ._tools import as_tools
from ._turn import AgentOptions, AgentTurn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import StopReason
    from ..observe import ActiveSpan, AttributeValue, SpanScope
    from ..providers import Provider
    from ..stages import Accepts, ModelPrice, OnInterrupt, RunContext
    from ._limits import LimitKind
    from ._tools import ToolLike, Tools

__all__ = ["AgentAnswer", "AgentStage"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentAnswer:
    """What came of a turn."""

    messages: tuple[Message, ...]
    """The conversation, its new messages at the end; a strict provider accepts it, unless calls are `pending`."""
    stop_reason: StopReason
    """Why the turn has ended."""
    limit: LimitKind | None
    """The limit that has ended it."""
    pending: tuple[str, ...]
    """Ids of the calls that wait for a person."""
    usage: Usage
    """What all its model calls have used."""

    @property
    def text(self) -> str:
        """What the model has said last."""
        last = self.messages[-1] if self.messages else None
        return last.text if last is not None and last.role == "assistant" else ""


class AgentStage(BaseStage):
    """Ask a model, run the tools that it calls, and ask it again, until it has an answer.

    In: `MessageElement`, the conversation of one turn, oldest first; `ToolDecisionElement`; `TurnEnd`, on which the model is asked.
    Other elements pass through in order. What the agent is to remember must come in again.
    Out, for each turn: `TurnStart`; for each round what the model says, its `MessageElement`, the final `UsageElement` of the call,
    one `ToolResultElement` for each tool call in the order of the calls, the message of role `tool` that holds them; last the
    `TurnEnd` that came in, with the stop reason, and in its metadata `rounds`, `calls`, `usage` (the sum) and, if one has ended the
    turn, the name of the `limit`. What tools tell while they work comes as it comes.

    A turn that reaches a limit ends with the stop reason `length`. One that waits for a person ends with `approval` and names the
    calls in `pending`; it goes on when `ToolDecisionElement`s come in, with a `TurnEnd` behind them: what has run does not run
    again. In another run the conversation comes in with them, as it was when the turn ended: from a loading stage, or from you.

    Flow:
        emits: while the model answers and tools run, after each `TurnEnd`; for the rest when the input ends.
        backpressures: while the output is full, down to the model's connection; holds at most `max_messages` messages of a turn.
        completes: when the input ends, after the last answer.
        fails: `ProviderError` if a model call fails; what was sent before stays sent. `ElementError` if a turn has more than
            `max_messages` messages. Tools that fail give results that say so.
        cancels: ends the model call and the tools; sends nothing while unwinding.
        interrupts: ends both. What had been said is sent as a `MessageElement` with `cut=True`, and each call that has no result
            gets one with the status `cancelled`; the `TurnEnd` has the stop reason `interrupted`.

    Args:
        provider: Who is asked. The stage neither opens nor closes it.
        tools: What the model may call: tools, or typed functions; `Tools` with the rules under which they run.
        name: Name in the graph.
        instructions: What the model is told first, as a message of the system.
        request: What each model call is made with: model, temperature, tool choice, …. Its messages go before the conversation; a
            tool choice that forces a call holds for the first call of a turn alone.
        limits: How far the agent may go in one turn.
        prices: What models cost, by the name that the provider gives, for `Usage.cost_usd`; None: what the provider says.
        max_messages: Most messages of one turn.

    Raises:
        ConfigError: If a tool cannot be described, or an option does not go with the others.

    Source: seed 004.
    """

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = (MessageElement, ToolDecisionElement, TurnEnd)
    emits: Accepts | None = (
        TurnStart,
        TurnReset,
        TextElement,
        ThinkingElement,
        ToolCallDelta,
        ToolCallElement,
        ToolResultElement,
        AudioElement,
        ImageElement,
        DataElement,
        MessageElement,
        UsageElement,
        TurnEnd,
    )

    def __init__(
        self,
        provider: Provider,
        tools: Tools | Iterable[ToolLike] = (),
        *,
        name: str = "agent",
        instructions: str = "",
        request: ModelRequest | None = None,
        limits: Limits | None = None,
        prices: Mapping[str, ModelPrice] | None = None,
        max_messages: int = 1000,
    ) -> None:
        super().__init__(name)
        if max_messages < 1:
            raise ConfigError("max_messages", f"{max_messages} is out of range; give 1 or more")
        given = request if request is not None else ModelRequest(messages=())
        known = as_tools(tools)
        if given.tools:
            raise ConfigError("request", "it has tools; give them to the agent as tools=, which runs them")
        choice = given.tool_choice
        if isinstance(choice, NamedTool) and known.find(choice.name) is None:
            raise ConfigError("request", f"its tool_choice names {choice.name!r}, which is not among the tools")
        if choice == "required" and not len(known):
            raise ConfigError("request", "its tool_choice asks for a call, but there are no tools; give tools=")
        if instructions:
            given = msgspec.structs.replace(given, messages=(Message("system", instructions), *given.messages))
        self._options = AgentOptions(
            provider=checked_provider(provider),
            tools=known,
            request=given,
            limits=limits if limits is not None else Limits(),
            prices=dict(prices or {}),
        )
        self._max_messages = max_messages

    async def answer(
        self,
        messages: Iterable[Message],
        send: Callable[[StreamElement], Awaitable[None]] | None = None,
        *,
        deps: object = None,
    ) -> AgentAnswer:
        """Answer one conversation from within another stage, or a tool, and return what came of it.

        Args:
            messages: The conversation, oldest first.
            send: Is given each element of the turn but its start and its end; None: nobody looks on.
            deps: What tools find in their context.

        Cancellation: ends the model call and the tools; nothing is sent any more.

        Raises:
            ProviderError: If a model call fails.
            RunStateError: If the caller is not inside a stage, whose helpers the tools are.
        """
        turn = AgentTurn(self._options, messages, send=send if send is not None else _nowhere, deps=deps, decisions={})
        try:
            with self._span(None) as span:
                await self._play(turn)
                _tell_end(span, turn, interrupted=False)
        finally:
            turn.release()
        return AgentAnswer(
            messages=tuple(turn.messages),
            stop_reason=turn.stop_reason,
            limit=turn.limit,
            pending=turn.pending,
            usage=turn.usage,
        )

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        messages: list[Message] = []
        decisions: dict[str, ToolDecisionElement] = {}
        paused: tuple[Message, ...] = ()
        turns = 0

        async def answer(end: TurnEnd) -> None:
            nonlocal paused, turns
            given = tuple(messages) or paused
            told = dict(decisions)
            messages.clear()
            decisions.clear()
            paused = await self._answer(given, told, end.replace(index=turns), output, run)
            turns += 1

        async for element in input:
            match element:
                case MessageElement(message=message):
                    self._collect(messages, message)
                case ToolDecisionElement():
                    decisions[element.call_id] = element
                case TurnEnd() if messages or (decisions and paused):
                    await answer(element)
                case _:
                    await output.send(element)
        if messages or (decisions and paused):
            await answer(TurnEnd(index=turns))

    def _collect(self, messages: list[Message], message: Message) -> None:
        check_turn_size(len(messages) + 1, self._max_messages, self.name)
        messages.append(message)

    async def _answer(
        self,
        messages: tuple[Message, ...],
        decisions: dict[str, ToolDecisionElement],
        end: TurnEnd,
        output: SendEnd[StreamElement],
        run: RunContext[object],
    ) -> tuple[Message, ...]:
        """Send one turn, from its `TurnStart` to `end`; returns the conversation if it waits for a person."""
        await output.send(TurnStart(index=end.index))
        scope = turn_scope()
        turn = AgentTurn(
            self._options,
            messages,
            send=sender(output),
            deps=run.deps,
            decisions=decisions,
            index=end.index,
            is_stale=lambda: scope.interrupted,
        )
        try:
            with self._span(end.index) as span:
                async with scope:
                    await self._play(turn)
                if scope.interrupted:
                    await turn.settle("interrupted")
                _tell_end(span, turn, interrupted=scope.interrupted)
        finally:
            turn.release()
        account = turn.account
        ended = end.replace(
            stop_reason=turn.stop_reason,
            pending=turn.pending if turn.stop_reason == "approval" else (),
            metadata=end.metadata.merged(account),
        )
        await output.send(ended)
        return tuple(turn.messages) if ended.pending else ()

    def _span(self, index: int | None) -> SpanScope:
        """Return a block that is a turn, as a span."""
        facts: dict[str, AttributeValue] = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": self.name}
        if index is not None:
            facts["streamflow.turn.index"] = index
        return start_span(f"invoke_agent {self.name}", attributes=facts)

    async def _play(self, turn: AgentTurn) -> None:
        """Play a turn within its limit of time."""
        with anyio.move_on_after(self._options.limits.time_s) as clock:
            await turn.play()
        if clock.cancelled_caught:
            await turn.settle("length", "time")


def _tell_end(span: ActiveSpan | None, turn: AgentTurn, *, interrupted: bool) -> None:
    if span is not None:
        told_usage(span, turn.usage)
        span.set("gen_ai.response.finish_reasons", (turn.stop_reason,))
        if interrupted:
            span.event("interrupt")


async def _nowhere(_element: StreamElement) -> None:
    await anyio.lowlevel.checkpoint()
