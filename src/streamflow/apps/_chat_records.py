"""What a chat service knows of a conversation: its settings, and what was said in it.

Above: `_chat_service`. Below: `state`, `transports`.

The turns are in the store as messages, under the id of the conversation; the settings are a document beside them. A conversation
that something else has written has no such document, and the usual settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import msgspec

from ..elements import Usage, thaw
from ..errors import ConfigError, StateError
from ..state import TurnStatus
from ..transports import ProcessStep, steps_of

if TYPE_CHECKING:
    from typing import Self

    from ..elements import JsonValue, Message
    from ..state import Conversation, Document, Turn

__all__ = [
    "USAGE_KEY",
    "ChatConversation",
    "ChatConversationPage",
    "ChatMessage",
    "ChatSettings",
    "messages_of",
    "read_settings",
    "settings_key",
    "written_settings",
]

USAGE_KEY = "usage"
"""Where a stored message says what the call that made it has used."""

_MAX_TITLE = 200

ChatRole: TypeAlias = Literal["user", "assistant"]


class ChatSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a conversation is answered.

    Raises:
        ConfigError: If a value can be no model's; the field is named.
    """

    title: str = ""
    """What it is called, for a person; at most 200 characters."""
    system: str = ""
    """What the model is told first; empty: nothing."""
    model: str | None = None
    """Name of the model; None: the provider's default."""
    temperature: float | None = None
    """How freely it samples, from 0; None: the server's default."""
    max_tokens: int | None = None
    """Most tokens of one answer of the model; None: the server's default."""
    thinking: bool = False
    """Whether the model is asked to think before it answers."""

    def __post_init__(self) -> None:
        if len(self.title) > _MAX_TITLE:
            raise ConfigError("title", f"it has {len(self.title)} characters; use at most {_MAX_TITLE}")
        if self.temperature is not None and not self.temperature >= 0:
            raise ConfigError("temperature", f"{self.temperature} is out of range; give 0 or more")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError("max_tokens", f"{self.max_tokens} is out of range; give 1 or more")

    def replace(self, **changes: object) -> Self:
        """Return a copy with the named fields changed.

        Raises:
            ConfigError: If a value can be no model's.
            TypeError: If there is no such field.
        """
        return msgspec.structs.replace(self, **changes)


class ChatConversation(msgspec.Struct, frozen=True):
    """A conversation, without what was said in it."""

    id: str
    """Names it in the store."""
    settings: ChatSettings
    """How it is answered."""
    turns: int = 0
    """Turns that it holds."""
    revision: int = 0
    """How many commits it has had."""
    settings_revision: int = 0
    """How often its settings were written."""
    created_s: float = 0.0
    """When it was made, in seconds since 1970."""
    updated_s: float = 0.0
    """When something was said last, in seconds since 1970."""

    @property
    def title(self) -> str:
        """What it is called."""
        return self.settings.title


class ChatConversationPage(msgspec.Struct, frozen=True):
    """Some conversations of a list, in the order of their ids."""

    conversations: tuple[ChatConversation, ...]
    """The conversations."""
    next: str | None = None
    """What to give as `after=` for the next page; None: there is none."""


class ChatMessage(msgspec.Struct, frozen=True):
    """What was said: by the user, or in answer to that, tools included."""

    id: str
    """Names it: an answer has the id of its turn, which its `ChatDone` has told."""
    role: ChatRole
    """Who has said it."""
    text: str
    """What was said; of an answer the texts of all its rounds, with an empty line between them."""
    steps: tuple[ProcessStep, ...] = ()
    """The steps of an answer, as they were shown."""
    status: TurnStatus = "whole"
    """Whether an answer came to its end."""
    token_count: int = 0
    """Tokens that the model has written for it."""
    usage: Usage = Usage()
    """What the model calls of it have used, summed; not those of agents that were called as tools."""
    at_s: float = 0.0
    """When it was stored, in seconds since 1970."""


def settings_key(conversation: str) -> str:
    """Return the key of the document with the settings."""
    return f"chat/{conversation}"


def written_settings(settings: ChatSettings) -> JsonValue:
    """Return settings as the value of a document."""
    return cast("JsonValue", msgspec.to_builtins(settings))


def read_settings(info: Conversation, document: Document | None) -> ChatConversation:
    """Return a conversation with its settings.

    Raises:
        StateError: `corrupt`, if the document holds something else.
    """
    settings, revision = ChatSettings(), 0
    if document is not None:
        try:
            settings = msgspec.convert(thaw(document.value), ChatSettings)
        except (msgspec.ValidationError, ConfigError):
            raise StateError("corrupt", f"document {document.key!r} holds no settings of a conversation") from None
        revision = document.revision
    return ChatConversation(
        info.id, settings, info.turns, info.revision, revision, info.created_s, max(info.updated_s, info.created_s)
    )


def messages_of(turn: Turn) -> tuple[ChatMessage, ...]:
    """Return what was said in a turn: message by message of the user, and the answer, empty if it was cut at once."""
    asked = [one for one in turn.messages if one.role == "user"]
    answered = [one for one in turn.messages if one.role in {"assistant", "tool"}]
    usage = sum(map(_usage_in, answered), Usage())
    answer = ChatMessage(
        turn.id,
        "assistant",
        "\n\n".join(one.text for one in answered if one.role == "assistant" and one.text),
        steps_of(answered),
        turn.status,
        usage.output_tokens or 0,
        usage,
        turn.at_s,
    )
    questions = (
        ChatMessage(one.id or f"{turn.id}-asked-{place}", "user", one.text, at_s=turn.at_s)
        for place, one in enumerate(asked)
    )
    return (*questions, answer)


def _usage_in(message: Message) -> Usage:
    told = message.metadata.get(USAGE_KEY)
    if told is None:
        return Usage()
    try:
        return msgspec.convert(thaw(told), Usage)
    except msgspec.ValidationError:
        return Usage()  # somebody else's
