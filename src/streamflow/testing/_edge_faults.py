"""Faults at edges, by plan: the n-th operation at an end is late, fails, or finds the edge closed.

Above: tests. Below: `_edge_methods`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Never

import anyio

from ..channels import ReceiveEnd, SendEnd
from ..errors import ConfigError
from ._edge_methods import EndKind, hooked_edges

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["EdgeFault", "edge_faults"]


@dataclasses.dataclass(frozen=True, slots=True)
class EdgeFault:
    """What goes wrong at one end of one edge.

    Args:
        edge: The edge, as reports call it: `a → b`, `source → a`, `b → consumer`; a merge is `merge → b`.
        at: Which operation at that end it is, from 1; it strikes before an element moves.
        end: Whether it strikes a `send()` or a `receive()`.
        delay_s: How long the operation is held up first, in seconds of the event loop's clock.
        error: What it raises; None: nothing.
        closes: Whether the reader is gone from then on: a sender gets `OutputClosedError`, a reader `ChannelClosedError`.

    Raises:
        ConfigError: If a number is impossible, or nothing would go wrong.
    """

    edge: str
    """The edge, as reports call it."""
    at: int = 1
    """Which operation at that end it is, from 1."""
    end: EndKind = "send"
    """Whether it strikes a `send()` or a `receive()`."""
    delay_s: float = 0.0
    """How long the operation is held up first, in seconds."""
    error: Exception | None = None
    """What it raises."""
    closes: bool = False
    """Whether the reader is gone from then on."""

    def __post_init__(self) -> None:
        if self.at < 1 or self.delay_s < 0:
            raise ConfigError("at", f"operations count from 1, delays from 0 s; got {self.at!r} and {self.delay_s!r}")
        if not (self.delay_s or self.error or self.closes):
            raise ConfigError("error", "nothing would go wrong: give delay_s=, error= or closes=True")


class _Plan:
    def __init__(self, faults: tuple[EdgeFault, ...]) -> None:
        self._edges = {one.edge for one in faults}
        self._left = list(faults)
        self._counts: Counter[tuple[str, EndKind]] = Counter()

    async def before(self, kind: EndKind, end: SendEnd[Never] | ReceiveEnd[object]) -> None:
        if end.name not in self._edges:
            return
        self._counts[end.name, kind] += 1
        number = self._counts[end.name, kind]
        for fault in [one for one in self._left if (one.edge, one.end, one.at) == (end.name, kind, number)]:
            self._left.remove(fault)
            await anyio.sleep(fault.delay_s)
            if fault.closes:
                _close(end)
            if fault.error is not None:
                raise fault.error

    def allows_quick(self, end: SendEnd[Never] | ReceiveEnd[object]) -> bool:
        return end.name not in self._edges

    @property
    def left(self) -> list[EdgeFault]:
        return self._left


def _close(end: SendEnd[Never] | ReceiveEnd[object]) -> None:
    if isinstance(end, ReceiveEnd):
        end.close()
        return
    for edge in end._edges:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - what a fork writes is told nowhere else
        edge.close()


@contextlib.contextmanager
def edge_faults(*faults: EdgeFault) -> Generator[None]:
    """Let faults strike the edges of all runs in this process, each once.

    ```python
    with edge_faults(EdgeFault("llm → tts", at=3, error=OSError("the line is dead"))):
        await pipeline.run("hello")
    ```

    What raises at an end is a failure of the stage that uses it, between fused stages, too. There both ends are used by one task:
    while it is held up at one of them, none of the fused stages goes on.

    Args:
        faults: What goes wrong.

    Raises:
        AssertionError: If the block ends without an error, and a fault has not struck: no edge of that name was used so often.
    """
    plan = _Plan(faults)
    with hooked_edges(plan):
        yield
    if plan.left:
        missing = ", ".join(f"{one.edge!r} ({one.end} #{one.at})" for one in plan.left)
        message = f"faults that have not struck: {missing}; no edge of that name was used so often"
        raise AssertionError(message)
