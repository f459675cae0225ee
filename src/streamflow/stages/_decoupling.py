"""Stages that take while they send: a buffer, and a buffer that joins the fragments of text in it.

Above: users. Below: `_contract`, `channels`.

The stage's own task reads the input; a helper, the sender, writes the output. Between them is a channel, through which also goes
what passes the stage by (`forward_to()`), so the order is kept. While nothing is between and the output has room, the reader sends
by itself: a stage whose reader keeps up costs no more than one that does nothing.

When the reader of the output has gone, the sender ends, and closes the channel between; it has the name of the output, so the
stage's own task leaves with its next element as if it had sent that itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..channels import count_waits_between, open_channel
from ..elements import StreamElement, TextElement
from ._checks import checked_count
from ._contract import BaseStage

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts
    from ._context import RunContext

__all__ = ["BufferStage", "CoalesceStage"]


class _Decoupling(BaseStage):
    """What the stages that take while they send have in common."""

    def __init__(self, size: int, field: str, name: str, accepts: Accepts | None) -> None:
        super().__init__(name)
        self._size = checked_count(size, field, self.name)
        self.accepts: Accepts | None = accepts
        self.emits: Accepts | None = accepts
        self.max_held: int | None = self._size + 2  # and one in each hand

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        between = _Between(self._size, output, self._joined)
        input.forward_to(between.entrance)
        run.start_soon(between.send_all, name="sender")
        try:
            async for element in input:
                if not (between.is_empty and output.try_send(element)):
                    await between.entrance.send(element)
        finally:
            between.entrance.close()
        input.forward_to(output)  # what is left behind the last element, once the sender has sent what is before it

    def _joined(self, first: StreamElement, places: ReceiveEnd[StreamElement]) -> StreamElement:
        """Return what to send for `first`, and for what may be taken behind it."""
        del places
        return first


class _Between:
    """What a stage holds in one run, and the task that sends it."""

    def __init__(self, size: int, output: SendEnd[Any], joined: Any) -> None:
        self._output = output
        self._joined = joined
        self._in_hand = False
        self.entrance: SendEnd[Any]
        """Where all goes that cannot be sent at once."""
        self._places: ReceiveEnd[Any]
        self.entrance, self._places = open_channel(size, name=output.name)
        count_waits_between(output, self._places)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is between the two tasks, so that nothing would be overtaken."""
        return not self._in_hand and not self._places.backlog

    async def send_all(self) -> None:
        """Send what is there until all is sent and nothing more can come.

        Raises:
            OutputClosedError: If the reader of the output has gone.
        """
        try:
            async for first in self._places:
                self._in_hand = True
                await self._output.send(self._joined(first, self._places))
                self._in_hand = False
        finally:
            self._places.close()


class BufferStage(_Decoupling):
    """Hold up to `size` elements, so that what comes in bursts does not wait for a reader that is slow now and then.

    An edge can do that without a stage: `connect(…, buffer=size)`. This is for where there is no edge to be told, as in a chain.

    Flow:
        emits: each element, in order, as soon as there is room in the output; what it does not accept too.
        backpressures: while it holds `size` elements.
        completes: when the input ends and all has left.
        cancels: drops what it holds.

    Args:
        size: How many elements it holds, from 1 up; two more are in the hands of its tasks.
        name: Name in the graph.
        accepts: Element types that it declares to take; default all data. Others go through it just as well.

    Raises:
        ConfigError: If `size` is no whole number from 1 up.

    Source: semantics 3.12; Pekko's and Kotlin's `buffer`.
    """

    def __init__(self, size: int, *, name: str = "buffer", accepts: Accepts | None = None) -> None:
        super().__init__(size, "size", name, accepts)


class CoalesceStage(_Decoupling):
    """Join fragments of text that wait for a slow reader: it gets fewer and longer ones, and not a letter is lost.

    Fragments of `TextElement` that come one behind the other are joined while the output is full, if all else that they carry is
    equal: `id`, `metadata`, `priority` and so on. The joined one has the `timestamp_s` of its first. A reader that keeps up
    gets every element as it was. Nothing is joined across an element of another kind, data or control; the order of all is kept.

    Flow:
        emits: each element at once while there is room in the output; what has waited, joined, as soon as there is room again.
        backpressures: while it holds `max_held` elements.
        completes: when the input ends and all has left.
        cancels: drops what it holds.

    Args:
        max_chars: Most characters of a joined fragment; one that was longer by itself stays as it is.
        max_held: Most elements that wait; two more are in the hands of its tasks.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.

    Source: semantics 3.12; Pekko's `conflate`, Kotlin's `conflate` without its loss.
    """

    def __init__(self, max_chars: int = 4096, *, max_held: int = 256, name: str = "coalesce") -> None:
        super().__init__(max_held, "max_held", name, TextElement)
        self._max_chars = checked_count(max_chars, "max_chars", self.name)

    def _joined(self, first: StreamElement, places: ReceiveEnd[StreamElement]) -> StreamElement:
        if not isinstance(first, TextElement) or not places.backlog:
            return first
        texts, length = [first.text], len(first.text)
        while places.backlog:
            head = places.backlog[0]
            if (
                not isinstance(head, TextElement)
                or length + len(head.text) > self._max_chars
                or not _alike(head, first)
            ):
                break
            length += len(head.text)
            texts.append(head.text)
            places.receive_nowait()
        return first.replace(text="".join(texts)) if len(texts) > 1 else first


def _alike(one: TextElement, other: TextElement) -> bool:
    """Say whether two fragments differ in nothing but their text and their time."""
    return one.replace(text="", timestamp_s=None) == other.replace(text="", timestamp_s=None)
