"""Stages that keep every rule in an unusual way: no check may find fault with them.

Above: tests of the kit. Below: `_cage`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import anyio

from ...elements import ControlElement, StreamElement, TurnEnd
from ...stages import StageKind, current_run
from ._cage import Memory, Unusual, unusual

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...channels import ReceiveEnd, SendEnd

    In = ReceiveEnd[Any]
    Out = SendEnd[Any]

__all__ = [
    "UNUSUAL",
    "answers_in_a_shield",
    "begins_again_and_again",
    "closes_its_output_itself",
    "ends_early",
    "gives_up_waiting_and_waits_again",
    "hands_over_to_a_helper",
    "lets_the_run_start_its_helper",
    "polls",
    "reads_ahead",
    "receives_until_the_end_is_raised",
    "sends_at_the_end_of_a_turn",
    "sends_five_for_one",
    "sends_in_several_tasks",
    "sends_nothing",
    "sends_only_what_fits_else_waits",
]

_FEW: Final = 2  # of what is taken before the end


@unusual(max_held=4, kind=StageKind.ACCUMULATE)
async def reads_ahead(input: In, output: Out, memory: Memory) -> None:
    """Reads up to three elements ahead, in a task of its own, and says so: what holds elements between pulls accumulates."""
    ahead: deque[StreamElement] = deque()
    changed = anyio.Event()
    has_ended = False

    def tell() -> None:
        nonlocal changed
        before, changed = changed, anyio.Event()
        before.set()

    async def read() -> None:
        nonlocal has_ended
        async for element in input:
            while len(ahead) >= 3:
                await changed.wait()
            ahead.append(element)
            tell()
        has_ended = True
        tell()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        while not has_ended or ahead:
            if ahead:
                await output.send(ahead.popleft())
                tell()
            else:
                await changed.wait()


@unusual(kind=StageKind.ACCUMULATE, accepts=(StreamElement, TurnEnd), max_held=None)
async def sends_at_the_end_of_a_turn(input: In, output: Out, memory: Memory) -> None:
    """Keeps everything until the end of a turn, or of its input."""
    held: list[StreamElement] = []
    async for element in input:
        if not isinstance(element, ControlElement):
            held.append(element)
            continue
        await output.send_each(held)
        held.clear()
        await output.send(element)
    await output.send_each(held)


@unusual()
async def answers_in_a_shield(input: In, output: Out, memory: Memory) -> None:
    """Sends in a shielded scope under a limit, so that a cancellation comes late."""
    async for element in input:
        with anyio.move_on_after(1, shield=True) as scope:
            await output.send(element)
        if scope.cancelled_caught:
            await output.send(element)


@unusual(lambda elements: list(elements[:_FEW]))
async def ends_early(input: In, output: Out, memory: Memory) -> None:
    """Takes two elements and returns."""
    left = _FEW
    async for element in input:
        await output.send(element)
        left -= 1
        if not left:
            return


def _five_times(elements: Sequence[StreamElement]) -> list[StreamElement]:
    return [element for element in elements for _ in range(5)]


@unusual(_five_times)
async def sends_five_for_one(input: In, output: Out, memory: Memory) -> None:
    """Sends each element five times, as declared by its model."""
    async for element in input:
        for _ in range(5):
            await output.send(element)


@unusual(lambda _elements: [])
async def sends_nothing(input: In, output: Out, memory: Memory) -> None:
    """Takes everything and sends nothing."""
    async for _ in input:
        pass


@unusual()
async def hands_over_to_a_helper(input: In, output: Out, memory: Memory) -> None:
    """Does all its work in another task, and waits for that."""

    async def work() -> None:
        async for element in input:
            await output.send(element)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)


@unusual()
async def lets_the_run_start_its_helper(input: In, output: Out, memory: Memory) -> None:
    """Does all its work in a helper that the run knows, and returns at once."""

    async def work() -> None:
        async for element in input:
            await output.send(element)

    current_run().start_soon(work)


@unusual()
async def sends_in_several_tasks(input: In, output: Out, memory: Memory) -> None:
    """Sends each element in a task of its own, one after the other."""
    async for element in input:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(output.send, element)


@unusual()
async def polls(input: In, output: Out, memory: Memory) -> None:
    """Never waits for an element: it looks again and again whether there is one."""
    while True:
        try:
            element = input.receive_nowait()
        except anyio.EndOfStream:
            return
        except anyio.WouldBlock:
            await anyio.sleep(0.01)
            continue
        await output.send(element)


@unusual()
async def gives_up_waiting_and_waits_again(input: In, output: Out, memory: Memory) -> None:
    """Cancels its own waits after a moment, and waits anew: nothing may be lost by that."""
    while True:
        element: StreamElement | None = None
        with anyio.move_on_after(0.01):
            try:
                element = await input.receive()
            except anyio.EndOfStream:
                return
        while element is not None:
            with anyio.move_on_after(0.01):
                await output.send(element)
                element = None


@unusual()
async def receives_until_the_end_is_raised(input: In, output: Out, memory: Memory) -> None:
    """Calls `receive()` and lets the end of its input be what ends it."""
    while True:
        await output.send(await input.receive())


@unusual()
async def begins_again_and_again(input: In, output: Out, memory: Memory) -> None:
    """Begins a new iteration of its input for each element."""
    has_more = True
    while has_more:
        has_more = False
        async for element in input:
            await output.send(element)
            has_more = True
            break


@unusual()
async def closes_its_output_itself(input: In, output: Out, memory: Memory) -> None:
    """Closes its output when it is done, and takes its time to return."""
    async for element in input:
        await output.send(element)
    output.close()
    await anyio.sleep(1)


@unusual()
async def sends_only_what_fits_else_waits(input: In, output: Out, memory: Memory) -> None:
    """Sends without waiting while there is room."""
    async for element in input:
        try:
            output.send_nowait(element)
        except anyio.WouldBlock:
            await output.send(element)


UNUSUAL: Final[tuple[Unusual, ...]] = tuple(one for one in (*globals().values(),) if isinstance(one, Unusual))
"""All of them."""
