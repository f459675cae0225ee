"""What stores of conversations say: not reachable, someone else was first, too large, no lawful history.

Above: `state`. Below: `_base`.
"""

from __future__ import annotations

from ._base import StreamflowError

__all__ = ["HistoryError", "StateConflictError", "StateError", "StateLimitError"]


class StateError(StreamflowError):
    """A store failed. Carries nothing secret: no password, no message of a conversation.

    Args:
        code: What kind of failure: `unavailable`, `timeout`, `denied`, `closed`, `open`, `schema`, `corrupt`, `not_found`,
            `no_conversation`, `no_history`, `conflict` or `limit`.
        message: One line for a person.
        retryable: Whether the same call may succeed later. What it was to write may have been written: a turn that is
            appended again under its id is not doubled.
    """

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        super().__init__(code, message, retryable)
        self.code: str = code
        """What kind of failure."""
        self.message: str = message
        """One line for a person."""
        self.retryable: bool = retryable
        """Whether the same call may succeed later."""

    def __str__(self) -> str:
        return self.message


class StateConflictError(StateError):
    """Somebody else was first, so nothing was written: load again, and decide anew.

    Args:
        key: The conversation, or the key of the document.
        expected: The revision that the writer had seen; None: it did not say, and the turn itself is in conflict.
        actual: The revision that there is; 0: there is nothing.
        winner: Id of the turn that won, as far as known.
    """

    def __init__(self, key: str, expected: int | None, actual: int, winner: str = "") -> None:
        seen = f"expected revision {expected}, found {actual}"
        if expected is None or expected == actual:
            seen = "another turn of this id was stored, or a later one behind it"
        by = f", after turn {winner!r}" if winner else ""
        super().__init__("conflict", f"{key!r}: {seen}{by}; nothing was written: load again, then decide")
        self.args: tuple[object, ...] = (key, expected, actual, winner)
        self.key: str = key
        """The conversation, or the key of the document."""
        self.expected: int | None = expected
        """The revision that the writer had seen; None: it did not say."""
        self.actual: int = actual
        """The revision that there is."""
        self.winner: str = winner
        """Id of the turn that won, as far as known."""


class StateLimitError(StateError):
    """Something is larger than the store's limits allow, or there is no more room in it. Nothing was written.

    Args:
        limit: Name of the limit, as in `max_turn_bytes`.
        message: What was too large, and the way out.
    """

    def __init__(self, limit: str, message: str) -> None:
        super().__init__("limit", message)
        self.args: tuple[object, ...] = (limit, message)
        self.limit: str = limit
        """Name of the limit."""


class HistoryError(StreamflowError, ValueError):
    """Messages that no strict model provider accepts: a tool call without its result, or a result without its call.

    Args:
        index: Which message, from 0.
        message: What is wrong with it, and the way out.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(index, message)
        self.index: int = index
        """Which message, from 0."""
        self.message: str = message
        """What is wrong with it, and the way out."""

    def __str__(self) -> str:
        return f"message {self.index}: {self.message}"
