"""A provider whose messages say what the call that made them has used, so that it is stored with them.

Above: `_chat_service`. Below: `providers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..elements import MessageElement, UsageElement
from ._chat_records import USAGE_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..elements import StreamElement, Usage
    from ..providers import ModelRequest, Provider

__all__ = ["NotedUsage"]


class NotedUsage:
    """A `Provider` that writes the final usage of a call, which comes before its message, into the message's metadata."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    @property
    def name(self) -> str:
        """What the provider is called."""
        return self._provider.name

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Answer as the provider does.

        Cancellation: ends the call.

        Raises:
            ProviderError: If the call fails.
        """
        usage: Usage | None = None
        answer = self._provider.stream(request)
        try:
            async for element in answer:
                if isinstance(element, UsageElement) and element.final:
                    usage = element.usage
                if isinstance(element, MessageElement) and usage is not None:
                    message = element.message
                    noted = message.metadata.merged({USAGE_KEY: msgspec.to_builtins(usage)})
                    yield element.replace(message=msgspec.structs.replace(message, metadata=noted))
                else:
                    yield element
        finally:
            await answer.aclose()
