"""Turns as stores keep them: encoded, fingerprinted, and compared.

Above: the stores. Below: `_protocol`, `elements`. Pure functions: nothing here waits.

A body is the JSON array of the turn's messages in the encoding of elements, which is versioned. The fingerprint is one digest of
fixed length for each message, joined: so a turn begins with another one if its fingerprint does, and a store can tell without
decoding, also inside a script on a server.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from ..elements import JsonValue, Message, MessageElement, Metadata, decode_many, encode, freeze, thaw
from ..errors import ConfigError, DecodeError, ElementError, StateConflictError, StateError, StateLimitError
from ._checks import checked_id
from ._protocol import Conversation, Turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._protocol import StoreLimits, TurnStatus

__all__ = [
    "Fate",
    "Head",
    "Record",
    "check_revision",
    "decoded_turn",
    "decoded_value",
    "encoded_turn",
    "encoded_value",
    "fate_of",
    "new_head",
    "past_prefix",
]

Fate = Literal["new", "there", "continues"]
"""What becomes of a turn that is appended."""


class Record(NamedTuple):
    """A turn as it is stored."""

    id: str
    """Names it in its conversation."""
    status: str
    """`whole` or `cut`."""
    messages: int
    """How many messages it has."""
    fingerprint: str
    """One digest for each message, joined."""
    body: bytes
    """The messages."""
    revision: int = 0
    """The revision that its commit made."""
    at_s: float = 0.0
    """When it was committed."""


class Head(NamedTuple):
    """What a store keeps of a conversation beside its turns."""

    revision: int
    """How many commits it has had."""
    turns: int
    """Turns that it holds."""
    messages: int
    """Messages of all turns."""
    size: int
    """Bytes of all bodies."""
    created_s: float
    """When it was made."""
    updated_s: float
    """When it was changed last."""
    ttl_s: float | None
    """How long after a commit it is forgotten."""
    expires_s: float | None
    """When it is forgotten."""
    metadata: bytes
    """What it was made with, as JSON."""

    def told(self, id: str) -> Conversation:
        """Return what a user is told of it."""
        value = decoded_value(self.metadata, id)
        return Conversation(
            id=id,
            revision=self.revision,
            turns=self.turns,
            messages=self.messages,
            size_bytes=self.size,
            created_s=self.created_s,
            updated_s=self.updated_s,
            expires_s=self.expires_s,
            metadata=Metadata(cast("Mapping[str, JsonValue]", value)),
        )

    def committed(self, now: float, *, turns: int, messages: int, size: int) -> Head:
        """Return what it is after a commit at `now` that leaves it with so much."""
        return self._replace(
            revision=self.revision + 1,
            turns=turns,
            messages=messages,
            size=size,
            updated_s=now,
            expires_s=None if self.ttl_s is None else now + self.ttl_s,
        )


def new_head(now: float, ttl_s: float | None, metadata: bytes = b"{}") -> Head:
    """Return what is kept of a conversation that has no turn yet."""
    return Head(0, 0, 0, 0, now, now, ttl_s, None if ttl_s is None else now + ttl_s, metadata)


def encoded_turn(turn: Turn, limits: StoreLimits) -> Record:
    """Return a turn as it is stored.

    Raises:
        ConfigError: If it is no turn with an id and messages.
        ElementError: If a message cannot be encoded.
        StateLimitError: If it is too large.
    """
    id = checked_id(turn.id, "turn.id", limits)
    given = cast("object", turn.messages)
    if (
        not isinstance(given, tuple)
        or not given
        or not all(isinstance(one, Message) for one in cast("Iterable[object]", given))
    ):
        raise ConfigError("turn.messages", "give a tuple of 1 Message or more")
    if turn.status not in {"whole", "cut"}:
        raise ConfigError("turn.status", f"give 'whole' or 'cut', got {turn.status!r:.80}")
    if len(turn.messages) > limits.max_turn_messages:
        raise StateLimitError(
            "max_turn_messages",
            f"turn {id!r} has {len(turn.messages)} messages, more than max_turn_messages={limits.max_turn_messages}; "
            "make it shorter, or raise the limit",
        )
    pieces: list[bytes] = []
    for place, message in enumerate(turn.messages):
        piece = encode(MessageElement(message))
        if len(piece) > limits.max_message_bytes:
            raise StateLimitError(
                "max_message_bytes",
                f"message {place} of turn {id!r} has {len(piece)} bytes, more than max_message_bytes="
                f"{limits.max_message_bytes}; store media elsewhere and give their url, or raise the limit",
            )
        pieces.append(piece)
    body = b"[" + b",".join(pieces) + b"]"
    if len(body) > limits.max_turn_bytes:
        raise StateLimitError(
            "max_turn_bytes",
            f"turn {id!r} has {len(body)} bytes, more than max_turn_bytes={limits.max_turn_bytes}; make it smaller, "
            "or raise the limit",
        )
    fingerprint = "".join(hashlib.blake2b(piece, digest_size=16).hexdigest() for piece in pieces)
    return Record(id, turn.status, len(pieces), fingerprint, body)


def decoded_turn(record: Record, conversation: str) -> Turn:
    """Return the turn that is stored.

    Raises:
        StateError: `corrupt`, if it cannot be read.
    """
    try:
        found = decode_many(record.body, max_bytes=len(record.body))
    except DecodeError as bad:
        # The path and the message of the decoder name fields and types, not what somebody said.
        raise StateError("corrupt", f"turn {record.id!r} of {conversation!r} cannot be read: {bad}") from None
    messages = tuple(one.message for one in found if isinstance(one, MessageElement))
    if len(messages) != record.messages or record.status not in {"whole", "cut"}:
        raise StateError("corrupt", f"turn {record.id!r} of {conversation!r} is not what was stored")
    return Turn(record.id, messages, cast("TurnStatus", record.status), record.revision, record.at_s)


def encoded_value(value: JsonValue, what: str, limits: StoreLimits) -> bytes:
    """Return a JSON value as it is stored.

    Raises:
        ElementError: If it is no JSON value.
        StateLimitError: If it is too large.
    """
    try:
        frozen = thaw(freeze(value, what))
    except DecodeError as bad:
        raise ElementError(f"{bad.path}: {bad.message}") from bad
    try:
        data = json.dumps(frozen, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        raise ElementError(f"{what}: a text in it has half a surrogate pair, which cannot be stored") from None
    if len(data) > limits.max_document_bytes:
        raise StateLimitError(
            "max_document_bytes",
            f"{what} has {len(data)} bytes, more than max_document_bytes={limits.max_document_bytes}; make it smaller, "
            "or raise the limit",
        )
    return data


def decoded_value(data: bytes, key: str) -> JsonValue:
    """Return the JSON value that is stored, read-only.

    Raises:
        StateError: `corrupt`, if it cannot be read.
    """
    try:
        return freeze(json.loads(data))
    except (ValueError, RecursionError, DecodeError):
        raise StateError("corrupt", f"what is stored for {key!r} is no JSON") from None


def fate_of(conversation: str, given: Record, stored: Record | None, head: Head, newest: str) -> Fate:
    """Say what becomes of a turn that is appended.

    Args:
        conversation: Whose turn it is.
        given: The turn that is appended.
        stored: The one of the same id that is there; its body is not looked at.
        head: What there is of the conversation.
        newest: Id of its newest turn.

    Raises:
        StateConflictError: If the id belongs to another turn, or to one that cannot be continued.
    """
    if stored is None:
        return "new"
    if stored.fingerprint.startswith(given.fingerprint) and (stored.status == "whole" or given.status == "cut"):
        return "there"
    if stored.status == "cut" and stored.id == newest and given.fingerprint.startswith(stored.fingerprint):
        return "continues"
    raise StateConflictError(conversation, None, head.revision, newest)


def check_revision(key: str, expected: int | None, actual: int, winner: str = "") -> None:
    """Do nothing if a writer has seen the revision that there is.

    Raises:
        StateConflictError: If somebody else was first.
    """
    if expected is not None and expected != actual:
        raise StateConflictError(key, expected, actual, winner)


def past_prefix(prefix: str) -> str | None:
    """Return the first text, by code points, behind all that begin with `prefix`; None: there is none."""
    while prefix:
        last = ord(prefix[-1]) + 1
        if last <= 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if last == 0xD800 else last)  # no text holds half a surrogate pair
        prefix = prefix[:-1]
    return None
