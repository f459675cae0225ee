"""A writer that has what it has given go on before it waits: so the task that reads its edge need not be woken for each burst.

Above: `runtime` (sources that are async). Below: `_line`, which takes what is given; an edge that no line reads is left alone.

Rules, besides those of `_line`:

1. *A driven edge is never forgotten*: the line that reads it may wait for room with nothing to take, and no task is woken for what
   comes; so its writer has it go on whenever the edge is full (`SendEnd`) and whenever it is about to wait for anything else, and
   wakes it when it ends, as does whoever closes the edge.
2. *The functions are called by the writer's task, in their own contexts*, between what it waits for and the waiting itself. On trio
   a task must not be woken there, which a function may do to the very task that calls it; so the line's own task is woken.
3. *Others have their turn*: a writer that never waits may be called for only so much until it waits at a full edge.
"""

# ruff: noqa: SLF001 - the ends are one object in several parts
# pyright: reportPrivateUsage=false
from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Never

from ._refilled import WIDE
from ._wait import running_trio

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

    from ._receive_end import ReceiveEnd
    from ._send_end import SendEnd

__all__ = ["drive", "driven"]


async def driven(work: Coroutine[object, object, object], end: SendEnd[Never]) -> None:
    """Await `work`, which writes a plain edge that nobody else writes. Cancellation and what is raised pass through."""
    edge = end._peer
    edge._is_driven = edge._is_joined = True
    edge._checkpoint_at = edge.received + WIDE
    try:
        await drive(work, edge, may_call=not running_trio())
    finally:
        edge._is_driven = False
        line = edge._reader()
        if line is not None:
            line.wake()


@types.coroutine
def drive(
    work: Coroutine[object, object, object], edge: ReceiveEnd[object], *, may_call: bool
) -> Generator[object, object, None]:
    """Await `work`, and tell the line that reads an edge whenever that is about to wait."""
    step: Any = work.send
    given: list[Any] = [
        None
    ]  # taken out before it is given: an error in a variable of a frame that it passes is a cycle
    while True:
        try:
            asked = step(given.pop())
        except StopIteration:
            return
        line = edge._reader() if edge._buffer and not edge._turns else None
        if line is not None:  # which a source that waits for room here has had go on before
            line.hear_pause(may_call=may_call)
        given.append(asked)
        del asked, line  # a future that was cancelled holds what it was cancelled with
        try:
            given.append((yield given.pop()))
            edge._checkpoint_at = edge.received + WIDE
            step = work.send
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - handed to the work, which decides what becomes of it
            given.append(error)
            step = work.throw
