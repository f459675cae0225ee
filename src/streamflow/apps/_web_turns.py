"""Chats as a web application sees them: what was said, and the response to what is said next, whoever keeps the history.

Above: `_web_chat`. Below: `_chat_service`, `_session`.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from ..errors import ConfigError, ElementError, StateError
from ..transports import steps_of
from ._chat_service import ChatService
from ._session import ChatSession

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from ..elements import Message, StreamElement
    from ..runtime import Pipeline
    from ._chat_records import ChatMessage, ChatSettings

__all__ = ["Chats", "chats_of"]


class Chats(Protocol):
    """Whoever keeps the histories."""

    async def messages(self, chat: str) -> Sequence[Mapping[str, object]]:
        """Return what was said in a chat; nothing, if there is none of this id."""
        ...

    def respond(self, chat: str, said: Message) -> AbstractAsyncContextManager[AsyncIterable[StreamElement]]:
        """Return the response to what the user says, to be entered."""
        ...

    def resume(
        self, chat: str, decisions: Mapping[str, bool]
    ) -> AbstractAsyncContextManager[AsyncIterable[StreamElement]]:
        """Return the rest of a response that waits for a person.

        Raises:
            ElementError: If none can wait here.
        """
        ...


def chats_of(given: ChatService | Pipeline, settings: ChatSettings | None, max_chats: int) -> Chats:
    """Return the chats of a service, or new ones that a pipeline answers, kept in memory.

    Raises:
        ConfigError: If it is neither, or a pipeline with settings.
    """
    if isinstance(given, ChatService):
        return _ServiceChats(given, settings)
    if settings is not None:
        raise ConfigError("settings", "a pipeline has its own; give a ChatService, or leave them out")
    if not hasattr(given, "execute"):
        raise ConfigError(
            "chats",
            f"a {type(given).__name__} cannot answer; give a ChatService, or a pipeline such as chat_pipeline()",
        )
    return _SessionChats(given, max_chats)


class _ServiceChats:
    """Chats of a service, in its store. One that is asked for is made when something is said in it."""

    def __init__(self, service: ChatService, settings: ChatSettings | None) -> None:
        self._service = service
        self._settings = settings

    async def messages(self, chat: str) -> Sequence[Mapping[str, object]]:
        try:
            said = await self._service.messages(chat)
        except StateError as error:
            if error.code == "not_found":
                return ()
            raise
        return [_told(one) for one in said]

    @asynccontextmanager
    async def respond(self, chat: str, said: Message) -> AsyncGenerator[AsyncIterable[StreamElement]]:
        try:
            await self._service.conversation(chat)
        except StateError as error:
            if error.code != "not_found":
                raise
            await self._service.create(self._settings, id=chat)
        async with self._service.stream_response(chat, said) as response:
            yield response.elements()

    @asynccontextmanager
    async def resume(self, chat: str, decisions: Mapping[str, bool]) -> AsyncGenerator[AsyncIterable[StreamElement]]:
        async with self._service.resume(chat, decisions) as response:
            yield response.elements()


class _SessionChats:
    """Chats in memory; the one that nobody has looked at for longest is forgotten first."""

    def __init__(self, pipeline: Pipeline, max_chats: int) -> None:
        self._pipeline = pipeline
        self._max_chats = max_chats
        self._sessions: OrderedDict[str, ChatSession] = OrderedDict()

    async def messages(self, chat: str) -> Sequence[Mapping[str, object]]:
        session = self._sessions.get(chat)
        if session is None:
            return ()
        told: list[Mapping[str, object]] = []
        answer: list[Message] = []

        def end_answer() -> None:
            if answer:
                steps = [step.to_dict() for step in steps_of(answer)]
                text = "\n\n".join(one.text for one in answer if one.role == "assistant" and one.text)
                told.append({"role": "assistant", "text": text, "steps": steps, "status": "whole"})
                answer.clear()

        for message in session.history:
            if message.role == "user":
                end_answer()
                told.append({"role": "user", "text": message.text})
            else:
                answer.append(message)
        end_answer()
        return told

    @asynccontextmanager
    async def respond(self, chat: str, said: Message) -> AsyncGenerator[AsyncIterable[StreamElement]]:
        session = self._sessions.pop(chat, None) or ChatSession(self._pipeline)
        self._sessions[chat] = session
        if len(self._sessions) > self._max_chats:
            self._sessions.popitem(last=False)
        async with session.reply(said) as reply:
            yield reply

    def resume(
        self, chat: str, decisions: Mapping[str, bool]
    ) -> AbstractAsyncContextManager[AsyncIterable[StreamElement]]:
        raise ElementError(f"no call waits here for a decision about {', '.join(decisions)!r:.80}")


def _told(message: ChatMessage) -> Mapping[str, object]:
    if message.role == "user":
        return {"role": "user", "text": message.text}
    steps = [step.to_dict() for step in message.steps]
    return {"role": "assistant", "text": message.text, "steps": steps, "status": message.status}
