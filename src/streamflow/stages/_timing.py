"""Stages that make elements wait, or leave them out, by the clock: debounce, throttle, delay.

Above: users. Below: `_contract`, `_deadlines`.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Literal

import anyio

from ..elements import StreamElement, TurnEnd, survives_interruption
from ..errors import ConfigError
from ._admission import ALL_DATA, EVERYTHING
from ._checks import checked_count
from ._contract import BaseStage, StageKind
from ._deadlines import checked_seconds, next_until
from ._turns import turn_scope

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts
    from ._context import RunContext
    from ._contract import Bypass
    from ._turns import OnInterrupt

__all__ = ["DebounceStage", "DelayStage", "ThrottleMode", "ThrottleStage"]

ThrottleMode = Literal["wait", "drop"]
"""What becomes of an element over the limit: it waits, and all behind it; or it is dropped, and counted."""


class DebounceStage(BaseStage):
    """Send only the last element of each burst: once nothing has come for `quiet_s`. The ones before it are dropped.

    In: what it accepts, default all data, and `TurnEnd`.

    Flow:
        emits: the last element, `quiet_s` after it came, on `TurnEnd`, and at the end.
        backpressures: while the output is full; holds one element.
        completes: when the input ends, after the last element, for which it does not wait any longer.
        cancels: drops the element that it holds.
        interrupts: forgets the element that it holds, if it may be dropped.

    Args:
        quiet_s: How long, in seconds, nothing must come.
        name: Name in the graph.
        accepts: Element types that are debounced; default all data.
        bypass: When other elements leave: `late`, behind the element that was held when they came; `early`, at once.

    Raises:
        ConfigError: If `quiet_s` is no positive number.

    Source: semantics 3.3.
    """

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"

    def __init__(
        self,
        quiet_s: float,
        *,
        name: str = "debounce",
        accepts: Accepts | None = None,
        bypass: Bypass = "late",
    ) -> None:
        super().__init__(name)
        self._quiet_s = checked_seconds(quiet_s, "quiet_s", self.name)
        types = ALL_DATA if accepts is None else accepts if isinstance(accepts, tuple) else (accepts,)
        self.accepts: Accepts | None = (*types, TurnEnd)
        self.emits: Accepts | None = self.accepts
        self.max_held: int | None = 1
        self.bypass: Bypass = bypass

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        last: StreamElement | None = None
        deadline: float | None = None
        epoch = run.epoch
        is_open = True
        while is_open:
            element: StreamElement | None = None
            try:
                element = await next_until(input, deadline)
            except anyio.EndOfStream:
                is_open = False
            if epoch != run.epoch:
                epoch = run.epoch
                if last is not None and not survives_interruption(last):
                    last = deadline = None
            if not is_open:
                break
            if element is not None and not isinstance(element, TurnEnd):
                last, deadline = element, anyio.current_time() + self._quiet_s
                continue
            if last is not None:
                await output.send(last)
                last = deadline = None
            if element is not None:
                await output.send(element)
            else:
                await input.pass_aside()
        if last is not None:
            await output.send(last)


class ThrottleStage(BaseStage):
    """Let at most `count` elements leave in any `per_s` seconds; order is kept. Control passes by uncounted.

    The limit is that of a sliding log, not of fixed periods: there is no moment around which twice as many could leave. The first
    `count` elements leave as they come.

    Flow:
        emits: each element, once fewer than `count` have left in the last `per_s`; with `mode="drop"` only what need not wait.
        backpressures: while the output is full, and with `mode="wait"` while the limit is reached; holds one element.
        cancels: drops the element that waits.
        interrupts: drops the element that waits, if it may be dropped; what has left still counts.

    Args:
        count: Elements, from 1 up.
        per_s: Span of time, in seconds.
        mode: What becomes of an element over the limit. `wait`: it and all behind it wait, so the source slows down. `drop`: it is
            dropped; each time that elements were dropped in a row, the run's listeners get an event `throttle.dropped` with their
            `count` and the `total` of this run.
        name: Name in the graph.
        accepts: Element types that are counted and limited; default all data. Others pass by in order.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    holds_back: bool = True

    def __init__(
        self,
        count: int,
        per_s: float,
        *,
        mode: ThrottleMode = "wait",
        name: str = "throttle",
        accepts: Accepts | None = None,
    ) -> None:
        super().__init__(name)
        self._count = checked_count(count, "count", self.name)
        self._per_s = checked_seconds(per_s, "per_s", self.name)
        if mode not in {"wait", "drop"}:
            raise ConfigError("mode", f"stage {self.name!r}: give 'wait' or 'drop', got {mode!r:.80}")
        self._drops = mode == "drop"
        self.accepts: Accepts | None = accepts
        self.emits: Accepts | None = accepts

    on_interrupt: OnInterrupt | None = "fence"

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        left: deque[float] = deque(maxlen=self._count)  # when the last ones left
        dropped = _Dropped(run)
        try:
            async for element in input:
                free_at = left[0] + self._per_s if len(left) == self._count else -math.inf
                if anyio.current_time() < free_at:
                    if self._drops:
                        dropped.in_a_row += 1
                        continue
                    async with turn_scope(element) as turn:
                        await anyio.sleep_until(free_at)
                    if turn.interrupted:
                        continue
                dropped.tell()
                await output.send(element)
                left.append(anyio.current_time())
        finally:
            dropped.tell()


class _Dropped:
    """Counts what a throttle drops, and tells it once per row."""

    def __init__(self, run: RunContext[object]) -> None:
        self._run = run
        self._total = 0
        self.in_a_row = 0
        """How many were dropped since one was sent."""

    def tell(self) -> None:
        """Tell the run's listeners, if there is something to tell."""
        if self.in_a_row:
            self._total += self.in_a_row
            self._run.emit("throttle.dropped", {"count": self.in_a_row, "total": self._total})
            self.in_a_row = 0


class DelayStage(BaseStage):
    """Send each element `delay_s` after it came, in order. Control and ends of turns are delayed like everything else.

    Flow:
        emits: each element, `delay_s` after the stage took it; later while the output is full.
        backpressures: while it holds `max_held` elements. So with a delay of `d` seconds it lets `max_held / d` elements a second
            through, if there are more.
        completes: when the input has ended and the last element has left, at its time.
        cancels: drops what it holds.
        interrupts: forgets what it holds and may be dropped; the rest leaves at its time.

    Args:
        delay_s: How long, in seconds.
        max_held: Most elements that it holds, from 1 up.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    kind: StageKind = StageKind.ACCUMULATE
    accepts: Accepts | None = EVERYTHING
    on_interrupt: OnInterrupt | None = "fence"

    def __init__(self, delay_s: float, *, max_held: int = 1000, name: str = "delay") -> None:
        super().__init__(name)
        self._delay_s = checked_seconds(delay_s, "delay_s", self.name)
        self._max_held = checked_count(max_held, "max_held", self.name)
        self.max_held: int | None = self._max_held

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        held: deque[tuple[float, StreamElement]] = deque()  # each with the time at which it leaves
        is_open = True
        epoch = run.epoch
        while is_open or held:
            due = held[0][0] if held else math.inf
            element: StreamElement | None = None
            if is_open and len(held) < self._max_held:
                # What is there is taken also when another one is due: its own time has to begin.
                try:
                    with anyio.CancelScope(deadline=due):
                        element = await input.receive()
                except anyio.EndOfStream:
                    is_open = False
            else:
                await anyio.sleep_until(due)
            if epoch != run.epoch:
                epoch = run.epoch
                held = deque(one for one in held if survives_interruption(one[1]))
            if element is not None:
                held.append((anyio.current_time() + self._delay_s, element))
            elif held and anyio.current_time() >= due:
                await output.send(held.popleft()[1])
