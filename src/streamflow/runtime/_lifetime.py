"""What the runs of one pipeline have in common: how many there are, what they share, and when there are no more.

Above: `_pipeline`, `_engine`. Below: `_backend`, `stages` (`Resource`).

Resources are opened and closed by one task, the *keeper*, because a context manager may hold a task group or a cancel scope, which
must be left by the task that entered it. There is one keeper per event loop; it lives until the pipeline is shut down, or the loop
ends, which closes the resources too.
"""

from __future__ import annotations

import contextvars
import logging
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import anyio

from ..channels import open_channel
from ..errors import ConfigError, PipelineBusyError, RunStateError, ShutdownTimeoutError
from ._backend import current_backend

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..channels import ReceiveEnd, SendEnd
    from ..stages import Resource
    from ._backend import Backend
    from ._jobs import JobGroup

__all__ = ["Lifetime", "LiveRun"]

T = TypeVar("T")

_log = logging.getLogger("streamflow.runtime")


class LiveRun(Protocol):
    """What is asked of a run that has been started."""

    jobs: JobGroup
    """Its tasks."""

    @property
    def zombies(self) -> tuple[str, ...]:
        """Tasks that could not be stopped."""
        ...

    def stop_sources(self) -> None:
        """End its input."""
        ...

    def cut_short(self) -> None:
        """Cancel its tasks; its consumer is told."""
        ...

    async def finish(self, *, shield: bool) -> None:
        """Wait for its tasks, under a deadline."""
        ...


class _Opening:
    """One resource, from when it was first asked for."""

    def __init__(self, resource: Resource[Any]) -> None:
        self.resource = resource
        self.done = anyio.Event()
        self.value: Any = None
        self.error: Exception | None = None


class _Keeper:
    """The resources of one pipeline on one event loop."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.ended = anyio.Event()
        self._openings: dict[Resource[Any], _Opening] = {}
        self._requests: SendEnd[_Opening]
        requests: ReceiveEnd[_Opening]
        self._requests, requests = open_channel(name="resources")
        self._closing_errors: list[Exception] = []
        # A context of its own: what a run has set while it asked first is not what all others are to see.
        backend.spawn(self._keep(requests), "resources", contextvars.Context())

    async def open(self, resource: Resource[T]) -> T:
        """Return what `resource` gives, opened at most once however many ask at the same time."""
        opening = self._openings.get(resource)
        if opening is None:
            opening = self._openings[resource] = _Opening(resource)
            await self._requests.send(opening)
        await opening.done.wait()
        if opening.error is not None:
            raise opening.error
        return cast("T", opening.value)

    async def close(self) -> None:
        """Close what is open, the last one first. Raises what the closing raised."""
        self._requests.close()
        with anyio.CancelScope(shield=True):
            await self.ended.wait()
        if self._closing_errors:
            raise self._closing_errors[0]

    async def _keep(self, requests: ReceiveEnd[_Opening]) -> None:
        try:
            async with AsyncExitStack() as stack:
                async for opening in requests:
                    await self._open(opening, stack)
        except Exception as error:  # noqa: BLE001 - raised by close(), in the task that asks for it
            self._closing_errors.append(error)
            _log.warning("closing the resources of a pipeline failed: %s", type(error).__name__)
        finally:
            self.ended.set()

    async def _open(self, opening: _Opening, stack: AsyncExitStack) -> None:
        try:
            manager = opening.resource.open()
            if isinstance(manager, AbstractAsyncContextManager):
                opening.value = await stack.enter_async_context(manager)
            else:
                opening.value = stack.enter_context(manager)
        except Exception as error:  # noqa: BLE001 - raised in the tasks that asked for it
            error.add_note(f"while the resource {opening.resource.name!r} was being opened")
            opening.error = error
            del self._openings[opening.resource]  # who asks next tries again
        except BaseException:
            opening.error = RunStateError(f"the event loop ended while {opening.resource!r} was being opened")
            raise
        finally:
            opening.done.set()


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
        self._runs: dict[LiveRun, None] = {}
        self._keepers: list[_Keeper] = []
        self._is_over = False

    def enter(self, run: LiveRun) -> None:
        """Let a run begin.

        Raises:
            RunStateError: If the pipeline has been shut down.
            PipelineBusyError: If there are as many runs as there may be.
        """
        if self._is_over:
            message = "this pipeline has been shut down and starts no more runs; build another one"
            raise RunStateError(message)
        if self._max_runs is not None and len(self._runs) >= self._max_runs:
            raise PipelineBusyError(self._max_runs)
        self._runs[run] = None

    def leave(self, run: LiveRun) -> None:
        """Know that a run has ended. Idempotent."""
        self._runs.pop(run, None)

    async def resource(self, resource: Resource[T]) -> T:
        """Return what `resource` gives, opened at first use.

        Cancellation: the opening goes on for whoever asks next.

        Raises:
            RunStateError: If the pipeline has been shut down.
            Exception: What the opening raised; the next call tries again.
        """
        if self._is_over:
            message = f"the resource {resource.name!r} was asked for after the pipeline had been shut down"
            raise RunStateError(message)
        here = next((one for one in self._keepers if one.backend.is_here() and not one.ended.is_set()), None)
        if here is None:
            here = _Keeper(current_backend())
            self._keepers.append(here)
        return await here.open(resource)

    async def open(self) -> None:
        """Open all resources that stages declare; all, or none.

        Raises:
            Exception: What an opening raised; those before it have been closed.
        """
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
        here = [one for one in self._keepers if one.backend.is_here()]
        self._keepers = [one for one in self._keepers if one not in here]
        for one in here:
            await one.close()

    async def shut_down(self, timeout_s: float | None) -> None:
        """Refuse new runs, end the input of those that there are, cancel them when time is up, close the resources.

        Raises:
            ConfigError: If `timeout_s` is no number from 0 up.
            ShutdownTimeoutError: If stages did not end even though they were cancelled; resources have been closed.
        """
        limit = self._timeout_s if timeout_s is None else timeout_s
        if isinstance(limit, bool) or not limit >= 0:
            raise ConfigError("timeout_s", f"a shutdown's deadline is a number of seconds from 0 up, got {timeout_s!r}")
        self._is_over = True
        runs = tuple(self._runs)
        try:
            for run in runs:
                run.jobs.backend.call(run.stop_sources)
            with anyio.move_on_after(limit):
                for run in runs:
                    await run.jobs.wait(shield=False)
        finally:
            for run in runs:
                run.jobs.backend.call(run.cut_short)
            for run in runs:
                if run.jobs.backend.is_here():
                    await run.finish(shield=True)
            await self.close_resources()
        left = tuple(name for run in runs for name in run.zombies)
        if left:
            raise ShutdownTimeoutError(limit, left)
