"""What a user would write without streamflow, one file each, all doing the same.

Above: the questions (`bench_*.py`). Below: nothing of ours but the elements.

A file here lists in `PEERS` what it offers. Every peer gets the same iterable of elements, moves each through `Shape.stages`
stages that change nothing, and counts what arrives. A package that streamflow does not need is imported by `prepare`, never by the
file: a peer whose packages are not installed is left out, by name. What a user of ours never installs lives in an environment of
its own, see `_environment`.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import pkgutil
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from importlib import metadata
from typing import TypeAlias

from streamflow import TextElement

from .._environment import packages_of
from .._harness import Scale, has_backend

__all__ = [
    "Each",
    "Peer",
    "Program",
    "Shape",
    "Source",
    "Work",
    "all_peers",
    "chosen",
    "each_of",
    "find_peer",
    "installed",
    "text_elements",
]

Source: TypeAlias = Iterable[TextElement] | AsyncIterable[TextElement]
"""What is moved. Most questions give an iterable; those that must wait between two elements give an async one."""

Program: TypeAlias = Callable[[Source], Awaitable[int]]
"""Moves what it is given from source to consumer once, and returns how many elements arrived. Can be called again."""

Each: TypeAlias = Callable[[], Awaitable[None]]
"""What the consumer does after each element."""

Work: TypeAlias = Callable[[], Awaitable[None]]
"""What every stage does with each element, where it does something."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """The graph to run: a chain."""

    stages: int = 3
    capacity: int = 16
    work: Work | None = None
    """Asked by `overlap` alone, of the peers that say that they `works`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """One way to do the work."""

    name: str
    prepare: Callable[[Shape, Each | None], Program]
    """Builds what can be built before a run. Without `Each` the consumer only counts."""
    backends: tuple[str, ...] = ("asyncio", "trio")
    packages: tuple[str, ...] = ()
    """Distributions that it needs; their versions are printed."""
    environment: str = ""
    """Where they are: here, or in the environment of that name."""
    quick: bool = False
    """Whether it takes part in quick runs."""
    share: float = 1.0
    """How much of the elements it gets, so that it takes no more time than others."""
    works: bool = False
    """Whether its stages do the `work` of a shape."""
    pulls: bool = False
    """Whether its stages are one task, each inside the next, so that none works while another does."""
    bound: Callable[[Shape], int | None] | None = None
    """Most elements that it says it has in flight."""
    program: Callable[[Shape, int], dict[str, float]] | None = None
    """Where it is no Python: moves so many elements, returns what it cost. Only `throughput` and `fusion` ask such a peer."""


def text_elements(count: int) -> Iterator[TextElement]:
    """Make `count` elements, one at a time, at the least cost that Python has."""
    return map(TextElement, itertools.repeat("x", count))


async def each_of(source: Source) -> AsyncIterator[TextElement]:
    """Iterate over either kind of source, for peers that take none but async ones."""
    if isinstance(source, AsyncIterable):
        async for element in source:
            yield element
    else:
        for element in source:
            yield element


def installed(peer: Peer) -> bool:
    """Say whether the peer's packages are there."""
    if peer.environment:
        return set(peer.packages) <= packages_of(peer.environment).keys()
    try:
        return all(metadata.version(one) for one in peer.packages)
    except metadata.PackageNotFoundError:
        return False


def all_peers() -> list[Peer]:
    """Return the peers of every file in this folder, installed or not."""
    files = sorted(one.name for one in pkgutil.iter_modules(__path__))
    return [peer for file in files for peer in importlib.import_module(f"{__name__}.{file}").PEERS]


def chosen(scale: Scale) -> list[tuple[Peer, str]]:
    """Return the peers that take part, each with each of its event loops; a quick run does without uvloop.

    The nearest come first, on asyncio: what is compared most is measured within seconds.
    """
    found = [
        (peer, backend)
        for peer in all_peers()
        if peer.program is None and installed(peer) and (peer.quick or not scale.quick)
        for backend in peer.backends
        if has_backend(backend) and not (scale.quick and backend == "uvloop")
    ]
    return sorted(found, key=lambda one: (not one[0].quick, one[1] != "asyncio"))


def find_peer(name: str) -> Peer:
    """Return the peer of that name."""
    return next(peer for peer in all_peers() if peer.name == name)
