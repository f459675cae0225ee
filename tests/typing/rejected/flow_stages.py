"""Mistakes that a type checker must find. `tests/typing/test_rejected.py` compares each `# rejected:` with what mypy says."""

from __future__ import annotations

from streamflow import CollectStage, MapAsyncStage, MapUnorderedStage, TextElement, ThreadStage, wrap_middleware
from streamflow.stages import (
    BatchStage,
    ChunkTextStage,
    DebounceStage,
    DedupeStage,
    IntervalSource,
    ProcessSource,
    QueueSource,
    TakeStage,
    ThrottleStage,
)


def plain(element: TextElement) -> TextElement:
    """Return at once."""
    return element


async def later(element: TextElement) -> TextElement:
    """Return later."""
    return element


async def words(element: TextElement) -> list[str]:
    """Return no element."""
    return element.text.split()


def pieces(element: TextElement) -> list[str]:
    """Return what cannot be a key."""
    return element.text.split()


def text(element: str) -> TextElement:
    """Take no element."""
    return TextElement(element)


MapAsyncStage(later)  # rejected: call-arg
MapAsyncStage(later, 4)  # rejected: call-arg
MapAsyncStage(later, concurrency="4")  # rejected: arg-type
MapAsyncStage(plain, concurrency=4)  # rejected: arg-type
MapAsyncStage(words, concurrency=4)  # rejected: arg-type
MapUnorderedStage(plain, concurrency=4)  # rejected: arg-type
MapAsyncStage(lambda element: later(element.txt), concurrency=4, accepts=TextElement)  # rejected: attr-defined
ThreadStage(later)  # rejected: arg-type
ThreadStage(text)  # rejected: type-var
DedupeStage(pieces)  # rejected: arg-type
CollectStage("list")  # rejected: arg-type
BatchStage("2")  # rejected: arg-type
BatchStage(2, 0.5)  # rejected: call-arg
TakeStage(1.5)  # rejected: arg-type
ChunkTextStage(80, by="lines")  # rejected: arg-type
DebounceStage("0.5 s")  # rejected: arg-type
ThrottleStage(2)  # rejected: call-arg
ThrottleStage(2, 1, mode="queue")  # rejected: arg-type
IntervalSource(1, make=abs)  # rejected: arg-type
ProcessSource("ls -l", shell=True)  # rejected: call-arg
QueueSource([])  # rejected: arg-type
wrap_middleware("name")  # rejected: call-arg
wrap_middleware("name", later, max_attempts="3")  # rejected: arg-type
