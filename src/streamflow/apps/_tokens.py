"""Tokens as events: for listeners that follow an answer without reading the run.

Above: `_chat`, users. Below: `stages`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ..elements import TextElement, TurnReset, TurnStart
from ..stages import BaseStage

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ..stages import Accepts, RunContext

__all__ = ["ChatTokenStage"]


class ChatTokenStage(BaseStage):
    """Tell listeners of each fragment of text before it goes on: an event `chat.token` with the `token`.

    In: `TextElement`; `TurnStart` and `TurnReset`, at which a text begins anew.
    Out: what came in.

    With `partial`, the event also has `partial_response`, the text so far. It is joined when it is looked at, and at no other time:
    an answer costs what it is long, unless a listener looks at every token.

    Flow:
        emits: each element at once, behind its event.
        backpressures: while the output is full; with `partial` it also keeps the texts of the answer.

    Args:
        partial: Whether events have `partial_response`.
        name: Name in the graph.

    Source: seed 000 (StreamingLLMStage).
    """

    accepts: Accepts | None = (TextElement, TurnStart, TurnReset)
    emits: Accepts | None = (TextElement, TurnStart, TurnReset)

    def __init__(self, *, partial: bool = False, name: str = "tokens") -> None:
        super().__init__(name)
        self._partial = partial

    async def process(
        self,
        input: ReceiveEnd[TextElement | TurnStart | TurnReset],
        output: SendEnd[TextElement | TurnStart | TurnReset],
        run: RunContext[object],
    ) -> None:
        """Run the stage."""
        said: list[str] = []
        id = ""
        async for element in input:
            if isinstance(element, TextElement):
                if self._partial:
                    if element.id != id:
                        said, id = [], element.id
                    said.append(element.text)
                    run.emit("chat.token", _Token(element.text, said))
                else:
                    run.emit("chat.token", {"token": element.text})
            else:
                said = []
            await output.send(element)


class _Token(Mapping[str, object]):
    """What an event says of a token. It shares the list of all tokens, which only grows, and joins the part that is its own."""

    __slots__ = ("_count", "_said", "_token")

    def __init__(self, token: str, said: list[str]) -> None:
        self._token = token
        self._said = said
        self._count = len(said)

    def __getitem__(self, key: str) -> object:
        if key == "token":
            return self._token
        if key == "partial_response":
            return "".join(self._said[: self._count])
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(("token", "partial_response"))

    def __len__(self) -> int:
        return 2

    def __repr__(self) -> str:
        return f"{{'token': {self._token!r}, 'partial_response': …}}"
