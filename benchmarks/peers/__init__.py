"""What a user would write without streamflow, one file each, all doing the same.

Above: the questions (`bench_*.py`). Below: nothing of ours but the elements.

A file here lists in `PEERS` what it offers. Every peer gets the same iterable of elements, moves each through `Shape.stages`
stages that change nothing, and counts what arrives. A package that streamflow does not need is imported by `prepare`, never by the
file: a peer whose packages are not installed is left out, by name.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import pkgutil
from collections.abc import Awaitable, Callable, Iterable, Iterator
from importlib import metadata
from typing import TypeAlias

from streamflow import TextElement

__all__ = ["Each", "Peer", "Program", "Shape", "all_peers", "find_peer", "installed", "text_elements"]

Program: TypeAlias = Callable[[Iterable[TextElement]], Awaitable[int]]
"""Moves what it is given from source to consumer once, and returns how many elements arrived. Can be called again."""

Each: TypeAlias = Callable[[], Awaitable[None]]
"""What the consumer does after each element."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """The graph to run: a chain."""

    stages: int = 3
    capacity: int = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """One way to do the work."""

    name: str
    prepare: Callable[[Shape, Each | None], Program]
    """Builds what can be built before a run. Without `Each` the consumer only counts."""
    backends: tuple[str, ...] = ("asyncio", "trio")
    packages: tuple[str, ...] = ()
    """Distributions that it needs; their versions are printed."""
    quick: bool = False
    """Whether it takes part in quick runs."""
    slow: bool = False
    """Whether an element costs more than 10 μs: quick runs give it fewer, and nobody asks what one more stage costs."""
    bound: Callable[[Shape], int | None] | None = None
    """Most elements that it says it has in flight."""


def text_elements(count: int) -> Iterator[TextElement]:
    """Make `count` elements, one at a time, at the least cost that Python has."""
    return map(TextElement, itertools.repeat("x", count))


def installed(peer: Peer) -> bool:
    """Say whether the peer's packages are there."""
    try:
        return all(metadata.version(one) for one in peer.packages)
    except metadata.PackageNotFoundError:
        return False


def all_peers() -> list[Peer]:
    """Return the peers of every file in this folder, installed or not."""
    files = sorted(one.name for one in pkgutil.iter_modules(__path__))
    return [peer for file in files for peer in importlib.import_module(f"{__name__}.{file}").PEERS]


def find_peer(name: str) -> Peer:
    """Return the peer of that name."""
    return next(peer for peer in all_peers() if peer.name == name)
