"""What stages share that collect the messages of a turn, and send on what they make of them.

Above: `_history`, `_budget`, `context`. Below: `_contract`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elements import MessageElement, StreamElement, TextElement, TurnEnd
from ._checks import check_turn_size, checked_count
from ._contract import BaseStage, StageKind
from ._intent import as_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts
    from ._context import RunContext
    from ._turns import OnInterrupt

__all__ = ["ConversationStage"]


class ConversationStage(BaseStage):
    """Base of stages that look at all messages of a turn before they send them on: give `assemble()`.

    In: `MessageElement`s, the conversation of one turn, oldest first; `TextElement`s, each a whole message of the user; `TurnEnd`.
    Out, for each turn: what `assemble()` returns; the `TurnEnd`, if one came. A turn without messages is passed on.

    Flow:
        emits: on `TurnEnd`; for the rest when the input ends.
        backpressures: while the output is full; holds at most `max_messages` messages.
        completes: when the input ends, after the last turn.
        fails: `ElementError` if a turn has more than `max_messages` messages; with what `assemble()` raises.
        cancels: drops what it holds.
        interrupts: keeps the messages that it holds.

    Args:
        name: Name in the graph.
        max_messages: Most messages of one turn.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"  # what it keeps are wholes
    accepts: Accepts | None = (TextElement, MessageElement, TurnEnd)
    emits: Accepts | None = (StreamElement, TurnEnd)

    def __init__(self, name: str, max_messages: int) -> None:
        super().__init__(name)
        self.max_held: int | None = checked_count(max_messages, "max_messages", self.name)

    async def assemble(self, messages: list[MessageElement], run: RunContext[object]) -> Sequence[StreamElement]:
        """Return what is sent for the messages of one turn, of which there is at least one. The base sends them as they came.

        Cancellation: nothing was sent.
        """
        return messages

    async def process(
        self,
        input: ReceiveEnd[TextElement | MessageElement | TurnEnd],
        output: SendEnd[StreamElement],
        run: RunContext[object],
    ) -> None:
        """Run the stage."""
        held: list[MessageElement] = []
        async for element in input:
            if isinstance(element, TurnEnd):
                await self._flush(held, output, run)
                held = []
                await output.send(element)
                continue
            check_turn_size(len(held) + 1, self.max_held, self.name)
            held.append(as_message(element))
        await self._flush(held, output, run)

    async def _flush(self, held: list[MessageElement], output: SendEnd[StreamElement], run: RunContext[object]) -> None:
        if held:
            for element in await self.assemble(held, run):
                await output.send(element)
