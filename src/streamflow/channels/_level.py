"""What one step of a task sends to a fork of plain edges: kept in one list, and put into all branches at the end of the step.

Above: `_plain_fork`, which fills the list; `_receive_end`, `_send_end` and `_sweep`, which end that; `runtime`, which has the tasks
that write such a fork run `in_bursts()`. Below: nothing.

A step is what a task does between two waits. Nothing else of the run goes on meanwhile, so nobody can tell when in a step an
element has entered; what looks at a branch from inside the step settles it before, as with all that is on its way.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Generator, Sequence

__all__ = ["Level", "in_bursts"]


class Level:
    """What a fork has found when it looked at its branches, and what it has sent since. It knows no ends, so ends can know it."""

    __slots__ = ("burst", "extends", "is_held", "kinds", "room")

    def __init__(self) -> None:
        self.is_held: bool = False
        """Whether a step is under way at whose end the burst is put into the branches."""
        self.burst: list[Any] = []
        """What is in no branch yet."""
        self.room: int = 0
        """For how many elements there is room in each branch; of those that are full, and those that wait, it is known already."""
        self.kinds: Collection[type] = ()
        """The types whose elements go to all of them, and nowhere else."""
        self.extends: Sequence[Callable[[list[Any]], None]] = ()
        """Put the burst into each."""

    def put(self) -> None:
        """Put what was sent into the branches, and have the next element looked at."""
        self.room = 0
        if self.burst:
            for extend in self.extends:
                extend(self.burst)
            self.burst.clear()


@types.coroutine
def in_bursts(work: Coroutine[object, object, object], level: Level) -> Generator[object, object, object]:
    """Await `work`, and let each step of it be a burst. Cancellation and what is raised pass through."""
    step: Any = work.send
    given: list[Any] = [None]  # what is thrown, and what is asked for, stays in no variable, as in `_driven.drive`
    while True:
        level.is_held = True
        try:
            asked = step(given.pop())
        except StopIteration as end:
            return end.value
        finally:
            level.is_held = False
            level.put()
        given.append(asked)
        del asked
        try:
            given.append((yield given.pop()))
            step = work.send
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - handed to the work, which decides what becomes of it
            given.append(error)
            step = work.throw
