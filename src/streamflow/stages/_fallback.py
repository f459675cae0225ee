"""The stage that has others to stand in for one that fails.

Above: users. Below: `_around`, `_tries`, `_shared_clock`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import ConfigError, FallbackExhaustedError
from ._around import AroundStage, OnFailure, forward
from ._deadlines import checked_seconds
from ._failures import Failures, checked_failures
from ._shared_clock import SharedClock
from ._tries import Tries, may_resume_always

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..channels import SendEnd
    from ..elements import StreamElement
    from ._context import RunContext
    from ._forms import StageLike
    from ._inner import InnerRun, Unit
    from ._tries import Resume

__all__ = ["FallbackStage"]


class FallbackStage(AroundStage):
    """Run a stage inside; when it fails, give what it was given to the next one, which then answers in its place.

    ```python
    FallbackStage(ProviderStage(large), ProviderStage(small), ProviderStage(local))
    ```

    What is handed over is one *unit*: one element, or one turn where the inner stages accumulate, which they are given once its
    `TurnEnd` has come. Failures of inner stages stay inside until all have failed. One that has failed is passed over for
    `recover_s` seconds; then the next unit is its probe. All runs of this stage share what it knows of that, since the services are
    the same. When all have failed lately, all are tried in their order.

    In: what the first inner stage accepts; other elements pass by in order. The others must accept that too.
    Out: what they send. Of a try that fails nothing leaves but data: control that comes before its first data is held back until
    that comes, and is dropped when the try fails.

    Flow:
        emits: what the inner stage sends, as it comes; control in front of the first data of a unit with that data.
        backpressures: while the output is full; holds one unit, what the inner stages hold, and 16 results of each.
        completes: when the input ends and the inner stages have said their last; or when one returns before.
        fails: `FallbackExhaustedError` with all causes, when all have failed; with what an inner stage raises, if it is not to be
            handed over: data has left, or `on` does not mean it.
        cancels: cancels the inner stages, and drops what they have sent and what has not left.

    Args:
        primary: The stage that is asked first; a function, a class, an object, as in `chain()`.
        others: Those that stand in, in order; at least one.
        resume: `before_first`: a unit is handed over only before the first element of data has left, so nothing is ever said twice.
            `always`: also later; then a `TurnReset` tells consumers to forget what the unit has said so far.
        on: Which failures are handed over.
        on_failure: What becomes of a unit that fails for good. `error`: the stage fails. `end_turn`: an `ErrorElement` stands for
            the rest, in a turn followed by its `TurnEnd` with the reason `error`, and the stage goes on with the next unit.
        recover_s: How long one that has failed is passed over, in seconds; None: it is not, each unit tries all in order.
        max_turn: Most elements of one turn.
        name: Name in the graph; an inner stage's context and errors call it `name/inner`.

    Listeners get an event `fallback.switched` with `failed`, `to` (None: there is nobody left) and `error`, the class; and
    `fallback.recovered` with `stage` when one that had failed has succeeded again.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
        StageDefinitionError: If one cannot be run inside another, or cannot stand in for the first.

    Source: semantics 3.10.
    """

    def __init__(
        self,
        primary: StageLike,
        *others: StageLike,
        resume: Resume = "before_first",
        on: Failures = Exception,
        on_failure: OnFailure = "error",
        recover_s: float | None = 30.0,
        max_turn: int = 1000,
        name: str = "fallback",
    ) -> None:
        super().__init__((primary, *others), name, max_turn, on_failure)
        if not others:
            raise ConfigError("others", f"stage {self.name!r} has nothing to fall back on; give at least two stages")
        self._always = may_resume_always(resume, self.name)
        self._on = checked_failures(on, "on", self.name)
        self._recover_s = 0.0 if recover_s is None else checked_seconds(recover_s, "recover_s", self.name)
        self._failed_s = [-math.inf] * len(self._specs)  # when each failed last, if it has not succeeded since
        self._clock = SharedClock()

    async def _handle(
        self, unit: Unit, inner: Sequence[InnerRun], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        tries = Tries(output)
        causes: list[tuple[str, Exception]] = []
        order = self._order()
        for place, number in enumerate(order):
            one = inner[number]
            failure = await forward(one, unit, tries.send)
            if failure is None:
                await tries.finish()
                if self._failed_s[number] > -math.inf:
                    self._failed_s[number] = -math.inf
                    run.emit("fallback.recovered", {"stage": one.name})
                return
            self._failed_s[number] = self._clock.now()
            causes.append((one.name, failure))
            is_final = not self._on(failure) or (tries.has_left and not self._always)
            following = None if is_final or place + 1 == len(order) else inner[order[place + 1]].name
            told = {"failed": one.name, "to": following, "error": type(failure).__name__}
            run.emit("fallback.switched", told)
            if is_final:
                await self._give_up(unit, failure, output, run)
                return
            if following is not None:
                await tries.begin_again(f"{one.name} has failed")
        await self._give_up(unit, self._exhausted(causes), output, run)

    def _order(self) -> list[int]:
        """Return who is tried, in order: those that have failed lately are passed over, unless all have."""
        now = self._clock.now()
        well = [number for number, at in enumerate(self._failed_s) if now >= at + self._recover_s]
        late = [number for number in range(len(self._failed_s)) if number not in well]
        return well + late

    def _exhausted(self, causes: Sequence[tuple[str, Exception]]) -> FallbackExhaustedError:
        failed = tuple((name, type(cause).__name__) for name, cause in causes)
        error = FallbackExhaustedError(self.name, failed)
        error.causes = tuple(cause for _, cause in causes)
        error.retryable = any(getattr(cause, "retryable", True) for cause in error.causes)
        error.__cause__ = error.causes[-1]
        return error
