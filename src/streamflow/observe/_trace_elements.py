"""The way of one element through a run: where it was, and how long.

Above: `_tracing`, `runtime`, which makes them of what edges have noted. Below: nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["ElementTrace", "TraceLink", "Visit"]


class Visit(msgspec.Struct, frozen=True):
    """A stay of an element at one place."""

    kind: Literal["queue", "stage"]
    """A queue, from when it entered an edge until it was taken; or a stage, from then until what came of it entered the next edge,
    its wait for room there included."""
    name: str
    """The edge, as `a → b`, or the stage."""
    entered_s: float
    """When it came, on the event loop's clock."""
    left_s: float
    """When it went."""

    @property
    def duration_s(self) -> float:
        """How long it was there, in seconds."""
        return self.left_s - self.entered_s


class TraceLink(msgspec.Struct, frozen=True):
    """Another element that went into this one."""

    trace_id: str
    """Its trace; 32 hexadecimal digits."""
    name: str
    """The stage or merge that made one of them."""
    taken_s: float
    """When it was taken there, on the event loop's clock."""


class ElementTrace(msgspec.Struct, frozen=True):
    """The way of one element, from the source to where it ended."""

    trace_id: str
    """What tells it from all others: 32 hexadecimal digits. All that came of one element of the source share it."""
    run_id: str
    """The run."""
    element: str
    """Name of the type of what arrived. Nothing of what it says is told."""
    end: Literal["delivered", "consumed", "discarded"]
    """How it ended: with the consumer, in a sink, or thrown away on the last edge of `visits`."""
    visits: tuple[Visit, ...]
    """Where it was, in that order: each begins when the one before has ended."""
    links: tuple[TraceLink, ...] = ()
    """What else went into it, where a stage collects or a merge makes one of several. The way is that of the oldest of them."""
    is_cut: bool = False
    """Whether the beginning of the way is missing, because it was too long."""

    @property
    def began_s(self) -> float:
        """When it entered the first edge, on the event loop's clock."""
        return self.visits[0].entered_s

    @property
    def ended_s(self) -> float:
        """When it ended."""
        return self.visits[-1].left_s

    @property
    def duration_s(self) -> float:
        """How long it was under way, in seconds: the sum of its visits."""
        return self.ended_s - self.began_s

    @property
    def path(self) -> tuple[str, ...]:
        """The stages that it came through."""
        return tuple(one.name for one in self.visits if one.kind == "stage")

    def time_in(self, name: str) -> float:
        """Return how long it was in one stage or queue, all visits together, in seconds."""
        return sum(one.duration_s for one in self.visits if one.name == name)
