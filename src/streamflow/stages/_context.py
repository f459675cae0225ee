"""What a stage may ask of the run that it belongs to.

Above: `runtime`, which makes one context per stage and run. Below: `observe`.
"""

from __future__ import annotations

import copy
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeAlias, TypeVar, TypeVarTuple

import anyio

from ..errors import RunStateError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
    from contextvars import Context

    from ..channels import Origin
    from ._resources import Resource
    from ._turns import Turns

__all__ = ["CURRENT_RUN", "Guard", "InRun", "Lineage", "RunContext", "current_run", "run_here"]

DepsT_co = TypeVar("DepsT_co", covariant=True)
ArgsT = TypeVarTuple("ArgsT")
T = TypeVar("T")

Guard: TypeAlias = "Callable[[Callable[[Any], Awaitable[Any]]], Callable[[Any], Awaitable[Any]]]"
"""Given what is called with each element, returns what to call instead: it does as the supervision says after a failure, and
returns the result, `NOTHING` where there is none, or raises where the stage is to fail."""

_log = logging.getLogger("streamflow.stage")


class Lineage(Protocol):
    """Knows what a stage has taken, and what it sends comes from; see `channels`."""

    def taken(self) -> Origin | None:
        """Return what was taken last; None: that is not followed."""
        ...

    def known(self, item: object) -> Origin | None:
        """Return what an element has come from that the stage has; None: it is not known, or not followed."""
        ...

    def derive(self, item: object, origins: Sequence[Origin | None]) -> None:
        """Know what an element comes from that is about to be sent."""
        ...


class Teller(Protocol):
    """Tells the run's listeners what a stage has to say."""

    def emit(self, stage: str, name: str, data: Mapping[str, object]) -> None:
        """Tell that something has happened in a stage."""
        ...


class Opener(Protocol):
    """Opens what the runs of a pipeline share."""

    async def resource(self, resource: Resource[T]) -> T:
        """Return what a resource gives, opened at first use."""
        ...


class Starter(Protocol):
    """Starts the helper tasks of a stage."""

    def start_helper(self, work: Callable[[], Awaitable[object]], name: str) -> Callable[[], None]:
        """Start one, and return what cancels it."""
        ...


class _StageLogger(logging.LoggerAdapter[logging.Logger]):
    """An adapter that adds to the `extra=` of a call, where the standard one puts its own in the place of it."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **(self.extra or {})}}


class RunContext(Generic[DepsT_co]):
    """One stage's view of one run: its identity, its dependencies, its clock, and what it may start or tell.

    A stage gets it by taking one more parameter: `async def process(self, input, output, run: RunContext[MyDeps])`.
    """

    turns: Turns | None = None
    """What the stage has told about interruptions, see `turn_scope()`; None: nothing."""
    lineage: Lineage | None = None
    """Knows what it sends comes from; None: elements are not followed."""
    outer: RunContext[object] | None = None
    """That of the stage which runs this one inside itself; None: it is a stage of the graph."""

    def __init__(  # noqa: PLR0917 - by position: one for each stage of each run
        self,
        run_id: str,
        stage: str,
        deps: DepsT_co,
        deadline_s: float | None,
        teller: Teller,
        starter: Starter,
        opener: Opener,
        guard: Guard | None = None,
    ) -> None:
        self.run_id = run_id
        """Identity of the run, unique in this process."""
        self.stage = stage
        """Name of the stage in the graph."""
        self.deps = deps
        """What the caller gave as `execute(…, deps=…)`."""
        self.deadline_s = deadline_s
        """When the run will time out, on the scale of `clock()`; None when it will not."""
        self.guard: Guard | None = guard
        """For a stage of several calls at a time that is supervised: wraps what is called, see `Guard`. None for all others."""
        # Not their methods, each of which would be one object more for each stage of each run.
        self._teller, self._opener = teller, opener
        self.starter: Starter = starter
        """Starts the stage's helpers."""

    @property
    def epoch(self) -> int:
        """How many times the run has been interrupted.

        A stage that goes on (`on_interrupt="fence"`) and keeps elements between pulls forgets those that do not survive, see
        `survives_interruption()`, when this has changed.
        """
        if self.outer is not None:
            return self.outer.epoch
        return 0 if self.turns is None else self.turns.epoch

    @staticmethod
    def clock() -> float:
        """Return the event loop's time, in seconds. Monotonic; virtual in tests under virtual time."""
        return anyio.current_time()

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger named `streamflow.stage.<name>`, whose records carry `run_id` and `stage` beside what `extra=` gives."""
        return _StageLogger(_log.getChild(self.stage), {"run_id": self.run_id, "stage": self.stage})

    def emit(self, name: str, data: Mapping[str, object] | None = None) -> None:
        """Tell the run's listeners that something happened. Never waits, never raises what a listener raises.

        Args:
            name: What happened, as in `chat.token`.
            data: What there is to say about it.
        """
        self._teller.emit(self.stage, name, data or {})

    def derived(self, element: object, *origins: object) -> None:
        """Say what an element was made of that is sent next, for the traces: elements that the stage has taken, and still has.

        Needed only by a stage that has several and gives results for each. Does nothing where elements are not followed.

        Args:
            element: What is about to be sent.
            origins: What it was made of.
        """
        if self.lineage is not None:
            self.lineage.derive(element, [self.lineage.known(one) for one in origins])

    def start_soon(self, func: Callable[[*ArgsT], Awaitable[object]], *args: *ArgsT, name: str | None = None) -> None:
        """Start a helper task that belongs to this stage, and sees the context variables of its caller.

        The stage has completed when its own function and all its helpers have. A helper that raises fails the stage.
        Cancellation: helpers are cancelled with the stage, and when the stage's own function raises.

        Args:
            func: Called with `args` in the new task, and awaited.
            args: What `func` is called with.
            name: What reports call it; default the function's.

        Raises:
            RunStateError: If the stage has ended, or is being cancelled.
        """
        own_name: str = getattr(func, "__name__", "helper")
        self.start_helper(lambda: func(*args), own_name if name is None else name)

    def start_helper(self, work: Callable[[], Awaitable[object]], name: str) -> Callable[[], None]:
        """Start a helper task as `start_soon()` does, and return what cancels it.

        Raises:
            RunStateError: If the stage has ended, or is being cancelled.
        """
        return self.starter.start_helper(work, name)

    async def resource(self, resource: Resource[T]) -> T:
        """Return what all runs of the pipeline share, opened when it is asked for first.

        Cancellation: the opening goes on, for whoever asks next.

        Raises:
            RunStateError: If the pipeline has been shut down.
            Exception: What the opening raised; the next call tries again.
        """
        return await self._opener.resource(resource)

    def for_inner(self, name: str, starter: Starter) -> Self:
        """Return the context of a stage that this one runs inside itself: the same run, by the name `outer/inner`.

        Args:
            name: Name of the inner stage.
            starter: Starts what the inner stage gives to `start_soon()`, under the name that reports call it.
        """
        inner = copy.copy(self)
        inner.stage = f"{self.stage}/{name}"
        inner.starter = starter
        inner.guard = None
        inner.outer = self
        inner.turns = None
        return inner

    def __repr__(self) -> str:
        return f"<RunContext run_id={self.run_id!r} stage={self.stage!r}>"


class InRun(Protocol):
    """Stands for the context of a stage, which is made when it is asked for."""

    @property
    def context(self) -> RunContext[object]:
        """The context."""
        ...


CURRENT_RUN: ContextVar[RunContext[object] | InRun] = ContextVar("streamflow_current_run")
"""Set by the runtime in each stage's own context."""


def run_here(seen: Context | None = None) -> RunContext[object] | None:
    """Return the context of the stage that is calling, None outside of a stage.

    Args:
        seen: What the caller's context variables are taken from; None: those that it sees.
    """
    found = CURRENT_RUN.get(None) if seen is None else seen.get(CURRENT_RUN)
    return found if found is None or isinstance(found, RunContext) else found.context


def current_run() -> RunContext[object]:
    """Return the context of the stage that is calling, however deep in its calls.

    Raises:
        RunStateError: If the caller is not inside a stage.
    """
    found = run_here()
    if found is None:
        message = "current_run() was called outside a stage; pass what you need as an argument there"
        raise RunStateError(message)
    return found
