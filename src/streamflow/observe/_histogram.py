"""How often something took how long: buckets whose bounds double, counted in plain integers.

Above: `_families` (formats), `runtime` (meters fill it). Below: nothing.

Bucket `k` holds what took at most `2**k` microseconds and more than half of that; the last one holds all that took longer than
`2**30` (18 minutes). So any two histograms can be added, and a figure read from one is at most twice what it was.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

__all__ = ["BUCKETS", "Histogram", "Tally"]

BUCKETS: Final = 32
"""How many buckets there are."""

_LAST: Final = BUCKETS - 1
_US: Final = 1_000_000
_JUST_BELOW: Final = _US * (1 - 1e-9)
"""Microseconds in a second, a trifle less: what is exactly as long as a bound belongs below it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Histogram:
    """How often something took how long. Two can be added."""

    counts: tuple[int, ...] = (0,) * BUCKETS
    """How many fell into each bucket; `bounds_s` says what those are."""
    total_s: float = 0.0
    """All durations together, in seconds."""

    def __repr__(self) -> str:
        return f"Histogram(count={self.count}, total_s={self.total_s:.6g})"

    @property
    def bounds_s(self) -> tuple[float, ...]:
        """The longest duration of each bucket, in seconds; the last one has none: `inf`."""
        return (*(2**place / _US for place in range(_LAST)), math.inf)

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.counts)

    @property
    def mean_s(self) -> float | None:
        """Their mean, in seconds, exact; None where there are none."""
        count = self.count
        return self.total_s / count if count else None

    def quantile_s(self, share: float) -> float | None:
        """Return a duration, in seconds, that this share of all did not exceed, up to twice too long; None where there are none.

        Args:
            share: From 0 to 1, as in 0.95.
        """
        left = max(share * self.count, 1)
        for bound, count in zip(self.bounds_s, self.counts, strict=True):
            left -= count
            if count and left <= 0:
                return bound
        return None

    def __add__(self, other: Histogram) -> Histogram:
        counts = tuple(one + another for one, another in zip(self.counts, other.counts, strict=True))
        return Histogram(counts, self.total_s + other.total_s)


class Tally:
    """Fills a histogram."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * BUCKETS
        """How many fell into each bucket."""
        self.total_s: float = 0.0
        """All durations together, in seconds."""

    def add(self, seconds: float, count: int = 1) -> None:
        """Count so many durations of so many seconds each."""
        place = int(seconds * _JUST_BELOW).bit_length()
        self.counts[min(_LAST, place)] += count
        self.total_s += seconds * count

    def read(self) -> Histogram:
        """Return what there is so far."""
        return Histogram(tuple(self.counts), self.total_s)
