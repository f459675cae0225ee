"""What the runs of one pipeline have in common: how many there are, what they share, and when there are no more.

Above: `_pipeline`, `_engine`. Below: `_backend`, `_drain`, `stages` (`Resource`).

A resource is opened and closed by a task of its own, because a context manager may hold a task group or a cancel scope, which
must be left by the task that entered it, and which is nobody else's business. The task lives until the pipeline is shut down, or
the event loop ends, which closes the resource too.
"""

from __future__ import annotations

import contextvars
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio

from ..errors import ConfigError, PipelineBusyError, RunStateError
from ._backend import current_backend
from ._drain import arrive, begin, checked_deadline, cut, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..stages import Resource
    from ._backend import Backend
    from ._engine import Engine

__all__ = ["Lifetime"]

T = TypeVar("T")


class _Held:
    """One resource on one event loop, from when it was first asked for until it is closed."""

    def __init__(self, resource: Resource[Any], backend: Backend) -> None:
        self.resource = resource
        self.backend = backend
        self.value: Any = None
        self.error: Exception | None = None
        self.is_open = False
        self.asked = anyio.Event()  # it is open, or could not be opened
        self.gone = anyio.Event()
        self._leave = anyio.Event()
        # A context of its own: what a run has set while it asked first is not what all others are to see.
        backend.spawn(self._keep(), f"resource {resource.name}", contextvars.Context())

    async def close(self) -> None:
        """Close it, and wait until it is closed."""
        self._leave.set()
        with anyio.CancelScope(shield=True):
            await self.gone.wait()

    async def _keep(self) -> None:
        doing = "opened"
        try:
            async with AsyncExitStack() as stack:
                self.value = await _enter(stack, self.resource)
                self.is_open = True
                self.asked.set()
                doing = "used"
                await self._leave.wait()
                doing = "closed"
        except Exception as error:  # noqa: BLE001 - raised where somebody asks for the resource, or closes it
            error.add_note(f"while the resource {self.resource.name!r} was being {doing}")
            self.error = error
        except BaseException:
            self.error = RunStateError(f"the event loop ended while {self.resource!r} was being {doing}")
            raise
        finally:
            self.asked.set()
            self.gone.set()


async def _enter(stack: AsyncExitStack, resource: Resource[T]) -> T:
    manager = resource.open()
    if isinstance(manager, AbstractAsyncContextManager):
        return await stack.enter_async_context(manager)
    if hasattr(manager, "__exit__"):
        return stack.enter_context(manager)
    message = f"the resource {resource.name!r} gave {manager!r:.80}, which is no context manager"
    raise ConfigError("open", f"{message}; write an @asynccontextmanager")


class Lifetime:
    """The common life of all runs of one pipeline.

    Args:
        max_runs: Most runs at a time; None: no limit.
        shutdown_timeout_s: How long a shutdown waits for runs to come to their end, if it is not told otherwise.
        resources: What is opened when the pipeline is entered.
    """

    def __init__(
        self, max_runs: int | None, shutdown_timeout_s: float, resources: Iterable[Resource[Any]] = ()
    ) -> None:
        self._max_runs = max_runs
        self._timeout_s = shutdown_timeout_s
        self._declared = tuple(dict.fromkeys(resources))
        self._runs: dict[Engine, None] = {}
        self._held: list[_Held] = []
        self._is_over = False
        self.on_leave: list[Callable[[Engine], None]] = []
        """Called with each run that has ended."""

    def enter(self, run: Engine) -> None:
        """Let a run begin.

        Raises:
            RunStateError: If the pipeline has been shut down.
            PipelineBusyError: If there are as many runs as there may be.
        """
        self._require_life()
        if self._max_runs is not None and len(self._runs) >= self._max_runs:
            raise PipelineBusyError(self._max_runs)
        self._runs[run] = None

    @property
    def runs(self) -> tuple[Engine, ...]:
        """The runs that go on."""
        return tuple(self._runs)

    def leave(self, run: Engine) -> None:
        """Know that a run has ended. Idempotent."""
        if run in self._runs:
            del self._runs[run]
            for hear in self.on_leave:
                hear(run)

    async def resource(self, resource: Resource[T]) -> T:
        """Return what `resource` gives, opened at first use.

        Cancellation: the opening goes on for whoever asks next.

        Raises:
            RunStateError: If the pipeline has been shut down.
            Exception: What the opening raised; the next call tries again.
        """
        if self._is_over and not self._runs:
            message = f"the resource {resource.name!r} was asked for after the pipeline had been shut down"
            raise RunStateError(message)
        held = next((one for one in self._here() if one.resource is resource and not one.gone.is_set()), None)
        if held is None:
            held = _Held(resource, current_backend())
            self._held.append(held)
        await held.asked.wait()
        if not held.is_open:
            if held in self._held:
                self._held.remove(held)  # who asks next tries again
            assert held.error is not None
            raise held.error
        return cast("T", held.value)

    async def open(self) -> None:
        """Open all resources that stages declare; all, or none.

        Raises:
            RunStateError: If the pipeline has been shut down.
            Exception: What an opening raised; those before it have been closed.
        """
        self._require_life()
        try:
            for one in self._declared:
                await self.resource(one)
        except BaseException:
            await self.close_resources()
            raise

    async def close_resources(self) -> None:
        """Close what this event loop's runs have opened.

        Cancellation: waits for the end of it.

        Raises:
            Exception: What a closing raised; all others have been closed.
        """
        errors: list[Exception] = []
        for one in reversed(self._here()):
            await one.close()
            self._held.remove(one)
            if one.error is not None:
                errors.append(one.error)
        if len(errors) > 1:
            raise ExceptionGroup("several resources could not be closed", errors)
        if errors:
            raise errors[0]

    def _require_life(self) -> None:
        if self._is_over:
            message = "this pipeline has been shut down and starts no more runs; build another one"
            raise RunStateError(message)

    def _here(self) -> list[_Held]:
        return [one for one in self._held if one.backend.is_here()]

    async def shut_down(self, timeout_s: float | None) -> None:
        """Refuse new runs, drain those that there are, cancel them when time is up, close the resources.

        Raises:
            ConfigError: If `timeout_s` is no number from 0 up.
            ShutdownTimeoutError: If stages did not end even though they were cancelled; resources have been closed.
        """
        limit = checked_deadline(timeout_s, self._timeout_s)
        self._is_over = True
        runs = tuple(self._runs)
        try:
            begin(runs)
            await arrive(runs, limit)
        finally:
            await cut(runs)
            await self.close_resources()
        report(runs, limit)
