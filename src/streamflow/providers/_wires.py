"""What a wire is to a call: a path, a body, an answer. The three that there are.

Above: `_call`, the providers. Below: the requests and answers of each wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast, get_args

from ..elements import AudioFormat
from ._anthropic_answer import AnthropicAnswer
from ._anthropic_request import anthropic_body
from ._chat_answer import ChatAnswer
from ._chat_request import chat_body
from ._responses_answer import ResponsesAnswer
from ._responses_request import responses_body

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..elements import StreamElement
    from ._assembly import Assembly
    from ._protocol import ModelRequest

__all__ = ["Answer", "AnthropicWire", "ChatWire", "ResponsesWire", "Wire"]


class Answer(Protocol):
    """Makes the elements of one answer out of its events."""

    @property
    def done(self) -> bool:
        """Whether the server has said that nothing follows."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the answer is whole, whatever becomes of the connection."""
        ...

    def take(self, data: str) -> Sequence[StreamElement]:
        """Take the data of one event, and return the elements in it."""
        ...

    def finish(self) -> Sequence[StreamElement]:
        """Return the last elements, or raise if the answer is not whole."""
        ...


class Wire(Protocol):
    """How a kind of server is asked, and how it answers."""

    @property
    def path(self) -> str:
        """What is appended to the address."""
        ...

    def body(self, request: ModelRequest, model: str | None) -> dict[str, object]:
        """Return the body of a request."""
        ...

    def answer(self, assembly: Assembly, request: ModelRequest) -> Answer:
        """Return what takes the answer to a request."""
        ...


class ChatWire:
    """OpenAI's chat completions.

    Args:
        max_tokens_field: What the server calls the most tokens to answer with.
        thoughts_field: What the server calls thoughts in what the assistant has said; None: they are left out.
    """

    path = "/chat/completions"

    def __init__(self, max_tokens_field: str, thoughts_field: str | None = None) -> None:
        self._max_tokens_field = max_tokens_field
        self._thoughts_field = thoughts_field

    def body(self, request: ModelRequest, model: str | None) -> dict[str, object]:
        """Return the body of a request."""
        return chat_body(request, model, self._max_tokens_field, self._thoughts_field)

    def answer(self, assembly: Assembly, request: ModelRequest) -> Answer:
        """Return what takes the answer to a request."""
        audio = request.extra.get("audio")
        format = cast("Mapping[str, object]", audio).get("format") if audio is not None else None
        return ChatAnswer(assembly, sound=cast("AudioFormat", format) if format in get_args(AudioFormat) else "pcm16")


class ResponsesWire:
    """OpenAI's Responses."""

    path = "/responses"

    def body(self, request: ModelRequest, model: str | None) -> dict[str, object]:
        """Return the body of a request."""
        return responses_body(request, model)

    def answer(self, assembly: Assembly, request: ModelRequest) -> Answer:
        """Return what takes the answer to a request."""
        return ResponsesAnswer(assembly)


class AnthropicWire:
    """Anthropic's Messages.

    Args:
        max_tokens: Most tokens to answer with, for requests that do not say: this wire wants a number.
    """

    path = "/v1/messages"

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens

    def body(self, request: ModelRequest, model: str | None) -> dict[str, object]:
        """Return the body of a request."""
        return anthropic_body(request, model, self._max_tokens)

    def answer(self, assembly: Assembly, request: ModelRequest) -> Answer:
        """Return what takes the answer to a request."""
        return AnthropicAnswer(assembly)
