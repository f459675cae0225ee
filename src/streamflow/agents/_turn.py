"""One turn of an agent: the model is asked, tools run, the model is asked again, until it has an answer or a limit is reached.

Above: `_agent_stage`. Below: `_calls`, `_limits`, `_tools`, `providers`.
Rules: what goes out is a lawful history at every moment but while tools run, and `settle()` makes it one then: behind a message
with calls stands the message with one result for each. A message, once begun, is sent whole, cut or not. Which limit is reached
is looked at before the model is asked, so what tools have done is never thrown away.
"""

from __future__ import annotations

import dataclasses
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from ..elements import (
    Message,
    Metadata,
    ToolCallElement,
    TurnReset,
    Usage,
    UsageElement,
    open_calls,
    repair_history,
    survives_interruption,
)
from ..providers import AnswerReader, ModelRequest, ModelSpan
from ._calls import Calls
from ._limits import Spent, priced
from ._tools import Repeats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from ..elements import StopReason, StreamElement, ToolDecisionElement
    from ..providers import Provider, ToolChoice
    from ..stages import ModelPrice
    from ._limits import LimitKind, Limits
    from ._tools import Tools

__all__ = ["AgentOptions", "AgentTurn"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """What all turns of an agent have in common."""

    provider: Provider
    tools: Tools
    request: ModelRequest
    limits: Limits
    prices: Mapping[str, ModelPrice]


class AgentTurn:
    """A turn in the making.

    Args:
        options: Of the agent.
        conversation: What was said, oldest first; calls that have no result are answered as cancelled, unless `decisions` are given
            and they stand at the end: then they are run, or not, as was decided.
        send: Sends an element on.
        deps: What tools find in their context.
        decisions: What persons have decided about calls that wait.
        index: Number of the turn.
        is_stale: Says whether what is sent now is dropped, because of an interruption.
    """

    def __init__(
        self,
        options: AgentOptions,
        conversation: Iterable[Message],
        *,
        send: Callable[[StreamElement], Awaitable[None]],
        deps: object,
        decisions: Mapping[str, ToolDecisionElement],
        index: int = 0,
        is_stale: Callable[[], bool] = lambda: False,
    ) -> None:
        self.messages: list[Message] = []
        """The conversation, as it goes on."""
        self.stop_reason: StopReason = "stop"
        """Why the turn has ended."""
        self.limit: LimitKind | None = None
        """The limit that has ended it."""
        self.pending: tuple[str, ...] = ()
        """Calls that wait for a person."""
        self._options = options
        self._send = send
        self._deps = deps
        self._decisions = decisions
        self._index = index
        self._is_stale = is_stale
        self._spent = Spent(options.limits)
        self._repeats = Repeats(options.tools.max_repeats)
        self._calls: Calls | None = None
        self._reader: AnswerReader | None = None
        self._was_cut = False
        self._begin(tuple(conversation))

    @property
    def usage(self) -> Usage:
        """What all model calls of the turn have used, those of agents that it has called included."""
        return self._spent.usage

    @property
    def account(self) -> Metadata:
        """What the turn has used, in numbers."""
        told: dict[str, object] = {
            "rounds": self._spent.rounds,
            "calls": self._spent.calls,
            "usage": msgspec.to_builtins(self._spent.usage),
        }
        if self.limit is not None:
            told["limit"] = self.limit
        return Metadata(told)  # type: ignore[arg-type]  # JSON all through, which to_builtins() does not say

    async def play(self) -> None:
        """Go on until there is an answer, a limit, or a call that waits for a person.

        Cancellation: ends the model call and the tools; `settle()` then makes the history lawful.

        Raises:
            ProviderError: If the model fails.
        """
        if self._open is not None and await self._resume(*self._open):
            return
        while True:
            self.limit = self._spent.exceeded()
            if self.limit is not None and self._options.limits.finish == "stop":
                self.stop_reason = "length"
                return
            async with self._new_calls() as calls:
                message = await self._ask(calls)
                is_over = await self._deal(calls, message)
            if is_over:
                return

    async def settle(self, stop_reason: StopReason, limit: LimitKind | None = None) -> None:
        """Send what is missing after a cancellation: what was said as a cut message, a result for each call. Idempotent."""
        self.stop_reason, self.limit = stop_reason, limit
        reader, calls = self._reader, self._calls
        self._reader = self._calls = None
        if reader is not None:
            said = reader.message_so_far()
            if said is not None:
                await self._send(said)
                self.messages.append(said.message)
            if calls is not None:
                calls.adopt(said.message if said is not None else Message("assistant", ""))
            usage = reader.usage_so_far()
            if usage is not None:
                await self._tell_usage(usage)
        if calls is not None:
            await calls.settle()
            self._keep(calls)

    def release(self) -> None:
        """Let go of what runs: it knows the turn, and would keep it alive after a cancellation."""
        self._calls = None

    def _begin(self, conversation: tuple[Message, ...]) -> None:
        """Take the conversation; decided calls at its end are to be gone on with."""
        self._open = open_calls(conversation) if self._decisions else None
        if self._open is None:
            self.messages = list(repair_history(conversation))
            return
        message, _ = self._open
        place = next(place for place, one in enumerate(conversation) if one is message)
        self.messages = [*repair_history(conversation[:place]), *conversation[place:]]

    def _new_calls(self) -> Calls:
        self._calls = Calls(
            self._options.tools,
            self._tell,
            deps=self._deps,
            repeats=self._repeats,
            decisions=self._decisions,
        )
        return self._calls

    async def _resume(self, message: Message, answered: frozenset[str]) -> bool:
        """Go on with calls that a person has decided about; returns whether the turn is over, because others wait still."""
        async with self._new_calls() as calls:
            calls.adopt(message, answered=answered)
            await self._run(calls)
        return bool(self.pending)

    async def _run(self, calls: Calls) -> None:
        left = self._spent.calls_left
        self._spent.calls += len(calls.calls)
        await calls.run(at_most=left)
        self._keep(calls)
        self.pending = calls.pending
        if self.pending:
            self.stop_reason = "approval"

    def _keep(self, calls: Calls) -> None:
        """Know that the results of an answer have been sent."""
        results = calls.message()
        if results is not None:
            self.messages.append(results)
        self._calls = None

    async def _ask(self, calls: Calls) -> Message:
        """Ask the model, and send what it answers."""
        request = self._request()
        self._spent.rounds += 1
        reader = self._reader = AnswerReader(self._options.provider)
        provider = self._options.provider
        with ModelSpan(provider, request) as span:
            async with aclosing(provider.stream(request)) as stream:
                async for element in stream:
                    span.note(element)
                    if not reader.keeps(element):
                        await self._pass(element, calls, reader)
        answer, usage = reader.message(), reader.usage()
        await self._send(answer)
        self._reader = None
        self.messages.append(answer.message)
        calls.adopt(answer.message)
        if usage is not None:
            await self._tell_usage(usage)
        else:
            self._spent.add(None)
        return answer.message

    async def _pass(self, element: StreamElement, calls: Calls, reader: AnswerReader) -> None:
        """Send on what comes before the message."""
        if isinstance(element, TurnReset):
            calls.forget()
            element = reader.reset(element, self._index)
        await self._send(element)
        if not self._is_stale() or survives_interruption(element):
            reader.note(element)
            if isinstance(element, ToolCallElement):
                calls.note(element)

    async def _deal(self, calls: Calls, message: Message) -> bool:
        """Do what the answer asks for; returns whether the turn is over."""
        reason = message.stop_reason or "stop"
        if self.limit is not None:
            await calls.refuse(reason)
            self._keep(calls)
            self.stop_reason = "length" if reason == "tool_calls" else reason
            return True
        if reason == "tool_calls" and calls.calls:
            self._was_cut = False
            await self._run(calls)
            return bool(self.pending)
        if calls.calls:
            await calls.refuse(reason)
            self._keep(calls)
            if reason == "length" and not self._was_cut:
                self._was_cut = True  # the model is told once that its call was cut off
                return False
        self._calls = None
        self.stop_reason = "stop" if reason == "tool_calls" else reason
        return reason != "pause"

    def _request(self) -> ModelRequest:
        given = self._options.request
        choice: ToolChoice = given.tool_choice
        if self.limit is not None:
            choice = "none"
        elif self._spent.rounds and choice not in {"auto", "none"}:
            choice = "auto"  # one that forces a call would force one for ever
        specs = self._options.tools.specs
        return msgspec.structs.replace(
            given,
            messages=(*given.messages, *self.messages),
            tools=specs,
            tool_choice=choice if specs else "auto",
        )

    async def _tell_usage(self, usage: UsageElement) -> None:
        usage = usage.replace(usage=priced(usage.usage, self._options.prices))
        await self._send(usage)
        self._spent.add(usage.usage)

    async def _tell(self, element: StreamElement) -> None:
        """Send what tools tell. What an agent among them has used is used by this turn."""
        if isinstance(element, TurnReset):
            element = element.replace(index=self._index)
        await self._send(element)
        if isinstance(element, UsageElement) and element.final:
            self._spent.add(element.usage)
