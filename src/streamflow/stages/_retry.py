"""The stage that tries another one again, and how long it waits in between.

Above: users. Below: `_around`, `_tries`.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, cast

import anyio

from ..errors import ConfigError
from ._around import AroundStage, OnFailure, forward
from ._checks import checked_count
from ._deadlines import checked_seconds
from ._failures import Failures, checked_failures, is_transient, retry_after_s
from ._tries import Tries, may_resume_always

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..channels import SendEnd
    from ..elements import StreamElement
    from ._context import RunContext
    from ._forms import StageLike
    from ._inner import InnerRun, Unit
    from ._tries import Resume

__all__ = ["RetryStage"]


class RetryStage(AroundStage):
    """Run a stage inside; when it fails, make it anew and give it the same again, after a wait that grows.

    ```python
    RetryStage(ProviderStage(provider), attempts=4, min_backoff_s=0.5)
    ```

    What is tried again is one *unit*: one element that the inner stage is given, or one turn if it accumulates, which it is given
    once its `TurnEnd` has come. The waits are `min_backoff_s` and twice as long each time, `max_backoff_s` at most, each drawn anew
    between nothing and that ("full jitter"), so that those who failed together do not come back together. A failure that says
    `retry_after_s`, as `ProviderError` and `CircuitOpenError` do, is waited for at least that long.

    In: what the inner stage accepts; other elements pass by in order.
    Out: what it sends. Of a try that fails nothing leaves but data: control that comes before its first data is held back until
    that comes, and is dropped when the try fails.

    Flow:
        emits: what the inner stage sends, as it comes; control in front of the first data of a unit with that data.
        backpressures: while it waits, and while the output is full; holds one unit, what the inner stage holds, and 16 results.
        completes: when the input ends and the inner stage has said its last; or when the inner stage returns before.
        fails: with what the inner stage raised last, once no further try is allowed.
        cancels: ends a wait at once; cancels the inner stage, and drops what it has sent and what has not left.

    Args:
        inner: The stage; a function, a class, an object, as in `chain()`.
        attempts: Most tries of one unit, the first one included.
        min_backoff_s: Wait before the second try, in seconds, before chance has taken its part.
        max_backoff_s: Longest wait at all, in seconds. A failure that asks for a longer one is not tried again.
        lifetime_s: For how long a unit may be tried, in seconds from its first try: no wait goes on beyond. None: no limit.
        jitter: Largest part of a wait that is left out by chance, from 0 to 1.
        on: Which failures are tried again; None: those that say `retryable`, lost connections and time-outs.
        resume: `before_first`: only before the first element of data of the unit has left, so nothing is ever said twice.
            `always`: also later; then a `TurnReset` tells consumers to forget what the unit has said so far.
        on_failure: What becomes of a unit that fails for good. `error`: the stage fails. `end_turn`: an `ErrorElement` stands for
            the rest, in a turn followed by its `TurnEnd` with the reason `error`, and the stage goes on with the next unit.
        max_turn: Most elements of one turn.
        name: Name in the graph; the inner stage's context and errors call it `name/inner`.

    Listeners get an event `retry.waiting` before each further try, with `attempt` (from 2), `wait_s` and `error`, the class.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
        StageDefinitionError: If `inner` is no stage that can be run inside another.

    Source: semantics 3.10; M. Brooker, Exponential backoff and jitter.
    """

    def __init__(
        self,
        inner: StageLike,
        *,
        attempts: int = 3,
        min_backoff_s: float = 0.5,
        max_backoff_s: float = 30.0,
        lifetime_s: float | None = None,
        jitter: float = 1.0,
        on: Failures | None = None,
        resume: Resume = "before_first",
        on_failure: OnFailure = "error",
        max_turn: int = 1000,
        name: str = "retry",
    ) -> None:
        super().__init__((inner,), name, max_turn, on_failure)
        self._attempts = checked_count(attempts, "attempts", self.name)
        self._min_backoff_s = checked_seconds(min_backoff_s, "min_backoff_s", self.name)
        self._max_backoff_s = checked_seconds(max_backoff_s, "max_backoff_s", self.name)
        if max_backoff_s < min_backoff_s:
            message = f"stage {self.name!r}: {max_backoff_s:g} is less than min_backoff_s={min_backoff_s:g}; raise it"
            raise ConfigError("max_backoff_s", message)
        self._lifetime_s = math.inf if lifetime_s is None else checked_seconds(lifetime_s, "lifetime_s", self.name)
        given = cast("object", jitter)
        if not isinstance(given, (int, float)) or isinstance(given, bool) or not 0 <= given <= 1:
            raise ConfigError(
                "jitter", f"stage {self.name!r}: it is a part of the wait, from 0 to 1, got {given!r:.80}"
            )
        self._jitter = jitter
        self._on = is_transient if on is None else checked_failures(on, "on", self.name)
        self._always = may_resume_always(resume, self.name)

    async def _handle(
        self, unit: Unit, inner: Sequence[InnerRun], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        tries = Tries(output)
        until = anyio.current_time() + self._lifetime_s
        attempt = 1
        while True:
            failure = await forward(inner[0], unit, tries.send)
            if failure is None:
                await tries.finish()
                return
            wait_s = self._wait_s(attempt, failure)
            is_final = attempt == self._attempts or (tries.has_left and not self._always) or not self._on(failure)
            if is_final or wait_s is None or anyio.current_time() + wait_s >= until:
                await self._give_up(unit, failure, output, run)
                return
            attempt += 1
            run.emit("retry.waiting", {"attempt": attempt, "wait_s": wait_s, "error": type(failure).__name__})
            del failure
            await anyio.sleep(wait_s)
            await tries.begin_again(f"attempt {attempt}")

    def _wait_s(self, attempt: int, failure: Exception) -> float | None:
        """Return how long to wait after a try; None if the failure asks for more than is allowed."""
        asked = retry_after_s(failure)
        if asked > self._max_backoff_s:
            return None
        # Beyond 2 ** 60 the product is past any limit, and much beyond that no float.
        longest = min(self._max_backoff_s, self._min_backoff_s * 2.0 ** min(attempt - 1, 60))
        drawn = longest * (1 - self._jitter * random.random())  # noqa: S311 - no secret
        return max(asked, drawn)
