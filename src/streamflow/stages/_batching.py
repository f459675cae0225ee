"""Stages that group: batches, sliding windows, and their reverse. What groups text is in `_chunking`.

Above: users. Below: `_contract`, `_deadlines`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import anyio

from ..elements import BatchElement, StreamElement, TurnEnd, batch_of, survives_interruption
from ._admission import ALL_DATA
from ._checks import checked_count
from ._contract import BaseStage, StageKind
from ._deadlines import checked_seconds, next_until

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts
    from ._context import RunContext
    from ._contract import Bypass
    from ._supervision import CallForm
    from ._turns import OnInterrupt

__all__ = ["BatchStage", "UnbatchStage", "WindowStage"]


class _Grouping(BaseStage):
    """What the stages that make batches share."""

    kind: StageKind = StageKind.ACCUMULATE
    emits: Accepts | None = (BatchElement, TurnEnd)
    on_interrupt: OnInterrupt | None = "fence"

    def __init__(self, size: int, name: str, accepts: Accepts | None, bypass: Bypass) -> None:
        super().__init__(name)
        self._size = checked_count(size, "size", self.name)
        types = ALL_DATA if accepts is None else accepts if isinstance(accepts, tuple) else (accepts,)
        self.accepts: Accepts | None = (*types, TurnEnd)
        self.max_held: int | None = self._size
        self.bypass: Bypass = bypass


class BatchStage(_Grouping):
    """Collect elements into batches of `size`; nothing is lost, and all items of all batches are the input in order.

    In: what it accepts, default all data, and `TurnEnd`.
    Out: `BatchElement`. It is as urgent as the most urgent of its items, and interruptible only if all of them may be dropped.

    Flow:
        emits: when `size` elements are there; a short batch `max_wait_s` after it was begun, on `TurnEnd`, and at the end.
        backpressures: while the output is full; holds `size` elements.
        completes: when the input ends, after the short last batch.
        cancels: drops what it holds.
        interrupts: forgets what it holds and may be dropped.

    Args:
        size: Elements of a full batch, from 1 up.
        max_wait_s: Longest time, in seconds, from the first element of a batch to its sending; None: no limit.
        name: Name in the graph.
        accepts: Element types that are collected; default all data.
        bypass: When other elements leave: `late`, behind the batch that was being collected when they came; `early`, at once.

    Raises:
        ConfigError: If an argument is wrong; the field is named.

    Source: semantics 3.3.
    """

    def __init__(
        self,
        size: int,
        *,
        max_wait_s: float | None = None,
        name: str = "batch",
        accepts: Accepts | None = None,
        bypass: Bypass = "late",
    ) -> None:
        super().__init__(size, name, accepts, bypass)
        self._max_wait_s = None if max_wait_s is None else checked_seconds(max_wait_s, "max_wait_s", self.name)

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[BatchElement | TurnEnd], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        held: list[StreamElement] = []
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
                held = [one for one in held if survives_interruption(one)]
                deadline = deadline if held else None
            if not is_open:
                break
            if element is not None and not isinstance(element, TurnEnd):
                if not held and self._max_wait_s is not None:
                    deadline = anyio.current_time() + self._max_wait_s
                held.append(element)
                if len(held) < self._size:
                    continue
            if held:
                await output.send(batch_of(*held))
                held.clear()
                deadline = None
            if isinstance(element, TurnEnd):
                await output.send(element)
            else:
                await input.pass_aside()
        if held:
            await output.send(batch_of(*held))


class WindowStage(_Grouping):
    """Send a sliding window over the stream: `size` elements, then the same moved on by `step`, and so on.

    In: what it accepts, default all data, and `TurnEnd`. A window never reaches over the end of a turn.
    Out: `BatchElement`, with a header as `BatchStage` gives it. The rest of a turn or of the input is sent as a short window if
    there is an element in it that no window had before; so nothing is missing, except what a `step` above `size` leaves out.

    ```python
    WindowStage(3)  # of 1 2 3 4 5: [1 2 3] [2 3 4] [3 4 5]
    WindowStage(3, step=2)  # of 1 2 3 4: [1 2 3] [3 4]
    ```

    Flow:
        emits: when `size` elements are there; the rest on `TurnEnd` and at the end.
        backpressures: while the output is full; holds `size` elements.
        completes: when the input ends, after the rest.
        cancels: drops what it holds.
        interrupts: forgets what it holds and may be dropped.

    Args:
        size: Elements of a window, from 1 up.
        step: How many elements it moves on, from 1 up. The same as `size`: batches; more: elements between windows are left out.
        name: Name in the graph.
        accepts: Element types that are collected; default all data.
        bypass: When other elements leave: `late`, behind the first window with all that came before them; `early`, at once.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(
        self,
        size: int,
        *,
        step: int = 1,
        name: str = "window",
        accepts: Accepts | None = None,
        bypass: Bypass = "late",
    ) -> None:
        super().__init__(size, name, accepts, bypass)
        self._step = checked_count(step, "step", self.name)

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[BatchElement | TurnEnd], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        window: deque[StreamElement] = deque()
        unsent = 0  # elements of the window that no window had before
        gap = 0  # elements to leave out before the next one of a window
        epoch = run.epoch
        async for element in input:
            if epoch != run.epoch:
                epoch = run.epoch
                new = list(window)[len(window) - unsent :]
                window = deque(one for one in new if survives_interruption(one))
                unsent, gap = len(window), 0
            if isinstance(element, TurnEnd):
                if unsent:
                    await output.send(batch_of(*window))
                await output.send(element)
                window.clear()
                unsent = gap = 0
                continue
            if gap:
                gap -= 1
                continue
            window.append(element)
            unsent += 1
            if len(window) == self._size:
                await output.send(batch_of(*window))
                for _ in range(min(self._step, self._size)):
                    window.popleft()
                unsent, gap = 0, max(0, self._step - self._size)
                await input.pass_aside()
        if epoch != run.epoch:
            new = list(window)[len(window) - unsent :]
            window = deque(one for one in new if survives_interruption(one))
            unsent = len(window)
        if unsent:
            await output.send(batch_of(*window))


class UnbatchStage(BaseStage):
    """Send the items of each batch one by one, as they are; the reverse of `BatchStage`. A batch among them stays one.

    Flow:
        emits: each item.
        backpressures: while the output is full; holds one batch.

    Args:
        name: Name in the graph.
    """

    accepts: Accepts | None = BatchElement
    _calls: CallForm = "one"

    async def process(self, input: ReceiveEnd[BatchElement], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        async for batch in input:
            await output.send_each(batch.items)
