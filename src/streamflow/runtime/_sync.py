"""Runs without an event loop: the blocking calls.

Above: `_pipeline`. Below: `_run`.
"""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal, get_args

from anyio.from_thread import start_blocking_portal

from ..errors import ConfigError, MissingExtraError, SyncInAsyncError
from ._backend import loop_is_running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from anyio.from_thread import BlockingPortal

    from ..elements import StreamElement
    from ._run import Run

__all__ = ["BackendName", "SyncStream", "check_backend", "forbid_inside_a_loop"]

BackendName = Literal["asyncio", "trio"]
"""An event loop that a blocking call can run on; `trio` needs the extra of that name."""


def forbid_inside_a_loop(call: str, *instead: str) -> None:
    """Refuse a blocking call where it would stop an event loop.

    Args:
        call: What was called.
        instead: What to write there, where that is no method of a pipeline.

    Raises:
        SyncInAsyncError: If an event loop is running in this thread.
    """
    if loop_is_running():
        raise SyncInAsyncError(call, *instead)


def check_backend(backend: str) -> None:
    """Refuse an event loop that does not exist or is not installed.

    Raises:
        ConfigError: If there is no such backend.
        MissingExtraError: If it is trio and trio is not installed.
    """
    if backend not in get_args(BackendName):
        raise ConfigError("backend", f"there are {' and '.join(map(repr, get_args(BackendName)))}, got {backend!r:.80}")
    if backend == "trio" and importlib.util.find_spec("trio") is None:
        raise MissingExtraError("trio", "trio")


class SyncStream:
    """The output of one run, for a plain `for` loop. The run lives in a thread of its own and goes on while the loop's body works.

    Leaving the loop early: use `with`, or `close()`, or let go of it. Made by `Pipeline.stream_sync()`.
    """

    def __init__(
        self, execute: Callable[[], Run], tidy_up: Callable[[], Awaitable[None]], backend: BackendName
    ) -> None:
        self._execute = execute
        self._tidy_up = tidy_up
        self._backend = backend
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._run: Run | None = None
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamElement:
        """Return the next element, blocking until there is one.

        Raises:
            StageError: After the `EndOfStream`, if a stage failed.
            RunTimeoutError: After the `EndOfStream`, if the run, a stage or an edge took too long.
            SyncInAsyncError: If called inside a running event loop.
        """
        if self._over:
            raise StopIteration
        forbid_inside_a_loop("stream_sync")
        try:
            run = self._run if self._run is not None else self._open()
            assert self._portal is not None
            return self._portal.call(run.__anext__)
        except StopAsyncIteration:
            self.close()
            raise StopIteration from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the run and its thread, and wait for both. Idempotent."""
        self._over = True
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _open(self) -> Run:
        self._portal = self._stack.enter_context(start_blocking_portal(self._backend))
        self._stack.callback(self._portal.call, self._tidy_up)
        self._run = self._portal.call(self._make)
        self._stack.callback(self._portal.call, self._run.aclose)
        return self._run

    async def _make(self) -> Run:
        return self._execute()
