"""Virtual time for tests: an hour costs milliseconds, and every sleep ends at exactly its time.

Above: tests. Below: `_virtual_loop` for asyncio, trio's `MockClock` for trio, which is imported only when asked for.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Literal, TypeVar, TypeVarTuple

import anyio

from ..errors import MissingExtraError
from ._virtual_loop import VirtualEventLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import Unpack

__all__ = ["BackendName", "run_virtual", "virtual_time"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BackendName = Literal["asyncio", "trio"]
"""The event loops that streamflow runs on."""


def virtual_time(backend: BackendName, *, debug: bool = True) -> dict[str, object]:
    """Return `backend_options` under which the clock starts at 0 and jumps whenever every task waits.

    For `anyio.run(main, backend=backend, backend_options=virtual_time(backend))`; the `anyio_backend` fixture takes it
    as `(backend, virtual_time(backend))`. Options may be used for several runs; each starts at 0.

    asyncio: the clock stands still while worker threads work; sockets and threads started by hand get ten real
    milliseconds before each jump, so let a test whose peer is slow run on the real clock. When every task waits and
    neither timer, socket nor thread can wake one, the loop raises `AssertionError("deadlock: …")` with the waiting
    tasks. A loop that runs in a thread other than the main one waits instead: its maker may call into it at any time.

    trio: the clock is `trio.testing.MockClock(autojump_threshold=0)`, which stands still while worker threads work; it jumps
    while sockets are waited for, and a deadlock spins until something stops it (a test's timeout).

    Args:
        backend: Name of the event loop; trio is imported only for `trio`.
        debug: Turn on asyncio's debug mode; without effect on trio.

    Raises:
        MissingExtraError: If it is trio and trio is not installed.
    """
    if backend == "trio":
        if importlib.util.find_spec("trio") is None:
            raise MissingExtraError("trio", "trio")
        from ._trio import virtual_options  # noqa: PLC0415 - trio is imported only where it is asked for

        return virtual_options()
    return {"debug": debug, "loop_factory": VirtualEventLoop}


def run_virtual(async_fn: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts, backend: BackendName = "asyncio") -> T:
    """Run `async_fn(*args)` to its end in a new event loop on virtual time, and return its result.

    Raises:
        AssertionError: On asyncio, when every task waits and nothing can wake one.
    """
    return anyio.run(async_fn, *args, backend=backend, backend_options=virtual_time(backend))
