"""The stage that asks a model: messages in, the streamed answer out.

Above: users and `apps`. Below: `_protocol`, `_conversation`, `_answer`, `stages`.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

import anyio
import msgspec

from ..elements import (
    EMPTY_METADATA,
    AudioElement,
    DataElement,
    ErrorElement,
    ImageElement,
    MessageElement,
    Metadata,
    StreamElement,
    TextElement,
    ThinkingElement,
    ToolCallDelta,
    ToolCallElement,
    TurnEnd,
    TurnReset,
    TurnStart,
    UsageElement,
    survives_interruption,
)
from ..errors import ChannelClosedError, ConfigError, OutputClosedError, ProviderError, StreamflowError
from ..observe import start_span
from ..stages import BaseStage, StageKind, check_turn_size, turn_scope
from ._answer import AnswerReader
from ._conversation import Conversation
from ._protocol import ModelRequest, NamedTool, checked_provider
from ._spans import ModelSpan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import JsonValue, Message
    from ..stages import Accepts, OnFailure, OnInterrupt
    from ._protocol import Effort, OutputSchema, Provider, ToolChoice, ToolSpec

__all__ = ["Mode", "ProviderStage"]

Mode = Literal["stream", "whole"]
"""What a `ProviderStage` sends of an answer: all that comes, or the whole alone."""

_CONTROL = (TurnStart, TurnReset, UsageElement, ErrorElement, TurnEnd)
_FRAGMENTS = (
    TextElement,
    ThinkingElement,
    ToolCallDelta,
    ToolCallElement,
    AudioElement,
    ImageElement,
    DataElement,
)


class ProviderStage(BaseStage):
    """Ask a model once per turn, and send its answer as it arrives.

    In: `MessageElement`, the conversation of one turn, oldest first; `TurnEnd`, on which the model is asked. Other elements pass
    through in order. Every `TurnEnd` starts a new collection: what the model is to remember must come in again, or the stage
    remembers it itself, as `history` says.
    Out, for each turn: `TurnStart`; what the provider sends, in its order (fragments, tool calls, media, citations, running
    usage); the `MessageElement` of the answer; the final `UsageElement` if usage is known; the `TurnEnd` that came in, now with the
    model's stop reason. Turns are counted from 0 in each run. A `TurnEnd` without messages before it is passed on and asks
    nobody. A provider that begins anew, because it falls back to another model, sends a `TurnReset`: what the turn has sent before
    it does not count.

    Flow:
        emits: while the model answers, after each `TurnEnd`; for the rest when the input ends.
        backpressures: while the output is full, down to the model's connection; holds at most `max_messages` messages of a turn,
            and twice `history` of earlier ones.
        completes: when the input ends, after the last answer.
        fails: `ProviderError` if the model call fails, unless `on_failure` says otherwise; fragments that were sent before stay
            sent. `ElementError` if a turn has more than `max_messages` messages.
        cancels: ends the model call; sends nothing while unwinding.
        interrupts: ends the model call. Of what had been sent it makes the `MessageElement` of the turn, with `cut=True`, or none
            if nothing had; the `TurnEnd` has the stop reason `interrupted`. Messages that it is collecting, and those that it
            remembers, it keeps.

    Args:
        provider: Who is asked. The stage neither opens nor closes it.
        name: Name in the graph.
        mode: `stream`: all that the provider sends. `whole`: of an answer the `MessageElement` alone, and the usage.
        on_failure: What becomes of a turn whose call fails. `error`: the stage fails. `end_turn`: an `ErrorElement` stands for
            the rest, `LLM call failed: …` with the class of the error as `error_type` in its metadata, then a `TurnEnd` with the
            reason `error`; the stage goes on with the next turn. What a provider of yours raises is named, and not repeated.
        history: Most messages of earlier turns that go before those of a turn: what was asked, what was answered, an interrupted
            answer as far as it came. System messages are kept apart, and come first. 0: every turn starts anew.
        max_messages: Most messages of one turn.
        model: Name of the model; None: the provider's default.
        temperature: How freely it samples, from 0; None: the server's default.
        max_tokens: Most tokens that it may answer with; None: the server's default.
        tools: What it may call. The stage runs no tools: calls leave it, and results come in as messages.
        tool_choice: Whether it may, may not or must call a tool.
        parallel_tools: Whether it may call several tools in one answer; None: the server's default.
        output: The form that the answer must have; None: free text.
        effort: How long it may think; None: the server's default.
        thinking_tokens: Most tokens to think with; None: the server's default.
        stop: Texts at which it is to stop.
        top_p: Share of the likeliest tokens to choose from; None: the server's default.
        seed: Makes sampling repeatable where the server can; None: not asked for.
        extra: Further fields of the request's body, as the server at hand names them.

    Raises:
        ConfigError: If a number is out of its range, two tools have one name, or `tool_choice` names a tool that is not there.
    """

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = (MessageElement, TurnEnd)
    emits: Accepts | None = (*_CONTROL, *_FRAGMENTS, MessageElement)

    def __init__(
        self,
        provider: Provider,
        *,
        name: str = "model",
        mode: Mode = "stream",
        on_failure: OnFailure = "error",
        history: int = 0,
        max_messages: int = 1000,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        tools: Iterable[ToolSpec] = (),
        tool_choice: ToolChoice = "auto",
        parallel_tools: bool | None = None,
        output: OutputSchema | None = None,
        effort: Effort | None = None,
        thinking_tokens: int | None = None,
        stop: Iterable[str] = (),
        top_p: float | None = None,
        seed: int | None = None,
        extra: Mapping[str, JsonValue] = EMPTY_METADATA,
    ) -> None:
        super().__init__(name)
        checked_provider(provider)
        if mode not in ("stream", "whole"):
            raise ConfigError("mode", f"{mode!r} is none; give 'stream' or 'whole'")
        if on_failure not in ("error", "end_turn"):
            raise ConfigError("on_failure", f"{on_failure!r} is none; give 'error' or 'end_turn'")
        for field, value, least in (("history", history, 0), ("max_messages", max_messages, 1)):
            if value < least:
                raise ConfigError(field, f"{value} is out of range; give {least} or more")
        self._request = ModelRequest(
            messages=(),
            model=model,
            temperature=temperature,
            max_tokens=max_tokens,
            tools=tuple(tools),
            tool_choice=tool_choice,
            parallel_tools=parallel_tools,
            output=output,
            effort=effort,
            thinking_tokens=thinking_tokens,
            stop=tuple(stop),
            top_p=top_p,
            seed=seed,
            extra=extra,
        )
        _check(self._request)
        self.max_held: int | None = max_messages + 2 * history
        if mode == "whole":
            self.emits = (*_CONTROL, MessageElement)
        self._provider = provider
        self._streams = mode == "stream"
        self._ends_turn = on_failure == "end_turn"
        self._history = history
        self._max_messages = max_messages

    async def process(self, input: ReceiveEnd[MessageElement | TurnEnd], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        messages: list[Message] = []
        conversation = Conversation(self._history)
        turns = 0
        async for element in input:
            if isinstance(element, MessageElement):
                self._collect(messages, element.message)
            elif messages:
                await self._turn(conversation, messages, element.replace(index=turns), output)
                messages.clear()
                turns += 1
            else:
                await output.send(element)
        if messages:
            await self._turn(conversation, messages, TurnEnd(index=turns), output)

    def _collect(self, messages: list[Message], message: Message) -> None:
        check_turn_size(len(messages) + 1, self._max_messages, self.name)
        messages.append(message)

    async def _turn(
        self, conversation: Conversation, messages: list[Message], end: TurnEnd, output: SendEnd[StreamElement]
    ) -> None:
        """Send one turn, and end it in order where its call fails and that is what was asked for."""
        try:
            with start_span("turn", attributes={"streamflow.turn.index": end.index}):
                await self._answer(conversation, messages, end, output)
        except (OutputClosedError, ChannelClosedError):  # our own output's
            raise
        except Exception as failure:
            if not self._ends_turn:
                raise
            await output.send(_notice(failure, self.name))
            await output.send(end.replace(stop_reason="error"))

    async def _answer(
        self, conversation: Conversation, messages: list[Message], end: TurnEnd, output: SendEnd[StreamElement]
    ) -> None:
        """Send one turn, from its `TurnStart` to `end`."""
        asked = conversation.with_turn(messages)
        reader = AnswerReader(self._provider)
        await output.send(TurnStart(index=end.index))
        request = msgspec.structs.replace(self._request, messages=asked)
        with ModelSpan(self._provider, request) as span:
            async with turn_scope() as turn, aclosing(self._provider.stream(request)) as stream:
                async for element in stream:
                    span.note(element)
                    if reader.keeps(element):
                        continue
                    told = reader.reset(element, end.index) if isinstance(element, TurnReset) else element
                    if self._streams:
                        await self._send(told, output)
                    if not turn.interrupted or survives_interruption(told):
                        reader.note(told)
            if turn.interrupted:
                span.interrupt()
        answer = reader.message_so_far() if turn.interrupted else reader.message()
        usage = reader.usage_so_far() if turn.interrupted else reader.usage()
        if answer is not None:
            await output.send(answer)
        if usage is not None:
            await output.send(usage)
        stop_reason = "interrupted" if answer is None else answer.message.stop_reason or "stop"
        conversation.remember(asked, None if answer is None else answer.message)
        await output.send(end.replace(stop_reason=stop_reason))

    async def _send(self, element: StreamElement, output: SendEnd[StreamElement]) -> None:
        """Send an element of an answer; one that an interruption leaves is sent even if it waits for room when one comes."""
        if survives_interruption(element):
            with anyio.CancelScope(shield=True):
                await output.send(element)
        else:
            await output.send(element)


def _notice(failure: Exception, stage: str) -> ErrorElement:
    """Return what the output says of a failed call: only texts that were made to be shown."""
    told = str(failure) if isinstance(failure, StreamflowError) else type(failure).__name__
    cause = failure.__cause__ if isinstance(failure, ProviderError) and failure.__cause__ is not None else failure
    return ErrorElement(
        failure.code if isinstance(failure, ProviderError) else "model_failed",
        f"LLM call failed: {told}",
        stage,
        retryable=isinstance(failure, ProviderError) and failure.retryable,
        metadata=Metadata({"error_type": type(cause).__name__}),
    )


def _check(request: ModelRequest) -> None:
    """Check the options of a stage's requests.

    Raises:
        ConfigError: If one of them can be no server's.
    """
    if request.temperature is not None and not request.temperature >= 0:
        raise ConfigError("temperature", f"{request.temperature} is out of range; give 0 or more")
    if request.top_p is not None and not 0 < request.top_p <= 1:
        raise ConfigError("top_p", f"{request.top_p} is out of range; give more than 0, and at most 1")
    for field, least in (("max_tokens", 1), ("thinking_tokens", 0)):
        value = getattr(request, field)
        if value is not None and value < least:
            raise ConfigError(field, f"{value} is out of range; give {least} or more")
    names = [tool.name for tool in request.tools]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError("tools", f"two of them are called {double!r}; give each a name of its own")
    if isinstance(request.tool_choice, NamedTool) and request.tool_choice.name not in names:
        raise ConfigError("tool_choice", f"names {request.tool_choice.name!r}, which is not among the tools")
    if request.tool_choice == "required" and not names:
        raise ConfigError("tool_choice", "asks for a call, but there are no tools; give tools=")
