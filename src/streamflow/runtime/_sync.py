"""Runs without an event loop: the blocking calls.

Above: `_pipeline`. Below: `_run`.
"""

from __future__ import annotations

import importlib.util
import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import ConfigError, MissingExtraError, RunStateError, StreamflowError, SyncInAsyncError
from ._backend import keep_loop, loop_is_running
from ._tracebacks import own_way_left_out

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from types import TracebackType
    from typing import Self

    from anyio.from_thread import BlockingPortal

    from ..elements import StreamElement
    from ..observe import Recording
    from ..stages import Source
    from ._backend import KeptLoop
    from ._kill_switch import KillSwitch
    from ._result import Result
    from ._run import Run

__all__ = ["BackendName", "SyncSession", "SyncStream", "check_backend", "forbid_inside_a_loop"]

BackendName = Literal["asyncio", "trio"]
"""An event loop that a blocking call can run on; `trio` needs the extra of that name."""

_BACKENDS: tuple[str, ...] = get_args(BackendName)


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
    if backend not in _BACKENDS:
        raise ConfigError("backend", f"there are {' and '.join(map(repr, _BACKENDS))}, got {backend!r:.80}")
    if backend == "trio" and importlib.util.find_spec("trio") is None:
        raise MissingExtraError("trio", "trio")


class SyncSession:
    """Blocking runs, one after the other, on one event loop that is kept: opening it costs more than a short run.

    What runs share (`Resource`) is opened once, and closed with the session. It belongs to the thread that made it. Made by
    `Pipeline.sync_session()`.
    """

    def __init__(
        self,
        run: Callable[..., Coroutine[Any, Any, Result]],
        tidy_up: Callable[[], Coroutine[Any, Any, None]],
        backend: BackendName,
    ) -> None:
        self._run = run
        self._tidy_up = tidy_up
        self._backend: BackendName = backend
        self._thread = threading.get_ident()
        self._loop: KeptLoop | None = None
        self._is_over = False

    def execute(
        self,
        source: Source | Mapping[str, Source] | None = None,
        *,
        deps: object = None,
        kill_switch: KillSwitch | None = None,
        record: Recording | str | os.PathLike[str] | None = None,
    ) -> Result:
        """Run to the end and return everything that came out, as `Pipeline.execute_sync()`.

        Raises:
            SyncInAsyncError: If called inside a running event loop.
            RunStateError: If the session is over, or belongs to another thread.
            SourceError: If `source` cannot be iterated for elements.
            StageError: If a stage failed.
            RunTimeoutError: If the run, a stage or an edge took too long.
            PipelineBusyError: If there are as many runs as there may be.
        """
        forbid_inside_a_loop("SyncSession.execute")
        self._require_thread()
        if self._is_over:
            raise RunStateError("this session has been closed and runs nothing more; call sync_session() again")
        if self._loop is None:
            self._loop = keep_loop(self._backend)
        try:
            return self._loop.run(partial(self._run, source, deps=deps, kill_switch=kill_switch, record=record))
        except StreamflowError as error:
            raise own_way_left_out(error) from error.__cause__

    def close(self) -> None:
        """Close what runs have shared, and the event loop. Idempotent.

        Raises:
            SyncInAsyncError: If called inside a running event loop.
            RunStateError: If it belongs to another thread.
            Exception: What closing a resource raised; the loop is closed all the same.
        """
        self._require_thread()
        self._is_over = True
        loop, self._loop = self._loop, None
        if loop is not None:
            forbid_inside_a_loop("SyncSession.close")
            try:
                loop.run(self._tidy_up, is_last=True)
            finally:
                loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _require_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise RunStateError("a session belongs to the thread that made it; call sync_session() in each thread")


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
        except StreamflowError as error:
            self.close()
            raise own_way_left_out(error) from error.__cause__
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
        from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 - most programs need no such thread

        self._portal = self._stack.enter_context(start_blocking_portal(self._backend))
        self._stack.callback(self._portal.call, self._tidy_up)
        self._run = self._portal.call(self._make)
        self._stack.callback(self._portal.call, self._run.aclose)
        return self._run

    async def _make(self) -> Run:
        return self._execute()
