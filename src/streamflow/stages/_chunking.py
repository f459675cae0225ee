"""The stage that regroups text: fragments joined and cut to a size, without a changed letter.

Above: users. Below: `_contract`, `_deadlines`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anyio

from ..elements import TextElement, TurnEnd, survives_interruption
from ..errors import ConfigError
from ._checks import checked_count
from ._contract import BaseStage, StageKind
from ._deadlines import checked_seconds, next_until

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts
    from ._context import RunContext
    from ._contract import Bypass
    from ._turns import OnInterrupt

__all__ = ["ChunkBy", "ChunkTextStage"]

ChunkBy = Literal["characters", "words"]
"""Where a text may be cut: anywhere, or behind white space."""


class ChunkTextStage(BaseStage):
    """Regroup fragments of text into chunks of `max_chars` characters, or of what came in `max_wait_s`; no letter is changed.

    In: `TextElement` and `TurnEnd`. Fragments that follow each other are joined if all but their texts is the same: `id`, `path`,
    metadata, the rest of the header, and the type. So the chunks of a turn say, for each `id` and `path`, what the fragments said.
    Out: `TextElement` of at most `max_chars` characters, with the header of their fragments. Where they are cut depends on the text
    alone, not on how it was divided before, unless time runs out. An empty one leaves only if there is nothing else of its header.

    Flow:
        emits: when `max_chars` characters are there; the rest `max_wait_s` after its first character came, before a fragment that
            is not to be joined to it, on `TurnEnd`, and at the end.
        backpressures: while the output is full; holds less than `max_chars` characters, and the fragment in hand.
        completes: when the input ends, after the rest.
        cancels: drops what it holds.
        interrupts: forgets the text that it holds, if its fragments may be dropped.

    Args:
        max_chars: Most characters (code points) of a chunk, from 1 up.
        max_wait_s: Longest time, in seconds, that a character is held; None: no limit.
        by: `characters`: every chunk is full, but for the rest; `words`: a chunk ends with white space where it has any, so that
            only words longer than a chunk are cut, or what time cuts.
        name: Name in the graph.
        bypass: When other elements leave: `late`, behind the text that came before them; `early`, at once.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = (TextElement, TurnEnd)
    emits: Accepts | None = (TextElement, TurnEnd)

    def __init__(
        self,
        max_chars: int,
        *,
        max_wait_s: float | None = None,
        by: ChunkBy = "characters",
        name: str = "chunk_text",
        bypass: Bypass = "late",
    ) -> None:
        super().__init__(name)
        self._max_chars = checked_count(max_chars, "max_chars", self.name)
        self._max_wait_s = None if max_wait_s is None else checked_seconds(max_wait_s, "max_wait_s", self.name)
        if by not in {"characters", "words"}:
            raise ConfigError("by", f"stage {self.name!r}: give 'characters' or 'words', got {by!r:.80}")
        self._by_words = by == "words"
        self.max_held: int | None = self._max_chars  # fragments of one character each
        self.bypass: Bypass = bypass

    async def process(
        self,
        input: ReceiveEnd[TextElement | TurnEnd],
        output: SendEnd[TextElement | TurnEnd],
        run: RunContext[object],
    ) -> None:
        """Run the stage."""
        rest = _Rest(None)
        epoch = run.epoch
        is_open = True
        while is_open:
            deadline = rest.since_s + self._max_wait_s if self._max_wait_s is not None and rest.is_owed else None
            element: TextElement | TurnEnd | None = None
            try:
                element = await next_until(input, deadline)
            except anyio.EndOfStream:
                is_open = False
            if epoch != run.epoch:
                epoch = run.epoch
                if rest.header is not None and not survives_interruption(rest.header):
                    rest = _Rest(None)
            if not is_open:
                break
            if isinstance(element, TextElement):
                header = element.replace(text="")
                if header != rest.header:
                    await rest.send(output)
                    rest = _Rest(header)
                await self._send_chunks(element, rest, output)
            else:
                await rest.send(output)
            if isinstance(element, TurnEnd):
                await output.send(element)
                rest = _Rest(None)
            elif not rest.is_owed:
                await input.pass_aside()
        await rest.send(output)

    async def _send_chunks(self, element: TextElement, rest: _Rest, output: SendEnd[TextElement]) -> None:
        """Send what is full now that `element` has come, and keep the rest."""
        text, start, was_owed = rest.text + element.text, 0, rest.is_owed
        while len(text) - start >= self._max_chars:
            end = start + self._max_chars
            if self._by_words:
                end = next((at for at in range(end, start, -1) if text[at - 1].isspace()), end)
            await output.send(element.replace(text=text[start:end]))
            start, rest.is_new = end, False
        rest.text = text[start:]
        if not was_owed or (start and len(rest.text) <= len(element.text)):
            rest.since_s = anyio.current_time()


class _Rest:
    """Text that has not been sent, of fragments with one header."""

    def __init__(self, header: TextElement | None) -> None:
        self.header = header
        """What the fragments have in common, as an element without text; None: there were none."""
        self.text = ""
        self.since_s: float = anyio.current_time()
        """When the first character of the text came."""
        self.is_new = header is not None
        """Whether nothing was sent with this header."""

    @property
    def is_owed(self) -> bool:
        """Whether there is something to send."""
        return self.is_new or bool(self.text)

    async def send(self, output: SendEnd[TextElement]) -> None:
        """Send all that is owed."""
        if self.header is not None and self.is_owed:
            await output.send(self.header.replace(text=self.text))
            self.text, self.is_new = "", False
