"""How many more elements a fork may put into its branches without a look at them.

Above: `_plain_fork`, which counts; `_receive_end` and `_sweep`, which end that. Below: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

__all__ = ["Level"]


class Level:
    """What a fork has found when it looked at its branches. It knows their buffers and no ends, so that ends can know it."""

    __slots__ = ("kinds", "left", "puts")

    def __init__(self) -> None:
        self.left: int = 0
        """How many more elements each of them has room for, while none of their readers waits."""
        self.kinds: Collection[type] = ()
        """The types whose elements go to all of them, and nowhere else."""
        self.puts: Sequence[Callable[[Any], None]] = ()
        """Put an element into each."""

    def look(self) -> None:
        """Hear that a reader waits."""
        self.left = 0
