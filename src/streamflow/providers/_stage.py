"""The stage that asks a model: messages in, the streamed answer out.

Above: users and `apps`. Below: `_protocol`, `stages`.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio

from ..elements import (
    MessageElement,
    StreamElement,
    TextElement,
    ThinkingElement,
    TurnEnd,
    TurnStart,
    UsageElement,
    survives_interruption,
)
from ..errors import ConfigError, ElementError, ProviderError
from ..stages import BaseStage, StageKind, turn_scope
from ._cut import Sent
from ._protocol import ModelRequest

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ..elements import Message
    from ..stages import Accepts, OnInterrupt
    from ._protocol import Provider

__all__ = ["ProviderStage"]


class ProviderStage(BaseStage):
    """Ask a model once per turn, and send its answer as it arrives.

    In: `MessageElement`, the conversation of one turn, oldest first; `TurnEnd`, on which the model is asked. Other elements pass
    through in order. Every `TurnEnd` starts a new collection: what the model is to remember must come in again.
    Out, for each turn: `TurnStart`, the fragments, the `MessageElement` of the answer, the final `UsageElement` if usage is known,
    and the `TurnEnd` that came in, now with the model's stop reason. Turns are counted from 0 in each run. A `TurnEnd` without
    messages before it is passed on and asks nobody.

    Flow:
        emits: while the model answers, after each `TurnEnd`; for the rest when the input ends.
        backpressures: while the output is full, down to the model's connection; holds at most `max_messages` messages.
        completes: when the input ends, after the last answer.
        fails: `ProviderError` if the model call fails, fragments that were sent before stay sent; `ElementError` if a turn has
            more than `max_messages` messages.
        cancels: ends the model call; sends nothing while unwinding.
        interrupts: ends the model call. Of what had been sent it makes the `MessageElement` of the turn, with `cut=True`, or none
            if nothing had; the `TurnEnd` has the stop reason `interrupted`. Messages that it is collecting it keeps.

    Args:
        provider: Who is asked. The stage neither opens nor closes it.
        name: Name in the graph.
        model: Name of the model; None: the provider's default.
        temperature: How freely it samples, from 0; None: the server's default.
        max_tokens: Most tokens that it may answer with; None: the server's default.
        max_messages: Most messages of one turn.

    Raises:
        ConfigError: If a number is out of its range.
    """

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = (MessageElement, TurnEnd)
    emits: Accepts | None = (TurnStart, TextElement, ThinkingElement, MessageElement, UsageElement, TurnEnd)

    def __init__(
        self,
        provider: Provider,
        *,
        name: str = "model",
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        max_messages: int = 1000,
    ) -> None:
        super().__init__(name)
        if temperature is not None and not temperature >= 0:
            raise ConfigError("temperature", f"{temperature} is out of range; give 0 or more")
        if max_tokens is not None and max_tokens < 1:
            raise ConfigError("max_tokens", f"{max_tokens} is out of range; give 1 or more")
        if max_messages < 1:
            raise ConfigError("max_messages", f"{max_messages} is out of range; give 1 or more")
        self.max_held: int | None = max_messages
        self._provider = provider
        self._model = model
        self._temperature = temperature
        self._max_tokens = max_tokens

    async def process(self, input: ReceiveEnd[MessageElement | TurnEnd], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        messages: list[Message] = []
        turns = 0
        async for element in input:
            if isinstance(element, MessageElement):
                self._collect(messages, element.message)
            elif messages:
                await self._answer(tuple(messages), element.replace(index=turns), output)
                messages.clear()
                turns += 1
            else:
                await output.send(element)
        if messages:
            await self._answer(tuple(messages), TurnEnd(index=turns), output)

    def _collect(self, messages: list[Message], message: Message) -> None:
        if len(messages) == self.max_held:
            raise ElementError(
                f"stage {self.name!r}: more than {self.max_held} messages in one turn; send TurnEnd in time, "
                "shorten the history before this stage, or raise max_messages"
            )
        messages.append(message)

    async def _answer(self, messages: tuple[Message, ...], end: TurnEnd, output: SendEnd[StreamElement]) -> None:
        """Send one turn, from its `TurnStart` to `end`."""
        request = ModelRequest(
            messages=messages, model=self._model, temperature=self._temperature, max_tokens=self._max_tokens
        )
        answer: MessageElement | None = None
        usage: UsageElement | None = None
        sent = Sent()
        await output.send(TurnStart(index=end.index))
        async with turn_scope() as turn, aclosing(self._provider.stream(request)) as stream:
            async for element in stream:
                # A provider gives its usage before the whole; the contract of a turn has it after.
                if isinstance(element, UsageElement) and element.final:
                    usage = element
                elif isinstance(element, MessageElement) and answer is None:
                    answer = element
                elif answer is None:
                    await self._send(element, output)
                    if not turn.interrupted or survives_interruption(element):
                        sent.note(element)
                else:
                    raise self._broken(f"sent {type(element).__name__} after its message")
        if answer is None and turn.interrupted:
            answer = sent.cut()
        elif answer is None:
            raise self._broken("ended without its message")
        if answer is not None:
            await output.send(answer)
        if usage is not None:
            await output.send(usage)
        stop_reason = "interrupted" if answer is None else answer.message.stop_reason or "stop"
        await output.send(end.replace(stop_reason=stop_reason))

    async def _send(self, element: StreamElement, output: SendEnd[StreamElement]) -> None:
        """Send an element of an answer; one that an interruption leaves is sent even if it waits for room when one comes."""
        if survives_interruption(element):
            with anyio.CancelScope(shield=True):
                await output.send(element)
        else:
            await output.send(element)

    def _broken(self, what: str) -> ProviderError:
        return ProviderError("protocol", f"provider {self._provider.name!r} {what}")
