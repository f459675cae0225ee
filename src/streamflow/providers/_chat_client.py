"""Your own client with `chat(…)`, and perhaps `stream_chat(…)`, as a provider: what most programs have before they have streamflow.

Above: `_given`. Below: `_protocol`.
Rules: such a client takes text alone, so what it could not be told is refused before it is asked. What it raises is the cause of a
`ProviderError` that repeats nothing of it.
"""

from __future__ import annotations

import inspect
import uuid
from typing import TYPE_CHECKING, Any, Protocol

from ..elements import Message, MessageElement, TextElement, TextPart, ThinkingPart, Usage, UsageElement
from ..errors import ConfigError, ProviderError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from ..elements import StreamElement
    from ._protocol import ModelRequest

__all__ = ["ChatClient", "ChatClientProvider", "StreamingChatClient", "is_chat_client"]

_TEMPERATURE = 0.7  # what the client is asked with where nobody says: its signature wants a number
_MAX_TOKENS = 1024
_MAX_ANSWER_CHARS = 10_000_000


class ChatClient(Protocol):
    """A client that answers whole; if it has `stream_chat()` as well, that one is asked."""

    async def chat(self, messages: list[dict[str, str]], model: str, temperature: float, max_tokens: int) -> str:
        """Return the answer to messages that have `role` and `content`; all is given by keyword."""
        ...


class StreamingChatClient(Protocol):
    """A client that answers piece by piece."""

    def stream_chat(self, messages: list[dict[str, str]]) -> AsyncIterator[str]:
        """Return the pieces of the answer as they come; `model`, `temperature` and `max_tokens` are given where they are taken."""
        ...


class ChatClientProvider:
    """A `Provider` that asks a `ChatClient` or a `StreamingChatClient`.

    Args:
        client: Used as it is, and not closed.
        model: Name of the model for requests that name none.
        name: What it is called in errors and usage.

    Raises:
        ConfigError: If the client cannot be waited for.
    """

    def __init__(self, client: object, *, model: str | None = None, name: str | None = None) -> None:
        chat: Any = getattr(client, "chat", None)
        stream: Any = getattr(client, "stream_chat", None)
        self.name: str = name or type(client).__name__
        """What it is called in errors and usage."""
        if stream is None and not inspect.iscoroutinefunction(chat):
            raise ConfigError("provider", f"{self.name}.chat() is not async; give a client that can be waited for")
        self._chat: Callable[..., Any] = chat
        self._stream: Callable[..., Any] | None = stream
        self._stream_takes = _parameters(stream) if stream is not None else frozenset[str]()
        self._model = model

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Ask the client, and give its answer: as it arrives from `stream_chat()`, in one piece from `chat()`.

        Out: as `Provider.stream` says; the usage names provider and model, and no numbers, which such a client does not tell.

        Cancellation: cancels the client's call, and closes its stream.

        Raises:
            ProviderError: If the client fails, or gives no text; `bad_request` if it could not be told what the request says.
        """
        messages = [self._told(message) for message in request.messages]
        if request.tools or request.output is not None:
            raise self._refused("tools and forms of answers")
        asked = {
            "messages": messages,
            "model": request.model or self._model or "",
            "temperature": _TEMPERATURE if request.temperature is None else request.temperature,
            "max_tokens": _MAX_TOKENS if request.max_tokens is None else request.max_tokens,
        }
        id = f"msg-{uuid.uuid4().hex}"
        texts: list[str] = []
        room = _MAX_ANSWER_CHARS
        pieces = self._pieces(asked)
        try:
            async for piece in pieces:
                room -= len(piece)
                if room < 0:
                    message = f"client {self.name!r} gave an answer of more than {_MAX_ANSWER_CHARS} characters"
                    raise ProviderError("protocol", message)
                if piece:
                    texts.append(piece)
                    yield TextElement(piece, id=id)
        finally:
            await pieces.aclose()
        yield UsageElement(Usage(provider=self.name, model=request.model or self._model), final=True)
        yield MessageElement(Message("assistant", "".join(texts), id=id, stop_reason="stop"), id=id)

    async def _pieces(self, asked: Mapping[str, object]) -> AsyncGenerator[str, None]:
        stream: AsyncIterator[object] | None = None
        try:
            if self._stream is None:
                yield self._checked(await self._chat(**asked), "chat")
                return
            opened: Any = self._stream(**{name: asked[name] for name in asked if name in self._stream_takes})
            stream = await opened if inspect.isawaitable(opened) else opened
            assert stream is not None
            async for piece in stream:
                yield self._checked(piece, "stream_chat")
        except ProviderError:
            raise
        except Exception as error:
            is_outside = isinstance(error, OSError)
            message = f"client {self.name!r} failed: {type(error).__name__}"
            raise ProviderError("transport" if is_outside else "protocol", message, is_outside) from error
        finally:
            if inspect.isasyncgen(stream):
                await stream.aclose()

    def _checked(self, given: object, method: str) -> str:
        if isinstance(given, str):
            return given
        message = f"client {self.name!r}: {method}() gave a {type(given).__name__} where a text was expected"
        raise ProviderError("protocol", message)

    def _told(self, message: Message) -> dict[str, str]:
        parts = [part for part in message.parts if not isinstance(part, ThinkingPart)]
        if message.role == "tool" or not all(isinstance(part, TextPart) for part in parts):
            raise self._refused("messages that are not text")
        return {"role": message.role, "content": message.text}

    def _refused(self, what: str) -> ProviderError:
        message = f"client {self.name!r} has only chat(), which takes no {what}; give a provider that does"
        return ProviderError("bad_request", message)

    def __repr__(self) -> str:
        return f"<ChatClientProvider {self.name!r} model={self._model!r}>"


def is_chat_client(given: object) -> bool:
    """Say whether something has the methods of a `ChatClient`; a client of OpenAI's SDK has an object called `chat`."""
    return any(inspect.isroutine(getattr(given, method, None)) for method in ("chat", "stream_chat"))


def _parameters(stream: Callable[..., object]) -> frozenset[str]:
    """Return what a `stream_chat()` takes by keyword: the messages, and what else it names."""
    parameters = inspect.signature(stream).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return frozenset({"messages", "model", "temperature", "max_tokens"})
    return frozenset(one.name for one in parameters) | {"messages"}
