"""The circuit breaker, and the stage that keeps one before another stage.

Above: users. Below: `_around`, `_shared_clock`.

A breaker is `closed` while its service works. When there have been too many failures in the window it is `open`, and lets nobody
through. After a time it is `half_open`: it lets probes through, and is closed when all of them have succeeded, open again when one
has failed. What was let through in an earlier state says nothing about the present one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, Self, cast

from ..errors import CircuitOpenError, ConfigError
from ._around import AroundStage, OnFailure, forward
from ._checks import checked_count
from ._deadlines import checked_seconds
from ._failures import Failures, checked_failures
from ._shared_clock import SharedClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..channels import SendEnd
    from ..elements import StreamElement
    from ._context import RunContext
    from ._forms import StageLike
    from ._inner import InnerRun, Unit

__all__ = ["CircuitBreaker", "CircuitBreakerStage", "CircuitCall", "CircuitState"]

CircuitState = Literal["closed", "open", "half_open"]
"""Whether a breaker lets everything through, nothing, or probes."""


class CircuitBreaker:
    """The memory of how a service has done lately. Share one among all that use the service.

    For one thread at a time: the event loops that use it one after another, as in blocking calls, share what it knows.

    Args:
        failures: How many failures in `window_s` open it, from 1 up.
        window_s: How far back failures count, in seconds.
        open_s: How long it stays open, in seconds, before a probe is let through.
        probes: How many must succeed, one after another or at a time, before it is closed again.
        name: What errors and events call it.

    Raises:
        ConfigError: If an argument is wrong; the field is named.

    Source: M. Nygard, Release It!; the count-in-a-window rule is that of resilience4j and Polly.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        window_s: float = 60.0,
        open_s: float = 30.0,
        probes: int = 1,
        name: str = "circuit",
    ) -> None:
        self.name: str = name
        """What errors and events call it."""
        self.state: CircuitState = "closed"
        """What it lets through; an open one becomes half open when somebody asks after its time."""
        self._window_s = checked_seconds(window_s, "window_s", name)
        self._open_s = checked_seconds(open_s, "open_s", name)
        self._probes = checked_count(probes, "probes", name)
        self._failed: deque[float] = deque(maxlen=checked_count(failures, "failures", name))
        self._clock = SharedClock()
        self._opened_s = 0.0
        self._epoch = 0  # counts the changes of state
        self._asking = 0  # probes on their way
        self._succeeded = 0  # probes

    def enter(self) -> CircuitCall | None:
        """Return what to tell the outcome of a call to; None if there must be none now."""
        if self.state == "open" and self._clock.now() >= self._opened_s + self._open_s:
            self._change("half_open")
        if self.state == "open":
            return None
        if self.state == "half_open":
            if self._asking + self._succeeded >= self._probes:
                return None
            self._asking += 1
        return CircuitCall(self, self._epoch)

    def retry_after_s(self) -> float:
        """Return in how many seconds it can be entered again: 0 now, or when probes that are on their way have ended."""
        return max(0.0, self._opened_s + self._open_s - self._clock.now()) if self.state == "open" else 0.0

    def reset(self) -> None:
        """Close it, and forget all failures."""
        self._change("closed")

    def leave(self, epoch: int, succeeded: bool | None) -> None:
        """Learn how a call has ended; for `CircuitCall`."""
        if epoch != self._epoch:
            return
        if self.state == "half_open":
            self._asking -= 1
            if succeeded:
                self._succeeded += 1
                if self._succeeded == self._probes:
                    self._change("closed")
            elif succeeded is False:
                self._change("open")
        elif succeeded is False:
            now = self._clock.now()
            self._failed.append(now)
            if len(self._failed) == self._failed.maxlen and now - self._failed[0] < self._window_s:
                self._change("open")

    def _change(self, state: CircuitState) -> None:
        self.state = state
        self._epoch += 1
        self._asking = self._succeeded = 0
        self._failed.clear()
        if state == "open":
            self._opened_s = self._clock.now()

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self.state}>"


class CircuitCall:
    """One call that a breaker has let through. Its first outcome counts; leaving `with` it without one says nothing."""

    def __init__(self, breaker: CircuitBreaker, epoch: int) -> None:
        self._breaker: CircuitBreaker | None = breaker
        self._epoch = epoch

    def succeeded(self) -> None:
        """Tell that the service has done what it should."""
        self._end(succeeded=True)

    def failed(self) -> None:
        """Tell that it has not."""
        self._end(succeeded=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end(succeeded=None)

    def _end(self, *, succeeded: bool | None) -> None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker.leave(self._epoch, succeeded)


class CircuitBreakerStage(AroundStage):
    """Run a stage inside as long as it works; when it has failed too often, leave it alone for a while.

    ```python
    breaker = CircuitBreaker(failures=3, window_s=30, open_s=20)
    FallbackStage(CircuitBreakerStage(ProviderStage(large), breaker), ProviderStage(small))
    ```

    A call is one *unit*: one element that the inner stage is given, or one turn if it accumulates, which it is given once its
    `TurnEnd` has come. All runs of this stage share its breaker, since it protects a service; give several stages the same one
    where they use the same service. A call that ends because the run does counts neither way.

    In: what the inner stage accepts; other elements pass by in order.
    Out: what it sends.

    Flow:
        emits: what the inner stage sends, as it comes.
        backpressures: while the output is full; holds one unit, what the inner stage holds, and 16 results of it.
        completes: when the input ends and the inner stage has said its last; or when the inner stage returns before.
        fails: `CircuitOpenError` at once while the breaker is open; with what the inner stage raises.
        cancels: cancels the inner stage, and drops what it has sent and what has not left.

    Args:
        inner: The stage; a function, a class, an object, as in `chain()`.
        breaker: What it remembers; None: one of its own, with the defaults.
        on_open: `error`: what is refused, or fails inside, fails the stage: so does a `FallbackStage` around it learn of it.
            `end_turn`: an `ErrorElement` stands for it, with the code `circuit_open` or that of the failure, in a turn followed by
            its `TurnEnd` with the reason `error`, and the stage goes on with the next unit.
        counts: Which failures of the inner stage count. Others pass without a trace, as a bad request does that is no fault of the
            service: they count as answers.
        max_turn: Most elements of one turn.
        name: Name in the graph; the inner stage's context and errors call it `name/inner`.

    Listeners get the events `circuit.opened`, `circuit.half_open` and `circuit.closed` with the `circuit`'s name, each from the run
    that caused it.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
        StageDefinitionError: If `inner` is no stage that can be run inside another.

    Source: semantics 3.9.
    """

    def __init__(
        self,
        inner: StageLike,
        breaker: CircuitBreaker | None = None,
        *,
        on_open: OnFailure = "error",
        counts: Failures = Exception,
        max_turn: int = 1000,
        name: str = "circuit_breaker",
    ) -> None:
        super().__init__((inner,), name, max_turn, on_open, "on_open")
        given = cast("object", breaker)
        if given is not None and not isinstance(given, CircuitBreaker):
            raise ConfigError("breaker", f"stage {self.name!r}: give a CircuitBreaker, got {given!r:.80}")
        self._breaker: CircuitBreaker = CircuitBreaker(name=self.name) if breaker is None else breaker
        self._counts = checked_failures(counts, "counts", self.name)

    async def _handle(
        self, unit: Unit, inner: Sequence[InnerRun], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        breaker, before = self._breaker, self._breaker.state
        call = breaker.enter()
        self._tell(before, run)
        if call is None:
            refusal = CircuitOpenError(f"{run.stage}/{inner[0].name}", breaker.retry_after_s())
            await self._give_up(unit, refusal, output, run)
            return
        with call:
            failure = await forward(inner[0], unit, output.send)
            before = breaker.state
            if failure is not None and self._counts(failure):
                call.failed()
            else:
                call.succeeded()
            self._tell(before, run)
        if failure is not None:
            await self._give_up(unit, failure, output, run)

    def _tell(self, before: CircuitState, run: RunContext[object]) -> None:
        """Tell the run's listeners of a change of state."""
        if self._breaker.state != before:
            what = "opened" if self._breaker.state == "open" else self._breaker.state
            run.emit(f"circuit.{what}", {"circuit": self._breaker.name})
