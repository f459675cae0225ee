"""The stage that limits how long another one may take.

Above: users. Below: `_around`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio

from ..elements import ControlElement
from ..errors import ConfigError, StageTimeLimitError
from ._around import AroundStage, OnFailure, raised
from ._deadlines import checked_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..channels import SendEnd
    from ..elements import StreamElement
    from ..errors import TimeLimitKind
    from ._context import RunContext
    from ._forms import StageLike
    from ._inner import InnerRun, Unit

__all__ = ["TimeoutStage"]


class TimeoutStage(AroundStage):
    """Run a stage inside, and end what takes too long: to the first element, between two, or in all.

    ```python
    TimeoutStage(ProviderStage(provider), first_s=3, between_s=10, total_s=120)
    ```

    The limits are for one *unit*: one element that the inner stage is given, or one turn if it accumulates, which it
    is given once its `TurnEnd` has come. Only data counts as an element that comes; control, such as the `TurnStart` of a
    model stage, does not. While the output is full the clock stands still: what the next stage takes is not counted.

    In: what the inner stage accepts; other elements pass by in order.
    Out: what it sends.

    Flow:
        emits: what the inner stage sends, as it comes.
        backpressures: while the output is full; holds one unit, what the inner stage holds, and 16 results of it.
        completes: when the input ends and the inner stage has said its last; or when the inner stage returns before.
        fails: `StageTimeLimitError`, at the exact time, behind what came in time; with what the inner stage raises.
        cancels: cancels the inner stage, and drops what it has sent and what has not left.

    Args:
        inner: The stage; a function, a class, an object, as in `chain()`.
        first_s: Longest time, in seconds, from the unit to the first element of data, or to the end of the results without one.
        between_s: Longest time, in seconds, from one element of data to the next, or to the end of the results.
        total_s: Longest time, in seconds, from the unit to the end of its results.
        on_timeout: `error`: the stage fails. `end_turn`: what was sent stays sent, an `ErrorElement` with the code `timeout` stands
            for the rest, in a turn followed by its `TurnEnd` with the reason `error`, and the next unit begins with the inner stage
            made anew. Each time, listeners get an event `timeout.exceeded` with `stage`, `kind` and `limit_s`.
        max_turn: Most elements of one turn.
        name: Name in the graph; the inner stage's context and errors call it `name/inner`.

    Raises:
        ConfigError: If no limit is given, or an argument is wrong; the field is named.
        StageDefinitionError: If `inner` is no stage that can be run inside another.

    Source: semantics 3.8; Pekko's initial, idle and completion timeout.
    """

    def __init__(
        self,
        inner: StageLike,
        *,
        first_s: float | None = None,
        between_s: float | None = None,
        total_s: float | None = None,
        on_timeout: OnFailure = "error",
        max_turn: int = 1000,
        name: str = "timeout",
    ) -> None:
        super().__init__((inner,), name, max_turn, on_timeout, "on_timeout")
        given: dict[TimeLimitKind, float | None] = {"first": first_s, "between": between_s, "total": total_s}
        self._limits: dict[TimeLimitKind, float] = {
            kind: checked_seconds(limit, f"{kind}_s", self.name) for kind, limit in given.items() if limit is not None
        }
        if not self._limits:
            raise ConfigError("first_s", f"stage {self.name!r} has no limit; give first_s, between_s or total_s")

    async def _handle(
        self, unit: Unit, inner: Sequence[InnerRun], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        failure = await self._limited(unit, inner[0], output, run)
        if isinstance(failure, StageTimeLimitError):
            await self._give_up(unit, failure, output, run)
        elif failure is not None:
            raised(failure)

    async def _finish(
        self, unit: Unit, inner: InnerRun, output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        await self._handle(unit, (inner,), output, run)

    async def _limited(
        self, unit: Unit, inner: InnerRun, output: SendEnd[StreamElement], run: RunContext[object]
    ) -> Exception | None:
        """Send the results of a unit as long as they come in time; return what was wrong, None if nothing was."""
        await inner.begin(unit)
        since = begun = anyio.current_time()
        step: TimeLimitKind = "first"
        while True:
            total_at = begun + self._limits.get("total", math.inf)
            step_at = since + self._limits.get(step, math.inf)
            element = await inner.next(min(step_at, total_at))
            if element is None:
                break
            received = anyio.current_time()
            if not output.try_send(element):
                await output.send(element)
                waited = anyio.current_time() - received
                begun, since = begun + waited, since + waited
            if not isinstance(element, ControlElement):
                step, since = "between", anyio.current_time()
        if not inner.is_late:
            return inner.take_failure()
        kind: TimeLimitKind = step if step_at <= total_at else "total"
        late = StageTimeLimitError(f"{run.stage}/{inner.name}", kind, self._limits[kind])
        run.emit("timeout.exceeded", {"stage": late.stage, "kind": kind, "limit_s": late.limit_s})
        return late
