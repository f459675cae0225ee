"""Which tasks are alive, and a check that none was left behind. Works on asyncio and trio.

Above: `_sweep`, `_virtual_loop`, the runtime's tests. Below: the event loop that runs.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, cast

from anyio.lowlevel import cancel_shielded_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    import trio

    AnyTask = asyncio.Task[object] | trio.lowlevel.Task

__all__ = ["assert_no_tasks_left", "describe_tasks", "is_on_trio", "name_of", "tasks_alive", "tasks_of_loop"]


def is_on_trio() -> bool:
    """Say whether the caller runs on trio; never imports it."""
    trio_module = sys.modules.get("trio")
    return trio_module is not None and bool(trio_module.lowlevel.in_trio_run())


def tasks_alive() -> frozenset[object]:
    """Return the tasks of the running event loop that are not done, for `assert_no_tasks_left`."""
    return frozenset[object](tasks_of_loop())


async def assert_no_tasks_left(before: frozenset[object], *, rounds: int = 20) -> None:
    """Check that every task alive now was alive `before`; give others `rounds` turns of the event loop to end.

    The clock is not moved: a task that sleeps is left. Cancellation: waits for the end of the check.

    ```python
    before = tasks_alive()
    ...
    await assert_no_tasks_left(before)
    ```

    Args:
        before: What `tasks_alive()` returned.
        rounds: Turns that a task which is just ending gets.

    Raises:
        AssertionError: Tasks are left; the message has their names and where each waits.
    """
    left = tasks_of_loop() - before
    for _ in range(rounds):
        if not left:
            return
        await cancel_shielded_checkpoint()
        left = tasks_of_loop() - before
    if left:
        raise AssertionError(f"{len(left)} task{'s' * (len(left) > 1)} left behind\n{describe_tasks(left)}")


def describe_tasks(tasks: Iterable[AnyTask]) -> str:
    """Return one paragraph per task, sorted: its name, then its frames, the innermost last."""
    return "\n".join(sorted(_describe(task) for task in tasks))


def tasks_of_loop() -> set[AnyTask]:
    """Return the tasks of the running event loop that are not done."""
    if not is_on_trio():
        return cast("set[AnyTask]", asyncio.all_tasks())
    from ._trio import all_tasks  # noqa: PLC0415 - trio is imported only where it runs

    return cast("set[AnyTask]", all_tasks())


def name_of(task: AnyTask) -> str:
    """Return what a task is called."""
    return task.get_name() if isinstance(task, asyncio.Task) else task.name


def _describe(task: AnyTask) -> str:
    at = cast("object", task.get_coro() if isinstance(task, asyncio.Task) else task.coro)
    lines = [f"  task {name_of(task)!r}"]
    while at is not None:
        for prefix, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = cast("FrameType | None", getattr(at, f"{prefix}_frame", None))
            if frame is not None:
                code = frame.f_code
                lines.append(f"    {code.co_filename}:{frame.f_lineno} in {code.co_qualname}")
                at = cast("object", getattr(at, inner))
                break
        else:
            break
    return "\n".join(lines)
