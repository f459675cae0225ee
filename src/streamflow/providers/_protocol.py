"""What a model provider is: one method that streams elements.

Above: `_stage`, and every provider. Below: `elements`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from ..elements import Message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..elements import StreamElement

__all__ = ["ModelRequest", "Provider"]


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a model."""

    messages: tuple[Message, ...]
    """The conversation, oldest first; system messages first of all."""
    model: str | None = None
    """Name of the model; None: the provider's default."""
    temperature: float | None = None
    """How freely it samples, from 0; None: the server's default."""
    max_tokens: int | None = None
    """Most tokens that it may answer with; None: the server's default."""


class Provider(Protocol):
    """A source of model answers. One object serves any number of concurrent calls."""

    @property
    def name(self) -> str:
        """What it is called in errors and usage."""
        ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Call the model and give its answer as it arrives.

        Out: fragments (`TextElement`, `ThinkingElement`) that share one `id`; a final `UsageElement` if usage is known; last,
        exactly once, the `MessageElement` with that `id`, which equals its fragments and carries the stop reason.

        Cancellation: closing the generator, or cancelling the task that iterates it, ends the request at the server's socket.

        Raises:
            ProviderError: If the call fails, also in the middle; a stream that ends before it is complete is `truncated`.
        """
        ...
