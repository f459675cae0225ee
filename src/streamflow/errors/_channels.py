"""How the end of an edge tells that it has ended.

Above: `channels`. Below: `_base`, and anyio's exception classes.
"""

from __future__ import annotations

from typing import Literal

import anyio

from ._base import StreamflowError

__all__ = [
    "ChannelBusyError",
    "ChannelClosedError",
    "ChannelFailedError",
    "CloseReason",
    "EdgeOverflowError",
    "OutputClosedError",
]

CloseReason = Literal["no_more_needed", "failure"]
"""Why a reader closed its edge: it has all it wants, or the run is failing."""


class ChannelClosedError(StreamflowError, anyio.ClosedResourceError):
    """You closed this end of the channel and then used it.

    Args:
        edge: The edge, as `a → b`.
    """

    def __init__(self, edge: str) -> None:
        super().__init__(edge)
        self.edge = edge
        """The edge, as `a → b`."""

    def __str__(self) -> str:
        return f"edge {self.edge}: this end was closed; do not use it after close()"


class OutputClosedError(StreamflowError, anyio.BrokenResourceError):
    """The reader of this edge has gone. Stop; do not retry.

    A stage that lets it pass has completed: nobody needs more of what it makes.

    Args:
        edge: The edge, as `a → b`.
        reason: `no_more_needed`: the reader has all it wants; `failure`: the run is failing.
    """

    def __init__(self, edge: str, reason: CloseReason) -> None:
        super().__init__(edge, reason)
        self.edge = edge
        """The edge, as `a → b`."""
        self.reason: CloseReason = reason
        """Why the reader has gone."""

    def __str__(self) -> str:
        why = "has all it needs" if self.reason == "no_more_needed" else "was stopped because the run is failing"
        return f"edge {self.edge}: the reader {why}; stop sending"


class ChannelFailedError(StreamflowError, anyio.BrokenResourceError):
    """The writer of this channel failed; all that it sent before has been received. Its exception is `__cause__`.

    Args:
        edge: The edge, as `a → b`.
    """

    def __init__(self, edge: str) -> None:
        super().__init__(edge)
        self.edge = edge
        """The edge, as `a → b`."""

    def __str__(self) -> str:
        return f"edge {self.edge}: the writer failed; its exception is the cause of this one"


class ChannelBusyError(StreamflowError, anyio.BusyResourceError):
    """A second task tried to receive on an edge that another task is waiting on.

    Args:
        edge: The edge, as `a → b`.
    """

    def __init__(self, edge: str) -> None:
        Exception.__init__(self, edge)  # anyio's own __init__ would replace the arguments by its text
        self.edge = edge
        """The edge, as `a → b`."""

    def __str__(self) -> str:
        return f"edge {self.edge}: another task is already receiving; one task reads an edge, several may write to it"


class EdgeOverflowError(StreamflowError):
    """There was no room on an edge whose policy is `error`. The element was not sent.

    Args:
        edge: The edge, as `a → b`.
        held: How many elements of data it held.
        capacity: Its bound, in elements.
        weight: What it held and its bound by weight, in words; empty where there is none.
    """

    def __init__(self, edge: str, held: int, capacity: int, weight: str = "") -> None:
        super().__init__(edge, held, capacity, weight)
        self.edge = edge
        """The edge, as `a → b`."""
        self.held = held
        """How many elements of data it held."""
        self.capacity = capacity
        """Its bound, in elements."""
        self.weight = weight
        """What it held and its bound by weight, in words; empty where there is none."""

    def __str__(self) -> str:
        fill = f"{self.held} of {self.capacity} elements" + (f", {self.weight}" if self.weight else "")
        way_out = (
            "let the sender wait (overflow='block'), drop (overflow='drop_oldest'), or give it more room (buffer=)"
        )
        return f"edge {self.edge} is full, it holds {fill}; {way_out}"
