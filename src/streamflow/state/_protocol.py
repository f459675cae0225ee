"""What a store of conversations is: turns of whole messages, committed as units, and JSON documents beside them.

Above: the stages, the stores, and stores of users. Below: `elements`, `errors`.

Rules:

- The unit is the **turn**: one append stores all of its messages or none. A reader sees whole turns only.
- Every commit raises the **revision** of its conversation by one. A writer that says which revision it has seen (`expected`) is
  told by `StateConflictError` when somebody else was first. A conversation that does not exist has revision 0, and the first
  append makes it; one that was deleted or has expired begins at 0 again.
- A turn has an **id**, unique in its conversation. Appending the same turn again changes nothing and returns the revision that
  it has, so whoever lost an answer asks again. The newest turn, if it is `cut`, can be continued: by a turn of the same id whose
  messages begin with those that are stored.
- An order is the order of commits; ids are ordered by their code points.
- A method that was cancelled, or that failed with a `retryable` error, has done its work or has not, never a part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from ..elements import EMPTY_METADATA, JsonValue, Message, Metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

__all__ = [
    "Conversation",
    "ConversationPage",
    "Document",
    "History",
    "StateStore",
    "StoreLimits",
    "Turn",
    "TurnStatus",
]

TurnStatus: TypeAlias = Literal["whole", "cut"]
"""Whether a turn came to its end, or was cut short: by an interruption, a failure, or a client that had gone."""


class Turn(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was said in one turn: the messages of the user, and everything that they were answered with."""

    id: str
    """Names the turn in its conversation; made by who writes it, and the same when it is written again."""
    messages: tuple[Message, ...]
    """The messages, in order."""
    status: TurnStatus = "whole"
    """Whether the turn came to its end."""
    revision: int = 0
    """Revision of the conversation that its commit made; 0: it is not stored yet."""
    at_s: float = 0.0
    """When it was committed, in seconds since 1970 on the store's clock; 0: it is not stored yet."""


class Conversation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a conversation without reading it."""

    id: str
    """Names it in its store."""
    revision: int = 0
    """How many commits it has had."""
    turns: int = 0
    """Turns that it holds."""
    messages: int = 0
    """Messages of all turns."""
    size_bytes: int = 0
    """Bytes of all messages, as they are stored."""
    created_s: float = 0.0
    """When it was made, in seconds since 1970 on the store's clock."""
    updated_s: float = 0.0
    """When it was changed last, on the same clock."""
    expires_s: float | None = None
    """When it will be forgotten, on the same clock; None: never."""
    metadata: Metadata = EMPTY_METADATA
    """What it was made with."""


class History(msgspec.Struct, frozen=True):
    """What was loaded of a conversation: whole turns, oldest first."""

    conversation: str
    """Whose it is."""
    revision: int = 0
    """Revision that the conversation had; 0: there is none."""
    turns: tuple[Turn, ...] = ()
    """The turns, all of them or the last ones."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of the turns, in order, just as they were stored; `repair_history()` makes them lawful."""
        return tuple(message for turn in self.turns for message in turn.messages)


class Document(msgspec.Struct, frozen=True):
    """A JSON value under a key: an agent's state, a summary, what you like."""

    key: str
    """Names it in its store."""
    value: JsonValue
    """The value, read-only; `thaw()` gives a plain copy."""
    revision: int
    """How often it was written."""


class ConversationPage(msgspec.Struct, frozen=True):
    """Some conversations of a list, in the order of their ids."""

    conversations: tuple[Conversation, ...]
    """The conversations."""
    next: str | None = None
    """What to give as `after=` for the next page; None: there is none."""


class StoreLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How large things in a store may be; all of them from 1 up.

    What is written beyond a limit is refused with `StateLimitError`, and nothing of it is written. What is loaded beyond one is
    refused, too: the text says what to ask for instead.
    """

    max_id_chars: int = 256
    """Longest id of a conversation or turn, and longest key, in characters."""
    max_message_bytes: int = 8 * 1024 * 1024
    """Largest message, as it is stored: JSON, bytes in base64."""
    max_turn_messages: int = 1_000
    """Most messages of one turn."""
    max_turn_bytes: int = 32 * 1024 * 1024
    """Largest turn."""
    max_load_messages: int = 10_000
    """Most messages that one call loads."""
    max_load_bytes: int = 64 * 1024 * 1024
    """Most bytes that one call loads."""
    max_document_bytes: int = 4 * 1024 * 1024
    """Largest document or metadata, as JSON."""
    max_page: int = 1_000
    """Most conversations of one page."""


class StateStore(Protocol):
    """Where conversations and documents are kept. `check_store()` says whether yours keeps what this promises.

    A store is opened and closed by `async with`, and used in that event loop. Its methods may be called by any number of tasks at a
    time. Ids and keys are texts of 1 to `max_id_chars` characters without control characters.

    Every method raises `StateError` (or a subclass of it) and nothing else, wrong arguments excepted: `unavailable` or `timeout`,
    which are retryable; `closed` when it is called before the opening or after the end; `corrupt` if what is stored cannot be read.
    """

    async def __aenter__(self) -> Self:
        """Open the store: connect, and bring its schema up to date.

        Raises:
            StateError: `schema` if it was written by a newer release; `unavailable`, `denied`.
        """
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the store, after what is being written. Idempotent."""
        ...

    async def ping(self) -> None:
        """Return when the store has answered."""
        ...

    async def create(
        self, conversation: str, *, metadata: Mapping[str, JsonValue] | None = None, ttl_s: float | None = None
    ) -> Conversation:
        """Make an empty conversation, which has revision 0, and return what is known of it.

        Args:
            conversation: Its id.
            metadata: What is to be known of it.
            ttl_s: It is forgotten this long after its last commit, in seconds; None: as the store was told.

        Raises:
            StateConflictError: If it exists.
        """
        ...

    async def info(self, conversation: str) -> Conversation | None:
        """Return what is known of a conversation, None if there is none."""
        ...

    async def load(self, conversation: str, *, last: int | None = None, since: int = 0) -> History:
        """Return turns of a conversation, at one moment; of one that does not exist, a history of revision 0.

        Args:
            conversation: Its id.
            last: Only the newest turns, as many as are needed to have this many messages; None: all, 0: none.
            since: Only turns that were committed after this revision.

        Raises:
            StateLimitError: If that is more than `max_load_messages` or `max_load_bytes`.
        """
        ...

    async def find(self, conversation: str, turn: str) -> Turn | None:
        """Return one turn by its id, None if there is none: what to ask after a commit whose answer was lost."""
        ...

    async def append(self, conversation: str, turn: Turn, *, expected: int | None = None) -> int:
        """Store a turn as a unit, and return the revision of the conversation that it has made.

        A turn that is stored already, or is the beginning of one that is, returns the revision which that has: it is there.

        Args:
            conversation: Its id; one that does not exist is made.
            turn: The turn, with 1 message at least.
            expected: The revision that the writer has seen; None: it does not matter.

        Raises:
            StateConflictError: If the conversation has another revision, or the id belongs to another turn.
            StateLimitError: If it is too large, or there is no room.
        """
        ...

    async def replace(self, conversation: str, turns: tuple[Turn, ...], *, expected: int | None = None) -> int:
        """Store these turns in the place of all that the conversation holds, as a unit, and return its new revision.

        Args:
            conversation: Its id; one that does not exist is made.
            turns: The turns, with ids that differ; all of them get the new revision.
            expected: The revision that the writer has seen; None: it does not matter.

        Raises:
            StateConflictError: If the conversation has another revision.
            StateLimitError: If they are too large, or there is no room.
        """
        ...

    async def fork(self, source: str, target: str, *, at: int | None = None) -> Conversation:
        """Make a new conversation that holds the turns of another one, with their revisions, and return what is known of it.

        Args:
            source: Id of the one that there is.
            target: Id of the new one.
            at: Only turns that were committed up to this revision; None: all.

        Raises:
            StateConflictError: If `target` exists.
            StateError: `not_found` if `source` does not.
        """
        ...

    async def expire(self, conversation: str, ttl_s: float | None) -> bool:
        """Have a conversation forgotten `ttl_s` seconds after now, and after each commit to come; None: never.

        Returns:
            Whether there is such a conversation.
        """
        ...

    async def delete(self, conversation: str, *, expected: int | None = None) -> bool:
        """Forget a conversation.

        Returns:
            Whether there was one.

        Raises:
            StateConflictError: If it has another revision than the expected one.
        """
        ...

    async def conversations(self, *, prefix: str = "", after: str | None = None, limit: int = 100) -> ConversationPage:
        """Return a page of the list of conversations, in the order of their ids.

        A conversation that is there all the while is in the pages exactly once.

        Args:
            prefix: Only those whose id begins so.
            after: Only those behind this id; None: from the first one.
            limit: Most of one page.
        """
        ...

    async def get(self, key: str) -> Document | None:
        """Return the document under a key, None if there is none."""
        ...

    async def put(self, key: str, value: JsonValue, *, expected: int | None = None, ttl_s: float | None = None) -> int:
        """Write a document, and return its new revision.

        Args:
            key: Names it.
            value: A JSON value.
            expected: The revision that the writer has seen, 0 for none; None: it does not matter.
            ttl_s: It is forgotten this long after now, in seconds; None: as the store was told.

        Raises:
            StateConflictError: If it has another revision.
            StateLimitError: If it is too large, or there is no room.
        """
        ...

    async def remove(self, key: str, *, expected: int | None = None) -> bool:
        """Forget a document.

        Returns:
            Whether there was one.

        Raises:
            StateConflictError: If it has another revision than the expected one.
        """
        ...
